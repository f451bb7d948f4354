"""Configurations that cannot work, from the command line: they are refused before any work."""

import shutil

import pytest

from tests.kedro_runs import ROOT, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"nsidee": 16, "channels": "31"},
            "parameter nsidee: not known; did you mean nside.*channels 31: no channel fits",
        ),
        ({"pyilc.peekS": 3}, "peekS"),
        ({"nside": 48}, "nside 48: must be a power of two"),
        ({"lmax": 48}, "lmax 48: must lie between 2 and 3 nside - 1 = 47"),
        ({"target_fwhm_arcmin": 10}, "target beam 10 arcmin: its window at lmax 32 is"),
        (
            {"stokes": "I", "pyilc.stokes": "IQU", "compared": 3, "cmb.lmax": 20, "target.fwhm_arcmin": 400},
            "target.fwhm_arcmin 400.*: must be the same.*"
            "pyilc.stokes IQU: the simulations hold only I.*"
            "compared 3: more than the 2 simulations of the test split.*"
            "cmb.lmax 20: below maps.lmax 32, the maps would have no CMB above it",
        ),
        (
            {
                "foregrounds.source": "pysm",
                "foregrounds.presets": "[s7]",
                "cosmology.source": "chains",
                "cosmology.given_spectrum": "test",
                "cmb.kind": "unlensed",
                "assets_folder": "nowhere",
            },
            "templates not on this computer.*"
            "cosmology.source chains: .*nowhere/wmap_chains/.*: not there. kedro run --pipeline=assets.*"
            "cosmology.given_spectrum: .*theory_R3.01.txt: not there.*cmb.kind unlensed: only lensed spectra",
        ),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_before_any_work(tmp_path, params, message):
    with pytest.raises(RuntimeError, match=message):
        run(data=tmp_path, **params)
    assert list(tmp_path.rglob("*.fits")) == []


def test_unknown_keys_of_an_environment_are_refused(tmp_path):
    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf)
    (conf / "test" / "globals.yml").write_text((conf / "test" / "globals.yml").read_text() + "nsidee: 32\n")
    (conf / "test" / "parameters.yml").write_text("nside: 128\n")
    with pytest.raises(RuntimeError, match="parameter nside: not known.*parameter nsidee: not known"):
        run("--conf-source", str(conf), data=tmp_path / "data")
