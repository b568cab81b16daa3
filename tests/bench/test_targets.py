"""What FLOps has to reach, as ratios from one run: against itself, and against what users would pick instead."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.bench.competitors.flare_poc import running_poc
from tests.bench.competitors.flower_engine import training_duration_s
from tests.system.installation import Installation, Outcome, digits_sla

from flops.cli.session import Session
from flops.settings import Settings
from flops.wire.envelope import decode_envelope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.table import Table

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

MB = 1_000_000
REQUESTS = 11
STARTS = 15
ALTERNATIONS = 3
ROUNDS = int(digits_sla()["training_configuration"]["training_rounds"])
FLOWER_BOUND, FLARE_BOUND = 0.2, 0.5


@dataclass(frozen=True)
class BaseCase:
    """One run of the base case with images present."""

    outcome: Outcome
    requested: float
    observer_bytes: int

    @property
    def training_s(self) -> float:
        """From the last actor's deployment to the end of the last round."""
        deployed = [moment(entry) for entry in self.outcome.of_type("service.deployed") if is_actor(entry)]
        return moment(self.outcome.of_type("round.finished")[-1]) - max(deployed)

    @property
    def served_s(self) -> float:
        """From the beginning of the requesting command to the answer of the inference server."""
        return moment(self.outcome.of_type("inference.ready")[0]) - self.requested


def moment(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["time"]).timestamp()


def is_actor(entry: dict[str, Any]) -> bool:
    return entry["data"]["role"] in ("aggregator", "learner")


def run_base_case(installation: Installation, directory: Path) -> BaseCase:
    sizes, over = [0], threading.Event()
    sampler = threading.Thread(target=sample_observer, args=(installation, sizes, over))
    sampler.start()
    try:
        requested = time.time()
        outcome = installation.run_project(digits_sla(), directory)
    finally:
        over.set()
        sampler.join()
    assert outcome.exit_code == 0, outcome.last
    url = outcome.of_type("inference.ready")[0]["data"]["url"]
    with urllib.request.urlopen(f"{url}/ping", timeout=10) as answer:  # noqa: S310  told by FLOps itself
        assert answer.status == 200
    installation.ok("project", "delete", outcome.project_id)
    return BaseCase(outcome, requested, max(sizes))


def sample_observer(installation: Installation, sizes: list[int], over: threading.Event) -> None:
    """The resident memory of the observer process, as long as there is one."""
    while not over.wait(0.5):
        for process in installation.processes():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.cmdline()[-1:] == ["observer"]:
                    sizes.append(process.memory_info().rss)


@contextmanager
def noted_if_skipped(table: Table, name: str, bound: float) -> Iterator[None]:
    """A competitor that is not to be had here is shown in the table too."""
    try:
        yield
    except pytest.skip.Exception as skipped:
        table.not_measured(name, f"≤ {bound:g}x", str(skipped))
        raise


def test_a_request_is_acknowledged_at_once(installation: Installation, table: Table) -> None:
    session = Session(Settings.from_environment(installation.environment))
    entries = session.bus.subscribe(session.topics.project_inbox())
    sla = digits_sla(training={"data_tags": ["nobody-has-such-data"]})
    acknowledged, told = [], []
    try:
        for _ in range(REQUESTS):
            begun = time.perf_counter()
            project_id = session.start(sla)
            acknowledged.append(time.perf_counter() - begun)
            while (entry := entries.receive(30)) is not None:
                entry.acknowledge()
                if decode_envelope(entry.topic, entry.payload).subject == project_id:
                    told.append(time.perf_counter() - begun)
                    break
    finally:
        session.close()
    table.at_most("request → accepted, median", statistics.median(acknowledged) * 1000, 50, " ms")
    table.at_most(
        "request → first inbox entry, median", statistics.median(told), 1, " s", detail=f"max {max(told):.2f}"
    )


def test_training_against_flowers_deployment_engine(installation: Installation, table: Table, tmp_path: Path) -> None:
    name = "training, against Flower's Deployment Engine"
    ours_s = run_base_case(installation, tmp_path).training_s
    with noted_if_skipped(table, name, FLOWER_BOUND):
        theirs_s = training_duration_s(tmp_path / "flower", ROUNDS)
    table.at_most(name, ours_s / theirs_s, FLOWER_BOUND, "x", detail=f"{ours_s:.1f} s / {theirs_s:.1f} s")


def test_the_base_case_against_flare(installation: Installation, table: Table, tmp_path: Path) -> None:
    name = "request → model answers, against NVIDIA FLARE's training"
    ours, theirs = [], []
    with noted_if_skipped(table, name, FLARE_BOUND), running_poc(tmp_path / "flare", ROUNDS) as job_duration_s:
        for _ in range(ALTERNATIONS):
            ours.append(run_base_case(installation, tmp_path).served_s)
            theirs.append(job_duration_s())
    ours_s, theirs_s = statistics.median(ours), statistics.median(theirs)
    table.at_most(name, ours_s / theirs_s, FLARE_BOUND, "x", detail=f"{ours_s:.1f} s / {theirs_s:.1f} s")


def test_the_observer_is_small(installation: Installation, table: Table, tmp_path: Path) -> None:
    table.at_most("observer, resident", run_base_case(installation, tmp_path).observer_bytes / MB, 40, " MB")


def test_help_is_hardly_slower_than_importing_click(table: Table) -> None:
    commands = {"help": ["-m", "flops", "--help"], "click": ["-c", "import click"]}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(STARTS):
        for name, arguments in commands.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - begun)
    ours_ms, bare_ms = (statistics.median(taken[name]) * 1000 for name in commands)
    detail = f"{ours_ms:.0f} ms / {bare_ms:.0f} ms"
    table.at_most("flops --help, against import click", ours_ms / bare_ms, 1.5, "x", detail=detail)
