"""Unpacking of tar archives from elsewhere."""

import os
import shutil
import tarfile
import zlib
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath

from cmbml.remote_files import is_below


def unpack(archive: Path, folder: Path, *, strip: bool) -> list[str]:
    """Unpack the files of a tar archive, each whole or not at all.

    Only plain files are taken, and only their content: no links, devices,
    owners or permissions.

    Parameters
    ----------
    archive
        The archive, compressed or not.
    folder
        Where the files go.
    strip
        Whether a folder that holds all files of the archive is left out.

    Returns
    -------
    list of str
        Paths of the files relative to `folder`, in the order of the archive.

    Raises
    ------
    ValueError
        If it is no archive or a damaged one, holds nothing, or a member is a
        link or leaves the folder (before anything is written).
    OSError
        If the files cannot be written.
    """
    try:
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if not member.isdir()]
            names = _names(archive, members, strip=strip)
            for member, name in zip(members, names, strict=True):
                _write(tar, member, folder / name)
    except (tarfile.TarError, EOFError, BadGzipFile, zlib.error) as error:
        raise ValueError(f"{archive.name}: no tar archive, or a damaged one ({error})") from error
    return names


def _names(archive: Path, members: list[tarfile.TarInfo], *, strip: bool) -> list[str]:
    names = []
    for member in members:
        name = str(PurePosixPath(member.name))
        if not member.isfile() or not is_below(name):
            raise ValueError(
                f"{archive.name}: member {member.name!r} is no plain file in the archive's folder; "
                "nothing was unpacked"
            )
        names.append(name)
    if not names:
        raise ValueError(f"{archive.name}: the archive holds no file")
    tops = {PurePosixPath(name).parts[0] for name in names}
    nested = all(len(PurePosixPath(name).parts) > 1 for name in names)
    if strip and nested and len(tops) == 1:
        names = [str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in names]
    return names


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    content = tar.extractfile(member)
    if content is None:  # not for plain files
        raise tarfile.ReadError(f"member {member.name} cannot be read")
    with content, open(part, "wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
    os.replace(part, path)
