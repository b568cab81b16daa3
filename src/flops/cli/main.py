"""The command ``flops``: a table of commands, each imported only when it is called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import click

COMMANDS: Final = {
    "up": ("flops.cli.installation", "Start whatever is missing on this machine."),
    "down": ("flops.cli.installation", "Stop everything that 'up' and projects have started."),
    "doctor": ("flops.cli.doctor", "Check this installation and say what to mend."),
    "demo": ("flops.cli.demo", "Run the base case from an SLA to predictions."),
    "p": ("flops.cli.project", "Start a project from a named SLA file."),
    "project": ("flops.cli.project", "Start, list, show, follow, cancel and delete projects."),
    "mock-data": ("flops.cli.data", "Put partitions of a public dataset on the learner nodes."),
    "data": ("flops.cli.data", "Put your own training data on a learner node, and list what is there."),
    "predict": ("flops.cli.predict", "Ask a project's trained model."),
    "tracking": ("flops.cli.listing", "Print the URL of your tracking server."),
    "apps": ("flops.cli.listing", "List the apps of the orchestrator."),
    "services": ("flops.cli.listing", "List services and their instances."),
    "logs": ("flops.cli.listing", "Print the output of a service."),
    "sla": ("flops.cli.sla", "List, show and validate SLA files."),
    "examples": ("flops.cli.examples", "List the example ML repositories, and make them."),
}


class LazyGroup(click.Group):
    """A group whose help needs none of its commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """The commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for what was meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from flops.suggestions import did_you_mean  # noqa: PLC0415

            hint = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"There is no command '{args[0]}'. {hint}".strip())
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flops")
def cli() -> None:
    """FLOps: federated learning operations, from one SLA to a model that answers."""


def main() -> None:
    """Run the command line; errors become one clear message on stderr and an exit code."""
    from flops.errors import FlopsError  # noqa: PLC0415

    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.Abort:
        click.echo("Aborted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FlopsError as error:
        from flops.cli.output import show_error  # noqa: PLC0415

        show_error(error)
        sys.exit(error.exit_code)
