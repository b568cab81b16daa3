"""The files that are copied into a container before it starts."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from flops.adapters.docker_engine.container import USER_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTION: Final = "service.json"
_OWNER_ONLY: Final = 0o700
_READ_ONLY: Final = 0o400


def archive(directory: str, files: Mapping[str, str]) -> bytes:
    """A tar archive of a directory with these files, all of them for the service's user alone."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for folder in reversed([*PurePosixPath(directory).parents][:-1]):
            tar.addfile(_entry(str(folder), tarfile.DIRTYPE, _OWNER_ONLY))
        tar.addfile(_entry(directory, tarfile.DIRTYPE, _OWNER_ONLY))
        for name, text in files.items():
            content = text.encode()
            entry = _entry(f"{directory}/{name}", tarfile.REGTYPE, _READ_ONLY)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return output.getvalue()


def files_of(description: str, credentials: Mapping[str, str]) -> dict[str, str]:
    """What an instance is told, and its credentials (setting → file on this machine), read now.

    Raises:
        OSError: one of them cannot be read.
    """
    secrets = {file_name(setting): Path(path).read_text() for setting, path in credentials.items()}
    return {DESCRIPTION: description, **secrets}


def file_name(setting: str) -> str:
    """The name, in a container, of the file that a setting names."""
    return setting.removeprefix("FLOPS_").removesuffix("_FILE").lower().replace("_", "-")


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid = kind, mode, USER_ID, USER_ID
    return entry
