"""The page that shows how a project runs, drawn from the match statement of the workflow."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flops.project.state import Phase
from flops.wire import events

if TYPE_CHECKING:
    from pathlib import Path

_STOPS: Final = "STOPPING"
_ENDINGS: Final = "endings.py"
_ENTERS: Final = ("enter", "enter_with", "end")


@dataclass(frozen=True, slots=True)
class Transition:
    """One case of the match: in these phases, on these events, this function leads to those phases."""

    phases: tuple[str, ...]
    events: tuple[str, ...]
    function: str
    meaning: str
    targets: tuple[str, ...]


def flow_page(workflow: Path, note: str) -> str:
    """The state diagram and the table of transitions."""
    found = transitions(workflow)
    return f"""{note}
# How a project runs

`src/flops/project/workflow.py` decides alone; an event that does not fit the phase changes nothing. *Stopping* removes
whatever still runs, so that a project ends with nothing left behind, and then says how it ended.

```mermaid
stateDiagram-v2
{_diagram(found)}
```

| in phase | when | then | and goes on to |
|---|---|---|---|
{chr(10).join(_row(item) for item in found)}
"""


def transitions(workflow: Path) -> list[Transition]:
    """Every transition of ``step``, and those of ``watch_for_failure``, which holds in every phase under way."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (workflow, workflow.with_name(_ENDINGS))]
    functions = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    found = [_transition(case, functions) for case in _cases(functions["step"])]
    watched = [_transition(case, functions) for case in _cases(functions["watch_for_failure"])]
    return [item for item in [*found, *watched] if item.events and item.function != "watch_for_failure"]


def _cases(function: ast.FunctionDef) -> list[ast.match_case]:
    match = next(statement for statement in function.body if isinstance(statement, ast.Match))
    return match.cases


def _transition(case: ast.match_case, functions: dict[str, ast.FunctionDef]) -> Transition:
    patterns = case.pattern.patterns if isinstance(case.pattern, ast.MatchSequence) else [None, case.pattern]
    phases = _attributes(patterns[0]) if patterns[0] else []
    names = [name for name in _attributes(patterns[-1]) if hasattr(events, name)] if patterns[-1] else []
    returned = next(statement for statement in case.body if isinstance(statement, ast.Return))
    calls = [name for name in _calls(returned) if name in functions]
    doc = ast.get_docstring(functions[calls[0]]) if calls else None
    return Transition(
        phases=tuple(phases),
        events=tuple(getattr(events, name).type for name in names),
        function=calls[0] if calls else "",
        meaning=" ".join((doc or "").split("\n\n")[0].split()),
        targets=tuple(dict.fromkeys(_targets(returned, functions))),
    )


def _attributes(pattern: ast.AST) -> list[str]:
    """``Phase.X`` and ``e.X`` inside a pattern, in their order, without the fields that are matched."""
    if isinstance(pattern, ast.MatchClass):
        return [pattern.cls.attr] if isinstance(pattern.cls, ast.Attribute) else []
    if isinstance(pattern, ast.MatchValue) and isinstance(pattern.value, ast.Attribute):
        return [pattern.value.attr]
    return [name for child in ast.iter_child_nodes(pattern) for name in _attributes(child)]


def _calls(node: ast.AST) -> list[str]:
    called = [item.func for item in ast.walk(node) if isinstance(item, ast.Call)]
    return [item.id for item in called if isinstance(item, ast.Name)]


def _targets(node: ast.AST, functions: dict[str, ast.FunctionDef]) -> list[str]:
    """The phases that a piece of the workflow enters, by itself or in what it calls."""
    found = []
    for call in (item for item in ast.walk(node) if isinstance(item, ast.Call) and isinstance(item.func, ast.Name)):
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if name == "finish":
            found.append(_STOPS)
        elif name in _ENTERS:
            found += [
                item.attr for item in call.args if isinstance(item, ast.Attribute) and item.attr in Phase.__members__
            ]
        elif name in functions:
            found += _targets(functions[name], functions)
    return found


def _diagram(found: list[Transition]) -> str:
    lines = ["    [*] --> REQUESTED"]
    for item in found:
        lines += [
            f"    {phase} --> {target}: {', '.join(item.events)}"
            for phase in item.phases
            for target in item.targets
            if target != phase
        ]
    lines.append("    note right of STOPPING: every phase comes here on cancellation or failure")
    lines += [f"    {phase.name} --> [*]" for phase in Phase if phase.is_terminal]
    return "\n".join(lines)


def _row(item: Transition) -> str:
    phases = ", ".join(item.phases) or "any"
    kinds = ", ".join(f"`{name}`" for name in item.events)
    return f"| {phases} | {kinds} | {item.meaning or 'it is noted'} | {', '.join(item.targets) or 'stays'} |"
