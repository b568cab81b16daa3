"""Completion in the shell: the commands' arguments complete live ids, quickly, and silently when nothing is up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from flops.cli.output import json_option, print_result, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from flops.cli.session import Session

SHELLS: Final = ("bash", "zsh", "fish")
PATIENCE_S: Final = 1.0
MOST_OFFERED: Final = 50
VARIABLE: Final = "_FLOPS_COMPLETE"
# bash takes @ for the end of a word, since hosts may follow it; so @latest would never be completed.
AFTERWARDS: Final = {"bash": "\nCOMP_WORDBREAKS=${COMP_WORDBREAKS//@/}\n"}
HOW_TO: Final = {
    "bash": 'eval "$(flops completion bash)"          # in ~/.bashrc',
    "zsh": 'eval "$(flops completion zsh)"           # in ~/.zshrc, after compinit',
    "fish": "flops completion fish | source           # in ~/.config/fish/config.fish",
}


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
@json_option
def completion(shell: str, *, as_json: bool) -> None:
    """Print what makes a SHELL complete commands, options and live ids of projects and services.

    SHELL is bash, zsh or fish. For bash, put this into ~/.bashrc: eval "$(flops completion bash)". It is the same in
    ~/.zshrc for zsh; for fish: flops completion fish | source.
    """
    from flops.cli.main import cli  # noqa: PLC0415  it is what imports this module

    known = get_completion_class(shell)
    if known is None:  # an older click knows fewer
        message = f"The installed click completes nothing in {shell}."
        raise click.UsageError(message)
    # Rendered here and not by click's own 'source', which starts bash to learn its version.
    made = known(cli, {}, "flops", VARIABLE)
    script = made.source_template % made.source_vars() + AFTERWARDS.get(shell, "")
    print_result({"shell": shell, "script": script}, as_json=as_json, render=lambda: click.echo(script))
    if click.get_text_stream("stdout").isatty():
        say(f"To use it: {HOW_TO[shell]}")


def project_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument PROJECT, whose ids are completed."""
    return click.argument("project_id", metavar="PROJECT", shell_complete=_projects)(command)


def service_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument SERVICE, likewise."""
    return click.argument("service", shell_complete=_services)(command)


def sla_argument(*kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The argument FILE of an SLA: names of shipped ones and files."""

    def complete(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
        from flops.sla_library import list_slas  # noqa: PLC0415

        names = [path.stem for kind in kinds for path in list_slas(kind)]  # type: ignore[arg-type]
        # The names come last: click's script for bash forgets what came before files.
        return [CompletionItem(begun, "file"), *(CompletionItem(name) for name in names if name.startswith(begun))]

    return click.argument("file", shell_complete=complete)


def _projects(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    from flops.cli.session import LATEST, project_name  # noqa: PLC0415

    def ask(opened: Session) -> list[CompletionItem]:
        found = opened.first_projects(MOST_OFFERED, PATIENCE_S)
        items = [
            CompletionItem(item["project_id"], help=f"{project_name(item)}, {item['phase']}, {item['user']}")
            for item in found
        ]
        latest = [CompletionItem(LATEST, help="the latest project")] if found else []
        return [*items, *latest, *(_named(Counter(map(project_name, found))) if begun else [])]

    return [item for item in _asked(context, ask) if item.value.startswith(begun)]


def _named(names: Counter[str]) -> list[CompletionItem]:
    """What stands for a project besides its id."""
    from flops.cli.session import LATEST  # noqa: PLC0415

    texts = (f"{name}{LATEST}" if times > 1 else name for name, times in names.items() if name)
    return [CompletionItem(text, help="a project by its name") for text in texts]


def _services(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    from flops.wire.requests import ListServices  # noqa: PLC0415

    def ask(opened: Session) -> list[CompletionItem]:
        found = opened.ask("services", ListServices(), timeout_s=PATIENCE_S)["services"]
        return [
            CompletionItem(item["id"], help=f"{service['role']}, {item['state']}")
            for service in found
            for item in service["instances"]
        ]

    return [item for item in _asked(context, ask) if item.value.startswith(begun)]


def _asked(context: click.Context, ask: Callable[[Session], list[CompletionItem]]) -> list[CompletionItem]:
    from flops.bootstrap import adapters  # noqa: PLC0415
    from flops.cli.config import choose  # noqa: PLC0415
    from flops.cli.session import Session, quiet_logs  # noqa: PLC0415

    flags = context.find_root().params
    try:
        quiet_logs()
        choose(flags.get("context") or "", flags.get("file") or "", flags.get("values") or ())
        opened = Session(adapters.read_settings(), connect_timeout_s=PATIENCE_S)
        try:
            return ask(opened)
        finally:
            opened.close()
    except Exception:  # noqa: BLE001  a shell that completes has no place for a message
        return []
