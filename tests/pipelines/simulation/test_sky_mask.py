import healpy as hp
import numpy as np
import pytest
from astropy.io import fits

from cmbml.datasets import DeferredDataset, HealpixMapDataset
from cmbml.pipelines.simulation.nodes import make_mask
from cmbml.pipelines.simulation.settings import MaskSettings
from cmbml.pipelines.simulation.sky_mask import MASK_FIELDS, mask_statistics, sky_mask
from cmbml.science.apodisation import apodise
from cmbml.science.masks import degrade_mask, galactic_mask
from cmbml.science.skymap import UNSEEN, SkyMap

NSIDE, FINE = 8, 32
GALACTIC = {"source": "galactic", "latitude_deg": 20.0, "threshold": 0.9}
PLANCK = {**GALACTIC, "source": "planck"}


def settings(**changes) -> MaskSettings:
    given = {**GALACTIC, "nside": NSIDE, "apodisation_deg": 15.0, "taper": "C1", "polarisation": None}
    return MaskSettings(**(given | changes))


def published_masks() -> np.ndarray:
    """A cut for the intensity and another for the polarisation, with round holes smaller than a pixel."""
    masks = np.stack([galactic_mask(FINE, 15), galactic_mask(FINE, 25)])
    rng = np.random.default_rng(1)
    for vector in rng.normal(size=(40, 3)):
        masks[rng.integers(2), hp.query_disc(FINE, vector / np.linalg.norm(vector), np.radians(2))] = 0
    return masks


