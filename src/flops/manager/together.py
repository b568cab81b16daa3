"""Several messages in one durable write: one write for each would take most of the time of a burst."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from flops.errors import FlopsError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from flops.ports import Store

log = logging.getLogger(__name__)


class _Batch:
    """What one thread does together: an open write, the locks it holds, and what is to be done afterwards."""

    def __init__(self, store: Store) -> None:
        self.write, self.locks = ExitStack(), ExitStack()
        self.held: set[int] = set()
        self.actions: dict[Hashable, Callable[[], None]] = {}
        self.is_open = True
        self.fault: FlopsError | None = None
        self.write.enter_context(store.together())


class Together:
    """Lets a thread do several things in one durable write; without ``begun``, each is durable at once.

    No thread waits for a lock while it has a write open, which others that hold the lock may be waiting for: where a
    lock is not free the write is ended early, and what follows is done by itself.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mine = threading.local()

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Do what follows together.

        Raises:
            StoreUnavailableError: nothing of it was stored, and nothing was done afterwards. Where that came out early,
                what was done by itself since then is not meant.
        """
        batch = self._mine.batch = _Batch(self._store)
        try:
            yield
        except BaseException as error:
            batch.is_open = False
            with batch.locks:
                batch.write.__exit__(type(error), error, error.__traceback__)
            raise
        else:
            self.end_early()
            if batch.fault is not None:
                raise batch.fault
        finally:
            self._mine.batch = None

    @property
    def is_begun(self) -> bool:
        """Whether this thread does something together, or did so until that was ended early."""
        return getattr(self._mine, "batch", None) is not None

    def afterwards(self, action: Callable[[], None], *, instead_of: Hashable = None) -> None:
        """Do something that needs what was written to be durable; it replaces what had the same key before."""
        batch = self._batch
        if batch is None:
            action()
            return
        key = object() if instead_of is None else instead_of
        batch.actions.pop(key, None)
        batch.actions[key] = action

    @contextmanager
    def locked(self, lock: threading.Lock) -> Iterator[None]:
        """Hold a lock, within ``begun`` until its end."""
        batch = self._batch
        if batch is not None and id(lock) not in batch.held:
            if lock.acquire(blocking=False):
                batch.locks.callback(lock.release)
                batch.held.add(id(lock))
            else:
                self.end_early()
        if self._batch is not None:
            yield
        else:
            with lock:
                yield

    def end_early(self) -> None:
        """End what was begun, if anything was, before waiting for anybody who may be waiting to write.

        Raises:
            StoreUnavailableError: nothing of it was stored; ``begun`` raises that again.
        """
        batch = self._batch
        if batch is None:
            return
        batch.is_open = False
        with batch.locks:
            try:
                batch.write.close()
            except FlopsError as error:
                batch.fault = error
                raise
            for action in batch.actions.values():
                _do(action)

    @property
    def _batch(self) -> _Batch | None:
        batch: _Batch | None = getattr(self._mine, "batch", None)
        return batch if batch is not None and batch.is_open else None


def _do(action: Callable[[], None]) -> None:
    """Do one thing of several: whatever it meets, the others are done, too."""
    try:
        action()
    except FlopsError as error:  # whoever waits for it asks again
        log.warning("what was to be told is told again later", extra={"reason": str(error)})
    except Exception:
        log.exception("what was to be done met the unexpected")
