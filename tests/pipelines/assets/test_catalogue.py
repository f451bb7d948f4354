import pytest

from cmbml.pipelines.assets import catalogue
from cmbml.pipelines.assets.catalogue import PLANCK_CHANNELS

PLA = "https://pla.esac.esa.int/pla/aio/product-action?"
IRSA = "https://irsa.ipac.caltech.edu/data/Planck/release_3/"


def test_planck_maps_have_the_names_of_the_release():
    names = [file.path for file in catalogue.planck_maps(PLANCK_CHANNELS, "esa")]
    assert names == [
        "planck/maps/LFI_SkyMap_030-BPassCorrected_1024_R3.00_full.fits",
        "planck/maps/LFI_SkyMap_044-BPassCorrected_1024_R3.00_full.fits",
        "planck/maps/LFI_SkyMap_070-BPassCorrected_1024_R3.00_full.fits",
        "planck/maps/HFI_SkyMap_100_2048_R3.01_full.fits",
        "planck/maps/HFI_SkyMap_143_2048_R3.01_full.fits",
        "planck/maps/HFI_SkyMap_217_2048_R3.01_full.fits",
        "planck/maps/HFI_SkyMap_353-psb_2048_R3.01_full.fits",
        "planck/maps/HFI_SkyMap_545_2048_R3.01_full.fits",
        "planck/maps/HFI_SkyMap_857_2048_R3.01_full.fits",
    ]


def test_sizes_are_about_those_measured_on_disk():
    """Megabytes of downloaded files, as the reference system records them."""
    maps = {"30": 502, "70": 502, "100": 2000, "353": 2000, "545": 603, "857": 603}
    noise = {"30": 150, "70": 150, "100": 603, "353": 603, "545": 200, "857": 200}
    for file, size in zip(catalogue.planck_maps(maps, "esa"), maps.values(), strict=True):
        assert file.size / 1e6 == pytest.approx(size, rel=0.01)
        assert not file.is_exact
    for file, size in zip(catalogue.ffp10_noise(noise, [0], "esa"), noise.values(), strict=True):
        assert file.size / 1e6 == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize(
    ("mirror", "maps", "nilc", "theory"),
    [
        ("esa", f"{PLA}MAP.MAP_ID=", f"{PLA}MAP.MAP_ID=", f"{PLA}COSMOLOGY.FILE_ID="),
        (
            "irsa",
            f"{IRSA}all-sky-maps/maps/",
            f"{IRSA}all-sky-maps/maps/component-maps/cmb/",
            f"{IRSA}ancillary-data/cosmoparams/",
        ),
    ],
)
def test_both_archives_have_the_maps_and_the_theory(mirror, maps, nilc, theory):
    (file,) = catalogue.planck_maps(["545"], mirror)
    assert file.url == f"{maps}HFI_SkyMap_545_2048_R3.01_full.fits"
    assert catalogue.planck_nilc(mirror)[0].url == f"{nilc}COM_CMB_IQU-nilc_2048_R3.00_full.fits"
    (file,) = catalogue.planck_theory(mirror)
    assert file.url.startswith(theory) and file.url.endswith("lensing-minimum-theory_R3.01.txt")


@pytest.mark.parametrize("mirror", ["esa", "irsa"])
def test_what_one_archive_has_is_taken_from_it_whatever_the_mirror(mirror):
    (file,) = catalogue.ffp10_noise(["44"], [7], mirror)
    assert file.url == f"{PLA}SIMULATED_MAP.FILE_ID=ffp10_noise_044_full_map_mc_00007.fits"
    assert file.path == "planck/noise/44/ffp10_noise_044_full_map_mc_00007.fits"
    lcdm, mnu = catalogue.wmap_chains(["lcdm", "mnu"], mirror)
    base = "https://lambda.gsfc.nasa.gov/data/map/dr5/dcp/chains/"
    assert (lcdm.url, mnu.url) == (
        f"{base}wmap_lcdm_wmap9_chains_v5.tar.gz",
        f"{base}wmap_lcdm_mnu_wmap9_chains_v5.tar.gz",
    )
    assert (lcdm.unpack_to, mnu.unpack_to) == ("wmap_chains/lcdm", "wmap_chains/mnu")


def test_a_copy_of_the_folder_serves_everything_under_its_path():
    mirror = "http://institute.example/raw/"
    files = [
        *catalogue.planck_maps(["100"], mirror),
        *catalogue.planck_nilc(mirror),
        *catalogue.ffp10_noise(["100"], [0], mirror),
        *catalogue.wmap_chains(["mnu"], mirror),
        *catalogue.planck_theory(mirror),
    ]
    assert [file.url for file in files] == [f"{mirror}{file.path}" for file in files]


def test_copies_of_a_map_differ_in_address_alone():
    esa, irsa = catalogue.copies("353", ["esa", "irsa"])
    assert esa.path == irsa.path and esa.url != irsa.url
    assert catalogue.copies("nilc", ["esa"])[0].group == "planck_nilc"


def test_a_map_that_is_none_is_named():
    with pytest.raises(ValueError, match="map '40': must be nilc or a channel: 30, 44"):
        catalogue.copies("40", ["esa"])
