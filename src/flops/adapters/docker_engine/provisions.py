"""What every container of an installation is given, and where its image comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flops.project.deployment import Role


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The registry as the engine reaches it: what precedes the names of its images, and who it is told that we are."""

    prefix: str = ""
    username: str = ""
    password_file: str = ""


@dataclass(frozen=True, slots=True)
class Provisions:
    """What containers of FLOps have beyond what they are deployed with.

    ``environment`` is given to every instance. ``credentials`` are settings that name a file: it is copied into every
    instance, where the setting names the copy. ``files`` gives more of them by their names in the instance's directory.
    ``data_servers``: whether each learner node has one.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict)
    files: Callable[[Role], Mapping[str, str]] = lambda _: {}
    images: ImageSource = ImageSource()
    data_servers: bool = False
