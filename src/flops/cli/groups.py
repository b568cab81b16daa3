"""Groups of commands that say what was probably meant."""

from __future__ import annotations

import click


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
