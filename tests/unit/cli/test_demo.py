from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from flops.cli import demo
from flops.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from flops.cli.session import Session

LAST, NEW = "0" * 24, "1" * 24
ANSWERS: dict[str, Any] = {
    "data": {"nodes": {"local": {"digits": 3}}},
    "projects": {"projects": [{"project_id": LAST}]},
    "project": {"status": {}},
    "delete": {},
}


@dataclass
class Asked:
    """A session whose manager knows the last demo's project; ``order`` is what it was asked for."""

    settings: Settings
    order: list[str] = field(default_factory=list)

    def ask(self, name: str, *_: object, **__: object) -> dict[str, Any]:
        self.order.append(name)
        answer: dict[str, Any] = ANSWERS[name]
        return answer

    def projects(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.ask("projects")["projects"]
        return listed

    def start(self, _: object) -> str:
        self.order.append("start")
        return NEW


def run(home: Path, monkeypatch: pytest.MonkeyPatch, *, exit_code: int) -> Asked:
    (home / "demo-project").write_text(LAST)
    asked = Asked(Settings(home))

    def watch(*_: object) -> int:
        asked.order.append("watch")
        return exit_code

    monkeypatch.setattr(demo, "watch", watch)
    monkeypatch.setattr(demo, "_predict", lambda *_, **__: 0)
    opened = cast("Session", asked)
    assert demo._run(opened, "digits_sklearn_small", "digits_multi", as_json=False) == exit_code
    return asked


def test_the_last_demos_project_is_replaced_only_once_the_new_one_has_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = run(tmp_path, monkeypatch, exit_code=0)

    assert asked.order.index("delete") > asked.order.index("watch") > asked.order.index("start")
    assert (tmp_path / "demo-project").read_text() == NEW
    assert f"replaces the last one's project {LAST}" in capsys.readouterr().err


def test_a_demo_that_fails_leaves_the_last_ones_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = run(tmp_path, monkeypatch, exit_code=1)

    assert "delete" not in asked.order
    assert (tmp_path / "demo-project").read_text() == LAST
