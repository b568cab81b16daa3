"""A server of tokens that a registry trusts: whoever has the password may do what is asked for, and nothing else.

See https://distribution.github.io/distribution/spec/auth/jwt/.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from tests.servers.registry import PASSWORD, USERNAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ISSUER: Final = "tests"
SERVICE: Final = "registry of the tests"


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A key and a certificate of its own for localhost."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *names], check=True, capture_output=True)
    return key, certificate


class TokenServer(ThreadingHTTPServer):
    """Signs what it grants; ``asked`` has every scope that was asked for."""

    def __init__(self, key: Path, certificate: Path, holds_s: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._key = serialization.load_pem_private_key(key.read_bytes(), None)
        signed = x509.load_pem_x509_certificate(certificate.read_bytes())
        self._chain = [base64.b64encode(signed.public_bytes(serialization.Encoding.DER)).decode()]
        self._holds_s = holds_s
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/token"

    def token(self, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": USERNAME,
            "aud": SERVICE,
            "exp": now + self._holds_s,
            "nbf": now - 5,
            "iat": now,
        }
        parts = ({"typ": "JWT", "alg": "RS256", "x5c": self._chain}, {**claims, "jti": str(now), "access": access})
        signed = b".".join(_text(json.dumps(part).encode()) for part in parts)
        assert isinstance(self._key, rsa.RSAPrivateKey)
        return b".".join((signed, _text(self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())))).decode()


@contextmanager
def token_server(key: Path, certificate: Path, *, holds_s: int = 300) -> Iterator[TokenServer]:
    """A server that ends in the end."""
    server = TokenServer(key, certificate, holds_s)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, TokenServer)
        expected = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self.send_error(401)
            return
        scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
        self.server.asked += scopes
        content = json.dumps({"token": self.server.token(scopes), "expires_in": self.server._holds_s}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:  # noqa: ANN401  as the base class has it
        pass


def _text(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
