"""A disk that is full under ``FLOPS_HOME``, or under a part of it: the managers' store, or the inboxes and outboxes.

Nothing is lost, nothing crashes for good, and requests are refused clearly.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.system.installation import Installation
from tests.system.rehearsal import Rehearsal, Stage, put_rows, slow_git, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.chaos.conftest import Tell
    from tests.system.installation import Outcome

    Rehearsing = Callable[[Installation, dict[str, Any]], Rehearsal]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk"),
]
DISK = "size=24m,mode=700"


@dataclass(frozen=True)
class Cramped:
    """An installation, and the folder of its home that is a small disk of its own, with what it holds."""

    installation: Installation
    folder: str

    @property
    def what(self) -> str:
        """What is on the small disk."""
        return {".": "everything", "store": "the managers' store", "services": "inboxes, outboxes and checkpoints"}[
            self.folder
        ]

    @property
    def holds_the_store(self) -> bool:
        """Whether the managers' store is on the small disk."""
        return self.folder in {".", "store"}

    def fill(self) -> None:
        """Take every byte that is left."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while ballast.write(b"\0" * size):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.installation.home / self.folder / "ballast"


@pytest.fixture(
    scope="module",
    params=[".", pytest.param("store", marks=pytest.mark.chaos), pytest.param("services", marks=pytest.mark.chaos)],
)
def cramped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cramped]:
    """An installation with a small disk; only the environments, which are large, are never on it."""
    directory = tmp_path_factory.mktemp("cramped")
    home, environments = directory / "home", directory / "environments"
    disk = home / request.param
    for folder in dict.fromkeys((home, environments, disk)):
        folder.mkdir(mode=0o700, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    (home / "envs").symlink_to(environments)
    made = Installation(home, slow_git(directory))
    try:
        made.ok("up")
        put_rows(made, directory)
        yield Cramped(made, request.param)
    finally:
        made.ok("down")
        left = made.processes()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        assert left == []


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage of this test's own, on another disk."""
    return Stage(tmp_path / "stage").set_up()


def is_full_disk(text: str) -> bool:
    """Whether a text says so."""
    return "disk is full" in text or "No space left on device" in text


def test_a_disk_that_fills_up_during_a_training(
    cramped: Cramped, rehearsing: Rehearsing, stage: Stage, tell: Tell, tmp_path: Path
) -> None:
    installation = cramped.installation
    stage.hold(2)
    project = rehearsing(installation, stage.sla(rounds=3))
    stage.await_fitting(2)
    cramped.fill()
    stage.release(2)
    file = tmp_path / "another.json"
    file.write_text(json.dumps(stage.sla()))

    shown = installation.ok("project", "show", project.project_id)
    if cramped.holds_the_store:
        refused = installation.flops("project", "start", str(file))
        assert shown["status"]["phase"] == "training"
        assert refused.exit_code == 1
        assert "disk" in refused.stderr, refused.stderr
    cramped.free()
    freed = time.monotonic()
    outcome = project.end()
    more = f"{outcome.last['event_type']} {time.monotonic() - freed:.1f} s after it was freed"
    tell(f"disk of {cramped.what} full in a training", times=1, lost=0, more=more)
    assert_completed_or_told(outcome)
    if not outcome.exit_code:
        assert len(outcome.of_type("round.finished")) == 3


def assert_completed_or_told(outcome: Outcome) -> None:
    """Completed, or failed with the full disk as its reason."""
    if outcome.exit_code:
        assert is_full_disk(outcome.last["text"])
        assert outcome.last["next_step"]


def test_a_disk_that_fills_up_during_a_build(
    cramped: Cramped, rehearsing: Rehearsing, stage: Stage, tell: Tell
) -> None:
    stage.hold("clone")
    project = rehearsing(cramped.installation, stage.sla(rounds=1, ml_repo_url=stage.slow_url))
    stage.await_cloning()
    cramped.fill()
    stage.release("clone")
    builder = project.service("builder")
    until(lambda: len(cramped.installation.instances(builder)) <= 1, "git has ended or met the full disk", 30)
    cramped.free()
    freed = time.monotonic()

    outcome = project.end()

    more = f"{outcome.last['event_type']} {time.monotonic() - freed:.1f} s after it was freed"
    tell(f"disk of {cramped.what} full in a build", times=1, lost=0, more=more)
    assert_completed_or_told(outcome)


def test_all_is_well_again_afterwards(cramped: Cramped, rehearsing: Rehearsing, stage: Stage) -> None:
    outcome = rehearsing(cramped.installation, stage.sla(rounds=2)).end()

    assert outcome.exit_code == 0, outcome.entries[-3:]
    for store in set(cramped.installation.home.rglob("*.db")) - set(cramped.installation.home.glob("broker/*")):
        with closing(sqlite3.connect(store, timeout=10)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",), store
