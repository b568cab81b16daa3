"""The command ``flops``: a table of commands, each imported only when it is called."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Final

import click

from flops.cli.groups import LazyGroup

if TYPE_CHECKING:
    from flops.cli.groups import Table

DISTRIBUTION: Final = "flops-fl"
COMMANDS: Final[Table] = {
    "up": ("installation:up", "Start whatever is missing on this machine."),
    "down": ("installation:down", "Stop everything that 'up' and projects have started."),
    "doctor": ("doctor:doctor", "Check this installation and say what to mend."),
    "tui": ("tui:tui", "Watch and steer projects in the terminal, live."),
    "demo": ("demo:demo", "Run the base case from an SLA to predictions."),
    "p": ("project:p", "Start a project from a named SLA file."),
    "project": ("projects:project", "Start, list, show, follow, cancel, retry and delete projects."),
    "mock-data": ("data:mock_data", "Put partitions of a public dataset on the learner nodes."),
    "data": ("data:data", "Put your own training data on a node, and list what is there."),
    "predict": ("predict:predict", "Ask a project's trained model."),
    "tracking": ("listing:tracking", "Print the URL of your tracking server."),
    "apps": ("listing:apps", "List the apps of the orchestrator."),
    "services": ("listing:services", "List services and their instances."),
    "logs": ("logs:logs", "Print and follow the output of a service."),
    "dead-letters": ("dead_letters:dead_letters", "List, show and drop messages that could not be understood."),
    "reset-database": ("administration:reset_database", "Forget all projects (for administrators)."),
    "clear-registry": ("administration:clear_registry", "Delete all images that are not in use (for administrators)."),
    "restart-management": ("administration:restart_management", "Stop and start the managers (for administrators)."),
    "completion": ("completion:completion", "Make your shell complete commands and live ids."),
    "config": ("config:config", "Show what is set, and where each value comes from."),
    "broker": ("broker:broker", "Say how other MQTT clients reach the broker."),
    "sla": ("sla:sla", "Make, list, show and validate SLA files."),
    "examples": ("examples:examples", "List the example ML repositories, and make them."),
}


@click.group(
    cls=LazyGroup, table=COMMANDS, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name=DISTRIBUTION, prog_name="flops")
@click.option("--context", default="", metavar="NAME", help="Use the settings of this context of flops.toml.")
@click.option("--config", "file", default="", metavar="FILE", help="Read this file, and no other flops.toml.")
@click.option("--set", "values", multiple=True, metavar="SETTING=VALUE", help="Set a setting for this command.")
@click.pass_context
def cli(ctx: click.Context, context: str, file: str, values: tuple[str, ...]) -> None:
    """FLOps: federated learning operations, from one SLA to a model that answers.

    In a terminal 'flops' alone is 'flops tui'.
    """
    if context or file or values:
        from flops.cli.config import choose  # noqa: PLC0415  'flops --help' is quick

        choose(context, file, values)
    if ctx.invoked_subcommand is None:
        _open(ctx)


def _open(ctx: click.Context) -> None:
    """Without a command: the terminal interface for whoever sits at a terminal, the help for everybody else."""
    from importlib.util import find_spec  # noqa: PLC0415  'flops --help' is quick

    if not (sys.stdin.isatty() and sys.stdout.isatty()) or find_spec("textual") is None:
        click.echo(ctx.get_help())
    elif command := cli.get_command(ctx, "tui"):
        ctx.invoke(command)


def _forget_flags() -> None:
    """Begin without the flags of a command that ran in this process before."""
    if (module := sys.modules.get("flops.configuration")) is not None:
        module.CHOICE.set(module.Choice())


def _check_arguments(arguments: list[str]) -> None:
    """Refuse what no message can carry. The name of a file may be any bytes."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            if not os.path.lexists(argument):
                message = f"The argument {argument!a} is not UTF-8."
                raise click.UsageError(message) from None


def main() -> None:
    """Run the command line; errors become one clear message on stderr and an exit code."""
    from flops.errors import EXIT_FAILED, EXIT_INTERRUPTED, FlopsError, exit_code_of  # noqa: PLC0415  'flops --help' is quick

    # Until session(): what is loaded stays to the end, and looking for garbage in it took a fifth of the time.
    gc.disable()
    try:
        _forget_flags()
        _check_arguments(sys.argv[1:])
        sys.exit(cli.main(prog_name="flops", standalone_mode=False) or 0)
    except click.Abort:
        from flops.cli.output import show_interruption  # noqa: PLC0415  only an error needs it

        show_interruption()
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        from flops.cli.output import show_usage_error  # noqa: PLC0415  only an error needs it

        show_usage_error(error)
        sys.exit(error.exit_code)
    except FlopsError as error:
        from flops.cli.output import show_error  # noqa: PLC0415  only an error needs it

        show_error(error)
        sys.exit(exit_code_of(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except Exception as error:  # noqa: BLE001  a process boundary
        from flops.cli.output import show_unexpected_error  # noqa: PLC0415  only an error needs it

        show_unexpected_error(error)
        sys.exit(EXIT_FAILED)