@pytest.fixture
def planck_file(tmp_path):
    """The layout of Planck's component-separated maps: NESTED, sky and masks side by side, a blank unit."""
    sky = np.random.default_rng(0).normal(size=(3, 12 * FINE**2))
    names = ("I_STOKES", "Q_STOKES", "U_STOKES", "TMASK", "PMASK")
    units = ("K_CMB", "K_CMB", "K_CMB", " ", " ")
    columns = [
        fits.Column(name=name, format="E", unit=unit, array=hp.reorder(values, r2n=True).astype(np.float32))
        for name, unit, values in zip(names, units, [*sky, *published_masks()], strict=True)
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update(
        {
            "ORDERING": "NESTED",
            "NSIDE": FINE,
            "COORDSYS": "GALACTIC",
            "POLCCONV": "COSMO",
            "EXTNAME": "COMP-MAP",
        }
    )
    path = tmp_path / "planck" / "COM_CMB_IQU-nilc_32_R3.00_full.fits"
    path.parent.mkdir()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


def loader(path):
    """What the catalog's entry mask_input gives."""
    dataset = {
        "type": "cmbml.datasets.HealpixMapDataset",
        "filepath": str(path),
        "fields": ["TMASK", "PMASK"],
        "unit": "",
        "read_only": True,
    }
    return DeferredDataset(dataset=dataset, purpose="mask.source planck reads it.").load()


def test_the_masks_of_planck_are_degraded_for_intensity_and_polarisation(planck_file):
    mask, _ = make_mask(settings(**PLANCK, polarisation=PLANCK), loader(planck_file))
    for row, fine in zip(mask.values[:2], published_masks(), strict=True):
        assert np.array_equal(row, degrade_mask(fine, NSIDE, threshold=0.9))
    assert not np.array_equal(mask.values[0], mask.values[1])


def test_without_a_cut_of_its_own_polarisation_has_the_mask_of_the_intensity(planck_file):
    mask, _ = make_mask(settings(**PLANCK), loader(planck_file))
    assert np.array_equal(mask.values[1], mask.values[0])
    assert np.array_equal(mask.values[3], mask.values[2])


def test_a_mask_of_one_field_serves_intensity_and_polarisation():
    mask = sky_mask(settings(**PLANCK, polarisation=PLANCK), SkyMap(published_masks()[:1], ""))
    assert np.array_equal(mask.values[0], mask.values[1])


def test_polarisation_may_have_a_cut_of_another_source(planck_file):
    mask, _ = make_mask(settings(polarisation={**PLANCK, "threshold": 0.5}), loader(planck_file))
    assert np.array_equal(mask.values[0], galactic_mask(NSIDE, 20))
    assert np.array_equal(mask.values[1], degrade_mask(published_masks()[1], NSIDE, threshold=0.5))


def test_a_galactic_cut_needs_no_file(tmp_path):
    mask, _ = make_mask(
        settings(polarisation={**GALACTIC, "latitude_deg": 30}), loader(tmp_path / "nothing.fits")
    )
    assert np.array_equal(mask.values[:2], [galactic_mask(NSIDE, 20), galactic_mask(NSIDE, 30)])


def test_pixels_that_the_file_does_not_have_are_left_out():
    masks = published_masks()
    masks[0, :3000] = UNSEEN
    mask = sky_mask(settings(**PLANCK), SkyMap(masks, "", ("TMASK", "PMASK")))
    seen = np.where(masks[0] == UNSEEN, 0, masks[0])
    assert np.array_equal(mask.values[0], degrade_mask(seen, NSIDE, threshold=0.9))


@pytest.mark.parametrize("taper", ["C1", "C2", "smooth"])
def test_soft_edges_are_those_of_the_taper(taper):
    mask = sky_mask(settings(taper=taper), None)
    assert np.array_equal(mask.values[2], apodise(galactic_mask(NSIDE, 20), 15, taper=taper))


def test_plain_healpy_reads_the_saved_mask_with_its_share_of_the_sky(tmp_path):
    made, _ = make_mask(settings(polarisation={**GALACTIC, "latitude_deg": 30}), None)
    HealpixMapDataset(filepath=tmp_path / "mask.fits").save(made)
    assert np.array_equal(hp.read_map(tmp_path / "mask.fits"), galactic_mask(NSIDE, 20))
    rows, header = hp.read_map(tmp_path / "mask.fits", field=None, h=True)
    facts = dict(header)
    assert [facts[f"TTYPE{number}"] for number in (1, 2, 3, 4)] == list(MASK_FIELDS)
    for key, row in zip(("FSKY", "FSKY_P", "FSKY_A", "FSKY_PA"), rows, strict=True):
        assert facts[key] == pytest.approx(row.mean(), rel=1e-6)
    assert (facts["TAPER"], facts["TAPERDEG"]) == ("C1", 15.0)


def test_statistics_are_the_moments_of_the_weights():
    mask = SkyMap(np.repeat([[0.0, 0.5, 1.0]], 4, axis=1), "", ("I_MASK",))
    (record,) = mask_statistics(mask).values()
    assert record["fsky"] == pytest.approx(0.5)
    assert record["mean_w2"] == pytest.approx((1 + 0.25) / 3)
    assert record["mean_w4"] == pytest.approx((1 + 0.0625) / 3)
    assert record["fsky_modes"] == pytest.approx(record["mean_w2"] ** 2 / record["mean_w4"])


def test_statistics_name_every_field():
    _, statistics = make_mask(settings(), None)
    assert tuple(statistics) == MASK_FIELDS
    assert statistics["I_APODISED"]["fsky"] < statistics["I_MASK"]["fsky"]


def test_a_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(Exception, match=r"nothing.fits: not there. mask.source planck reads it"):
        make_mask(settings(**PLANCK), loader(tmp_path / "nothing.fits"))


def test_a_published_mask_must_be_given():
    with pytest.raises(
        ValueError, match=r"mask.source planck: needs the mask of the catalog entry mask_input"
    ):
        sky_mask(settings(**PLANCK), None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"latitude_deg": 89.0}, "I_MASK"),
        ({"polarisation": {**GALACTIC, "latitude_deg": 89.0}}, "P_MASK"),
        ({"taper": "smooth", "apodisation_deg": 40.0}, "I_APODISED"),
    ],
)
def test_a_mask_that_leaves_nothing_is_refused(changes, field):
    with pytest.raises(
        ValueError, match=rf"mask: {field} leaves no pixel of the sky at nside 8; make the cut"
    ):
        sky_mask(settings(**changes), None)
