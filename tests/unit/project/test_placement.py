from __future__ import annotations

import pytest

from flops.errors import DeploymentRefusedError
from flops.project.deployment import App, Placement, Role, ServiceSpec
from flops.project.placement import choose_nodes
from flops.settings import LocalNode

LEARNER, BUILDER = LocalNode("a", frozenset({"learner"})), LocalNode("b", frozenset({"image-builder"}))


def spec(role: Role, *nodes: str) -> ServiceSpec:
    return ServiceSpec("s", App("u", "a"), role, placements=tuple(Placement(node) for node in nodes))


def test_a_named_node_is_taken() -> None:
    assert choose_nodes(spec(Role.OBSERVER, "b", "a"), [LEARNER, BUILDER], dict) == ("b", "a")


def test_the_least_loaded_node_is_taken_and_counts_its_own_instances() -> None:
    assert choose_nodes(spec(Role.OBSERVER, "", "", ""), [LEARNER, BUILDER], lambda: {"a": 2, "b": 1}) == (
        "b",
        "a",
        "b",
    )


@pytest.mark.parametrize(("role", "node"), [(Role.LEARNER, "a"), (Role.BUILDER, "b")])
def test_a_node_must_have_the_capability(role: Role, node: str) -> None:
    assert choose_nodes(spec(role, ""), [LEARNER, BUILDER], lambda: {"a": 5, "b": 5}) == (node,)


def test_without_an_able_node_it_is_refused() -> None:
    with pytest.raises(DeploymentRefusedError, match="image-builder"):
        choose_nodes(spec(Role.BUILDER, ""), [LEARNER], dict)


def test_an_unknown_node_is_refused_with_those_there_are() -> None:
    with pytest.raises(DeploymentRefusedError, match=r"no node 'mars'.*a, b"):
        choose_nodes(spec(Role.OBSERVER, "mars"), [LEARNER, BUILDER], dict)


def test_nobody_is_asked_about_the_load_where_there_is_no_choice() -> None:
    def ask() -> dict[str, int]:
        pytest.fail("it takes a call that lists every service")

    assert choose_nodes(spec(Role.OBSERVER, ""), [LEARNER], ask) == ("a",)
    assert choose_nodes(spec(Role.OBSERVER, "b"), [LEARNER, BUILDER], ask) == ("b",)
