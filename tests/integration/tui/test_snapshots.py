"""What the main screens look like, as text: no font, colour or version of a terminal changes it."""

from __future__ import annotations

import difflib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.doubles.tui import ID, Desk, entry, status

pytest.importorskip("textual")

from tests.integration.tui.seat import drawn, lines
from tests.unit.tui.playing import play
from textual.widgets import TabbedContent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual.pilot import Pilot

    from flops.adapters.memory_bus import MemoryBroker
    from flops.tui.app import FlopsApp

SNAPSHOTS: Final = Path(__file__).parent / "snapshots"
UPDATE: Final = "UPDATE_SNAPSHOTS"
WITHIN_S: Final = 60.0
SMALL, WIDE = (80, 24), (140, 40)
SCREENS: Final = {
    "inbox": (SMALL, ["1"]),
    "inbox-wide": (WIDE, ["1"]),
    "training": (WIDE, ["2"]),
    "services": (WIDE, ["3", "down", "down"]),
    "sla": (SMALL, ["4"]),
    "status": (SMALL, ["5"]),
    "entry": (SMALL, ["1", "enter"]),
    "filter": (SMALL, ["slash", *"round"]),
    "delete": (SMALL, ["d"]),
    "form": (WIDE, ["n"]),
    "file": (SMALL, ["s", *"digits_sklearn_small"]),
    "help": (SMALL, ["question_mark"]),
}
STAGES: Final = ("checking", "building", "deploying", *["training"] * 6, "failed")


@pytest.fixture
def desk(memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    made = Desk(memory_broker)
    thread = threading.Thread(target=made.run)
    thread.start()
    made.kept = [_entry(number, stage) for number, stage in enumerate(STAGES, 1)]
    made.listed = [
        status(phase="failed", entries=len(STAGES), rounds=9, reason="LearnerFailed: ValueError: no such label"),
        status(
            project_id="f" * 24, ml_repo_url="https://github.com/ada/quiet.git", created="2029-12-31T10:00:00+00:00"
        ),
    ]
    services = [_service("aggr0123456789ab", "aggregator"), _service("flearner0123456789ab", "learner")]
    sla = {"customerID": "Ada", "ml_repo_url": "https://x/y", "training_configuration": {"data_tags": ["digits"]}}
    made.replies = {"project": {"sla": sla, "services": services}, "logs": {"text": "first line\nsecond line\n"}}
    yield made
    made.stopping.set()
    thread.join(10)
    monkeypatch.undo()
    time.tzset()


def _service(name: str, role: str) -> dict[str, Any]:
    instance = {"id": f"{name}.0", "state": "running", "node": "north"}
    return {"name": name, "app": "proj0123456789ab", "role": role, "instances": [instance]}


def _entry(number: int, stage: str) -> dict[str, Any]:
    if stage == "failed":
        details = 'Traceback (most recent call last):\n  File "model_manager.py", line 7, in fit_model'
        return entry(
            number,
            stage="training",
            severity="error",
            text="A learner failed: ValueError: no such label.",
            next_step=f"flops project retry {ID}",
            details=details,
        )
    if stage == "training" and number > STAGES.index("training") + 1:
        done = number - STAGES.index("training") - 1
        data: dict[str, Any] = {"round": done, "rounds": 9, "duration_s": 0.5, "participants": [{}, {}]}
        data |= {"accuracy": done / 10, "loss": 1 / done}
        text = f"Round {done}/9: accuracy {done * 10}.00%."
        return entry(number, stage=stage, severity="success", text=text, event_type="round.finished", data=data)
    return entry(number, stage=stage, text=f"The stage {stage} has begun.", event_type="phase.entered")


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_looks_as_it_did(desk: Desk, name: str) -> None:
    size, keys = SCREENS[name]
    file = SNAPSHOTS / f"{name}.txt"

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        deadline = time.monotonic() + WITHIN_S
        # The columns of the table get their widths only while no dialogue is above it.
        while len(lines(app)) < len(STAGES) or ID[:8] not in drawn(app):
            assert time.monotonic() < deadline
            await pilot.pause(0.02)
        await pilot.press(*keys)
        if UPDATE in os.environ:
            await pilot.pause(3)
            SNAPSHOTS.mkdir(exist_ok=True)
            file.write_text(drawn(app) + "\n")
        expected = file.read_text().removesuffix("\n")
        while drawn(app) != expected and time.monotonic() < deadline:
            await pilot.pause(0.05)
        found = drawn(app)
        changes = difflib.unified_diff(expected.split("\n"), found.split("\n"), "as it was", "as it is", lineterm="")
        assert found == expected, "\n".join(
            [*changes, f"If that is meant: {UPDATE}=1 make test, and look at the files."]
        )

    play(desk, part, size)


def test_every_tab_leads_to_every_other(desk: Desk) -> None:
    tabs = dict(zip("12345", ("inbox", "training", "services", "sla", "status"), strict=True))

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        for key in "1213141523242534351":
            await pilot.press(key)
            await pilot.pause(0.1)
            assert app.query_one(TabbedContent).active == tabs[key], key

    play(desk, part, WIDE)
