import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import FillBetweenPolyCollection, LineCollection

from cmbml.pipelines.analysis.calibration import calibration
from cmbml.pipelines.analysis.calibration_figure import NO_ERRORS, calibration_figure
from cmbml.pipelines.analysis.metrics import PixelMetrics
from cmbml.pipelines.analysis.tables import CALIBRATION, add_calibration, calibration_rows, simulation_rows

METRICS = PixelMetrics(mae=1.0, rmse=1.0, nrmse=0.1, psnr=40.0, r2=0.9, truth_rms=10.0)


def tables(n_skies=3, *, fields=("I",), **scales):
    """Return metrics and bins of methods whose predictions are `scale` times the right ones."""
    metrics, bins = [], []
    for method, scale in scales.items():
        for sky in range(n_skies):
            rng = np.random.default_rng(sky)
            sigma = rng.uniform(2, 30, 3000)
            error = sigma * rng.standard_normal(3000)
            found = {field: calibration(error, scale * sigma) for field in fields} if scale else {}
            names = {"method": method, "split": "test", "simulation": f"sim{sky:04d}"}
            rows = simulation_rows(dict.fromkeys(fields, METRICS), {}, **names)
            metrics.append(add_calibration(rows, found))
            bins.append(calibration_rows(found, **names))
    return pd.concat(metrics, ignore_index=True), pd.concat(
        [part for part in bins if len(part)] or bins, ignore_index=True
    )


def points(axes):
    """Return x and y of every line of the panel of bins but the diagonal."""
    return [line.get_xydata().T for line in axes.lines if line.get_marker() == "o"]


def test_coverage_is_its_mean_over_skies_with_its_spread():
    metrics, bins = tables(petroff=1.0)
    left, _ = calibration_figure(metrics, bins, title="").axes
    (container,) = left.containers
    shares = 100 * metrics[[f"coverage_{n}sigma" for n in (1, 2, 3)]]
    x, y = container.lines[0].get_xydata().T
    np.testing.assert_allclose(x, [1, 2, 3])
    np.testing.assert_allclose(y, shares.mean(), rtol=1e-12)
    (bars,) = container.lines[2]
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    np.testing.assert_allclose(lengths, 2 * shares.std(ddof=1), rtol=1e-9)


def test_what_a_gaussian_gives_is_drawn_beside_it():
    left, _ = calibration_figure(*tables(petroff=1.0), title="").axes
    heights = [
        line.get_segments()[0][0, 1]
        for line in left.collections
        if isinstance(line, LineCollection) and np.ptp(line.get_segments()[0][:, 1]) == 0
    ]
    np.testing.assert_allclose(heights, [68.26895, 95.44997, 99.73002], atol=1e-5)
    labels = [label.get_text() for label in left.get_xticklabels()]
    assert labels == ["1\n(68.3 %)", "2\n(95.4 %)", "3\n(99.7 %)"]


def test_bins_are_means_over_skies_and_bands_their_percentiles():
    metrics, bins = tables(5, petroff=1.0)
    _, right = calibration_figure(metrics, bins, title="").axes
    ((x, y),) = points(right)
    groups = bins.groupby("bin")
    np.testing.assert_allclose(x, groups["predicted_uK"].mean(), rtol=1e-12)
    np.testing.assert_allclose(y, groups["rms_uK"].mean(), rtol=1e-12)
    (shade,) = (part for part in right.collections if isinstance(part, FillBetweenPolyCollection))
    heights = shade.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(groups["rms_uK"].quantile(0.84).max())
    assert heights.min() == pytest.approx(groups["rms_uK"].quantile(0.16).min())


def test_every_point_and_the_diagonal_lie_in_equal_ranges():
    _, right = calibration_figure(*tables(petroff=0.2, deepsphere=5.0), title="").axes
    assert right.get_xlim() == right.get_ylim()
    low, high = right.get_xlim()
    assert all((low < part).all() and (part < high).all() for part in points(right))
    (diagonal,) = (line for line in right.lines if line.get_marker() != "o")
    np.testing.assert_array_equal(*diagonal.get_xydata().T)


def test_predictions_that_are_too_small_lie_above_the_diagonal():
    _, right = calibration_figure(*tables(petroff=0.5), title="").axes
    ((x, y),) = points(right)
    assert (y / x).mean() == pytest.approx(2, rel=0.05)


def test_methods_without_error_maps_are_left_out_and_keep_their_colour():
    metrics, bins = tables(nilc=0, petroff=1.0, deepsphere=2.0)
    left, right = calibration_figure(metrics, bins, title="").axes
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["Gaussian errors of the predicted size", "petroff", "deepsphere"]
    assert [line.get_color() for line in right.lines[:2]] == ["#D55E00", "#009E73"]


def test_only_the_intensity_is_drawn():
    whole = tables(fields=("I", "Q"), petroff=1.0)
    intensity = [table[table["field"] == "I"] for table in whole]
    pictures = [calibration_figure(*given, title="") for given in (whole, intensity)]
    assert png(pictures[0]) == png(pictures[1])


def test_one_sky_has_no_spread():
    left, _ = calibration_figure(*tables(1, petroff=1.0), title="").axes
    (bars,) = left.containers[0].lines[2]
    assert [np.ptp(segment[:, 1]) for segment in bars.get_segments()] == [0, 0, 0]


@pytest.mark.parametrize(("predicted", "rms"), [(5.0, 5.2), (16.1, 8.1), (2.0, 150.0)])
def test_an_error_of_the_same_size_everywhere_can_be_drawn(predicted, rms):
    metrics, _ = tables(1, petroff=1.0)
    bins = pd.DataFrame(
        [["petroff", "test", "sim0000", "I", 1, predicted, rms, 3000]], columns=list(CALIBRATION)
    )
    _, right = calibration_figure(metrics, bins, title="").axes
    assert len(png(right.figure)) > 10_000
    inside = [tick for tick in right.get_xticks() if right.get_xlim()[0] < tick < right.get_xlim()[1]]
    assert len(inside) >= 2


def test_without_error_maps_the_figure_says_so():
    metrics, _ = tables(nilc=0)
    figure = calibration_figure(metrics, pd.DataFrame(columns=list(CALIBRATION)), title="test split")
    assert [text.get_text() for text in figure.texts if text is not figure._suptitle] == [NO_ERRORS]
    assert figure.get_suptitle() == "test split"
    assert figure.axes == []


def test_figures_touch_no_global_state_and_are_small():
    settings, open_figures = dict(plt.rcParams), plt.get_fignums()
    assert len(png(calibration_figure(*tables(petroff=1.0), title="predicted errors"))) < 100_000
    assert plt.get_fignums() == open_figures
    assert dict(plt.rcParams) == settings


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
