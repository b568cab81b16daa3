"""What FLOps knows of its services in a swarm, and the swarm does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops.adapters.docker_engine.state import State
from flops.adapters.docker_engine.swarm.run_logs import RunLogs

if TYPE_CHECKING:
    from pathlib import Path


class SwarmState(State):
    """All in one directory, the logs of runs that have ended among it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "swarm.db")
        self.lock_file = directory / "swarm.lock"
        self.logs = RunLogs(directory / "logs" / "swarm")
