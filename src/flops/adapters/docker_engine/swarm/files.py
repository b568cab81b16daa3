"""The files of an instance: each is a secret of its own, and lies in memory only where the instance runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flops.adapters.docker_engine import data_servers
from flops.adapters.docker_engine.files import DESCRIPTION, file_name
from flops.adapters.docker_engine.swarm.template import FILES
from flops.endpoint import ENDPOINT
from flops.project.deployment import Role
from flops.wire.training_data import ADDRESS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.adapters.docker_engine.container import ContainerSpec
    from flops.adapters.docker_engine.provisions import Provisions
    from flops.adapters.docker_engine.swarm.members import SwarmNode
    from flops.settings import Settings

SEPARATOR: Final = "~"  # in the name of a file that belongs elsewhere below FLOPS_HOME


class SecretFiles:
    """What every instance is given, read anew for each start; ``name_of`` tells an instance's name in the swarm."""

    def __init__(self, settings: Settings, provisions: Provisions, name_of: Callable[[str], str]) -> None:
        self._settings, self._provisions, self._name_of = settings, provisions, name_of

    def settings(self, role: Role) -> dict[str, str]:
        """The settings that name a file, with its place in the container."""
        named = {setting: f"{FILES}/{file_name(setting)}" for setting in self._provisions.credentials_of(role)}
        return {**named, "FLOPS_SERVICE_FILE": f"{FILES}/{DESCRIPTION}"}

    def to(self, spec: ContainerSpec, node: SwarmNode) -> dict[str, str]:
        """The texts of the files by their names.

        Raises:
            OSError: one of them cannot be read.
        """
        credentials = self._provisions.credentials_of(_role(spec))
        return {
            DESCRIPTION: self._description(spec, node),
            **{file_name(setting): Path(path).read_text() for setting, path in credentials.items()},
            **self._provisions.files(_role(spec)),
            **self._addresses(spec),
        }

    def _description(self, spec: ContainerSpec, node: SwarmNode) -> str:
        """Data servers are reached in the swarm's own network only, the others at their node's address."""
        if not spec.port:
            return spec.description
        host = self._name_of(spec.instance) if _role(spec) is Role.DATA else node.address
        endpoint = {"listen": "0.0.0.0", "port": spec.port, "host": host}  # noqa: S104  the container's own
        return json.dumps({**json.loads(spec.description), ENDPOINT: endpoint}, indent=1)

    def _addresses(self, spec: ContainerSpec) -> dict[str, str]:
        if _role(spec) is Role.DATA:
            data_servers.announce(self._settings, spec.node, spec.port)
        return {
            SEPARATOR.join(("nodes", node, ADDRESS_FILE)): data_servers.address_inside(
                self._settings, node, self._name_of(f"{data_servers.data_server(node).name}.0")
            )
            for node in spec.data_nodes
        }


def _role(spec: ContainerSpec) -> Role:
    return Role(json.loads(spec.description)["role"])
