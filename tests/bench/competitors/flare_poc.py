"""The base case's training on NVIDIA FLARE: a POC with a server and two sites, started beforehand."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.bench.competitors.environment import Competitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PACKAGES = ("nvflare==2.9.*", "scikit-learn")
SITES = 2
TRAINING_TIMEOUT_S = 900


@contextmanager
def running_poc(directory: Path, rounds: int) -> Iterator[Callable[[], float]]:
    """A POC that is up; each call of what it gives runs one job and returns its duration in seconds."""
    flare = Competitor(directory, {"NVFLARE_POC_WORKSPACE": str(directory / "poc")})
    flare.install(*PACKAGES)
    code = flare.copy("flare", "digits_model.py", into="code")
    jobs = directory / "jobs"
    flare.run("python", "job.py", str(jobs), str(rounds), cwd=code)
    flare.run("nvflare", "poc", "prepare", "-n", str(SITES))
    try:
        flare.run("nvflare", "poc", "start")
        yield lambda: _job_duration_s(flare, jobs / "digits")
    finally:
        flare.stop()


def _job_duration_s(flare: Competitor, job: Path) -> float:
    """From the beginning of the submitting command to the moment when the job counts as finished."""
    submitted = time.time()
    answer = flare.run("nvflare", "--format", "json", "job", "submit", "-j", str(job))
    job_id = json.loads(answer)["data"]["job_id"]
    answer = flare.run("nvflare", "--format", "json", "job", "wait", job_id, timeout_s=TRAINING_TIMEOUT_S)
    finished = json.loads(answer)["data"]
    assert finished["status"] == "FINISHED:COMPLETED", finished
    return _ended_at(finished) - submitted


def _ended_at(finished: dict[str, Any]) -> float:
    """When FLARE itself says that the job was over, without the time that asking for it takes."""
    meta = finished["job_meta"]
    hours, minutes, seconds = meta["duration"].split(":")
    duration = timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    return (datetime.fromisoformat(meta["start_time"]) + duration).timestamp()
