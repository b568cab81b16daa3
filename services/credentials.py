"""Makes up what is secret in an installation by compose.yaml: once, and for each service in a folder of its own."""

from __future__ import annotations

import ctypes
import os
import secrets
import string
import sys
from pathlib import Path

from flops.adapters.embedded_broker import mosquitto_hash

BROKER, MONGODB, REGISTRY, MANAGER = 1883, 999, 0, 0  # the users that the services run as
SALT_ALPHABET = f"./{string.ascii_letters}{string.digits}"
SALT_LENGTH = 22
OWNER_ONLY = 0o400


def main(root: Path) -> None:
    """Write whatever is not there yet. What is derived is derived anew, so that an interrupted start is made good."""
    broker = {user: _password(root / "user" / f"broker-{user}") for user in ("flops", "user", "health")}
    mongodb, registry = _password(root / "user" / "mongodb"), _password(root / "user" / "registry")
    _write(root / "broker" / "passwords", BROKER, "".join(f"{u}:{mosquitto_hash(p)}\n" for u, p in broker.items()))
    _write(root / "broker" / "mosquitto_sub", BROKER, f"-u health\n-P {broker['health']}\n")
    _write(root / "mongodb" / "password", MONGODB, mongodb)
    _write(root / "registry" / "htpasswd", REGISTRY, f"flops:{_bcrypt(registry)}\n")
    _write(root / "manager" / "broker-password", MANAGER, broker["flops"])
    _write(root / "manager" / "registry-password", MANAGER, registry)
    store_url = f"mongodb://flops:{mongodb}@mongodb:27017/flops?authSource=admin"
    _write(root / "manager" / "store-url", MANAGER, store_url)


def _password(path: Path) -> str:
    if not path.exists():
        _write(path, os.getuid(), secrets.token_urlsafe(24))
    return path.read_text("utf-8")


def _write(path: Path, owner: int, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "w", encoding="utf-8") as file:
        file.write(text)
    if os.getuid() == 0:
        os.chown(path.parent, owner, owner)
        os.chown(draft, owner, owner)
    draft.replace(path)


def _bcrypt(password: str) -> str:
    """As the registry has it in its htpasswd file: by the C library, since the module for that leaves Python."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    salt = "".join(secrets.choice(SALT_ALPHABET) for _ in range(SALT_LENGTH - 1))
    return str(crypt(password.encode(), f"$2b$10${salt}.".encode()).decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
