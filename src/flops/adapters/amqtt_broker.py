"""The fallback broker: amqtt in a process of its own, ``python -m flops.adapters.amqtt_broker CONFIGURATION``.

It speaks MQTT 3.1.1 and loses what it holds when it ends, which FLOps allows for: correctness rests on its own
confirmations, not on the broker.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import signal
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what amqtt imports
    from amqtt.broker import Broker
    from amqtt.plugins.base import BaseAuthPlugin

if TYPE_CHECKING:
    from amqtt.session import Session


class OneUser(BaseAuthPlugin):  # type: ignore[misc]
    """Lets in one user with one generated, hence unguessable, password, of which only the digest is known."""

    @dataclass
    class Config:
        """The plugin's settings."""

        username: str = ""
        password_digest: str = ""

    async def authenticate(self, *, session: Session) -> bool:
        """Whether this is the user."""
        digest = hashlib.sha256((session.password or "").encode()).hexdigest()
        is_password = hmac.compare_digest(digest, self.config.password_digest)
        return is_password and session.username == self.config.username


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT. At once then: nothing would be saved, and amqtt waits long for its clients."""
    logging.basicConfig(level=logging.CRITICAL)  # amqtt calls it an error when a client goes, or works for a while
    settings = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: dict[str, str]) -> None:
    user = {name: settings[name] for name in ("username", "password_digest")}
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": settings["bind"]}},
            "plugins": {"flops.adapters.amqtt_broker.OneUser": user},
        }
    )
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
