"""Groups of commands that say what was probably meant, and import a command only when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Table = dict[str, tuple[str, str]]


class SuggestingGroup(click.Group):
    """A group that lists its commands in the order of the code, and answers an unknown one with the closest known."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """The commands in the order in which they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for what was meant."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            from flops.suggestions import did_you_mean  # noqa: PLC0415  only a mistake needs it

            ctx.fail(f"There is no command '{ctx.command_path} {args[0]}'. {did_you_mean(args[0], known)}".strip())
        return super().resolve_command(ctx, args)


class LazyGroup(SuggestingGroup):
    """A group whose help needs none of its commands: ``table`` says where each is and what for.

    A place is written ``module:name``, the module being one of ``flops.cli``.
    """

    def __init__(self, *args: Any, table: Table, **options: Any) -> None:  # noqa: ANN401  click's
        super().__init__(*args, **options)
        self.table: Final = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """The commands in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in self.table:
            return None
        module, _, name = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"flops.cli.{module}"), name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What a shell offers: the commands, likewise without importing them, and the options."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415  only a shell needs it

        found = [
            CompletionItem(name, help=text) for name, (_, text) in self.table.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])
