"""What several suites share."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from flops.tracking.service import run as run_tracking

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def tracking_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server, run by the tracking service."""
    stopping, ready = threading.Event(), threading.Event()
    urls: list[str] = []
    context = cast(
        "Any",
        SimpleNamespace(
            settings=SimpleNamespace(home=tmp_path_factory.mktemp("home")),
            identity=SimpleNamespace(user="Ada Lövelace/../x"),
            stopping=stopping,
        ),
    )

    def announce(url: str) -> None:
        urls.append(url)
        ready.set()

    service = threading.Thread(target=run_tracking, args=(context, announce))
    service.start()
    try:
        assert ready.wait(90)
        yield urls[0]
    finally:
        stopping.set()
        service.join(20)
