"""Which node an instance runs on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from flops.errors import DeploymentRefusedError
from flops.project.deployment import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flops.project.deployment import Node, ServiceSpec
    from flops.settings import LocalNode

_NEEDED: Final = {Role.LEARNER: "learner", Role.BUILDER: "image-builder"}


def choose_nodes(
    spec: ServiceSpec,
    nodes: Sequence[LocalNode | Node],
    load: Callable[[], Mapping[str, int]],
    *,
    remedy: str = "Give it to one in FLOPS_LOCAL_NODES.",
) -> tuple[str, ...]:
    """A node per placement: the one it names, else the one with the fewest instances that can do what the role needs.

    ``load`` counts the instances per node; it is called only where there is a choice. ``remedy`` says how a node gets
    a ``{capability}``.

    Raises:
        DeploymentRefusedError: a named node does not exist, or none can do it.
    """
    known, able = {node.name for node in nodes}, able_nodes(spec.role, nodes)
    has_choice = len(able) > 1 and not all(placement.node for placement in spec.placements)
    instances = Counter(dict(load()) if has_choice else {})
    chosen = []
    for placement in spec.placements:
        if placement.node and placement.node not in known:
            raise DeploymentRefusedError(
                spec.name, f"there is no node {placement.node!r}", remedy=f"The nodes are {', '.join(sorted(known))}."
            )
        if not placement.node and not able:
            needed = _NEEDED.get(spec.role, "")
            reason = f"no node has the capability {needed!r}" if needed else "there is no node"
            raise DeploymentRefusedError(spec.name, reason, remedy=remedy.format(capability=needed) if needed else "")
        node = placement.node or min(able, key=lambda name: instances[name])
        instances[node] += 1
        chosen.append(node)
    return tuple(chosen)


def able_nodes(role: Role, nodes: Sequence[LocalNode | Node]) -> list[str]:
    """The nodes that can do what a role needs."""
    needed = _NEEDED.get(role)
    return [node.name for node in nodes if needed is None or needed in node.capabilities]
