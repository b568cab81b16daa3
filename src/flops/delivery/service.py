"""What every service process is given: who it is, what it was asked to do, and its connection to the others."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flops.endpoint import Endpoint

if TYPE_CHECKING:
    from pathlib import Path

    from flops.delivery.publisher import EventPublisher
    from flops.ports import Bus
    from flops.settings import Settings
    from flops.wire.topics import Topics


@dataclass(frozen=True, slots=True)
class ServiceIdentity:
    """Which instance of which service this process is."""

    service: str
    instance: str
    role: str
    app: str
    user: str
    node: str
    project_id: str

    @property
    def source(self) -> str:
        """The CloudEvents source of everything this instance says."""
        return f"/{self.role}/{self.instance}"


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """A role's whole world. ``directory`` is its own and survives restarts; ``stopping`` is set on SIGTERM."""

    identity: ServiceIdentity
    config: dict[str, Any]
    directory: Path
    settings: Settings
    topics: Topics
    bus: Bus
    events: EventPublisher
    stopping: threading.Event = field(default_factory=threading.Event)
    endpoint: Endpoint = field(default_factory=Endpoint)
