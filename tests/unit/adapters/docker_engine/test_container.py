"""What is read from the engine's description of a container."""

from __future__ import annotations

import pytest

from flops.adapters.docker_engine.container import read_container


@pytest.mark.parametrize(
    ("status", "is_going"),
    [("created", False), ("running", False), ("exited", False), ("removing", True), ("dead", True)],
)
def test_a_container_that_is_removed_is_going(status: str, is_going: bool) -> None:  # noqa: FBT001  a parameter
    state = {
        "Status": status,
        "StartedAt": "2026-11-27T01:45:37.1Z",
        "FinishedAt": "2026-11-27T01:45:38.1Z",
        "Running": status == "running",
        "ExitCode": 137,
        "OOMKilled": False,
    }
    assert read_container({"Id": "c1", "State": state}).is_going is is_going
