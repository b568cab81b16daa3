"""Diagnostics: one line per record on stderr, with the fields that the record carries."""

from __future__ import annotations

import logging
from typing import Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FieldFormatter(logging.Formatter):
    """``time level logger: message key=value …``."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        text = super().format(record)
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        listed = " ".join(f"{name}={value!r}" for name, value in fields.items())
        head, newline, tail = text.partition("\n")
        return f"{head} {listed}{newline}{tail}" if listed else text


def log_to_stderr(level: str) -> None:
    """Send everything from ``level`` on to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(FieldFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
