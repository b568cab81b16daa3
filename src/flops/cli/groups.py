"""Groups of commands that say what was probably meant."""

from __future__ import annotations

import click


class SuggestingGroup(click.Group):
    """A group that answers an unknown command with the closest known one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for what was meant."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            from flops.suggestions import did_you_mean  # noqa: PLC0415  only a mistake needs it

            ctx.fail(f"There is no command '{ctx.command_path} {args[0]}'. {did_you_mean(args[0], known)}".strip())
        return super().resolve_command(ctx, args)
