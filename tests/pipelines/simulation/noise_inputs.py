"""Settings and small inputs of noise, for tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmbml.partitions import fingerprint_of
from cmbml.pipelines.simulation.settings import NoiseModelSettings, NoiseSettings
from cmbml.science.harmonics import alm_to_map, draw_white_alm
from cmbml.science.skymap import SkyMap

SETTINGS: Mapping[str, Any] = {
    "kind": "sensitivity",
    "scale": 1.0,
    "anisotropy": 0.0,
    "pattern": "scan",
    "recipe": "scattered",
    "reference_prefix": "",
    "coherence": 16,
    "average_map": False,
}
MODEL: Mapping[str, Any] = {
    "simulations": None,
    "lmax_factor": 2.0,
    "mask_latitude_deg": 5.0,
    "mask_fwhm_deg": 1.0,
    "transforms": "exact",
    "components": None,
}


def noise_settings(**changed: Any) -> NoiseSettings:
    return NoiseSettings(**{**SETTINGS, **changed})


def model_settings(**changed: Any) -> NoiseModelSettings:
    return NoiseModelSettings(**{**MODEL, **changed})


@dataclass(frozen=True)
class InMemory:
    """A loader of something in memory that counts how often it is called."""

    value: Any
    calls: list[int] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.value.values if isinstance(self.value, SkyMap) else self.value)

    def __call__(self) -> Any:
        self.calls.append(1)
        return self.value


def gaussian_maps(count: int, spectra: np.ndarray, nside: int, *, seed: int = 0) -> list[np.ndarray]:
    """Draw Gaussian maps with spectra TT, or TT, EE, BB, TE."""
    rng = np.random.default_rng(seed)
    lmax = spectra.shape[1] - 1
    ell = np.concatenate([np.arange(m, lmax + 1) for m in range(lmax + 1)])
    maps = []
    for _ in range(count):
        white = np.stack(
            [draw_white_alm(rng, lmax).astype(np.complex128) for _ in range(len(spectra) // 2 + 1)]
        )
        alm = np.sqrt(spectra[0])[ell] * white[:1]
        if len(spectra) > 1:
            tt, ee, bb, te = spectra
            shared = np.divide(te, np.sqrt(tt), out=np.zeros_like(te), where=tt > 0)
            e = shared[ell] * white[0] + np.sqrt(ee - shared**2)[ell] * white[1]
            alm = np.stack([alm[0], e, np.sqrt(bb)[ell] * white[2]])
        maps.append(alm_to_map(alm, nside))
    return maps
