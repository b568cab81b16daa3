"""Whoever answers nonsense is asked again; what comes out is valid."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flops.cli.sla_questions import ask_for_sla
from flops.wire.sla import parse_project_sla

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from tests.doubles.answers import Outcome


def test_every_answer_is_checked_until_it_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {
        "ml_repo_url": ["-x", "https://ada:secret@host/r", "https://host/ada/r@main"],
        "ml_model_flavor": ["sklern", "keras"],
        "data_tags": ["../x", "a, b"],
        "training_rounds": ["many", "0", "7"],
        "min_available_clients": ["3"],
        "then": ["fly", "build"],
    }

    def ask(key: str, offered: str) -> str:
        return answers[key].pop(0) if answers.get(key) else offered

    sla = parse_project_sla(ask_for_sla(ask))

    assert not any(answers.values())
    assert (sla.ml_repo_url, sla.ml_model_flavor) == ("https://host/ada/r@main", "keras")
    training = sla.training_configuration
    assert (training.data_tags, training.training_rounds, training.min_fit_clients) == (["a", "b"], 7, 3)
    assert sla.post_training_steps == ["build_image_for_trained_model"]
    assert "Did you mean 'sklearn'" in capsys.readouterr().err


def test_without_questions_the_example_is_written(flops: Callable[..., Outcome], tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    assert flops("sla", "new", str(file), "--yes").exit_code == 0
    assert flops("sla", "validate", str(file)).exit_code == 0
    assert json.loads(flops("sla", "new", "--yes").stdout)["ml_model_flavor"] == "sklearn"


def test_where_nobody_can_be_asked_nothing_is_made_up(flops: Callable[..., Outcome]) -> None:
    done = flops("sla", "new")
    assert (done.exit_code, done.stdout) == (2, "")


def test_a_file_that_cannot_be_written_is_named(flops: Callable[..., Outcome]) -> None:
    assert flops("sla", "new", "/nowhere/x.json", "--yes", "--json").error["code"] == "file.unwritable"
