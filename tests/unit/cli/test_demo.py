from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from flops.cli import demo
from flops.errors import ProjectNotEndedError
from flops.settings import Settings
from flops.sla_library import find_sla

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.doubles.answers import Outcome

    from flops.cli.session import Session

FAILED, LAST, NEW = "0" * 24, "1" * 24, "2" * 24
ANSWERS: dict[str, Any] = {
    "data": {"nodes": {"local": {"digits": 3}}},
    "project": {"status": {"phase": "failed"}},
    "delete": {},
}


@dataclass
class Asked:
    """A session whose manager knows the projects of earlier demos; ``order`` is what it was asked for."""

    settings: Settings
    known: list[str]
    order: list[str] = field(default_factory=list)
    still_running: str = ""

    def ask(self, name: str, message: Any = None, **_: object) -> dict[str, Any]:  # noqa: ANN401
        self.order.append(name)
        if name == "delete":
            if message.project_id == self.still_running:
                raise ProjectNotEndedError(message.project_id, "training")
            self.known.remove(message.project_id)
        answer: dict[str, Any] = ANSWERS[name]
        return answer

    def projects(self) -> list[dict[str, str]]:
        return [{"project_id": project_id} for project_id in self.known]

    def start(self, _: object) -> str:
        self.order.append("start")
        self.known.append(NEW)
        return NEW


class Demos:
    """Runs a demo against such a session; ``exit_code`` is how its project ends."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = Asked(Settings(home), known=[])
        self.exit_code = 0
        monkeypatch.setattr(demo, "watch", self._watch)
        monkeypatch.setattr(demo, "_predict", lambda *_, **__: 0)

    def run(self, *, as_json: bool = False) -> int:
        project, data = demo._checked("digits_sklearn_small", "digits_multi")
        return demo._run(cast("Session", self.asked), project, data, as_json=as_json)

    def _watch(self, *_: object) -> int:
        self.asked.order.append("watch")
        return self.exit_code


@pytest.fixture
def demos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demos:
    return Demos(tmp_path, monkeypatch)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "demo-project"


def test_the_last_demos_project_is_replaced_only_once_the_new_one_has_succeeded(
    demos: Demos, record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write_text(LAST)
    demos.asked.known = [LAST]

    assert demos.run() == 0

    order = demos.asked.order
    assert order.index("delete") > order.index("watch") > order.index("start")
    assert demos.asked.known == [NEW]
    assert record.read_text().split() == [NEW]
    assert LAST in capsys.readouterr().err


def test_a_demo_that_fails_leaves_the_last_ones_project(demos: Demos, record: Path) -> None:
    record.write_text(LAST)
    demos.asked.known = [LAST]
    demos.exit_code = 1

    assert demos.run() == 1

    assert demos.asked.known == [LAST, NEW]
    assert record.read_text().split() == [LAST, NEW]


def test_projects_of_demos_that_failed_or_were_left_are_replaced_too(demos: Demos, record: Path) -> None:
    record.write_text(f"{LAST}\n{FAILED}\n")
    demos.asked.known = [LAST, FAILED, "a project of one's own"]

    assert demos.run() == 0

    assert demos.asked.known == ["a project of one's own", NEW]
    assert record.read_text().split() == [NEW]


def test_a_project_that_runs_still_is_replaced_by_a_later_demo(demos: Demos, record: Path) -> None:
    record.write_text(f"{LAST}\n")
    demos.asked.known = [LAST]
    demos.asked.still_running = LAST

    assert demos.run() == 0

    assert record.read_text().split() == [LAST, NEW]


def test_a_project_that_somebody_has_deleted_meanwhile_is_forgotten(demos: Demos, record: Path) -> None:
    record.write_text(f"{LAST}\n")

    assert demos.run() == 0

    assert "delete" not in demos.asked.order
    assert record.read_text().split() == [NEW]


def test_how_a_demo_has_failed_is_a_result(demos: Demos, capsys: pytest.CaptureFixture[str]) -> None:
    demos.exit_code = 1

    demos.run(as_json=True)

    assert json.loads(capsys.readouterr().out) == {"status": {"phase": "failed"}, "samples": []}


def test_an_sla_whose_model_cannot_be_asked_is_refused_before_anything_is_started(
    flops: Callable[..., Outcome], tmp_path: Path
) -> None:
    sla = json.loads(find_sla("digits_sklearn_small").read_text())
    del sla["post_training_steps"]
    file = tmp_path / "sla.json"
    file.write_text(json.dumps(sla))

    refused = flops("demo", "--sla", str(file), "--json")

    assert (refused.exit_code, refused.error["errors"][0]["path"]) == (3, "post_training_steps")
    assert not (tmp_path / "home").exists()
