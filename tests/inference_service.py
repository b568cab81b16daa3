"""The inference service in a thread of the test."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from flops.endpoint import Endpoint
from flops.inference.service import run

if TYPE_CHECKING:
    from pathlib import Path

    from flops.wire.events import Event

PATIENCE_S = 60


@dataclass
class InferenceService:
    """One that is run in ``directory``, and what it said."""

    directory: Path
    events: list[Event] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    is_ready: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    confirmed: threading.Event = field(default_factory=threading.Event)
    exit_codes: list[int] = field(default_factory=list)
    thread: threading.Thread | None = None

    def start(self, python: Path, model: Path) -> None:
        """Begin to serve ``model``; ``is_ready`` is set with the first event."""
        events = SimpleNamespace(publish=self._hear, wait_confirmed=self._confirm)
        facts = SimpleNamespace(
            config={}, directory=self.directory, events=events, stopping=self.stopping, endpoint=Endpoint()
        )
        context = cast("Any", facts)
        self.thread = threading.Thread(
            target=lambda: self.exit_codes.append(run(context, python, model, self.urls.append))
        )
        self.thread.start()

    def end(self) -> int:
        """Stop serving; returns the exit code."""
        self.stopping.set()
        return self.wait()

    def wait(self) -> int:
        """The exit code, once the service has ended."""
        assert self.thread is not None
        self.thread.join(PATIENCE_S)
        return self.exit_codes[0]

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self.is_ready.set()

    def _confirm(self, timeout_s: float) -> bool:
        self.asked.set()
        return self.confirmed.wait(timeout_s)
