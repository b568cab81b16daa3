from __future__ import annotations

import ast
import itertools
from pathlib import Path

from flops.project import workflow
from flops.project.state import Phase
from flops.wire.events import EVENT_TYPES
from flow_page import transitions

FOUND = transitions(Path(workflow.__file__))


def test_every_case_of_the_workflow_is_drawn() -> None:
    tree = ast.parse(Path(workflow.__file__).read_text())
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_pattern(node, tree)}
    kinds = {kind.__name__: name for name, kind in EVENT_TYPES.items()}
    assert {kinds[name] for name in named if name in kinds} == {name for item in FOUND for name in item.events}


def _is_pattern(attribute: ast.Attribute, tree: ast.Module) -> bool:
    return any(node.cls is attribute for node in ast.walk(tree) if isinstance(node, ast.MatchClass))


def test_the_way_of_a_project_that_goes_well_is_connected() -> None:
    edges = {(phase, target) for item in FOUND for phase in item.phases for target in item.targets}
    way = [
        "REQUESTED",
        "CHECKING",
        "BUILDING",
        "DEPLOYING",
        "TRAINING",
        "PACKAGING",
        "SERVING",
        "STOPPING",
        "COMPLETED",
    ]
    assert set(itertools.pairwise(way)) <= edges


def test_every_phase_can_be_reached_and_no_end_is_left() -> None:
    reached = {target for item in FOUND for target in item.targets}
    assert reached == {phase.name for phase in Phase} - {"REQUESTED"}
    for item in FOUND:
        is_retry = item.events == ("retry.requested",)
        assert is_retry or not any(Phase[phase].is_terminal for phase in item.phases) or not item.targets


def test_every_function_says_why() -> None:
    assert all(item.meaning for item in FOUND if item.function)
