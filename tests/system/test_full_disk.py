"""A disk that is full under ``FLOPS_HOME``: nothing is lost, nothing crashes for good, requests are refused clearly."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.system.installation import Installation
from tests.system.rehearsal import Rehearsal, Stage, put_rows, slow_git, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Rehearsing = Callable[[Installation, dict[str, Any]], Rehearsal]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk"),
]
DISK = "size=24m,mode=700"


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation on a disk of its own; only the environments, which are large, are elsewhere."""
    directory = tmp_path_factory.mktemp("cramped")
    home, environments = directory / "home", directory / "environments"
    for folder in (home, environments):
        folder.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(home)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    (home / "envs").symlink_to(environments)
    made = Installation(home, slow_git(directory))
    try:
        made.ok("up")
        put_rows(made, directory)
        yield made
    finally:
        made.ok("down")
        left = made.processes()
        subprocess.run(["umount", "--lazy", str(home)], check=True)
        assert left == []


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage of this test's own, on another disk."""
    return Stage(tmp_path / "stage").set_up()


def fill(installation: Installation) -> None:
    """Take every byte that is left."""
    with (installation.home / "ballast").open("ab", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while ballast.write(b"\0" * size):
                    pass
            except OSError:
                continue


def is_full_disk(text: str) -> bool:
    """Whether a text says so."""
    return "disk is full" in text or "No space left on device" in text


def free(installation: Installation) -> None:
    """Give the space back."""
    (installation.home / "ballast").unlink()


def test_a_disk_that_fills_up_during_a_training(
    cramped: Installation, rehearsing: Rehearsing, stage: Stage, tmp_path: Path
) -> None:
    stage.hold(2)
    project = rehearsing(cramped, stage.sla(rounds=3))
    stage.await_fitting(2)
    fill(cramped)
    stage.release(2)
    file = tmp_path / "another.json"
    file.write_text(json.dumps(stage.sla()))

    shown = cramped.ok("project", "show", project.project_id)
    refused = cramped.flops("project", "start", str(file))

    assert shown["status"]["phase"] == "training"
    assert refused.exit_code == 1
    assert "disk" in refused.stderr, refused.stderr
    free(cramped)
    outcome = project.end()
    if outcome.exit_code:
        assert is_full_disk(outcome.last["text"])
        assert outcome.last["next_step"]
    else:
        assert len(outcome.of_type("round.finished")) == 3


def test_a_disk_that_fills_up_during_a_build(cramped: Installation, rehearsing: Rehearsing, stage: Stage) -> None:
    stage.hold("clone")
    project = rehearsing(cramped, stage.sla(rounds=1, ml_repo_url=stage.slow_url))
    stage.await_cloning()
    fill(cramped)
    stage.release("clone")
    builder = project.service("builder")
    until(lambda: len(cramped.instances(builder)) == 1, "git has met the full disk", 30)
    free(cramped)

    outcome = project.end()

    if outcome.exit_code:
        assert is_full_disk(outcome.last["text"])
        assert outcome.last["next_step"]


def test_all_is_well_again_afterwards(cramped: Installation, rehearsing: Rehearsing, stage: Stage) -> None:
    outcome = rehearsing(cramped, stage.sla(rounds=2)).end()

    assert outcome.exit_code == 0, outcome.entries[-3:]
