from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from tests.doubles.tui import ID, Desk

from flops.wire.sla import ProjectSla, parse_project_sla

pytest.importorskip("textual")

from tests.unit.tui.playing import SMALL, WIDE, play, shown, until
from textual.widgets import Input

from flops.errors import NoAnswerError
from flops.tui.form import FIRST_VALUES, FormScreen, document_of, faults_by_field, fields_of_sla
from flops.tui.steering import Ways

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from flops.tui.app import FlopsApp

FIELDS = fields_of_sla()


def leaves(model: type[BaseModel], parent: str = "") -> set[str]:
    """The paths of all values in a model."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        path = f"{parent}{field.alias or name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= leaves(kind, f"{path}.")
        else:
            found.add(path)
    return found


def test_every_field_of_an_sla_is_there_and_explained() -> None:
    assert {field.path for field in FIELDS} == leaves(ProjectSla)
    assert all(field.meaning for field in FIELDS)


def test_what_is_filled_in_at_first_is_valid_and_the_defaults_of_all_others_are_too() -> None:
    first = document_of(FIELDS, FIRST_VALUES)
    assert faults_by_field(first, FIELDS) == ({}, [])
    full = document_of(FIELDS, {field.path: FIRST_VALUES.get(field.path) or field.default for field in FIELDS})
    assert parse_project_sla(full).to_document() == parse_project_sla(first).to_document()


@pytest.mark.parametrize(
    ("path", "typed", "said"),
    [
        ("training_configuration.training_rounds", "many", "many"),
        ("training_configuration.training_rounds", "0", "1"),
        ("ml_model_flavor", "sklaern", "sklearn"),
        ("verbose", "perhaps", "perhaps"),
        ("training_configuration.data_tags", "good, ../evil", "letters"),
        ("post_training_steps", "deploy_trained_model_image", "build_image_for_trained_model"),
    ],
)
def test_a_fault_stands_beside_its_field(path: str, typed: str, said: str) -> None:
    beside, others = faults_by_field(document_of(FIELDS, {**FIRST_VALUES, path: typed}), FIELDS)
    assert said in beside.get(path, ""), (beside, others)


def field(app: FlopsApp, path: str) -> Input:
    place = [known.path for known in FIELDS].index(path)
    return app.screen.query_one(f"#field-{place}", Input)


@pytest.mark.parametrize("size", [SMALL, WIDE])
def test_a_project_is_started_from_the_form(desk: Desk, size: tuple[int, int]) -> None:
    begun: list[dict[str, Any]] = []

    def begin(sla: dict[str, Any]) -> str:
        begun.append(sla)
        if len(begun) == 1:
            raise NoAnswerError("project/start", 1)
        return ID

    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await pilot.press("n")
        rounds = field(app, "training_configuration.training_rounds")
        rounds.value = "none"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "1 fields" in shown(app, "#verdict"))
        rounds.value = "7"
        await until(pilot, lambda: "valid" in shown(app, "#verdict"))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "✗" in shown(app, "#verdict"))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: not isinstance(app.screen, FormScreen))

    play(desk, part, size, Ways(begin, lambda _: "", lambda *_: []))
    assert [sla["training_configuration"]["training_rounds"] for sla in begun] == [7, 7]


def test_whoever_fills_in_a_field_sees_what_it_means(desk: Desk) -> None:
    async def part(app: FlopsApp, pilot: Pilot[None]) -> None:
        await pilot.press("n")
        await pilot.press(*["down"] * 12)
        focused = app.focused
        assert focused is not None
        caption = app.screen.query(".field Static")[12 * 2]
        await until(pilot, lambda: app.screen.query_one("#form-fields").region.contains_region(caption.region))

    play(desk, part)
