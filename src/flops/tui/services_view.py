"""What of a project runs, as a tree, with the log of what is chosen there."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import Static, Tree

from flops.tui.entries import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.app import ComposeResult
    from textual.widgets.tree import TreeNode

STYLES: Final = {"RUNNING": "green", "FAILED": "bold red", "SCHEDULED": "yellow", "COMPLETED": "dim", "REMOVED": "dim"}
NOTHING: Final = "Nothing of this project runs."
CHOOSE: Final = "Choose a service or an instance to follow its log."


class Branch(NamedTuple):
    """A line of the tree: how deep it is, what it is about, and what it says."""

    depth: int
    name: str
    label: Text


def outline(services: Iterable[dict[str, Any]]) -> list[Branch]:
    """Apps with their services, and these with their instances."""
    branches = []
    ordered = sorted(services, key=lambda service: (str(service.get("app")), str(service["name"])))
    for app, group in groupby(ordered, key=lambda service: str(service.get("app", ""))):
        branches.append(Branch(0, f"app {app}", Text(printable(app) or "-", "bold")))
        for service in group:
            name = str(service["name"])
            branches.append(Branch(1, name, Text(printable(f"{service['role']}  {name}"))))
            branches += [Branch(2, str(item["id"]), _instance(item)) for item in service["instances"]]
    return branches


def _instance(instance: dict[str, Any]) -> Text:
    state = str(instance["state"]).upper()
    restarts = int(instance.get("restarts") or 0)
    more = f", restarted {restarts} times" if restarts else ""
    reason = f": {instance['reason']}" if instance.get("reason") else ""
    line = Text(printable(f".{str(instance['id']).rpartition('.')[2]}  "))
    line.append(state.lower(), STYLES.get(state, ""))
    return line.append(printable(f" on {instance.get('node') or '-'}{more}{reason}"))


class ServicesView(Container):
    """The tree and a log. ``chosen`` is the service or instance whose log is wanted; empty for none."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("l", "log", "Log")]

    def __init__(self) -> None:
        super().__init__()
        self.chosen = ""
        self._branches: list[Branch] = []

    def compose(self) -> ComposeResult:
        """The tree, and beside or below it the log."""
        tree: Tree[str] = Tree("services", id="services-tree")
        tree.show_root = False
        tree.guide_depth = 2
        yield tree
        with VerticalScroll(id="services-log"):
            yield Static(CHOOSE, id="services-text")

    def show(self, services: Iterable[dict[str, Any]]) -> None:
        """Show what runs now; what is chosen stays chosen."""
        branches = outline(services)
        tree: Tree[str] = self.query_one("#services-tree", Tree)
        if [branch[:2] for branch in branches] == [branch[:2] for branch in self._branches]:
            for node, branch in zip(_below(tree.root), branches, strict=True):
                node.set_label(branch.label)
        else:
            self._rebuild(tree, branches)
        self._branches = branches
        if not branches:
            self.chosen = ""
            self.show_log("", NOTHING)

    def show_log(self, name: str, text: str) -> None:
        """Show a log if it is still wanted; its end stays in sight for whoever looks at the end."""
        if name != self.chosen:
            return
        log = self.query_one("#services-log", VerticalScroll)
        is_at_end = log.scroll_offset.y >= log.max_scroll_y
        log.border_title = printable(name)
        self.query_one("#services-text", Static).update(Text(printable_lines(text) or "It has said nothing yet."))
        if is_at_end:
            log.scroll_end(animate=False)

    def forget(self) -> None:
        """Another project is shown."""
        self.chosen, self._branches = "", []
        self.query_one("#services-tree", Tree).clear()
        self.query_one("#services-log", VerticalScroll).border_title = ""
        self.query_one("#services-text", Static).update(CHOOSE)

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[str]) -> None:
        """The log of what the cursor is on is wanted."""
        name = event.node.data or ""
        if name != self.chosen and not name.startswith("app "):
            self.chosen = name
            self.show_log(name, "…")

    def action_log(self) -> None:
        """To the log, to scroll in it."""
        self.query_one("#services-log", VerticalScroll).focus()

    def _rebuild(self, tree: Tree[str], branches: Iterable[Branch]) -> None:
        tree.clear()
        path: list[TreeNode[str]] = [tree.root]
        kept = None
        for branch in branches:
            del path[branch.depth + 1 :]
            is_leaf = branch.depth == 2  # noqa: PLR2004  an instance
            node = path[-1].add(branch.label, branch.name, expand=True, allow_expand=not is_leaf)
            path.append(node)
            kept = node if branch.name == self.chosen else kept
        tree.root.expand()
        if kept is not None:
            tree.move_cursor(kept)


def _below(root: TreeNode[str]) -> list[TreeNode[str]]:
    found: list[TreeNode[str]] = []
    for child in root.children:
        found += [child, *_below(child)]
    return found
