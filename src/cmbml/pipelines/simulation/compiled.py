"""Keep PySM's compiled functions between processes.

PySM compiles its emission functions by numba at their first call in every
process, which takes longer than a small sky. numba can keep what it compiled on
disk, beside PySM's own files or, where these cannot be written to, in the
user's cache; PySM does not ask for it.
"""

from types import ModuleType

import pysm3.models.catalog
import pysm3.models.dust
import pysm3.models.dust_layers
import pysm3.models.interpolating
import pysm3.models.power_law
import pysm3.models.spdust
import pysm3.models.websky
import pysm3.utils
import pysm3.utils.logpoltens
from numba.core.dispatcher import Dispatcher

_MODULES: tuple[ModuleType, ...] = (
    pysm3.models.catalog,
    pysm3.models.dust,
    pysm3.models.dust_layers,
    pysm3.models.interpolating,
    pysm3.models.power_law,
    pysm3.models.spdust,
    pysm3.models.websky,
    pysm3.utils,
    pysm3.utils.logpoltens,
)


def keep_compiled() -> tuple[str, ...]:
    """Let numba keep the compiled functions of PySM's emission classes.

    Returns
    -------
    tuple of str
        Names of the functions, each once.
    """
    functions = [
        (name, value)
        for module in _MODULES
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher)
    ]
    for _, function in functions:
        function.enable_caching()
    return tuple(sorted({name for name, _ in functions}))
