"""``flops tui``: projects and inboxes, live, in the terminal or in a browser."""

from __future__ import annotations

import os
import ssl
import sys
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from flops.adapters.local_processes import kernel
from flops.bootstrap import adapters
from flops.cli.output import json_option, print_result, say
from flops.cli.session import caller, session
from flops.errors import NotFoundError
from flops.suggestions import did_you_mean_file

if TYPE_CHECKING:
    from flops.cli.session import Session
    from flops.wire.sla import MockDataSla

LOOPBACK: Final = "127.0.0.1"
# Whoever serves the interface elsewhere than in a terminal tells Textual so by this variable.
DRIVER: Final = "TEXTUAL_DRIVER"
EXTRAS: Final = {"textual": "tui", "textual_serve": "web"}


@click.command()
@click.option("--user", default="", help="Only this user's projects.")
@click.option("--web", "in_browser", is_flag=True, help="Serve it to browsers, and print the address to open.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to serve it; a free port by default.")
@click.option("--host", default=LOOPBACK, show_default=True, help="Where to listen; elsewhere only with a certificate.")
@click.option("--certificate", default="", metavar="FILE", help="A TLS certificate with its chain and key, in PEM.")
@json_option
def tui(  # noqa: PLR0913  its options
    *, user: str, in_browser: bool, port: int, host: str, certificate: str, as_json: bool
) -> None:
    """Watch and steer projects in the terminal, live; with --web, in a browser.

    The address that --web prints holds a token; without it nothing is served, and whoever has it may do what you may.
    It is served on this machine only: from elsewhere, forward its port with 'ssh -L'. Ctrl-C ends it.
    In a terminal it is for people: with --json it only says which commands are for scripts.
    """
    if in_browser:
        _need("textual_serve")
        _serve(user, host, port, certificate, as_json=as_json)
    else:
        _need("textual")
        _show(user, as_json=as_json)


def _need(module: str) -> None:
    if find_spec(module) is None:
        extra = EXTRAS[module]
        message = f"This needs the extra '{extra}', which is not installed: pip install 'flops-fl[{extra}]'."
        raise click.ClickException(message)


def _show(user: str, *, as_json: bool) -> None:
    is_served = bool(os.environ.get(DRIVER))
    if as_json or not (sys.stdout.isatty() or is_served):
        message = "The terminal interface needs a terminal. In scripts use: flops project list, flops project inbox."
        raise click.UsageError(message)
    if is_served:
        kernel.die_with_parent(os.getppid())
    from flops.tui.app import FlopsApp  # noqa: PLC0415  what only this command needs
    from flops.tui.feed import Feed  # noqa: PLC0415
    from flops.tui.steering import Ways  # noqa: PLC0415

    with session() as opened:
        feed = Feed(opened)
        ways = Ways(begin=opened.start, provide=partial(_provide, opened), predict=_predict)
        try:
            FlopsApp(feed, ways, user=user, caller=caller(opened)).run()
        finally:
            feed.close()


def _provide(opened: Session, sla: MockDataSla) -> str:
    from flops.cli.data import provide, told_of  # noqa: PLC0415  what only this action needs

    return told_of(provide(opened, sla))


def _predict(url: str, asked: str) -> list[Any]:
    from flops.cli.predict import parse_rows, read_rows  # noqa: PLC0415  what only this action needs
    from flops.inference.client import predict  # noqa: PLC0415

    is_json = asked.lstrip().startswith(("[", "{"))
    return predict(url, parse_rows(asked, "What was typed") if is_json else read_rows(Path(asked)))


def _serve(user: str, host: str, port: int, certificate: str, *, as_json: bool) -> None:
    tls = _tls(certificate) if certificate else None
    if tls is None and not _is_loopback(host):
        message = (
            f"Everybody between could read along on the way to {host}. Name a --certificate, or stay on {LOOPBACK} and "
            "forward the port: ssh -L PORT:127.0.0.1:PORT this-machine."
        )
        raise click.UsageError(message)
    with session():  # if nobody answers, better now than in a browser
        pass
    from flops.tui.web import WebInterface  # noqa: PLC0415  what only this command needs

    # The visitors' processes inherit what flags and files say here.
    os.environ.update(adapters.configuration().environment())
    command = (sys.executable, "-m", "flops", "tui", *((f"--user={user}",) if user else ()))
    served = WebInterface(command, host=host, port=port, tls=tls)
    print_result({"url": served.url}, as_json=as_json, render=lambda: click.echo(served.url))
    sys.stdout.flush()
    say("Open this address in a browser. Whoever knows it may do what you may. Ctrl-C ends it.")
    served.run()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate)
    except FileNotFoundError:
        raise NotFoundError("certificate", certificate, remedy=did_you_mean_file(certificate)) from None
    except (OSError, ValueError) as error:  # unreadable, no PEM, or without its key
        message = f"{certificate} is no certificate with its key in PEM: {error}."
        raise click.UsageError(message) from error
    return context
