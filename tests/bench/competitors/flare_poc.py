"""The base case's training on NVIDIA FLARE: a POC with a server and two sites, started beforehand."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.bench.competitors.environment import Competitor

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("nvflare==2.9.*", "scikit-learn")
SITES = 2
TRAINING_TIMEOUT_S = 900


def job_duration_s(directory: Path, rounds: int) -> float:
    """From the beginning of the submitting command to the moment when the job counts as finished."""
    flare = Competitor(directory, {"NVFLARE_POC_WORKSPACE": str(directory / "poc")})
    flare.install(*PACKAGES)
    code = flare.copy("flare", "digits_model.py", into="code")
    jobs = directory / "jobs"
    flare.run("python", "job.py", str(jobs), str(rounds), cwd=code)
    flare.run("nvflare", "poc", "prepare", "-n", str(SITES))
    try:
        flare.run("nvflare", "poc", "start")
        submitted = time.time()
        answer = flare.run("nvflare", "--format", "json", "job", "submit", "-j", str(jobs / "digits"))
        job_id = json.loads(answer)["data"]["job_id"]
        answer = flare.run("nvflare", "--format", "json", "job", "wait", job_id, timeout_s=TRAINING_TIMEOUT_S)
        finished = json.loads(answer)["data"]
        assert finished["status"] == "FINISHED:COMPLETED", finished
        return _ended_at(finished) - submitted
    finally:
        flare.stop()


def _ended_at(finished: dict[str, Any]) -> float:
    """When FLARE itself says that the job was over, without the time that asking for it takes."""
    meta = finished["job_meta"]
    hours, minutes, seconds = meta["duration"].split(":")
    duration = timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    return (datetime.fromisoformat(meta["start_time"]) + duration).timestamp()
