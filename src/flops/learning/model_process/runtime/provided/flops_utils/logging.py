"""A logger for the code of ML repositories; what it writes is part of the learner's log."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger("ml_repository")
if not logger.handlers:
    _handler = logging.StreamHandler(sys.stderr)
    _handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(_handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
