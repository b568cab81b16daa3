"""The output of one process: a file it appends to, kept bounded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

MAX_LOG_BYTES: Final = 10 * 1024 * 1024
_BYTES_PER_LINE: Final = 1024


def tail(path: Path, lines: int, *, max_bytes: int = MAX_LOG_BYTES) -> str:
    """The last lines of a log, reaching back into its rotated part; empty if there is none."""
    wanted_bytes = min(max_bytes, lines * _BYTES_PER_LINE)
    text = _last_bytes(path, wanted_bytes)
    if len(text) < wanted_bytes:
        text = _last_bytes(_rotated(path), wanted_bytes - len(text)) + text
    return "".join(text.decode("utf-8", errors="replace").splitlines(keepends=True)[-lines:])


def rotate(path: Path, *, max_bytes: int = MAX_LOG_BYTES) -> bool:
    """Move the end of a log that has grown too long aside, and empty it; its writer, appending, notices nothing."""
    if not path.exists() or path.stat().st_size <= max_bytes:
        return False
    try:
        _rotated(path).write_bytes(_last_bytes(path, max_bytes))
    finally:  # on a full disk the bound matters more than the old lines
        os.truncate(path, 0)
    return True


def remove(path: Path) -> None:
    """Delete a log with its rotated part."""
    path.unlink(missing_ok=True)
    _rotated(path).unlink(missing_ok=True)


def _rotated(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _last_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - count))
            return file.read(count)
    except FileNotFoundError:
        return b""
