"""How large the products of a run are, before there is any of them.

Sizes are those of the formats: blocks of FITS, rows of text. They hold for the
files of the results; the small marks by which partitions resume are not counted.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cmbml.learning.sizes import LearningSizes
from cmbml.learning_checks import planning_of
from cmbml.pipelines import method_names
from cmbml.pipelines.analysis.calibration import N_BINS
from cmbml.pipelines.analysis.spectra import band_edges
from cmbml.pipelines.assets.catalogue import is_lfi
from cmbml.pipelines.simulation.cmb import unlensed_lmax
from cmbml.pipelines.simulation.foregrounds import is_scaled, varies_in_shape
from cmbml.pipelines.simulation.nodes import select_channels
from cmbml.pipelines.simulation.settings import ForegroundSettings, NoiseSettings
from cmbml.science.harmonics import alm_size
from cmbml.science.instrument import Instrument
from cmbml.science.pixels import nside_to_npix

_FITS_BLOCK = 2880
_TEXT_NUMBER, _TEXT_MULTIPOLE = 25, 7
"""Characters of a number and of the rest of a row in a file of spectra."""

_METRICS_ROW, _SPECTRUM_ROW = 330, 375
"""Characters of what is recorded of one field, and of one band of one spectrum."""

_PREDICTION_ROW, _BIN_ROW = 250, 165
"""Characters of what is recorded of the predicted error of one field, and of one bin of it."""

_TABLE_NUMBER = 8
"""Characters of a number in a table of the reports, with its comma."""

_HDF5_OVERHEAD = 2048
"""Bytes of a file, and of each of its channels, beside the pixels."""

_EMBEDDED_COMPONENTS = 4
"""Galactic ones of the embedded sky: dust, synchrotron, free-free and AME."""

_NOISE_SIMULATIONS = 100
"""Of a channel, where all there are make the noise model: as many as CMB-ML has."""

_LFI_NSIDE, _HFI_NSIDE = 1024, 2048
"""Resolution of Planck's noise simulations."""

_MODEL_OVERHEAD = 3150
"""Bytes of a noise model beside its spectra: headers of its arrays, and numbers."""

_NPY_HEADER = 128
"""Bytes of a file of an array beside its numbers."""

_SCALING_ROW, _SCALING_REST = 85, 450
"""Characters of what a scaling says of one feature or field, and of the rest of it."""

_REPORT_ROW = 24
"""Characters of one feature or field in the table of a scaling."""

_CORRECTION_ROW = 55
"""Characters of what is recorded of one row of what is fitted to predictions."""

_TRAINING_RECORD = 4500
"""Bytes of what a folder of checkpoints says of its training."""

_FIGURE_ROW, _FIGURE_ERRORS = 33_000, 25_000
"""Bytes of the truth, or of one method, in a figure of a sky, and of a map of predicted errors."""


@dataclass(frozen=True)
class Volume:
    """What one partition, or a product that has none, takes on disk.

    Parameters
    ----------
    files
        Number of files.
    size
        Bytes of all of them.
    """

    files: int
    size: int


@dataclass(frozen=True)
class Dimensions:
    """What sizes follow from.

    Parameters
    ----------
    nside, lmax
        Resolution and band limit of the maps.
    cmb_lmax, theory_lmax
        Band limit of the CMB's coefficients, and of the spectra of a cosmology.
    channels
        Number of Stokes fields of each channel.
    container
        Of the observations, "fits" or "hdf5".
    foreground_components
        Number of foreground components.
    shared_components
        Number of foreground components that all simulations share.
    methods
        Number of Stokes fields of each method's cleaned maps, by its name.
    predicting
        Names of the methods that predict errors of their maps.
    bands
        Number of bands of a binned spectrum.
    compared
        Number of simulations that are cleaned and compared.
    noise
        Kind of the noise, on which it depends what simulations share of it.
    noise_components
        Number of components of a noise model.
    noise_nsides
        Resolution of the noise simulations of each channel.
    noise_lmax_factor
        Band limit of noise models in units of that.
    learning
        By the name of a method that learns, what the sizes of its own products follow from; what a method
        does not tell is not known.
    """

    nside: int
    lmax: int
    cmb_lmax: int
    theory_lmax: int
    channels: tuple[int, ...]
    container: str
    foreground_components: int
    shared_components: int
    methods: Mapping[str, int]
    predicting: frozenset[str]
    bands: int
    compared: int
    noise: NoiseSettings
    noise_components: int
    noise_nsides: tuple[int, ...]
    noise_lmax_factor: float
    learning: Mapping[str, LearningSizes]

    @property
    def fields(self) -> int:
        """Number of Stokes fields of the sky."""
        return max(self.channels)

    @property
    def compared_fields(self) -> int:
        """Number of Stokes fields of all methods, and the intensity of the best single channel."""
        return 1 + sum(self.methods.values())

    @property
    def predicted_fields(self) -> int:
        """Number of Stokes fields of the methods that predict errors."""
        return sum(self.methods[name] for name in self.predicting)


