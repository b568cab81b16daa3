"""How quickly a deployed service runs, against starting the same program by hand; what the daemon weighs."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from flops.adapters.local_processes.client import ensure_daemon
from flops.adapters.local_processes.orchestrator import LocalProcessOrchestrator
from flops.project.deployment import App, Role, ServiceSpec
from flops.settings import Settings

RUNS = 20
APP = App("Ada", "bench")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


@pytest.mark.bench
def test_a_service_starts_quickly_and_its_daemon_is_small() -> None:
    home = Path(tempfile.mkdtemp(prefix="flops-bench-"))
    settings = Settings(home=home)
    client = ensure_daemon(settings, os.environ)
    orchestrator = LocalProcessOrchestrator(client, settings, command=lambda spec: ("touch", spec.config["file"]))
    orchestrator.create_app(APP)
    deployed, bare = [], []
    for number in range(RUNS):
        file, started = home / f"deployed{number}", time.perf_counter()
        orchestrator.deploy(ServiceSpec(f"observ{number}", APP, Role.OBSERVER, config={"file": str(file)}))
        wait_for(file)
        deployed.append(time.perf_counter() - started)
        file, started = home / f"bare{number}", time.perf_counter()
        with subprocess.Popen(["touch", str(file)]):
            wait_for(file)
            bare.append(time.perf_counter() - started)
    processes = [
        process for process in psutil.process_iter(["cmdline"]) if str(home) in (process.info["cmdline"] or [])
    ]
    resident_mb = [round(process.memory_info().rss / 1e6) for process in processes]
    client.shutdown()
    shutil.rmtree(home)
    deployed_ms, bare_ms = statistics.median(deployed) * 1000, statistics.median(bare) * 1000
    print(f"\ndeploy → runs: {deployed_ms:.1f} ms, by hand: {bare_ms:.1f} ms; resident: {resident_mb} MB")  # noqa: T201
    assert deployed_ms < bare_ms + 30
    assert max(resident_mb) < 40
