"""The ports at which containers are reached."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

# Below those that systems choose themselves for outgoing connections (Linux: from 32768).
PORTS: Final = range(20000, 30000)


def choose_port(taken: AbstractSet[int]) -> int:
    """One that no other container of the installation has; whether it is free is known once the container starts."""
    return secrets.choice([port for port in PORTS if port not in taken])
