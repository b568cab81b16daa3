"""The daemon of one home, as ``python -m flops.adapters.local_processes.daemon HOME``; returns once it is detached.

Two processes: the guard, which does nothing but wait, and the daemon proper below it. Should the daemon be killed, its
orphans become the guard's children; the guard kills them all and starts a new daemon, which starts everything again.
Should the guard be killed, the daemon stops everything in order and ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flops.adapters.local_processes import kernel, log_file, protocol
from flops.adapters.local_processes.environment import HOME_MARKER, passed_through
from flops.adapters.local_processes.installation import Installation
from flops.adapters.local_processes.lock import acquire_lock
from flops.adapters.local_processes.members import Members, find_offspring
from flops.adapters.local_processes.process import Backoff
from flops.adapters.local_processes.process_table import kill
from flops.adapters.local_processes.state import StateFile
from flops.adapters.local_processes.supervisor import log_failure
from flops.adapters.local_processes.watch import watch
from flops.atomic_file import write_atomically
from flops.errors import FlopsError, OrchestratorUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

_CALLS: Final = frozenset(
    {
        "ensure", "stop", "processes", "resume",
        "create_app", "delete_app", "deploy", "undeploy", "restart", "forget", "apps", "services", "log_of", "changes",
    }
)  # fmt: skip


def main(home: Path) -> int:
    """Become the daemon of ``home`` unless there is one; the process that was called returns at once."""
    if os.fork():
        return 0
    os.setsid()
    os.umask(0o077)
    if acquire_lock(home) is None:
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    log_file.rotate(protocol.daemon_log(home))
    kernel.adopt_orphans()
    return _guard(home)


def _guard(home: Path) -> int:
    backoff = Backoff(longest_s=1.0)
    while True:
        started = time.monotonic()
        guard = os.getpid()
        daemon = os.fork()
        if daemon == 0:
            kernel.die_with_parent(guard, signal.SIGTERM)
            os._exit(_serve(home))
        signal.signal(signal.SIGTERM, lambda *_, pid=daemon: os.kill(pid, signal.SIGTERM))
        exit_code = _wait_for(daemon)
        _kill_offspring()
        if exit_code >= 0 or exit_code == -signal.SIGTERM:
            return exit_code
        _log.error("the daemon was killed by signal %d and is started again", -exit_code)
        time.sleep(backoff.after(time.monotonic() - started))


def _wait_for(daemon: int) -> int:
    """The exit code of the daemon, reaping whatever else ends meanwhile."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == daemon:
            return os.waitstatus_to_exitcode(status)


def _kill_offspring() -> None:
    while offspring := find_offspring():
        kill(offspring)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _serve(home: Path) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    kernel.adopt_orphans()  # not inherited from the guard
    try:
        asyncio.run(Daemon(home, os.environ).run())
    except (FlopsError, OSError) as error:
        _log.error("the daemon cannot go on: %s", error)
        return 1
    except Exception:  # noqa: BLE001  a process boundary
        _log.exception("the daemon met an error that it did not expect")
        return 1
    return 0


class Daemon:
    """Serves calls until it is told to stop."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        self._environment = {**passed_through(environment), HOME_MARKER: str(home)}
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Clean up after an earlier daemon, start what should run, serve, and stop everything in the end."""
        await _kill_everything(self._home)
        state = StateFile(self._home / "orchestrator" / "state.db")
        installation = Installation(self._home, state, self._environment)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, installation.supervisor.reap)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stopping.set)
        installation.start_remembered()
        watching = asyncio.create_task(watch(installation.supervisor, state, self._home), name="watch")
        watching.add_done_callback(log_failure)
        try:
            await self._listen(installation)
        finally:
            watching.cancel()
            await installation.stop_everything()
            await _kill_everything(self._home)
            state.close()

    async def _listen(self, installation: Installation) -> None:
        path, address = protocol.socket_path(self._home), protocol.address_file(self._home)
        path.unlink(missing_ok=True)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._answer(installation, reader, writer)

        server = await asyncio.start_unix_server(answer, path, limit=protocol.MAX_LINE_BYTES)
        try:
            if not address.exists() or address.read_text() != str(path):
                write_atomically(address, str(path), durably=False)
            await self._stopping.wait()
        finally:
            path.unlink(missing_ok=True)
            if path.parent != address.parent:
                path.parent.rmdir()
            server.close()

    async def _answer(
        self, installation: Installation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError):
            line = await reader.readline()
            if line:
                writer.write(protocol.encode(await self._call(installation, line)))
                await writer.drain()
            writer.close()

    async def _call(self, installation: Installation, line: bytes) -> dict[str, Any]:
        try:
            request = protocol.decode(line)
            return {"result": await self._perform(installation, request["call"], request["arguments"])}
        except FlopsError as error:
            return {"error": protocol.encode_error(error)}
        except Exception as error:  # noqa: BLE001  a process boundary
            _log.exception("a call failed unexpectedly")
            reason = f"{type(error).__name__}: {error}"
            return {"error": protocol.encode_error(OrchestratorUnavailableError(protocol.ORCHESTRATOR, reason))}

    async def _perform(self, installation: Installation, name: str, arguments: dict[str, Any]) -> object:
        if name == "shutdown":
            self._stopping.set()
            return None
        if name not in _CALLS:
            raise OrchestratorUnavailableError(protocol.ORCHESTRATOR, f"it does not know the call {name!r}")
        return await getattr(installation, name)(**arguments)


async def _kill_everything(home: Path) -> None:
    """Kill what runs for this home, by whichever daemon it was started."""
    members = Members(home)
    while left := [*members.all(), *find_offspring()]:
        _log.warning("killing what is left: %s", ", ".join(str(process.pid) for process in left))
        kill(left)
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
