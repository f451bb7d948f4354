"""Silence what lightning says by itself: tips, and warnings about settings that are meant."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.warnings import PossibleUserWarning

_LOGGERS = ("lightning.pytorch", "lightning.fabric", "torch.distributed")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence lightning for a while, in this process."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            _silence()
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def quiet_for_good() -> None:
    """Silence lightning in a process that it has made, and show our own lines where logging is not set up."""
    _silence()
    own = logging.getLogger("cmbml")
    if not own.hasHandlers():
        own.addHandler(logging.StreamHandler())
        own.setLevel(logging.INFO)


def _silence() -> None:
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", PossibleUserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")  # on its own imports
