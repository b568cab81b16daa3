"""The texts of the tabs that are only read."""

from __future__ import annotations

import json
from typing import Any

from flops.tui.entries import printable, printable_lines


def status_text(status: dict[str, Any]) -> str:
    """Everything that the status says."""
    told = {name: value for name, value in status.items() if value not in {"", None}}
    return "\n".join(f"{name.replace('_', ' '):>14}  {printable(str(value))}" for name, value in told.items())


def sla_text(sla: dict[str, Any]) -> str:
    """What was asked for."""
    return printable_lines(json.dumps(sla, indent=2, ensure_ascii=False))
