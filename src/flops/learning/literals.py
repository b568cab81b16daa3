"""Keeps threads from disturbing each other while they read the headers of arrays."""

from __future__ import annotations

import ast
import threading
from functools import wraps
from typing import Any

_turn = threading.Lock()


def take_turns() -> None:
    """Let ``ast.literal_eval``, with which NumPy reads every header, run in one thread at a time. Idempotent.

    CPython counts the depth of all syntax trees that it builds in one place (python/cpython#106905): when threads take
    turns in the middle of two, an array that is whole is refused with a SystemError.
    """
    literal_eval = ast.literal_eval
    if hasattr(literal_eval, "__wrapped__"):
        return

    @wraps(literal_eval)
    def in_turn(node_or_string: Any) -> Any:  # noqa: ANN401  as the original
        with _turn:
            return literal_eval(node_or_string)

    ast.literal_eval = in_turn
