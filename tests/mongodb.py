"""Servers for tests that speak MongoDB's protocol, and a wire tap that loses and refuses what passes."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import struct
import subprocess
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import bson
import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from tests.brokers import wait_until
from tests.servers.pulled import PulledServer, free_port, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_S = 30.0
STOP_S = 10.0
SOURCES = Path(__file__).parent / "servers" / "ferretdb"
OP_MSG = 2013
HEADER = struct.Struct("<iiii")


class MongoDb(Protocol):
    """A server."""

    url: str


class OwnMongoDb(MongoDb, Protocol):
    """A server of this test run's own."""

    port: int

    def start(self) -> None: ...

    def kill(self) -> None:
        """End it without letting it save anything."""


@dataclass
class GivenServer:
    """The server that ``FLOPS_TEST_MONGODB_URL`` names; it cannot be killed."""

    url: str


class ServerProcess:
    """One that is installed or built here."""

    def __init__(self, directory: Path, program: str) -> None:
        directory.mkdir(exist_ok=True)
        self._log = directory / "server.log"
        self.port = free_port()
        self.url = f"mongodb://127.0.0.1:{self.port}/"
        self._command = _command(program, directory, self.port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(lambda: answers(self.url), READY_S)

    def kill(self) -> None:
        """End it without letting it save anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)
            self._process = None


class PulledMongoDb:
    """One from its image."""

    def __init__(self) -> None:
        self._server = PulledServer("mongodb", 27017)
        self.port, self.kill = self._server.port, self._server.kill
        self.url = f"mongodb://127.0.0.1:{self.port}/"

    def start(self) -> None:
        self._server.start()
        wait_until(lambda: answers(self.url), READY_S, self._server.output)


def start_server(directory: Path) -> OwnMongoDb:
    """A real server that a test may kill; where there is none, skips, or fails where CI should have made one."""
    server: OwnMongoDb
    if program := find_program():
        server = ServerProcess(directory, program)
    elif reason := why_not("mongodb"):
        reason = f"no mongod is installed, FerretDB is not built (run {SOURCES / 'build.sh'}), and {reason}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    else:
        server = PulledMongoDb()
    server.start()
    return server


def find_server(directory: Path) -> Iterator[MongoDb]:
    """The server that was given, or one of our own."""
    if url := os.environ.get("FLOPS_TEST_MONGODB_URL"):
        yield GivenServer(url)
        return
    server = start_server(directory)
    yield server
    server.kill()


def new_database(server: MongoDb) -> str:
    """The URL of a database that nobody has used yet."""
    before, query, options = server.url.partition("?")
    return f"{before.rstrip('/')}/flops-{uuid.uuid4().hex[:12]}{query}{options}"


def drop_database(url: str) -> None:
    client: MongoClient[dict[str, Any]] = MongoClient(url)
    with client, suppress(PyMongoError):
        client.drop_database(client.get_default_database().name)


def answers(url: str) -> bool:
    client: MongoClient[dict[str, Any]] = MongoClient(url, serverSelectionTimeoutMS=500)
    with client:
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
        return True


def find_program() -> str:
    """A server that can be run here; empty if there is none."""
    ferretdb = ferretdb_program()
    return shutil.which("mongod") or (str(ferretdb) if ferretdb.exists() else "")


def _command(program: str, directory: Path, port: int) -> list[str]:
    if Path(program).name == "mongod":
        return [program, "--dbpath", str(directory), "--port", str(port), "--bind_ip", "127.0.0.1"]
    return [program, f"127.0.0.1:{port}", str(directory)]


def ferretdb_program() -> Path:
    """Where ``build.sh`` puts it."""
    sources = b"".join((SOURCES / name).read_bytes() for name in ("go.mod", "go.sum", "main.go"))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "flops-tests" / f"ferretdb-{hashlib.sha256(sources).hexdigest()[:12]}"


@dataclass
class Fault:
    """What happens to the next commands of a name: ``error`` is the answer, without one the connection breaks."""

    command: str
    times: int
    is_executed: bool
    error: dict[str, Any] = field(default_factory=dict)


class WireTap:
    """Stands between a store and its server."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"mongodb://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_answers(self, command: str, times: int = 1) -> None:
        """Let the server do it, and break the connection instead of answering."""
        self._faults.append(Fault(command, times, is_executed=True))

    def lose_commands(self, command: str, times: int = 1) -> None:
        """Break the connection before the server hears of it."""
        self._faults.append(Fault(command, times, is_executed=False))

    def refuse(self, command: str, code: int, name: str, times: int = 1) -> None:
        """Answer with an error of the server."""
        error = {"ok": 0.0, "code": code, "codeName": name, "errmsg": name}
        self._faults.append(Fault(command, times, is_executed=False, error=error))

    def close(self) -> None:
        for opened in self._sockets:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets += [client, server]
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while message := _read_message(client):
                fault = self._fault_of(message)
                if fault is None or fault.is_executed:
                    server.sendall(message)
                    answer = _read_message(server)
                elif fault.error:
                    answer = _answer(message, fault.error)
                if fault is not None and not fault.error:
                    return
                client.sendall(answer)

    def _fault_of(self, message: bytes) -> Fault | None:
        command = _command_name(message)
        with self._lock:
            for fault in self._faults:
                if fault.command == command and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


def _read_message(source: socket.socket) -> bytes:
    """A whole message of the wire protocol; empty at the end."""
    head = _read(source, HEADER.size)
    return head + _read(source, HEADER.unpack(head)[0] - HEADER.size) if head else b""


def _read(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = source.recv(size - len(data))
        if not part:
            return b""
        data += part
    return data


def _command_name(message: bytes) -> str:
    """The first key of the body, which the driver puts first."""
    if HEADER.unpack_from(message)[3] != OP_MSG:
        return ""
    start = HEADER.size + 4 + 1
    (length,) = struct.unpack_from("<i", message, start)
    return next(iter(bson.decode(message[start : start + length])))


def _answer(request: bytes, document: dict[str, Any]) -> bytes:
    body = struct.pack("<iB", 0, 0) + bson.encode(document)
    return HEADER.pack(HEADER.size + len(body), 0, HEADER.unpack_from(request)[1], OP_MSG) + body
