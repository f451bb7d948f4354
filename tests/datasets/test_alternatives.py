"""The first of several places where there is something."""

import pytest
from kedro.io import DataCatalog
from kedro.io.core import DatasetError

from cmbml.datasets import AlternativesDataset, JsonRecordDataset


def dataset(tmp_path, *names, **options):
    places = [{"filepath": str(tmp_path / name)} for name in names]
    definition = {"type": "cmbml.datasets.JsonRecordDataset", "read_only": True}
    return AlternativesDataset(dataset=definition, alternatives=places, **options)


def write(tmp_path, name):
    JsonRecordDataset(filepath=tmp_path / name).save({"name": name})


def test_the_first_place_with_something_is_read(tmp_path):
    both = dataset(tmp_path, "old.json", "new.json")
    assert not both.exists()
    write(tmp_path, "new.json")
    assert both.exists() and both.load() == {"name": "new.json"}
    write(tmp_path, "old.json")
    assert both.load() == {"name": "old.json"}


def test_where_there_is_nothing_every_place_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"neither of: filepath .*old\.json; .*new\.json\. Fetch it"):
        dataset(tmp_path, "old.json", "new.json", purpose="Fetch it.").load()


def test_saving_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="raw input is read-only"):
        dataset(tmp_path, "old.json").save({})
    assert not list(tmp_path.iterdir())


def test_there_must_be_a_place(tmp_path):
    with pytest.raises(DatasetError, match="alternatives: none is given; name at least one place"):
        dataset(tmp_path)


def test_a_catalog_makes_it_and_describes_its_places(tmp_path):
    entry = {
        "type": "cmbml.datasets.AlternativesDataset",
        "dataset": {"type": "cmbml.datasets.JsonRecordDataset"},
        "alternatives": [{"filepath": f"{tmp_path}/{name}.json"} for name in ("old", "new")],
        "metadata": {"kedro-viz": {"layer": "raw"}},
    }
    write(tmp_path, "new.json")
    catalog = DataCatalog.from_config({"record": entry})
    assert catalog.load("record") == {"name": "new.json"}
    assert "new.json" in str(catalog["record"]) and catalog["record"].metadata == entry["metadata"]
    catalog.release("record")
