"""Dataset of a checkpoint of a training."""

import hashlib
import io
import json
import math
import os
import pickle
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from fsspec.implementations.local import LocalFileSystem
from kedro.io.core import Version
from kedro_datasets._typing import JSONPreview

from cmbml.datasets.storage import AtomicFileDataset, publish_files, read_file, stage_files

SUFFIX = ".pt"
LAST = "last"
"""Name of the checkpoint that a training goes on from."""

_PLAIN = (str, int, float, bool, type(None), torch.Tensor)


class CheckpointDataset(AtomicFileDataset[Mapping[str, Any], dict[str, Any]]):
    """Plain values and tensors in a file of PyTorch, which is read without running any code in it.

    Parameters
    ----------
    filepath
        The file, such as best.pt.
    read_only, version, credentials, fs_args, metadata
        See `AtomicFileDataset`.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        read_only: bool = False,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            filepath=filepath,
            read_only=read_only,
            version=version,
            credentials=credentials,
            fs_args=fs_args,
            metadata=metadata,
        )

    def load(self) -> dict[str, Any]:
        """Return the checkpoint, its tensors on the CPU.

        Raises
        ------
        DatasetError
            If the file is missing, cut short, or holds something else than plain values and tensors.
        """
        return self._read(_decode)

    def save(self, data: Mapping[str, Any]) -> None:
        """Write the checkpoint.

        Raises
        ------
        DatasetError
            If the dataset is read-only, or `data` is no mapping of plain values and tensors.
        """
        self._write(partial(_encode, data))

    def preview(self) -> JSONPreview:
        """Return all but the tensors, as Kedro-Viz shows it."""
        return JSONPreview(json.dumps(_shown(self.load())))


def write_checkpoint(directory: Path, checkpoint: Mapping[str, Any], names: Sequence[str]) -> None:
    """Write a checkpoint under several names in a folder, the last of them last.

    The bytes are on disk once, as far as the file system can give one file several names.

    Raises
    ------
    DatasetError
        If the checkpoint is no mapping of plain values and tensors.
    """
    filesystem = LocalFileSystem(auto_mkdir=True)
    *others, last = (str(directory / f"{name}{SUFFIX}") for name in names)
    staged = stage_files(filesystem, [(last, partial(_encode, checkpoint))])
    publish_files(filesystem, [*((_linked(staged[0][0], path), path) for path in others), *staged])


def read_last_checkpoint(directory: Path) -> dict[str, Any] | None:
    """Return the checkpoint that a training goes on from, or None if there is none.

    Raises
    ------
    DatasetError
        If it cannot be read; names the file.
    """
    path = directory / f"{LAST}{SUFFIX}"
    return read_file(LocalFileSystem(), str(path), _decode) if path.exists() else None


def sweep_checkpoints(directory: Path) -> None:
    """Remove what killed runs left of checkpoints: files that never got their final names."""
    for path in directory.glob(f"*{SUFFIX}.*.part"):
        path.unlink()


def _linked(part: str, path: str) -> str:
    """Return a temporary name of a file's own for a file that is there."""
    own = f"{path}.{uuid.uuid4().hex[:8]}.part"
    try:
        os.link(part, own)
    except OSError:  # the file system knows no links
        LocalFileSystem().cp_file(part, own)
    return own


def network_digest(checkpoint: Mapping[str, Any]) -> str:
    """Return the hash of what a checkpoint's network is and knows: its name, its weights and its facts.

    How long the training took, and how its work was done, is no part of it.
    """
    plain = {key: checkpoint.get(key) for key in ("network", "facts")}
    weights = checkpoint.get("weights", {}) if "network" in checkpoint else {}
    return tensors_digest(weights, json.dumps(plain, sort_keys=True, default=str))


def stored_digest(path: Path) -> str:
    """Return the `network_digest` of a file, of which no more is read than that is made of.

    Raises
    ------
    DatasetError
        If it cannot be read; names the file.
    """
    return network_digest(read_file(LocalFileSystem(), str(path), _decode_mapped))


def tensors_digest(tensors: Mapping[str, torch.Tensor], *words: str) -> str:
    """Return the hash of named tensors, whatever their order, and of words that go with them, in theirs."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _decode_mapped(_: BinaryIO, path: str) -> dict[str, Any]:
    return _decode(path, path, mmap=True)


def _decode(file: BinaryIO | str, path: str, *, mmap: bool = False) -> dict[str, Any]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(
            f"cut short, or no checkpoint of plain values and tensors ({reason}); restore the file, or "
            "remove it: a training without its last checkpoint begins anew"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"a checkpoint {{name: value}} is expected, the file holds a {type(found).__name__}")
    return found


def _encode(checkpoint: Mapping[str, Any]) -> bytes:
    if not isinstance(checkpoint, Mapping):
        raise TypeError(f"a checkpoint {{name: value}} is expected, not a {type(checkpoint).__name__}")
    buffer = io.BytesIO()
    torch.save(_checked(checkpoint, ""), buffer)
    return buffer.getvalue()


def _checked(value: Any, place: str) -> Any:
    """Return a value of those types that load without running code."""
    if isinstance(value, Mapping):
        return {key: _checked(item, f"{place}.{key}" if place else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_checked(item, f"{place}.{number}") for number, item in enumerate(value)]
    if not isinstance(value, _PLAIN):
        raise TypeError(
            f"{place}: a {type(value).__name__} cannot be saved; make it numbers, text or a tensor"
        )
    return value


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # which JSON lacks
    return f"tensor {list(value.shape)}" if isinstance(value, torch.Tensor) else value
