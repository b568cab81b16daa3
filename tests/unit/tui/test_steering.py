from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.doubles.tui import ID, Desk, entry, status

pytest.importorskip("textual")

from tests.unit.tui.playing import SMALL, WIDE, drawn, lines, play, shown, until

from flops.errors import PredictionRefusedError
from flops.tui.screens import LineScreen, TextScreen
from flops.tui.steering import Ways

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

    from flops.tui.app import FlopsApp
    from flops.wire.sla import MockDataSla

INFERENCE, TRACKING = "http://127.0.0.1:5001", "http://127.0.0.1:5002/#/experiments/1"


def ways(provided: list[MockDataSla] | None = None, asked: list[tuple[str, str]] | None = None) -> Ways:
    def provide(sla: MockDataSla) -> str:
        (provided if provided is not None else []).append(sla)
        return "1,797 examples are there."

    def predict(url: str, text: str) -> list[Any]:
        (asked if asked is not None else []).append((url, text))
        if text == "[[1]]":
            raise PredictionRefusedError(url, "a row has 64 numbers")
        return [3, [0.5, 0.25]]

    return Ways(lambda _: ID, provide, predict)


def told(app: FlopsApp) -> str:
    return " ".join(str(note.message) for note in app._notifications)


def test_mock_data_are_provided_as_a_shipped_sla_says(desk: Desk) -> None:
    provided: list[MockDataSla] = []

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await pilot.press("a", *"digits_mul")
        assert "✗" in shown(app, "#verdict")
        await pilot.press(*"ti")
        assert "✓" in shown(app, "#verdict")
        await pilot.press("enter")
        await until(pilot, lambda: "1,797 examples" in told(app))

    play(desk, part, ways=ways(provided))
    assert [sla.mock_data_configuration.dataset_name for sla in provided] == ["digits"]


def test_the_trained_model_is_asked_about_a_sample(desk: Desk) -> None:
    asked: list[tuple[str, str]] = []
    desk.listed = [status(phase="completed", inference_url=INFERENCE)]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.watching.selected == ID)
        await pilot.press("p", *"[[1")
        assert "not JSON yet" in shown(app, "#verdict")
        await pilot.press("]", "]", "enter")
        await until(pilot, lambda: "a row has 64 numbers" in shown(app, "#verdict"))
        await pilot.press("home", "right", "right", "2", "enter")
        await until(pilot, lambda: isinstance(app.screen, TextScreen))
        assert "row 1: 3" in shown(app, "#text")
        assert "row 2: [0.5, 0.25]" in shown(app, "#text")

    play(desk, part, ways=ways(asked=asked))
    assert asked == [(INFERENCE, "[[1]]"), (INFERENCE, "[[21]]")]


def test_what_is_not_there_is_said(desk: Desk) -> None:
    desk.listed = [status()]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.watching.selected == ID)
        await pilot.press("p", "o")
        await until(pilot, lambda: "No model of this project" in told(app) and "Nothing is tracked" in told(app))
        assert not isinstance(app.screen, LineScreen)

    play(desk, part)


def test_the_tracking_server_is_opened(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.listed = [status(tracking_url=TRACKING)]
    opened: list[str] = []

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        monkeypatch.setattr(app, "open_url", opened.append)
        await until(pilot, lambda: app.watching.selected == ID)
        await pilot.press("o")
        await until(pilot, lambda: opened == [TRACKING])

    play(desk, part)


def test_an_inbox_is_exported(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    desk.listed, desk.kept = [status(entries=2)], [entry(1), entry(2, details="Traceback")]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: lines(app) == [1, 2])
        await pilot.press("e", "m")
        await until(pilot, lambda: len(list(tmp_path.iterdir())) == 2)

    play(desk, part)
    assert len((tmp_path / f"inbox-{ID}.jsonl").read_text().splitlines()) == 2
    assert "Traceback" in (tmp_path / f"inbox-{ID}.md").read_text()


@pytest.mark.parametrize("size", [SMALL, WIDE])
def test_rounds_have_curves_and_a_table(desk: Desk, size: tuple[int, int]) -> None:
    rounds = [
        {"round": n, "rounds": 9, "accuracy": n / 10, "loss": 1 / n, "duration_s": 0.5, "participants": [{}, {}]}
        for n in range(1, 6)
    ]
    desk.listed = [status(entries=5)]
    desk.kept = [entry(n, event_type="round.finished", data=data) for n, data in enumerate(rounds, 1)]

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(lines(app)) == 5)
        await pilot.press("2")
        await until(pilot, lambda: "accuracy" in drawn(app) and any("⠁" <= mark <= "⣿" for mark in drawn(app)))
        assert shown(app, "#training-text").splitlines()[1].split()[:2] == ["5", "50.00%"]

    play(desk, part, size)


SERVICES: list[dict[str, Any]] = [
    {
        "name": "learner-x",
        "role": "learner",
        "app": "proj1",
        "instances": [
            {"id": "learner-x.0", "state": "RUNNING", "node": "n1", "restarts": 2, "reason": ""},
            {"id": "learner-x.1", "state": "FAILED", "node": "n2", "restarts": 0, "reason": "no\x1b[2J memory"},
        ],
    },
    {"name": "observ-x", "role": "observer", "app": "observatory", "instances": []},
]


@pytest.mark.parametrize("size", [SMALL, WIDE])
def test_services_are_a_tree_and_a_log_is_followed(desk: Desk, size: tuple[int, int]) -> None:
    desk.listed = [status()]
    desk.replies = {"project": {"sla": {"customerID": "Ada"}, "services": SERVICES}, "logs": {"text": "hello\n"}}

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.watching.selected == ID)
        await pilot.press("3")
        await until(pilot, lambda: "on n2: no [2J memory" in drawn(app))
        assert "restarted 2 times" in drawn(app)
        await pilot.press(*["down"] * 5)
        await until(pilot, lambda: "hello" in shown(app, "#services-text"))
        desk.replies["logs"] = {"text": "hello\nworld\n"}
        await until(pilot, lambda: "world" in shown(app, "#services-text"))
        await pilot.press("4")
        await until(pilot, lambda: "Ada" in shown(app, "#sla-text"))

    play(desk, part, size)
    assert {"service": "learner-x.0", "tail_lines": 500} in [data for name, data in desk.heard if name == "logs"]


def test_another_projects_services_are_not_mixed_up(desk: Desk) -> None:
    desk.listed = [status()]
    desk.replies = {"project": {"sla": {}, "services": []}}

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.watching.selected == ID)
        await pilot.press("3")
        await until(pilot, lambda: "Nothing of this project runs" in shown(app, "#services-text"))

    play(desk, part)
