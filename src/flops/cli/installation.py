"""``flops up`` and ``flops down``."""

from __future__ import annotations

from dataclasses import asdict

import click

from flops.bootstrap import adapters, installation
from flops.cli.output import json_option, print_result, say


@click.command()
@json_option
def up(*, as_json: bool) -> None:
    """Start whatever is missing on this machine, privately on loopback."""
    settings = adapters.read_settings()
    started = installation.up(settings, say)

    def render() -> None:
        click.echo(f"FLOps is up: broker {started.broker_url} ({started.broker_kind}), state in {started.home}")
        say("Next: 'flops mock-data digits_multi', then 'flops project start digits_sklearn_small --watch'.")

    print_result(asdict(started), as_json=as_json, render=render)


@click.command()
@json_option
def down(*, as_json: bool) -> None:
    """Stop everything that 'up' and projects have started; nothing is deleted."""
    was_running = installation.down(adapters.read_settings(), say)
    text = "FLOps is down." if was_running else "Nothing was running."
    print_result({"was_running": was_running}, as_json=as_json, render=lambda: click.echo(text))
