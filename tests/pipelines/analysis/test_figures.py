import io

import healpy as hp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure

from cmbml.pipelines.analysis.figures import MASK_GREY, mollweide_pixels, sky_figure, spectra_figure
from cmbml.pipelines.analysis.settings import Analysis
from cmbml.pipelines.analysis.spectra import band_edges, band_ell, sky_spectra
from cmbml.pipelines.analysis.tables import spectrum_rows
from cmbml.science.masks import galactic_mask

NSIDE = 16
NPIX = 12 * NSIDE**2
ANALYSIS = Analysis(
    nside=NSIDE,
    lmax=32,
    map_fwhm_arcmin=500,
    fwhm_arcmin=500,
    apodisation_deg=5,
    taper="C1",
    bin_width=5,
    figure_simulations=1,
    map_range_uk=3,
    residual_range_uk=1,
)
KEPT = galactic_mask(NSIDE, 20)


def noise(seed):
    return np.random.default_rng(seed).normal(size=NPIX)


def two_methods():
    truth = noise(0)
    return truth, {"nilc": truth + 0.1 * noise(1), "petroff": truth + 0.2 * noise(2)}


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def rows(n_skies=4, methods=("nilc", "petroff"), n_stokes=1):
    tables = []
    for index, method in enumerate(methods):
        for sky in range(n_skies):
            rng = np.random.default_rng([index, sky])
            truth = np.random.default_rng(sky).normal(size=(n_stokes, NPIX))
            spectra = sky_spectra(truth, truth + 0.1 * rng.normal(size=truth.shape), KEPT, lmax=32)
            tables.append(
                spectrum_rows(spectra, band_edges(32, 5), method=method, split="test", simulation=f"{sky}")
            )
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize("width", [200, 340])
def test_the_projection_is_that_of_healpy(width):
    lookup = mollweide_pixels(NSIDE, width=width)
    projector = hp.projector.MollweideProj(xsize=width, flipconv="astro")
    x, y = np.meshgrid(
        2 * (np.arange(width) + 0.5) / width - 1, 1 - 2 * (np.arange(width // 2) + 0.5) / (width // 2)
    )
    inside = lookup >= 0
    vectors = projector.xy2vec(2 * x[inside], y[inside])
    # The same arithmetic in another order: a point on the border of two pixels may fall to either.
    assert np.mean(hp.vec2pix(NSIDE, *vectors) == lookup[inside]) > 0.999


def test_the_projection_fills_its_ellipse_and_nothing_else():
    lookup = mollweide_pixels(NSIDE, width=400)
    assert lookup.shape == (200, 400)
    assert np.mean(lookup >= 0) == pytest.approx(np.pi / 4, abs=1e-3)
    assert lookup.max() < NPIX


def test_the_projection_keeps_areas():
    counts = np.bincount(mollweide_pixels(4, width=800)[mollweide_pixels(4, width=800) >= 0], minlength=192)
    # 1309 picture pixels for each of the 192; their borders cut some.
    assert counts == pytest.approx(np.full(192, counts.mean()), rel=0.05)


def test_north_is_up_and_longitude_grows_to_the_left():
    lookup = mollweide_pixels(NSIDE, width=200)

    def lonlat(row, column):
        return hp.pix2ang(NSIDE, lookup[row, column], lonlat=True)

    assert lonlat(1, 100)[1] > 75
    assert lonlat(98, 100)[1] < -75
    # On the equator a quarter of the width is a quarter of the circle.
    assert lonlat(50, 50)[0] == pytest.approx(90, abs=5)
    assert lonlat(50, 150)[0] == pytest.approx(270, abs=5)


def images(figure):
    return [axes.images[0] for axes in figure.axes if axes.images]


def test_a_sky_shows_truth_and_every_method_with_its_residual():
    truth, cleaned = two_methods()
    figure = sky_figure(truth, cleaned, KEPT, title="sim0000, intensity", analysis=ANALYSIS)
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == "sim0000, intensity"
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles[0] == "truth"
    assert titles[1::2] == ["nilc", "petroff"]
    assert [title.split(",")[0] for title in titles[2::2]] == ["residual", "residual"]


def test_the_rms_in_a_title_is_that_of_the_kept_residual():
    truth = noise(0)
    residual = np.where(KEPT == 1, 7.0, 1000.0)
    figure = sky_figure(truth, {"nilc": truth + residual}, KEPT, title="", analysis=ANALYSIS)
    assert "rms 7 " in [axes.get_title() for axes in figure.axes if axes.images][2]


def test_maps_share_one_range_of_colours_and_residuals_another():
    truth, cleaned = two_methods()
    limits = [
        image.get_clim() for image in images(sky_figure(truth, cleaned, KEPT, title="", analysis=ANALYSIS))
    ]
    assert limits == [(-3, 3), (-3, 3), (-1, 1), (-3, 3), (-1, 1)]


def test_a_predicted_error_stands_beside_the_residual_in_its_colours():
    truth, cleaned = two_methods()
    errors = {"petroff": np.full(NPIX, 0.25)}
    figure = sky_figure(truth, cleaned, KEPT, title="", analysis=ANALYSIS, errors=errors)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 6
    assert panels[-1].get_title().startswith("predicted error,  rms 0.25 ")
    grid = [panel.get_subplotspec() for panel in panels]
    assert [(place.rowspan.start, place.colspan.start) for place in grid[-2:]] == [(2, 1), (2, 2)]
    shown = panels[-1].images[0]
    assert shown.get_clim() == panels[-2].images[0].get_clim()
    assert np.ma.compressed(shown.get_array()).tolist() == [0.25] * shown.get_array().count()


def test_a_figure_without_predicted_errors_is_as_wide_as_before_there_were_any():
    truth, cleaned = two_methods()
    plain, none = (
        sky_figure(truth, cleaned, KEPT, title="", analysis=ANALYSIS, **given)
        for given in ({}, {"errors": {}})
    )
    assert png(plain) == png(none)
    assert plain.get_size_inches()[0] == 6.6


def test_a_panel_shows_its_map_and_leaves_out_the_mask():
    truth, cleaned = two_methods()
    shown = images(sky_figure(truth, cleaned, KEPT, title="", analysis=ANALYSIS))
    lookup = mollweide_pixels(NSIDE, width=shown[0].get_array().shape[1])
    seen = (lookup >= 0) & (KEPT[lookup] == 1)
    for image, values in zip(shown, [truth, cleaned["nilc"], cleaned["nilc"] - truth], strict=False):
        picture = image.get_array()
        assert np.array_equal(~np.ma.getmaskarray(picture), seen)
        assert np.array_equal(picture[seen], values[lookup[seen]])
        assert image.cmap.get_bad()[:3] == pytest.approx([float(MASK_GREY)] * 3)


def test_a_fine_map_is_averaged_over_its_kept_pixels():
    truth = np.tile([1.0, 2.0, 3.0, 6.0], 12 * 64**2)  # the children of every pixel, in NESTED order
    order = hp.ring2nest(128, np.arange(truth.size))
    kept = np.tile([1, 1, 1, 0], 12 * 64**2)[order]
    figure = sky_figure(truth[order], {}, kept, title="", analysis=ANALYSIS)
    picture = images(figure)[0].get_array()
    assert picture.compressed() == pytest.approx(2.0)
    assert picture.count() == np.count_nonzero(mollweide_pixels(64, width=picture.shape[1]) >= 0)


def test_lost_pixels_under_the_mask_do_not_reach_the_figure():
    truth, cleaned = two_methods()
    holes = {name: np.where(KEPT == 1, values, np.nan) for name, values in cleaned.items()}
    lost = np.where(KEPT == 1, truth, hp.UNSEEN)
    figure = sky_figure(lost, holes, KEPT, title="", analysis=ANALYSIS)
    assert png(figure) == png(sky_figure(truth, cleaned, KEPT, title="", analysis=ANALYSIS))


def test_zero_is_white_and_colours_are_symmetric():
    truth, cleaned = two_methods()
    colours = images(sky_figure(truth, cleaned, KEPT, title="", analysis=ANALYSIS))[0].cmap
    assert min(colours(0.5)[:3]) > 0.95
    red, blue = colours(0.9), colours(0.1)
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_figures_of_skies_are_small_files():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=12 * 64**2)  # white noise compresses worst
    cleaned = {name: truth + rng.normal(size=truth.size) for name in ("nilc", "petroff")}
    figure = sky_figure(truth, cleaned, galactic_mask(64, 20), title="", analysis=ANALYSIS)
    assert len(png(figure)) < 300_000


def test_spectra_are_drawn_at_the_multipoles_of_their_bands():
    table = rows(1, methods=("nilc",))
    top, middle, bottom = spectra_figure(table, title="spectra").axes
    ell = band_ell(band_edges(32, 5))
    truth, cleaned, residual = top.lines[:3]
    for line, column in ((truth, "dl_truth_uK2"), (cleaned, "dl_cleaned_uK2"), (residual, "dl_residual_uK2")):
        np.testing.assert_allclose(line.get_xdata(), ell, rtol=1e-13)
        np.testing.assert_allclose(line.get_ydata(), table[column], rtol=1e-13)
    for axes, heights in ((middle, 100 * table["deviation"]), (bottom, table["transfer"])):
        np.testing.assert_allclose(axes.lines[0].get_xdata(), ell, rtol=1e-13)
        np.testing.assert_allclose(axes.lines[0].get_ydata(), heights, rtol=1e-13)


def test_a_method_that_loses_the_cmb_shows_its_transfer_function():
    table = rows(2, methods=("nilc",)).assign(transfer=0.6)
    *_, bottom = spectra_figure(table, title="").axes
    low, high = bottom.get_ylim()
    assert low < 0.6
    assert high > 1


def test_the_axis_holds_every_multipole():
    *_, bottom = spectra_figure(rows(1), title="").axes
    assert bottom.get_xlim() == (0, 33)


def test_a_line_in_one_multipole_is_drawn_at_that_multipole():
    # Bands of one multipole: a sky with power at l = 12 alone peaks there, neither before nor after.
    alm = np.zeros(hp.Alm.getsize(32), complex)
    alm[hp.Alm.getidx(32, 12, 3)] = 1
    sky = hp.alm2map(alm, NSIDE)[None]
    spectra = sky_spectra(sky, sky, np.ones(NPIX), lmax=32)
    table = spectrum_rows(spectra, band_edges(32, 1), method="nilc", split="test", simulation="sim0000")
    truth = spectra_figure(table, title="").axes[0].lines[0]
    assert truth.get_xdata()[np.argmax(truth.get_ydata())] == 12


def test_lines_are_means_over_skies_and_bands_their_percentiles():
    table = rows(5, methods=("nilc",))
    top, middle, _ = spectra_figure(table, title="").axes
    groups = table.groupby("ell")
    np.testing.assert_allclose(top.lines[1].get_ydata(), groups["dl_cleaned_uK2"].mean(), rtol=1e-13)
    shade = next(part for part in middle.collections if isinstance(part, FillBetweenPolyCollection))
    heights = shade.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(100 * groups["deviation"].quantile(0.84).max())
    assert heights.min() == pytest.approx(100 * groups["deviation"].quantile(0.16).min())


def test_the_truth_is_drawn_once_for_all_methods():
    top, *_ = spectra_figure(rows(), title="").axes
    labels = [text.get_text() for text in top.get_legend().get_texts()]
    assert labels[:3] == ["truth", "nilc", "petroff"]
    assert labels[3].startswith("residuals")
    single, double = (
        spectra_figure(rows(methods=names), title="").axes[0] for names in (("nilc",), ("nilc", "petroff"))
    )
    np.testing.assert_allclose(double.lines[0].get_ydata(), single.lines[0].get_ydata(), rtol=1e-13)


@pytest.mark.parametrize("spectrum", ["TT", "EE", "BB"])
def test_any_spectrum_can_be_drawn(spectrum):
    table = rows(2, n_stokes=3)
    top, *_ = spectra_figure(table, title="", spectrum=spectrum).axes
    expected = table[table["spectrum"] == spectrum].groupby("ell")["dl_truth_uK2"].mean()
    np.testing.assert_allclose(top.lines[0].get_ydata(), expected, rtol=1e-13)
    assert spectrum in [text.get_text() for text in top.texts]


def test_a_spectrum_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"figure of spectra: no rows of EE; the table has TT"):
        spectra_figure(rows(1), title="", spectrum="EE")


def test_axes_name_their_units():
    top, middle, bottom = spectra_figure(rows(1), title="").axes
    assert "K_{CMB}^2" in top.get_ylabel()
    assert "%" in middle.get_ylabel()
    assert "transfer" in bottom.get_ylabel()
    assert "ell" in bottom.get_xlabel()
    truth, cleaned = two_methods()
    figure = sky_figure(truth, cleaned, KEPT, title="", analysis=ANALYSIS)
    bars = [bar.get_title() for axes in figure.axes for bar in axes.child_axes if bar.get_title()]
    assert len(bars) == 2
    assert all("K_{CMB}" in title for title in bars)


def test_figures_of_spectra_are_small_files():
    assert len(png(spectra_figure(rows(), title="Spectra of 4 skies"))) < 300_000


def test_figures_touch_no_global_state():
    settings, open_figures = dict(plt.rcParams), plt.get_fignums()
    truth, cleaned = two_methods()
    png(sky_figure(truth, cleaned, KEPT, title="", analysis=ANALYSIS))
    png(spectra_figure(rows(1), title=""))
    assert plt.get_fignums() == open_figures
    assert dict(plt.rcParams) == settings
