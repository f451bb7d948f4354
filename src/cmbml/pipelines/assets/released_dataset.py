"""A released CMB-ML dataset, from the record of its archives."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cmbml.pipelines.assets.settings import number_list
from cmbml.remote_files import RemoteFile

GROUP = "cmbml_dataset"
FOLDER = "cmb_ml"
SHARED = "https://utdallas.app.box.com/index.php?rm=box_download_shared_file"
"""Where the archives are shared; a token and a number say which."""

_SIMULATION = re.compile(r"^([A-Za-z0-9]+)_sim(\d+)$")


def released_dataset(
    record: Mapping[str, Any], *, name: str, chosen: Sequence[str], mirror: str
) -> list[RemoteFile]:
    """Return the archives of a released dataset.

    Parameters
    ----------
    record
        The record that comes with the dataset: by key, `file_name`, `box_id`,
        `token`, `archive_sha1`, and in most records `tar_size`.
    name
        Folder of the dataset, below the folder of all of them.
    chosen
        Splits, parts of them, keys, or "all"; see `chosen_keys`.
    mirror
        Address of a copy of the assets folder; anything else is passed over.

    Raises
    ------
    ValueError
        If an entry is not complete, or a choice means nothing in the record.
    """
    return [_archive(key, record[key], name=name, mirror=mirror) for key in chosen_keys(record, chosen)]


def chosen_keys(record: Mapping[str, Any], chosen: Sequence[str]) -> list[str]:
    """Return the keys of a record that choices mean, in the order of the record.

    Parameters
    ----------
    record
        The record.
    chosen
        "all"; a split, in any case ("test"); some of its simulations ("test:0-9",
        "test:3"); or a key ("NoiseModel", "Train_sim0007").

    Raises
    ------
    ValueError
        If a choice means nothing in the record.

    Examples
    --------
    >>> chosen_keys({"Test_sim0000": {}, "Test_sim0001": {}, "Logs": {}}, ["test:1", "Logs"])
    ['Test_sim0001', 'Logs']
    """
    wanted: set[str] = set()
    for choice in chosen:
        keys = set(record) if choice == "all" else _keys_of(record, choice)
        if not keys:
            splits = sorted({match[1] for match in map(_SIMULATION.match, record) if match})
            others = sorted(key for key in record if not _SIMULATION.match(key))
            raise ValueError(
                f"dataset_simulations {choice!r}: the record has no such part; it has the splits "
                f"{', '.join(splits)} and {', '.join(others) or 'nothing else'}"
            )
        wanted |= keys
    return [key for key in record if key in wanted]


def _keys_of(record: Mapping[str, Any], choice: str) -> set[str]:
    if choice in record:
        return {choice}
    split, colon, numbers = choice.partition(":")
    allowed = set(number_list((numbers,))) if colon else None
    matches = [
        match for match in map(_SIMULATION.match, record) if match and match[1].lower() == split.lower()
    ]
    return {match[0] for match in matches if allowed is None or int(match[2]) in allowed}


def _archive(key: str, entry: Mapping[str, Any], *, name: str, mirror: str) -> RemoteFile:
    missing = [field for field in ("file_name", "box_id", "token", "archive_sha1") if field not in entry]
    if missing:
        raise ValueError(f"record of {key}: no {', '.join(missing)}; the record is not complete")
    path = f"{FOLDER}/{name}/{entry['file_name']}"
    shared = f"{SHARED}&shared_name={entry['token']}&file_id=f_{entry['box_id']}"
    return RemoteFile(
        path,
        f"{mirror.rstrip('/')}/{path}" if "://" in mirror else shared,
        GROUP,
        size=entry.get("tar_size"),
        is_exact="tar_size" in entry,
        checksum=f"sha1:{entry['archive_sha1']}",
        unpack_to=f"{FOLDER}/{name}",
    )
