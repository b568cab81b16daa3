"""The base case's training on Flower's Deployment Engine: a SuperLink and two SuperNodes, started beforehand."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING

from tests.bench.competitors.environment import Competitor, wait_until

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("flwr==1.41.*", "scikit-learn")
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "PYTHONUNBUFFERED": "1"}
NODES = 2
TRAINING_TIMEOUT_S = 900
CONNECTION = '[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'


def training_duration_s(directory: Path, rounds: int) -> float:
    """From the return of ``flwr run``, which takes seconds itself, to the end of the last round."""
    flower = Competitor(directory, {**QUIET, "FLWR_HOME": str(directory / "flwr")})
    flower.install(*PACKAGES)
    app = flower.copy("flower", into="app")
    flower.copy("digits_model.py", into="app/digits")
    link, *nodes = _free_ports(1 + NODES)
    (directory / "flwr").mkdir()
    (directory / "flwr" / "config.toml").write_text(CONNECTION.format(port=link))
    try:
        log = flower.start(
            "flower-superlink", "--insecure", "--port", str(link), "--disable-runtime-dependency-installation"
        )
        logs = [log]
        wait_until(lambda: "running on" in log.read_text(), "start of the SuperLink")
        for index, port in enumerate(nodes):
            facts = f"partition-id={index} num-partitions={NODES}"
            link_address = ("--superlink", f"127.0.0.1:{link}", "--port", str(port))
            logs.append(flower.start("flower-supernode", "--insecure", *link_address, "--node-config", facts))
        wait_until(lambda: len(set(re.findall(r"Activated node_id=(\d+)", log.read_text()))) == NODES, "the SuperNodes")
        wait_until(lambda: all("Starting Flower SuperExec" in each.read_text() for each in logs), "the SuperExecs")
        finished = directory / "finished"
        flower.run("flwr", "run", str(app), "here", "--run-config", f'rounds={rounds} finished="{finished}"')
        accepted = time.time()
        wait_until(finished.exists, "end of the rounds", TRAINING_TIMEOUT_S)
        return float(finished.read_text()) - accepted
    finally:
        flower.stop()


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
