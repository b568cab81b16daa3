"""A real Docker Engine for tests, in namespaces of its own: when they end, no container, network or mount is left.

``FLOPS_TEST_DOCKER_URL`` names an engine that runs already; tests that stop one are skipped then.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import docker
import psutil
import pytest
from docker.errors import DockerException
from tests.brokers import wait_until

from flops.adapters.docker_engine.container import USER_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_S: Final = 30.0
STOP_S: Final = 30.0
IMAGE: Final = "flops-test/busybox:1"
CGROUPS: Final = Path("/sys/fs/cgroup")
PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/bin"])
# They end with whoever holds them, and the holder with the test run, even if that is killed.
NAMESPACES: Final = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"),
)
WAY_OUT: Final = "slirp4netns"
NEEDED: Final = (
    "dockerd",
    "docker-init",
    "containerd",
    "runc",
    "iptables",
    "ip",
    "setpriv",
    "unshare",
    "nsenter",
    "busybox",
)


class GivenEngine:
    """An engine that somebody else looks after."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def client(self) -> Iterator[Any]:
        """The SDK's client, for looking at the engine and disturbing it."""
        client = docker.APIClient(base_url=self.url, version="auto", timeout=60)
        try:
            yield client
        finally:
            client.close()


class EngineProcess(GivenEngine):
    """An engine of this test run's own. Its containers live no longer than the process that holds its namespaces."""

    namespaces: tuple[str, ...] = NAMESPACES

    def __init__(self, *, online: bool = False, **environment: str) -> None:
        self._is_online = online
        self._way_out: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, "PATH": PATH, **environment}
        self.directory = Path(tempfile.mkdtemp(prefix="flops-engine-"))  # short: a socket's path has at most 107 bytes
        super().__init__(f"unix://{self.directory}/docker.sock")
        self._dockerd: subprocess.Popen[bytes] | None = None
        self.hold()

    def hold(self) -> None:
        """Make the namespaces."""
        self._holder = subprocess.Popen([*self.namespaces, _found("docker-init"), "-s", "--", "sleep", "infinity"])
        wait_until(lambda: bool(psutil.Process(self._holder.pid).children()), READY_S)
        self.output_of(["ip", "link", "set", "lo", "up"])
        if self._is_online:
            slirp = [*NAMESPACES[:3], WAY_OUT, "--configure", "--mtu=65520", "--disable-host-loopback"]
            self._way_out = subprocess.Popen([*slirp, str(self.target), "tap0"], stdout=subprocess.DEVNULL)

    @property
    def target(self) -> int:
        """A process in the engine's namespaces."""
        return psutil.Process(self._holder.pid).children()[0].pid

    @property
    def command(self) -> list[str]:
        return [
            _found("dockerd"),
            *("--data-root", f"{self.directory}/data", "--exec-root", f"{self.directory}/run"),
            *("--host", self.url, "--pidfile", f"{self.directory}/docker.pid"),
            *("--bridge", "none", "--shutdown-timeout", "5", "--cgroup-parent", self.directory.name),
        ]

    def start(self) -> None:
        (self.directory / "docker.pid").unlink(missing_ok=True)
        with (self.directory / "dockerd.log").open("ab") as log:
            self._dockerd = self.enter(self.command, log)
        wait_until(self._answers, READY_S)

    def enter(self, command: list[str], output: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401  a file of any kind
        """Start a program in the engine's namespaces: what listens there can be reached from containers."""
        namespaces = [_found("nsenter"), "--target", str(self.target), "--net", "--mount", "--pid", "--uts"]
        return subprocess.Popen([*namespaces, *command], stdout=output, stderr=output, env=self._environment)

    def output_of(self, command: list[str]) -> bytes:
        """What a program writes that ends by itself, in the engine's namespaces."""
        with tempfile.TemporaryFile() as output:
            self.enter(command, output).wait(STOP_S)
            output.seek(0)
            return output.read()

    def stop(self) -> None:
        """Let the engine end as the system's shutdown would."""
        self._end("terminate")

    def kill(self) -> None:
        """Kill the engine; its containers run on."""
        self._end("kill")

    def close(self) -> None:
        """End everything and leave nothing behind."""
        with suppress(psutil.Error):
            self.kill()  # its mounts, networks and processes go with the namespaces
        for process in filter(None, (self._holder, self._way_out)):
            process.kill()
            process.wait(STOP_S)
        shutil.rmtree(self.directory, ignore_errors=True)
        for group in (*CGROUPS.glob(f"*/{self.directory.name}"), *CGROUPS.glob(self.directory.name)):
            for place, _, _ in os.walk(group, topdown=False):
                with suppress(OSError):
                    Path(place).rmdir()

    def _end(self, how: str) -> None:
        if self._dockerd is not None:
            for process in psutil.Process(self._dockerd.pid).children():
                getattr(process, how)()
            self._dockerd.wait(STOP_S)
            self._dockerd = None

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as knocking:
                knocking.connect(self.url.removeprefix("unix://"))
            with self.client() as client:
                return bool(client.ping())
        except (OSError, DockerException):
            if self._dockerd is not None and self._dockerd.poll() is not None:
                pytest.fail(f"dockerd did not start: {(self.directory / 'dockerd.log').read_text()[-2000:]}")
            return False


@contextmanager
def docker_engine() -> Iterator[GivenEngine]:
    """An engine with the image ``IMAGE``: the one that was given, or one of our own."""
    if url := os.environ.get("FLOPS_TEST_DOCKER_URL"):
        engine = GivenEngine(url)
        import_busybox(engine)
        yield engine
    else:
        with own_docker_engine() as own:
            yield own


@contextmanager
def own_docker_engine(*, online: bool = False) -> Iterator[EngineProcess]:
    """An engine that a test may stop; where there can be none, skips, or fails where CI should have seen to it.

    The containers of one that is ``online`` reach what this machine reaches.
    """
    if reason := what_is_not_installed(*((WAY_OUT,) if online else ())):
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    if reason := what_is_not_permitted():
        pytest.skip(reason)
    engine = EngineProcess(online=online)
    try:
        engine.start()
        import_busybox(engine)
        yield engine
    finally:
        engine.close()


def what_is_not_installed(*programs: str) -> str:
    """Why no engine can be started here; empty if one can."""
    missing = [program for program in (*NEEDED, *programs) if shutil.which(program, path=PATH) is None]
    return (
        f"a Docker Engine needs {', '.join(missing)} (Debian: docker.io, busybox-static, iproute2, slirp4netns)"
        if missing
        else ""
    )


def what_is_not_permitted() -> str:
    """Why an engine would be of no use here; empty if it would: nothing that CI could have installed changes that."""
    tried = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return f"a Docker Engine may not be started here: {tried.stderr.strip()}" if tried.returncode else ""


def import_busybox(engine: GivenEngine) -> None:
    """Make a tiny image of the machine's static busybox: nothing has to be pulled."""
    busybox = _found("busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        home = tarfile.TarInfo("flops")
        home.type, home.mode, home.uid, home.gid = tarfile.DIRTYPE, 0o755, USER_ID, USER_ID
        tar.addfile(home)
        for applet in applets:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            if applet != "busybox":
                tar.addfile(link)
    name, _, tag = IMAGE.rpartition(":")
    with engine.client() as client:
        client.import_image_from_data(output.getvalue(), repository=name, tag=tag)


def _found(program: str) -> str:
    return shutil.which(program, path=PATH) or program
