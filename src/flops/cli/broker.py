"""``flops broker``: how other MQTT clients reach the broker, without a password in an argument list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from flops.bootstrap import adapters
from flops.cli.output import json_option, print_result, say

if TYPE_CHECKING:
    from pathlib import Path

    from flops.settings import BrokerAccess

CLIENTS: Final = ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr")


@click.command()
@click.option("--clients", "only_clients", is_flag=True, help="Print only the folder for XDG_CONFIG_HOME.")
@json_option
def broker(*, only_clients: bool, as_json: bool) -> None:
    """Say how to reach the broker, and prepare Mosquitto's own clients for it.

    The options that mosquitto_pub, mosquitto_sub and mosquitto_rr need, the password among them, are written to a
    folder that only you can read; with XDG_CONFIG_HOME set to it, they need no others.
    """
    settings = adapters.read_settings()
    access = adapters.broker_access(settings)
    folder = write_client_options(access, settings.home / "run" / "clients")
    result = {"url": access.url, "username": access.username, "ca_file": access.ca_file, "clients": str(folder)}

    def render() -> None:
        click.echo(str(folder) if only_clients else f"{access.url}, user name: {access.username or 'none'}")
        if not only_clients:
            say(f"For mosquitto_pub and mosquitto_sub: export XDG_CONFIG_HOME={folder}")

    print_result(result, as_json=as_json, render=render)


def write_client_options(access: BrokerAccess, folder: Path) -> Path:
    """Write one file of options per client, readable by their owner only."""
    host, port, is_encrypted = access.address()
    options = {"-h": host, "-p": str(port), "-u": access.username, "-P": access.password}
    if is_encrypted:
        options |= {"--cafile": access.ca_file} if access.ca_file else {"--tls-use-os-certs": ""}
    lines = [f"{name} {value}".strip() for name, value in options.items() if value or name.startswith("--")]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for client in CLIENTS:
        file = folder / client
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text("\n".join(lines) + "\n")
    return folder
