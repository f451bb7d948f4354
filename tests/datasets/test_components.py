import numpy as np
import pytest
from kedro.io.core import DatasetError

from cmbml.datasets import ComponentsDataset
from cmbml.science.instrument import Observations


def channels(value: float) -> Observations:
    maps = {"100": np.full((3, 48), value, np.float32), "545": np.full((1, 48), value, np.float32)}
    return Observations(maps, dict.fromkeys(maps, "uK_CMB"))


def at(folder, **options) -> ComponentsDataset:
    return ComponentsDataset(filepath=folder / "sim0000", **options)


def test_every_component_and_channel_is_a_file(tmp_path):
    at(tmp_path).save({"dust": channels(1), "free_free": channels(2)})
    assert sorted(path.name for path in (tmp_path / "sim0000").iterdir()) == [
        "dust_100_map.fits",
        "dust_545_map.fits",
        "free_free_100_map.fits",
        "free_free_545_map.fits",
    ]


def test_components_are_asked_for_one_at_a_time(tmp_path, monkeypatch):
    alive = []

    def made():
        for number, name in enumerate(("dust", "cib", "noise")):
            # what came before is on disk already
            alive.append(len(list((tmp_path / "sim0000").glob("*.part"))))
            yield name, channels(number)

    at(tmp_path).save(made())
    assert alive == [0, 2, 4]
    assert sorted(at(tmp_path).load()) == ["cib", "dust", "noise"]


def test_fewer_components_channels_and_fields_are_read_where_fewer_are_asked_for(tmp_path):
    at(tmp_path).save({"dust": channels(1), "cib": channels(2)})
    (one,) = at(tmp_path, components=["cib"], channels=["100"], stokes="I").load().values()
    assert {name: values.shape for name, values in one.maps.items()} == {"100": (1, 48)}
    restricted = at(tmp_path).restricted(channels=["545"], stokes="I").load()
    assert {tuple(observations.maps) for observations in restricted.values()} == {("545",)}


def test_what_is_not_saved_again_is_removed(tmp_path):
    at(tmp_path).save({"dust": channels(1), "cib": channels(2)})
    (tmp_path / "sim0000" / "notes.txt").write_text("kept")
    at(tmp_path).save({"dust": channels(3)})
    assert list(at(tmp_path).load()) == ["dust"]
    assert (tmp_path / "sim0000" / "notes.txt").exists()


def test_a_component_that_fails_leaves_the_old_ones(tmp_path):
    at(tmp_path).save({"dust": channels(1)})

    def failing():
        yield "dust", channels(2)
        raise ZeroDivisionError

    with pytest.raises(DatasetError, match="Failed while saving"):
        at(tmp_path).save(failing())
    assert at(tmp_path).load()["dust"].maps["100"][0, 0] == 1
    assert not list((tmp_path / "sim0000").glob("*.part"))


def test_a_component_that_is_not_there_is_named(tmp_path):
    at(tmp_path).save({"dust": channels(1)})
    with pytest.raises(DatasetError, match="no component ame; there are dust"):
        at(tmp_path, components=["ame"]).load()


def test_a_name_that_would_be_read_otherwise_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"component '3d/x' cannot be saved: a name has only letters"):
        at(tmp_path).save({"3d/x": channels(1)})


def test_an_interrupted_saving_is_said(tmp_path):
    at(tmp_path).save({"dust": channels(1)})
    (tmp_path / "sim0000" / ".unfinished").touch()
    with pytest.raises(DatasetError, match="saving was interrupted; make the components again"):
        at(tmp_path).load()
