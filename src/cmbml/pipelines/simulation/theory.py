"""The spectra that a sky is drawn from: computed for its cosmology, or given."""

from collections.abc import Mapping
from functools import lru_cache

from cmbml.pipelines.simulation.analytic_spectra import analytic_spectra
from cmbml.pipelines.simulation.cmb import unlensed_lmax
from cmbml.pipelines.simulation.cosmology import check_cosmology, cosmology_spectra
from cmbml.science.spectra import PowerSpectra, TheorySpectra


def theory_of(parameters: Mapping[str, float], *, lmax: int, accuracy: float | None) -> TheorySpectra:
    """Return unlensed and lensed spectra of a cosmology, for skies up to `lmax`.

    The last result is kept, so that simulations that share a cosmology do not compute it again.

    Parameters
    ----------
    parameters
        A cosmology by CAMB's names.
    lmax
        Band limit of the skies; the spectra go on as far as lensing needs.
    accuracy
        CAMB's `lens_potential_accuracy`; None for analytic spectra.

    Raises
    ------
    ValueError
        If the cosmology is incomplete or unphysical, or CAMB refuses it.
    """
    return _theory(tuple(sorted(parameters.items())), lmax, accuracy)


@lru_cache(maxsize=1)
def _theory(items: tuple[tuple[str, float], ...], lmax: int, accuracy: float | None) -> TheorySpectra:
    parameters = check_cosmology(dict(items))
    if accuracy is None:
        return analytic_spectra(parameters, lmax=unlensed_lmax(lmax))
    return cosmology_spectra(parameters, lmax=lmax, accuracy=accuracy)


def given_theory(spectra: PowerSpectra, *, lmax: int, polarised: bool) -> TheorySpectra:
    """Return given lensed spectra as those of a sky, without unlensed ones.

    Parameters
    ----------
    spectra
        Lensed spectra, of which TT and, for polarisation, EE, TE and BB are used.
    lmax
        Band limit of the skies.
    polarised
        Whether E and B will be drawn.

    Raises
    ------
    ValueError
        If they are unlensed, end below `lmax`, lack a spectrum, or are in another unit than uK_CMB2.
    """
    if not spectra.lensed:
        raise ValueError(
            "given theory: the spectra are unlensed, but are drawn as they are; give lensed ones, and say so "
            "by `lensed: true` in the catalog entry given_theory"
        )
    if spectra.lmax < lmax:
        raise ValueError(
            f"given theory: it ends at l = {spectra.lmax}, below cmb.lmax {lmax}; lower cmb.lmax or give "
            "another file"
        )
    if spectra.unit != "uK_CMB2":
        raise ValueError(f"given theory: unit {spectra.unit or 'none'}, must be uK_CMB2")
    needed = ("TT", "EE", "BB", "TE") if polarised else ("TT",)
    missing = [name for name in needed if name not in spectra.values]
    if missing:
        raise ValueError(
            f"given theory: no {', '.join(missing)} among {', '.join(spectra.values)}; "
            "give a file with them, or simulate stokes I"
        )
    return TheorySpectra(unlensed=None, lensed=spectra)
