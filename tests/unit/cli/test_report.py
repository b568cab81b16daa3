"""One self-contained file, in which nothing of a project is anything but text."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest
from tests.doubles.answers import ID, status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.doubles.answers import Manager, Outcome

EVIL = "<script>alert(1)</script> | *x*\x1b[2J"


def entry(sequence: int, event_type: str, stage: str, **data: Any) -> dict[str, Any]:  # noqa: ANN401
    fields = {"severity": "info", "text": f"{event_type} {EVIL}", "next_step": "", "details": ""}
    time = f"2030-01-01T10:00:{sequence:02}+00:00"
    return {"sequence": sequence, "time": time, "event_type": event_type, "stage": stage, "data": data, **fields}


@pytest.fixture
def project(manager: Manager) -> Manager:
    sla = {"ml_repo_url": "https://x/y@main", "customerID": "Ada"}
    shown = status(commit="c" * 40, model_uri="runs:/1/model")
    rounds = [
        entry(n, "round.finished", "training", round=n, rounds=5, accuracy=0.9 + n / 100, loss=1 / n, is_best=True)
        for n in range(2, 5)
    ]
    entries = [entry(1, "project.accepted", "requested"), *rounds, entry(6, "project.completed", "stopping")]
    manager.replies |= {
        "project": {"status": shown, "sla": sla, "services": []},
        "inbox": {"entries": entries, "more": False},
    }
    return manager


def test_a_report_in_html_is_one_page_that_loads_and_runs_nothing(
    flops: Callable[..., Outcome], project: Manager, tmp_path: Path
) -> None:
    assert project
    file = tmp_path / "report.html"
    assert flops("project", "report", ID, "-o", str(file)).exit_code == 0
    page = file.read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page
    assert all(mark not in page for mark in ("<link", "<img", "src=", "href="))
    curves = [ET.fromstring(f"<svg{part.partition('</svg>')[0]}</svg>") for part in page.split("<svg")[1:]]  # noqa: S314
    assert [len(curve.findall("circle")) for curve in curves] == [3, 3]
    assert f"https://x/y@{'c' * 40}" in page
    assert "4.0 s" in page


def test_a_report_in_markdown_is_text(flops: Callable[..., Outcome], project: Manager) -> None:
    assert project
    page = flops("project", "report", ID).stdout
    assert page.startswith(f"# y: project {ID}\n")
    assert "Accuracy per round: `▁▅█`" in page
    assert r"\<script\>alert(1)\</script\> \| \*x\*\\x1b\[2J" in page
    assert "\x1b" not in page


def test_with_json_the_report_is_part_of_the_result(flops: Callable[..., Outcome], project: Manager) -> None:
    assert project
    found = json.loads(flops("project", "report", ID, "--format", "html", "--json").stdout)
    assert (found["format"], found["report"][:15]) == ("html", "<!DOCTYPE html>")


def test_a_project_that_has_done_nothing_yet_has_a_report(flops: Callable[..., Outcome], manager: Manager) -> None:
    nothing = status(phase="requested", round=0, rounds=0, best_accuracy=None, ml_repo_url="")
    manager.replies |= {
        "project": {"status": nothing, "sla": {}, "services": []},
        "inbox": {"entries": [], "more": False},
    }
    done = flops("project", "report", ID)
    assert done.stderr == ""
    page = done.stdout
    assert "No round was finished." in page
    assert "There is none." in page


def test_where_nothing_can_be_written_the_command_says_so(flops: Callable[..., Outcome], project: Manager) -> None:
    assert project
    done = flops("project", "report", ID, "-o", "/dev/null/report.html", "--json")
    assert (done.exit_code, done.error["code"]) == (1, "file.unwritable")
