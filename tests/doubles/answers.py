"""A manager that answers requests from a table, for tests of the command line."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from flops.delivery.answers import answer, refuse
from flops.errors import FlopsError, InvalidSlaError
from flops.wire.envelope import Envelope, decode_envelope
from flops.wire.topics import Topics

if TYPE_CHECKING:
    from flops.ports import Bus, Delivery

ID = "0123456789abcdef01234567"
OTHER_ID = "0123ffffffffffffffffffff"
Reply = dict[str, Any] | Exception


@dataclass
class Manager:
    """Answers requests from a table, as the manager does, ``pages`` one by one; ``heard`` is what was asked."""

    bus: Bus
    topics: Topics = field(default_factory=Topics)
    replies: dict[str, Reply] = field(default_factory=dict)
    pages: dict[str, list[Reply]] = field(default_factory=dict)
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    questions: list[Envelope] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        requests = self.bus.subscribe(self.topics.request(), self.topics.project_start())
        while not self.stopping.is_set():
            delivery = requests.receive(0.05)
            if delivery is not None:
                self._reply(delivery, decode_envelope(delivery.topic, delivery.payload))

    def _reply(self, delivery: Delivery, question: Envelope) -> None:
        name = delivery.topic.rpartition("/")[2]
        self.heard.append((name, question.data))
        self.questions.append(question)
        reply = self.pages[name].pop(0) if self.pages.get(name) else self.replies[name]
        if isinstance(reply, InvalidSlaError):
            faults = [{"path": fault.path, "message": fault.message} for fault in reply.errors]
            refuse(self.bus, delivery, question, reply, errors=faults)
        elif isinstance(reply, FlopsError):
            refuse(self.bus, delivery, question, reply)
        else:
            answer(self.bus, delivery, question, cast("dict[str, Any]", reply))


@dataclass(frozen=True)
class Outcome:
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> Any:  # noqa: ANN401  any JSON
        """The error of a command that was called with ``--json``."""
        assert self.stdout == ""
        return json.loads(self.stderr.splitlines()[-1])["error"]


def status(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  any field
    fields: dict[str, Any] = {
        "project_id": ID,
        "user": "Ada",
        "phase": "completed",
        "created": "2030-01-01T10:00:00+00:00",
        "updated": "2030-01-01T10:01:00+00:00",
        "ml_repo_url": "https://x/y",
        "round": 5,
        "rounds": 5,
        "accuracy": 0.96944,
        "loss": None,
        "best_accuracy": 0.97222,
        "inference_url": "",
        "reason": "",
    }
    return fields | changes
