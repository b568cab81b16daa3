"""What the daemon is asked to run, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from flops.project.deployment import InstanceState, Resources

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE_GRACE_S: Final = 5.0
SYSTEM_GRACE_S: Final = 10.0


class RestartPolicy(StrEnum):
    """When a process that has ended is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to be kept running. ``group`` is the service it is an instance of, empty for a part of FLOps itself.

    ``files`` (name → text) are written into ``directory`` before every start. ``max_restarts`` counts under
    ``RestartPolicy.ON_FAILURE`` only, and anew after a run of ten minutes. ``environment`` comes on top of what the
    daemon passes through.
    """

    id: str
    command: tuple[str, ...]
    directory: str
    log_file: str
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    restart: RestartPolicy = RestartPolicy.ALWAYS
    max_restarts: int = 0
    group: str = ""
    node: str = ""
    limits: Resources = field(default_factory=Resources)
    grace_s: float = SYSTEM_GRACE_S

    def to_json(self) -> dict[str, Any]:
        """The specification as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ProcessSpec:
        """What ``to_json`` made."""
        return cls(
            **{
                **document,
                "command": tuple(document["command"]),
                "restart": RestartPolicy(document["restart"]),
                "limits": Resources(**document["limits"]),
            }
        )


@dataclass(slots=True)
class ProcessStatus:
    """How a process is doing. ``reason`` says why it last ended; ``pid`` is 0 while it does not run.

    ``runs_in_a_row`` is what its ``Backoff`` counts, kept so that a daemon that was killed does not forget it.
    """

    id: str
    group: str = ""
    node: str = ""
    state: InstanceState = InstanceState.SCHEDULED
    restarts: int = 0
    reason: str = ""
    exit_code: int | None = None
    pid: int = 0
    runs_in_a_row: int = 0

    def to_json(self) -> dict[str, Any]:
        """The status as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ProcessStatus:
        """What ``to_json`` made."""
        return cls(**{**document, "state": InstanceState(document["state"])})


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """What the daemon remembers of a service beyond its processes."""

    name: str
    user: str
    app: str
    role: str
    project_id: str

    def to_json(self) -> dict[str, str]:
        """The record as a JSON object."""
        return asdict(self)


class Backoff:
    """How long to wait before the next start: doubling from ``first_s`` to ``longest_s``, anew after a long run.

    ``runs_in_a_row`` counts the runs since, and with, the last long one.
    """

    def __init__(
        self, *, first_s: float = 0.2, longest_s: float = 10.0, reset_after_s: float = 30.0, runs_in_a_row: int = 0
    ) -> None:
        self._first_s, self._longest_s, self._reset_after_s = first_s, longest_s, reset_after_s
        self._next_s = first_s
        self.runs_in_a_row = runs_in_a_row

    def after(self, ran_s: float) -> float:
        """The wait after a run of ``ran_s`` seconds."""
        if ran_s >= self._reset_after_s:
            self._next_s, self.runs_in_a_row = self._first_s, 0
        self.runs_in_a_row += 1
        wait_s, self._next_s = self._next_s, min(self._next_s * 2, self._longest_s)
        return wait_s
