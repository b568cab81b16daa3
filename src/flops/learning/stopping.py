"""A service that waits for its model process must still end when it is asked to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flops.ports import Model


def close_when_stopping(model: Model, stopping: threading.Event) -> None:
    """End the model's process as soon as ``stopping`` is set: whoever waits for a call of it gets an error then."""

    def close() -> None:
        stopping.wait()
        model.close()

    threading.Thread(target=close, name="stopping", daemon=True).start()
