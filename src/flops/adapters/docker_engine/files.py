"""The files that are copied into a container before it starts."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from flops.adapters.docker_engine import data_servers
from flops.adapters.docker_engine.container import HOME, USER_ID
from flops.endpoint import ENDPOINT, LOOPBACK_HOST
from flops.project.deployment import Role
from flops.wire.training_data import ADDRESS_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flops.adapters.docker_engine.container import ContainerSpec
    from flops.adapters.docker_engine.provisions import Provisions
    from flops.settings import Settings

DESCRIPTION: Final = "service.json"
_OWNER_ONLY: Final = 0o700
_READ_ONLY: Final = 0o400


class HandedOver:
    """What every instance is given, read anew for each start."""

    def __init__(self, settings: Settings, provisions: Provisions) -> None:
        self._settings, self._provisions = settings, provisions

    def to(self, spec: ContainerSpec) -> dict[str, str]:
        """The texts of the files, by their paths below the container's ``FLOPS_HOME``.

        Raises:
            OSError: one of them cannot be read.
        """
        role = Role(json.loads(spec.description)["role"])
        credentials = self._provisions.credentials_of(role)
        own = {
            DESCRIPTION: self._description(spec),
            **{file_name(setting): Path(path).read_text() for setting, path in credentials.items()},
            **self._provisions.files(role),
        }
        directory = spec.directory.removeprefix(f"{HOME}/")
        return {**{f"{directory}/{name}": text for name, text in own.items()}, **self._addresses(spec)}

    def _description(self, spec: ContainerSpec) -> str:
        if not spec.port:
            return spec.description
        endpoint = {"listen": "0.0.0.0", "port": spec.port, "host": self._settings.advertised_host}  # noqa: S104  the container's own
        return json.dumps({**json.loads(spec.description), ENDPOINT: endpoint}, indent=1)

    def _addresses(self, spec: ContainerSpec) -> dict[str, str]:
        """Where the data are; a data server's own address is announced by that on this machine, too."""
        for node in spec.data_nodes if spec.port else ():
            data_servers.announce(self._settings, node, spec.port)
        return {
            f"nodes/{node}/{ADDRESS_FILE}": data_servers.address_inside(self._settings, node, LOOPBACK_HOST)
            for node in spec.data_nodes
        }


def archive(files: Mapping[str, str]) -> bytes:
    """A tar archive of these files with their directories, all of them for the service's user alone."""
    output = io.BytesIO()
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."}
    with tarfile.open(fileobj=output, mode="w") as tar:
        for folder in sorted(folders):
            tar.addfile(_entry(folder, tarfile.DIRTYPE, _OWNER_ONLY))
        for path, text in files.items():
            content = text.encode()
            entry = _entry(path, tarfile.REGTYPE, _READ_ONLY)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return output.getvalue()


def file_name(setting: str) -> str:
    """The name, in a container, of the file that a setting names."""
    return setting.removeprefix("FLOPS_").removesuffix("_FILE").lower().replace("_", "-")


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid = kind, mode, USER_ID, USER_ID
    return entry
