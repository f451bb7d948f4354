"""Small records, and figures."""

import base64
import io
import json

import numpy as np
import pytest
from kedro.io.core import DatasetError
from matplotlib.figure import Figure
from PIL import Image

from cmbml.datasets import FigureDataset, JsonRecordDataset


@pytest.fixture
def path(tmp_path):
    return tmp_path / "record.json"


def save(path, record):
    JsonRecordDataset(filepath=path).save(record)
    return path


def load(path):
    return JsonRecordDataset(filepath=path).load()


@pytest.mark.parametrize("value", [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -1 / 3, 2**63, True, None, "Λ"])
def test_values_come_back_to_the_last_bit(path, value):
    assert load(save(path, {"value": value})) == {"value": value}


def test_names_are_sorted_and_the_file_ends_with_a_line(path):
    text = save(path, {"b": 1, "a": {"d": 1, "c": 2}}).read_text()
    assert text.index('"a"') < text.index('"c"') < text.index('"d"') < text.index('"b"')
    assert text.endswith("}\n")
    assert json.loads(text) == {"b": 1, "a": {"d": 1, "c": 2}}


def test_numpys_numbers_become_numbers(path):
    record = {
        "f": np.float64(0.1),
        "g": np.float32(0.1),
        "i": np.int64(3),
        "a": np.array([[1.5]]),
        "t": (1, 2),
    }
    assert load(save(path, record)) == {
        "f": 0.1,
        "g": float(np.float32(0.1)),
        "i": 3,
        "a": [[1.5]],
        "t": [1, 2],
    }


@pytest.mark.parametrize("record", [{30: 1}, {"channel": {30: 1}}, {"list": [{30: 1}]}])
def test_a_name_that_would_become_another_is_refused(path, record):
    with pytest.raises(DatasetError, match=r"record\.json: not saved: name 30 is a int; names must be text"):
        save(path, record)


@pytest.mark.parametrize("value", [np.nan, np.inf, np.float32("nan")])
def test_json_has_no_nan(path, value):
    with pytest.raises(DatasetError, match="Out of range float values are not JSON compliant"):
        save(path, {"value": value})


def test_what_has_no_place_in_json_is_refused(path):
    with pytest.raises(DatasetError, match="Object of type set is not JSON serializable"):
        save(path, {"value": {1}})


def test_a_file_without_a_record_is_an_error(path):
    path.write_text("[1, 2]")
    with pytest.raises(
        DatasetError, match=r"record\.json: a record {name: value} is expected, the file holds a list"
    ):
        load(path)


def test_the_preview_of_a_record_is_json(path):
    assert json.loads(JsonRecordDataset(filepath=save(path, {"a": 1})).preview()) == {"a": 1}


# ---- Figures ------------------------------------------------------------------------------


def noise(inches):
    figure = Figure(figsize=inches)
    figure.subplots().imshow(np.random.default_rng(0).normal(size=(500, 500)), cmap="viridis")
    return figure


def test_a_figure_has_the_resolution_that_is_asked_for(tmp_path):
    for dpi, width in ((None, 200), (50, 100)):
        dataset = FigureDataset(filepath=tmp_path / "f.png", dpi=dpi)
        dataset.save(Figure(figsize=(2, 1), dpi=100))
        assert Image.open(io.BytesIO(dataset.load())).size == (width, width // 2)


def test_a_png_says_nothing_about_the_program_or_the_time(tmp_path):
    dataset = FigureDataset(filepath=tmp_path / "f.png")
    dataset.save(noise((2, 2)))
    assert set(Image.open(io.BytesIO(dataset.load())).info) <= {"dpi"}


def test_the_preview_of_a_large_figure_is_small(tmp_path):
    dataset = FigureDataset(filepath=tmp_path / "f.png")
    dataset.save(noise((20, 10)))
    preview = dataset.preview()
    assert len(preview) < 200_000
    assert max(Image.open(io.BytesIO(base64.b64decode(preview))).size) == 1000


def test_what_is_no_png_is_an_error(tmp_path):
    (tmp_path / "f.png").write_bytes(b"GIF89a")
    with pytest.raises(DatasetError, match=r"f\.png: no PNG, or one that is cut short"):
        FigureDataset(filepath=tmp_path / "f.png").load()
