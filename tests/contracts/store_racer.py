"""One of several processes that do the same to one store at the same time: URL, what to do, own name."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flops.bootstrap import adapters
from flops.errors import StaleVersionError
from flops.settings import Settings

if TYPE_CHECKING:
    from flops.ports import Store


def race(store: Store, deed: str, name: str) -> object:
    """Do it, and tell what came of it as JSON."""
    match deed:
        case "adopt":
            return store.adopt("former", name)
        case "take_office":
            return store.take_office("intake", name, "")
        case "save":
            return [_try_save(store, name) for _ in range(20)]
        case _:
            raise ValueError(deed)


def _try_save(store: Store, name: str) -> bool:
    record = store.projects()[0]
    try:
        store.save(replace(record, watermarks={**record.watermarks, name: record.watermarks.get(name, 0) + 1}))
    except StaleVersionError:
        return False
    return True


def main() -> None:
    """Open the store, say so, wait for the start, and race."""
    url, deed, name = sys.argv[1:]
    with closing(adapters.store(Settings(home=Path("/nonexistent"), store_url=url))) as store:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        sys.stdout.write(json.dumps(race(store, deed, name)))


if __name__ == "__main__":
    main()