def fits_map(nside: int, fields: int) -> Volume:
    """Return the volume of a map in a FITS file: float32, two blocks of headers."""
    return Volume(1, 2 * _FITS_BLOCK + _blocks(4 * fields * nside_to_npix(nside)))


def fits_alm(lmax: int, fields: int) -> Volume:
    """Return the volume of coefficients in a FITS file: per field, index, real and imaginary part."""
    return Volume(1, _FITS_BLOCK + fields * (_FITS_BLOCK + _blocks(12 * alm_size(lmax))))


def _blocks(size: int) -> int:
    return math.ceil(size / _FITS_BLOCK) * _FITS_BLOCK


def _observations(given: Dimensions) -> Volume:
    if given.container == "hdf5":
        pixels = 4 * sum(given.channels) * nside_to_npix(given.nside)
        return Volume(1, pixels + _HDF5_OVERHEAD * (1 + len(given.channels)))
    return Volume(len(given.channels), sum(fits_map(given.nside, fields).size for fields in given.channels))


def _theory(given: Dimensions) -> Volume:
    """Unlensed spectra with those of the potential (7 columns), and lensed ones (4)."""
    rows = given.theory_lmax + 1
    return Volume(2, rows * (2 * _TEXT_MULTIPOLE + (7 + 4) * _TEXT_NUMBER))


def _foreground_alm(given: Dimensions) -> Volume:
    numbers = given.shared_components * len(given.channels) * given.fields * alm_size(given.lmax)
    return Volume(1, 1000 + 8 * numbers)


def _components(given: Dimensions) -> Volume:
    """CMB, foregrounds and noise, each in every channel."""
    count = 2 + given.foreground_components
    size = sum(fits_map(given.nside, fields).size for fields in given.channels)
    return Volume(count * len(given.channels), count * size)


