"""Presets of PySM 3, built from templates on this computer and never from the network."""

import difflib
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pysm3
from astropy.utils import data as astropy_data
from pysm3.sky import PRESET_MODELS, create_components_from_config
from pysm3.utils.data import DATAURL, RemoteData

from cmbml.pipelines.simulation.pysm_small_scales import drawn_model, is_drawn, redrawn
from cmbml.pipelines.simulation.pysm_templates import Band, interpolated_templates, listed_templates, parts
from cmbml.science.seeds import seed_of

Model = Any
"""An emission model of PySM 3; the library has no types."""

TEMPLATE_URL: str = DATAURL
"""Where PySM's templates are."""

_IS_A_CMB = ("CMBLensed", "CMBMap", "WebSkyCMB")
"""PySM classes that stand for the CMB, of which every simulation has its own."""


def pysm_components(presets: Sequence[str], nside: int, *, seed: int) -> dict[str, Model]:
    """Build the models of PySM 3 presets from templates on this computer.

    Parameters
    ----------
    presets
        Preset strings such as "d1".
    nside
        Resolution of the emission; PySM degrades its templates to it.
    seed
        Of presets that draw something; each has a stream of its own.

    Returns
    -------
    dict
        By preset string.

    Raises
    ------
    ValueError
        If PySM has no such preset, or it cannot take part (see the message).
    FileNotFoundError
        If a template is neither in the folder PYSM_LOCAL_DATA nor in astropy's
        download cache.
    """
    check_presets(presets, nside)
    models = {}
    for preset in presets:
        config = PRESET_MODELS[preset]
        with undisturbed(preset):
            models[preset] = (
                drawn_model(config, nside, seed=seed_of(seed, preset))
                if is_drawn(config)
                else create_components_from_config({preset: config}, nside=nside)[0]
            )
    return models


def redrawn_component(preset: str, model: Model, *, seed: int) -> Model:
    """Return a component as `pysm_components` would build it with another seed; the model is kept."""
    with undisturbed(preset):
        return redrawn(model, seed=seed_of(seed, preset))


def draws(preset: str) -> bool:
    """Return whether a component draws small scales, or a loss of correlation between frequencies."""
    return is_drawn(PRESET_MODELS.get(preset, {}))


def check_presets(presets: Sequence[str], nside: int, *, delta: bool = False) -> None:
    """Raise if presets cannot be built on this computer; nothing is read.

    Parameters
    ----------
    presets
        Preset strings such as "d1".
    nside
        Resolution of the emission.
    delta
        Whether bandpasses are deltas, which emission in lines needs to know.

    Raises
    ------
    ValueError
        If PySM has no such preset, or it cannot take part (see the message).
    FileNotFoundError
        If a template is neither in the folder PYSM_LOCAL_DATA nor in astropy's
        download cache.
    """
    for preset in presets:
        _check_preset(preset, delta=delta)
    missing = [
        name
        for preset in presets
        for name in listed_templates(PRESET_MODELS[preset], nside)
        if not _is_here(name)
    ]
    if missing:
        raise FileNotFoundError(_where_to_get(", ".join(presets), list(dict.fromkeys(missing))))


def template_names(presets: Sequence[str], nside: int, bands: Sequence[Band]) -> list[str]:
    """Return the names of all templates that presets read, each once.

    Parameters
    ----------
    presets
        Preset strings such as "d1".
    nside
        Resolution of the emission.
    bands
        Lowest and highest frequency in GHz of every channel.

    Raises
    ------
    ValueError
        If PySM has no such preset, or it cannot take part (see the message).
    """
    names: list[str] = []
    for preset in presets:
        _check_preset(preset)
        names += listed_templates(PRESET_MODELS[preset], nside)
        names += interpolated_templates(PRESET_MODELS[preset], nside, bands)
    return list(dict.fromkeys(names))


def refusal(preset: str, *, delta: bool) -> str:
    """Return why a preset cannot take part; "" if it can.

    Parameters
    ----------
    preset
        Preset string.
    delta
        Whether bandpasses are deltas.

    Raises
    ------
    ValueError
        If PySM has no such preset.
    """
    if preset not in PRESET_MODELS:
        close = difflib.get_close_matches(preset, PRESET_MODELS, n=4, cutoff=0.3)
        raise ValueError(
            f"preset {preset!r}: PySM {pysm3.__version__} has none; close to it are {', '.join(close)}"
        )
    classes = [part["class"] for part in parts(PRESET_MODELS[preset])]
    if any(name in _IS_A_CMB for name in classes):
        return "it is a CMB map, and every simulation has its own"
    if delta and "COLines" in classes:
        return "it emits in lines, which a delta bandpass never meets; set instrument.bandpass to tabulated"
    return ""


def _check_preset(preset: str, *, delta: bool = False) -> None:
    """Raise if PySM has no such preset or it cannot take part."""
    reason = refusal(preset, delta=delta)
    if reason:
        raise ValueError(f"preset {preset}: {reason}; leave it out")


def _is_here(name: str) -> bool:
    """Return whether PySM will find a template without the network."""
    remote = RemoteData()
    folders = [Path(), *map(Path, remote.data_folders)]
    if any((folder / name).exists() for folder in folders):
        return True
    with warnings.catch_warnings():
        # a computer on which astropy never downloaded anything has no cache
        warnings.simplefilter("ignore", astropy_data.CacheMissingWarning)
        return bool(astropy_data.is_url_in_cache(remote.data_url + name))


def _where_to_get(preset: str, names: Sequence[str]) -> str:
    remote = RemoteData()
    return (
        f"foregrounds {preset}: templates not on this computer: {', '.join(names)}. Put them, with their "
        f"sub-folders, into a folder named by the environment variable PYSM_LOCAL_DATA (they are at "
        f"{remote.data_url}; kedro run --pipeline=assets --params assets.fetch=pysm_templates fetches them), "
        "or run with the embedded sky, foregrounds.source=embedded"
    )


@contextmanager
def undisturbed(name: str) -> Iterator[None]:
    """Let PySM work `offline`, and leave numpy's global random state as it was.

    Some of PySM's classes seed that state; nobody else's numbers may depend on it.

    Parameters
    ----------
    name
        Preset or model, for the message.
    """
    state = np.random.get_state()  # noqa: NPY002 (it is PySM that uses it)
    try:
        with offline(name):
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


@contextmanager
def offline(name: str) -> Iterator[None]:
    """Let PySM read what is on this computer, and raise instead of downloading.

    Parameters
    ----------
    name
        Preset or model, for the message.

    Raises
    ------
    FileNotFoundError
        If PySM asks for a file that would have to be downloaded.
    """
    try:
        with astropy_data.conf.set_temp("allow_internet", False):
            yield
    except URLError as error:
        wanted = re.findall(re.escape(RemoteData().data_url) + r"([^\s'\"]+)", str(error.reason))
        raise FileNotFoundError(_where_to_get(name, wanted[:1] or [str(error.reason)])) from error
