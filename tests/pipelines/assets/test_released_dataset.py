import pytest

from cmbml.pipelines.assets.released_dataset import chosen_keys, released_dataset

SHA = "b12aa1ffb965c6e895923453f8901f53accad00c"


def entry(key: str, **more) -> dict:
    return {
        "archive_sha1": SHA,
        "file_name": f"{key}.tar.gz",
        "box_id": "1754694798980",
        "token": "ytpz4z02hlyqle5ff4b0rwr85n2o3ky3",
        **more,
    }


KEYS = [
    *(f"{split}_sim{i:04d}" for split in ("Train", "Valid", "Test") for i in range(12)),
    "Logs",
    "NoiseModel",
]
RECORD = {key: entry(key, tar_size=15215632) for key in KEYS}


def archives(record=RECORD, chosen=("all",), mirror="irsa"):
    return released_dataset(record, name="I_128_1450", chosen=chosen, mirror=mirror)


def test_an_archive_is_shared_by_token_and_number_and_has_a_published_checksum():
    (file,) = archives(chosen=["Train_sim0000"])
    assert file.url == (
        "https://utdallas.app.box.com/index.php?rm=box_download_shared_file"
        "&shared_name=ytpz4z02hlyqle5ff4b0rwr85n2o3ky3&file_id=f_1754694798980"
    )
    assert file.checksum == f"sha1:{SHA}"
    assert (file.size, file.is_exact) == (15215632, True)


def test_archives_are_unpacked_over_the_folder_of_the_dataset():
    assert {file.unpack_to for file in archives()} == {"cmb_ml/I_128_1450"}
    assert not any(file.strip for file in archives())
    assert len(archives()) == len(RECORD)


def test_a_record_without_sizes_will_do():
    (file,) = archives({"Logs": entry("Logs")})
    assert (file.size, file.is_exact) == (None, False)


def test_a_copy_of_the_folder_has_the_archives_by_name():
    (file,) = archives(chosen=["Logs"], mirror="http://institute.example/")
    assert file.url == "http://institute.example/cmb_ml/I_128_1450/Logs.tar.gz"


@pytest.mark.parametrize(
    ("chosen", "keys"),
    [
        (["all"], KEYS),
        (["test"], [f"Test_sim{i:04d}" for i in range(12)]),
        (["Test:0-1", "valid:11"], ["Valid_sim0011", "Test_sim0000", "Test_sim0001"]),
        (["NoiseModel"], ["NoiseModel"]),
        (["Logs", "train:3", "Train_sim0003"], ["Train_sim0003", "Logs"]),
        (["test:10-99"], ["Test_sim0010", "Test_sim0011"]),
    ],
)
def test_splits_and_parts_of_them_are_chosen_in_the_order_of_the_record(chosen, keys):
    assert chosen_keys(RECORD, chosen) == keys


@pytest.mark.parametrize("choice", ["tests", "test:12", "noise", ""])
def test_a_choice_that_means_nothing_is_named_with_what_there_is(choice):
    with pytest.raises(
        ValueError,
        match=f"dataset_simulations '{choice}': the record has no such part.*Test, Train, Valid and Logs",
    ):
        archives(chosen=["all", choice])


def test_a_choice_of_numbers_is_a_number_or_a_range():
    with pytest.raises(ValueError, match="'a-b': must be a number or a range"):
        archives(chosen=["test:a-b"])


def test_an_incomplete_record_is_named():
    broken = {key: value for key, value in entry("Logs").items() if key != "token"}
    with pytest.raises(ValueError, match="record of Logs: no token; the record is not complete"):
        archives({"Logs": broken})
