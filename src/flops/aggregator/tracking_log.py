"""Tells the tracking server what happens, in the background: no round ever waits for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Final

from flops.errors import TrackingUnavailableError, UndecodableMessageError
from flops.wire.presence import decode_presence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from flops.ports import Bus, TrackedRun, Tracking
    from flops.wire.topics import Topics

log = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 0.5
TICK_S: Final = 0.25
MAX_WAITING: Final = 100_000


class TrackingLog:
    """Logs to the tracking server as soon as it says where it is, in the order in which it was asked to.

    Args:
        tracking_for: connects to a tracking server's URL.
        on_available: hears once of the run, when the server has first answered.
    """

    def __init__(  # noqa: PLR0913  one keyword per fact about the project
        self,
        bus: Bus,
        topics: Topics,
        *,
        tracking_service: str,
        project_id: str,
        parameters: Callable[[], Mapping[str, str]],
        tracking_for: Callable[[str], Tracking],
        on_available: Callable[[TrackedRun], None],
    ) -> None:
        self._presence = bus.subscribe(topics.presence(tracking_service))
        self._project_id, self._parameters = project_id, parameters
        self._tracking_for, self._on_available = tracking_for, on_available
        self._work: queue.Queue[Callable[[Tracking, TrackedRun], None]] = queue.Queue(MAX_WAITING)
        self._closing = threading.Event()
        self._url = ""
        self._tracking: Tracking | None = None
        self._run: TrackedRun | None = None
        self._thread = threading.Thread(target=self._keep_logging, name="tracking-log", daemon=True)
        self.last_error = "it never said where it is"

    def start(self) -> None:
        """Begin; the parameters are asked for when the server answers."""
        self._work.put_nowait(lambda tracking, run: None)  # noqa: ARG005  makes the run known before the first round
        self._thread.start()

    def log_round(self, round_number: int, metrics: Mapping[str, float]) -> None:
        """Log one round's metrics when the server can take them. Returns at once."""
        self._work.put_nowait(lambda tracking, run: tracking.log_round(run, round_number, metrics))

    def log_model(self, model: Path, round_number: int, timeout_s: float) -> tuple[TrackedRun, str] | None:
        """Log the model after everything else and close the run; None if the server could not be reached in time."""
        done: queue.Queue[tuple[TrackedRun, str]] = queue.Queue(1)

        def store(tracking: Tracking, run: TrackedRun) -> None:
            model_uri = tracking.log_model(run, model, round_number=round_number)
            tracking.finish_run(run, succeeded=True)
            done.put((run, model_uri))

        self._work.put_nowait(store)
        try:
            return done.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def fail(self, timeout_s: float) -> None:
        """Close the run as failed if there is one, without insisting."""
        if self._run is None:
            return
        done = threading.Event()

        def finish(tracking: Tracking, run: TrackedRun) -> None:
            tracking.finish_run(run, succeeded=False)
            done.set()

        self._work.put_nowait(finish)
        done.wait(timeout_s)

    def close(self) -> None:
        """Stop; what is not logged yet is dropped."""
        self._closing.set()
        self._presence.close()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    # --- the thread ---

    def _keep_logging(self) -> None:
        while not self._closing.is_set():
            self._hear_presence(0.0 if self._url else TICK_S)
            if not self._url:
                continue
            try:
                work = self._work.get(timeout=TICK_S)
            except queue.Empty:
                continue
            self._insist(work)

    def _insist(self, work: Callable[[Tracking, TrackedRun], None]) -> None:
        """Do one piece of work, again and again until the server takes it."""
        while not self._closing.is_set():
            try:
                work(*self._connected())
            except TrackingUnavailableError as error:
                self.last_error = error.message
                log.warning("tracking server unavailable", extra={"reason": error.message})
                self._hear_presence(RETRY_AFTER_S)
            except Exception as error:  # the end of a thread: what is logged must not end the training
                self.last_error = repr(error)
                log.exception("logging failed")
                return
            else:
                return

    def _connected(self) -> tuple[Tracking, TrackedRun]:
        if self._tracking is None:
            self._tracking = self._tracking_for(self._url)
        if self._run is None:
            self._run = self._tracking.start_run(self._project_id, self._parameters())
            self._on_available(self._run)
        return self._tracking, self._run

    def _hear_presence(self, timeout_s: float) -> None:
        """Take the server's latest address, if it has told one; a restarted server may have another."""
        deadline = time.monotonic() + timeout_s
        delivery = self._presence.receive(timeout_s)
        if delivery is None:
            self._closing.wait(max(deadline - time.monotonic(), 0.0))
            return
        delivery.acknowledge()
        try:
            presence = decode_presence(delivery.topic, delivery.payload)
        except UndecodableMessageError:
            log.warning("presence ignored", extra={"topic": delivery.topic})
            return
        if presence.online and presence.url and presence.url != self._url:
            self._url, self._tracking = presence.url, None
