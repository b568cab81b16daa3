"""How the daemon is spoken to: one JSON object per line over a private Unix socket, one call per connection."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from flops.errors import (
    DeploymentRefusedError,
    FlopsError,
    NotFoundError,
    OrchestratorUnavailableError,
    StoreUnavailableError,
)

ORCHESTRATOR: Final = "for local processes"
MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_MAX_SOCKET_PATH: Final = 100  # sun_path has 108 bytes on Linux, 104 on macOS

_FACTS: Final[dict[type[FlopsError], tuple[str, ...]]] = {
    NotFoundError: ("kind", "name"),
    DeploymentRefusedError: ("service", "reason"),
    StoreUnavailableError: ("where", "reason"),
    OrchestratorUnavailableError: ("orchestrator", "reason"),
}


def encode(message: dict[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """What ``encode`` made.

    Raises:
        ValueError: it is no JSON object.
    """
    message = json.loads(line)
    if not isinstance(message, dict):
        reason = "not a JSON object"
        raise TypeError(reason)
    return message


def encode_error(error: FlopsError) -> dict[str, Any]:
    """An expected failure as a JSON object."""
    facts = _FACTS.get(type(error))
    if facts is None:
        return encode_error(OrchestratorUnavailableError(ORCHESTRATOR, str(error)))
    return {"code": error.code, "facts": [getattr(error, name) for name in facts]}


def decode_error(document: dict[str, Any]) -> FlopsError:
    """What ``encode_error`` made."""
    kind = next((kind for kind in _FACTS if kind.code == document["code"]), OrchestratorUnavailableError)
    return kind(*document["facts"])


def lock_file(home: Path) -> Path:
    """Whoever holds the lock on this file is the daemon of this home."""
    return home / "run" / "orchestrator.lock"


def address_file(home: Path) -> Path:
    """Holds the path of the daemon's socket; stays, so that a full disk does not keep a daemon from coming back."""
    return home / "run" / "orchestrator.address"


def daemon_log(home: Path) -> Path:
    """What the daemon itself has to say."""
    return home / "orchestrator" / "daemon.log"


def socket_path(home: Path) -> Path:
    """Where the daemon listens: below its home, or in a private temporary directory if that path is too long.

    Raises:
        OSError: the temporary directory belongs to somebody else.
    """
    path = home / "run" / "orchestrator.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"flops-{os.getuid()}-{digest}"
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        reason = f"{directory} is not private to this user"
        raise PermissionError(reason)
    return directory / "orchestrator.sock"
