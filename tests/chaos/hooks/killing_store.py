"""Kill -9 of the manager by itself, exactly before or after a commit that a test has chosen.

The file that ``CHAOS_KILL`` names holds the project's id, the number of the save (from 1) and ``before`` or ``after``;
it is removed before the kill, so that a manager that is started again lives. ``CHAOS_SAVES`` names the file that gets
one line per save.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from flops.adapters.sqlite_store import SqliteStore


def install() -> None:
    """Wrap the store's ``save``."""
    plan, saves = Path(os.environ["CHAOS_KILL"]), Path(os.environ["CHAOS_SAVES"])
    counts: Counter[str] = Counter()
    save = SqliteStore.save

    def killing_save(self: SqliteStore, record: Any, **news: Any) -> Any:  # noqa: ANN401  whatever a save is given
        project_id = record.project.id
        counts[project_id] += 1
        moment = _planned(plan, project_id, counts[project_id])
        if moment == "before":
            _die(plan)
        saved = save(self, record, **news)
        with saves.open("a") as file:
            file.write(f"{project_id} {counts[project_id]} {record.project.phase} {time.monotonic()}\n")
        if moment == "after":
            _die(plan)
        return saved

    SqliteStore.save = killing_save  # type: ignore[method-assign]


def _planned(plan: Path, project_id: str, number: int) -> str:
    try:
        chosen, chosen_number, moment = plan.read_text().split()
    except (OSError, ValueError):
        return ""
    return moment if (chosen, int(chosen_number)) == (project_id, number) else ""


def _die(plan: Path) -> None:
    plan.unlink()
    os.kill(os.getpid(), signal.SIGKILL)
