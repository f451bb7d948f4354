"""Nodes of the raw assets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from cmbml.pipelines.assets import catalogue
from cmbml.pipelines.assets.released_dataset import released_dataset
from cmbml.pipelines.assets.settings import AssetSettings
from cmbml.pipelines.assets.templates import pysm_templates
from cmbml.pipelines.simulation.settings import ForegroundSettings, InstrumentSettings
from cmbml.remote_files import FetchOrder, FileReport, RemoteFile
from cmbml.science.bandpasses import Bandpass
from cmbml.science.instrument import Instrument, channel_names


class DatasetRecord(Protocol):
    """The record of a released dataset's archives: call it to load it, if it is there."""

    @property
    def exists(self) -> bool:
        """Whether it is there."""

    def __call__(self) -> Mapping[str, Any]:
        """Load it."""


def order_assets(
    assets: AssetSettings,
    foregrounds: ForegroundSettings,
    *,
    instrument_table: Instrument,
    instrument: InstrumentSettings,
    bandpass_table: Callable[[], Mapping[str, Bandpass]],
    dataset_record: DatasetRecord,
) -> FetchOrder:
    """Return what is to be fetched; if no group is named, all there is, for a list alone.

    Raises
    ------
    ValueError
        If a channel or a preset is not known, or the record of a CMB-ML dataset
        does not have what is asked for.
    DatasetError
        If that record is wanted, and missing.
    """
    bandpasses = bandpass_table() if instrument.bandpass == "tabulated" else None
    names = channel_names(instrument.channels, instrument_table.names)
    channels = instrument_table.select(names).with_bandpasses(bandpasses)
    makers: dict[str, Callable[[], list[RemoteFile]]] = {
        "planck_maps": lambda: catalogue.planck_maps(assets.channels, assets.mirror),
        "planck_nilc": lambda: catalogue.planck_nilc(assets.mirror),
        "ffp10_noise": lambda: catalogue.ffp10_noise(
            assets.channels, assets.noise_simulations, assets.mirror
        ),
        "wmap_chains": lambda: catalogue.wmap_chains(assets.chains, assets.mirror),
        "planck_theory": lambda: catalogue.planck_theory(assets.mirror),
        "pysm_templates": lambda: pysm_templates(
            foregrounds.presets, foregrounds.nside, channels, mirror=assets.mirror
        ),
        "cmbml_dataset": lambda: released_dataset(
            dataset_record(),
            name=assets.dataset_name,
            chosen=assets.dataset_simulations,
            mirror=assets.mirror,
        ),
    }
    listed = [name for name in catalogue.GROUPS if name != "cmbml_dataset" or dataset_record.exists]
    groups = assets.fetch or listed
    return fetch_order(
        [file for name in groups for file in makers[name]()],
        assets,
        is_dry=assets.dry_run or not assets.fetch,
    )


def fetch_order(files: Sequence[RemoteFile], assets: AssetSettings, *, is_dry: bool) -> FetchOrder:
    """Return the order of files with the patience of the settings."""
    return FetchOrder(
        files=tuple(files),
        retries=assets.retries,
        wait_seconds=assets.wait_seconds,
        timeout_seconds=assets.timeout_seconds,
        verify=assets.verify,
        is_dry=is_dry,
    )


def report_assets(raw_assets: Sequence[FileReport]) -> pd.DataFrame:
    """Return a table of the files: group, path, state, bytes on disk, checksums, address."""
    rows = [
        {
            "group": report.file.group,
            "path": report.file.path,
            "state": report.state,
            "bytes": report.size,
            "sha256": report.sha256,
            "published": report.file.checksum,
            "url": report.file.url,
        }
        for report in raw_assets
    ]
    return pd.DataFrame(rows)