def _noise_averages(given: Dimensions) -> Volume:
    """Map of a channel, on average over the channels."""
    channels = zip(given.noise_nsides, given.channels, strict=True)
    return Volume(1, sum(fits_map(nside, fields).size for nside, fields in channels) // len(given.channels))


def _noise_models(given: Dimensions) -> Volume:
    """Spectra of a channel, on average: two means and the components."""
    numbers = 0
    for nside, fields in zip(given.noise_nsides, given.channels, strict=True):
        multipoles = int(given.noise_lmax_factor * nside) + 1
        numbers += (4 if fields == 3 else 1) * multipoles * (2 + given.noise_components)
    return Volume(1, _MODEL_OVERHEAD + 8 * numbers // len(given.channels))


def _noise_sources(given: Dimensions) -> Volume:
    """Arrays of a channel, on average: root of the covariances, average map, spectra of the model."""
    pixels = spectra = 0
    for fields in given.channels:
        polarised = fields == 3
        pixels += (6 if polarised else 1) * given.noise.uses_variances + fields * given.noise.uses_average
        spectra += (4 if polarised else 1) * given.noise.uses_model
    numbers = 8 * spectra * 3 * given.nside * (1 + given.noise_components)
    size = 4 * pixels * nside_to_npix(given.nside) + numbers
    return Volume(1, 500 + size // len(given.channels))


def _metrics(given: Dimensions, name: str) -> Volume:
    """Record of a method: a row per field, and per band of each spectrum. Of channels the intensity."""
    method = name.rpartition("_metrics_")[0]
    fields = given.methods[method] if method in given.methods else len(given.channels)
    predicted = (_PREDICTION_ROW + _BIN_ROW * N_BINS) * (method in given.predicting)
    return Volume(1, fields * (_METRICS_ROW + _SPECTRUM_ROW * given.bands + predicted))


def _method_maps(around: str) -> Callable[[Dimensions, str], Volume]:
    """Return the estimate of maps of a method: as many fields as its cleaned maps."""
    return lambda given, name: fits_map(given.nside, given.methods[name.partition(around)[0]])


def _errors(given: Dimensions, name: str) -> Volume:
    """Return the volume of what is told of errors: of every field that is cleaned, or more, such as parts."""
    method = name.partition("_errors_")[0]
    told = given.learning[method].error_fields if method in given.learning else 0
    return fits_map(given.nside, told or given.methods[method])


def _planes(given: Dimensions, count: int) -> Volume:
    """Return the volume of maps laid out as planes: float32."""
    return Volume(1, _NPY_HEADER + 4 * count * nside_to_npix(given.nside))


def _checkpoints(learnt: LearningSizes) -> Volume:
    """Return the volume of the best, the last, those that are kept, each as large, and of a record."""
    count = 2 + learnt.checkpoints
    return Volume(1 + count, _TRAINING_RECORD + count * learnt.checkpoint_size)


def _corrections(learnt: LearningSizes) -> Volume:
    """Return the volume of one of what is fitted to predictions, on average."""
    rows = sum(learnt.corrections.values())
    return Volume(1, _CORRECTION_ROW * rows // max(len(learnt.corrections), 1))


def _learnt(
    around: str, volume: Callable[[Dimensions, LearningSizes], Volume]
) -> Callable[[Dimensions, str], Volume | None]:
    """Return the estimate of a product of methods that learn; it is not known of those that tell nothing."""
    before, after = around.split("*")

    def estimate(given: Dimensions, name: str) -> Volume | None:
        learnt = given.learning.get(name.removeprefix(before).partition(after)[0])
        return None if learnt is None else volume(given, learnt)

    return estimate


def _table(columns: int, rows: int) -> Volume:
    return Volume(1, _TABLE_NUMBER * columns * (1 + rows))


def _scores(given: Dimensions, columns: int, *, of_errors: int, skies: int) -> Volume:
    """Return the volume of a table of methods; the names of what is said of predicted errors are long."""
    size = _table(columns, skies * given.compared_fields).size
    return Volume(1, size + _table(of_errors, 2 + skies * given.predicted_fields).size)


PRODUCTS: Mapping[str, Callable[[Dimensions, str], Volume | None]] = {
    "instrument": lambda given, _: Volume(1, 1500),
    "mask": lambda given, _: fits_map(given.nside, 4),
    "foreground_alm": lambda given, _: _foreground_alm(given),
    "noise_averages": lambda given, _: _noise_averages(given),
    "noise_models": lambda given, _: _noise_models(given),
    "noise_sources": lambda given, _: _noise_sources(given),
    "{split}_seeds": lambda given, _: Volume(1, 272),
    "{split}_cosmology": lambda given, _: Volume(1, 225),
    "{split}_foregrounds": lambda given, _: Volume(1, 567),
    "{split}_theory": lambda given, _: _theory(given),
    "{split}_cmb_alm": lambda given, _: fits_alm(given.cmb_lmax, given.fields),
    "{split}_cmb": lambda given, _: fits_map(given.nside, given.fields),
    "{split}_observations": lambda given, _: _observations(given),
    "{split}_components": lambda given, _: _components(given),
    "{method}_cleaned_{split}": _method_maps("_cleaned_"),
    "{method}_errors_{split}": _errors,
    "{method}_error_masks_{split}": _method_maps("_error_masks_"),
    "{method}_features_{split}": _learnt("*_features_", lambda given, own: _planes(given, own.features)),
    "{method}_targets_{split}": _learnt("*_targets_", lambda given, own: _planes(given, own.fields)),
    "{method}_scaling": _learnt(
        "*_scaling",
        lambda _, own: Volume(1, _SCALING_REST + _SCALING_ROW * (own.features + own.fields)),
    ),
    "{method}_checkpoints": _learnt("*_checkpoints", lambda _, own: _checkpoints(own)),
    **dict.fromkeys(
        ("{method}_predictions_{split}", "{method}_predictions_test"),
        _learnt("*_predictions_", lambda given, own: fits_map(given.nside, own.prediction_fields)),
    ),
    "{method}_corrections": _learnt("*_corrections", lambda _, own: _corrections(own)),
    "{method}_metrics_{split}": _metrics,
    "report_mask": lambda given, _: Volume(1, 700),
    "report_comparison": lambda given, _: _scores(given, 18, of_errors=10, skies=1),
    "report_metrics": lambda given, _: _scores(given, 11, of_errors=5, skies=given.compared),
    # of its eight columns several are short: field, bin, split
    "report_calibration": lambda given, _: _table(6, given.compared * given.predicted_fields * N_BINS),
    "report_spectra": lambda given, _: _table(13, given.compared * given.compared_fields * given.bands),
    "report_sky_figures": lambda given, _: Volume(
        1, _FIGURE_ROW * (1 + len(given.methods)) + _FIGURE_ERRORS * len(given.predicting)
    ),
    "report_spectra_figure": lambda given, _: Volume(1, 130_000),
    "report_calibration_figure": lambda given, _: Volume(1, 52_000 if given.predicting else 11_600),
    "report_{method}_scaling": _learnt(
        "report_*_scaling",
        lambda _, own: Volume(1, 35 + _REPORT_ROW * (own.features + own.fields)),
    ),
    "report_{method}_corrections": _learnt(
        "report_*_corrections",
        lambda _, own: _table(5, sum(own.corrections.values())),
    ),
    "report_{method}_losses": _learnt("report_*_losses", lambda _, own: _table(6, own.epochs)),
    "report_{method}_losses_figure": _learnt("report_*_losses_figure", lambda _, own: Volume(1, 45_000)),
}
"""Volume of one partition, or of the whole, by the name or pattern that the catalog has for a product."""


def dimensions_of(
    parameters: Mapping[str, Any],
    instrument: Instrument,
    *,
    container: str,
    compared: int,
    predicting: Collection[str],
) -> Dimensions:
    """Return what the sizes of a configuration's products follow from.

    Parameters
    ----------
    parameters
        The validated groups, by name.
    instrument
        The table of the instrument, all channels.
    container
        Of the observations, "fits" or "hdf5".
    compared
        Number of simulations that are cleaned and compared.
    predicting
        Names of the methods that predict errors of their maps.
    """
    maps, analysis, foregrounds = (parameters[group] for group in ("maps", "analysis", "foregrounds"))
    model, settings = parameters["noise_model"], parameters["instrument"]
    channels = select_channels(instrument, settings)
    return Dimensions(
        nside=maps.nside,
        lmax=maps.lmax,
        cmb_lmax=parameters["cmb"].lmax,
        theory_lmax=unlensed_lmax(parameters["cmb"].lmax),
        channels=tuple(len(channel.stokes) for channel in channels),
        container=container,
        foreground_components=_foreground_components(foregrounds),
        shared_components=_shared_components(foregrounds, over_bands=settings.bandpass == "tabulated"),
        methods={name: len(getattr(parameters[name], "stokes", "I")) for name in method_names()},
        predicting=frozenset(predicting),
        bands=len(band_edges(analysis.lmax, analysis.bin_width)) - 1,
        compared=compared,
        noise=parameters["noise"],
        noise_components=model.components or model.simulations or _NOISE_SIMULATIONS,
        noise_nsides=tuple(_LFI_NSIDE if is_lfi(channel.name) else _HFI_NSIDE for channel in channels),
        noise_lmax_factor=model.lmax_factor,
        learning=dict(_learning_sizes(parameters, channels)),
    )


def _learning_sizes(
    parameters: Mapping[str, Any], instrument: Instrument
) -> Iterator[tuple[str, LearningSizes]]:
    """Yield what methods tell of the sizes of what they learn, by `sizes` of their module `planning`."""
    for method in method_names():
        planning = planning_of(method)
        if planning is None:
            continue
        try:
            yield method, planning.sizes(parameters, instrument)
        except ValueError:  # settings that contradict each other, which the checks before a run tell
            continue


def _shared_components(foregrounds: ForegroundSettings, *, over_bands: bool) -> int:
    """Return of how many components the coefficients are kept for all simulations; their sum is one more."""
    if varies_in_shape(foregrounds):
        return 0
    if foregrounds.source == "planck":
        return 1
    if not foregrounds.vary:
        return _foreground_components(foregrounds) + 1
    return sum(is_scaled(name, foregrounds, over_bands=over_bands) for name in foregrounds.presets)


def _foreground_components(foregrounds: ForegroundSettings) -> int:
    """Return how many components the foregrounds have."""
    if foregrounds.source == "pysm":
        return len(foregrounds.presets)
    if foregrounds.source == "planck":
        return 1
    return _EMBEDDED_COMPONENTS + foregrounds.extragalactic.cib + foregrounds.extragalactic.radio
