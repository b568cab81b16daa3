"""The only door to Flower: its public names, and the few private ones that a transport of our own needs.

Written against flwr 1.41 (pyproject.toml pins the minor version). Private are ``TaskIdentity``, ``Run.create_empty``,
the ``metadata`` argument of ``Message`` and the stored ``_message_id``; tests/unit/learning/test_flower.py shows that
they hold.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Final

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

from flwr.app import (
    DEFAULT_TTL,
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MessageType,
    Metadata,
    MetricRecord,
    RecordDict,
)
from flwr.app.exception import AppExitException
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "AGGREGATOR_NODE_ID",
    "CLIENT_RAISED",
    "NODE_UNAVAILABLE",
    "NUMPY",
    "REFUSED",
    "AppExitException",
    "Array",
    "ArrayRecord",
    "ClientApp",
    "ConfigRecord",
    "Context",
    "Error",
    "Grid",
    "Message",
    "MessageType",
    "MetricRecord",
    "RecordDict",
    "Run",
    "act_as_aggregator",
    "empty_run",
    "identify",
    "instruction",
    "new_context",
    "refused",
    "stable_id",
]

AGGREGATOR_NODE_ID: Final = 1
NUMPY: Final = "numpy.ndarray"
REFUSED: Final = 0
CLIENT_RAISED: Final = 2
NODE_UNAVAILABLE: Final = 5


def stable_id(name: str) -> int:
    """A positive 62-bit number that is always the same for the same name, and never the aggregator's own."""
    return (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 2) | 2


def act_as_aggregator(run_id: int) -> None:
    """Let this process build instruction messages."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = AGGREGATOR_NODE_ID
    TaskIdentity.task_id = 1


def empty_run(run_id: int) -> Run:
    """Flower's description of a run that says nothing but its id."""
    return Run.create_empty(run_id)


def identify(message: Message, message_id: str) -> None:
    """Give a message its unique id, which Flower leaves to the transport."""
    message.metadata.__dict__["_message_id"] = message_id


def refused(reply: Message, reason: str) -> Message:
    """The same reply, but as an error."""
    return Message(error=Error(REFUSED, reason), metadata=reply.metadata)  # type: ignore[call-overload,no-any-return]


def instruction(content: RecordDict, message_type: str, *, message_id: str, run_id: int, node_id: int) -> Message:
    """An instruction as a learner sees it, built from what came over the wire."""
    metadata = Metadata(
        run_id=run_id,
        message_id=message_id,
        src_node_id=AGGREGATOR_NODE_ID,
        dst_node_id=node_id,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=DEFAULT_TTL,
        message_type=message_type,
    )
    return Message(content=content, metadata=metadata)  # type: ignore[call-overload,no-any-return]


def new_context(run_id: int, node_id: int) -> Context:
    """The context that a client app keeps over all rounds."""
    return Context(run_id=run_id, node_id=node_id, node_config={}, state=RecordDict(), run_config={})
