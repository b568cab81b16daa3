"""What every container of an installation is given, and where its image comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flops.project.deployment import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The registry as the engine reaches it: what precedes the names of its images, and who it is told that we are."""

    prefix: str = ""
    username: str = ""
    password_file: str = ""


@dataclass(frozen=True, slots=True)
class Provisions:
    """What containers of FLOps have beyond what they are deployed with.

    ``environment`` is given to every instance. ``credentials``, and for builders ``builders_credentials``, are settings
    that name a file: it is copied to an instance, where the setting names the copy. ``files`` gives more of them by
    their names in its directory.
    ``data_servers``: whether each learner node has one.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict)
    builders_credentials: Mapping[str, str] = field(default_factory=dict)
    files: Callable[[Role], Mapping[str, str]] = lambda _: {}
    images: ImageSource = ImageSource()
    data_servers: bool = False

    def credentials_of(self, role: Role) -> dict[str, str]:
        """The settings that name a file which services of a role need, with the files."""
        return {**self.credentials, **(self.builders_credentials if role is Role.BUILDER else {})}
