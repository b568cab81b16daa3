"""The daemon as a whole: what it survives, and that nothing survives it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from flops.adapters.local_processes.client import DaemonClient, ensure_daemon
from flops.adapters.local_processes.members import Members
from flops.adapters.local_processes.orchestrator import LocalProcessOrchestrator
from flops.adapters.local_processes.process import ProcessSpec, ProcessStatus
from flops.adapters.local_processes.protocol import address_file
from flops.errors import DeploymentRefusedError, OrchestratorUnavailableError
from flops.project.deployment import App, Instance, InstanceState, Resources, Role, ServiceSpec
from flops.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 20.0
APP = App("Ada", "proj1")
MODULE = "flops.adapters.local_processes.daemon"
OFFSPRING = "sleep 61 & (setsid sleep 62 &) ; (env -i setsid sleep 63 &) ; echo up; wait"


def wait_until(condition: Callable[[], object], what: str = "the condition") -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} has not come true"
        time.sleep(0.01)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


class House:
    """One home with its daemon, looked at from outside."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = Settings(home=home)
        self.client = DaemonClient(home)
        self.orchestrator = LocalProcessOrchestrator(
            self.client, self.settings, command=lambda spec: tuple(spec.config["command"])
        )

    def up(self) -> None:
        ensure_daemon(self.settings, os.environ)

    def daemons(self) -> list[psutil.Process]:
        """The guard, then the daemon proper; not what the daemon has forked, and what is about to be a service."""
        found: dict[int, tuple[psutil.Process, int]] = {}
        for process in psutil.process_iter():
            try:
                if process.cmdline()[-2:] == [MODULE, str(self.home)] and is_alive(process):
                    found[process.pid] = process, process.ppid()
            except psutil.Error:
                continue
        forked = {pid for pid, (_, parent) in found.items() if parent in found and found[parent][1] in found}
        return [found[pid][0] for pid in sorted(found.keys() - forked)]

    def kill_daemon(self) -> None:
        # What an earlier daemon has forked, and is about to be a service, ends soon after it.
        wait_until(lambda: len(self.daemons()) == 2, "the guard and one daemon alone")
        _, daemon = self.daemons()
        daemon.kill()
        wait_until(lambda: not is_alive(daemon), "the death of the daemon")

    def living(self) -> list[psutil.Process]:
        return [psutil.Process(entry.pid) for entry in Members(self.home).all()]

    def deploy(self, name: str, *command: str, max_restarts: int = 0, resources: Resources | None = None) -> None:
        self.orchestrator.create_app(APP)
        self.orchestrator.deploy(
            ServiceSpec(
                name, APP, Role.OBSERVER, config={"command": command}, max_restarts=max_restarts,
                resources=resources or Resources(),
            )
        )  # fmt: skip

    def instance(self, name: str) -> Instance:
        services = {service.name: service for service in self.orchestrator.services()}
        return services[name].instances[0]

    def status(self, process_id: str) -> ProcessStatus:
        return next(status for status in self.client.processes() if status.id == process_id)

    def wait_for_state(self, name: str, state: InstanceState) -> Instance:
        wait_until(lambda: self.instance(name).state is state, f"{name} {state}")
        return self.instance(name)

    def wait_for_log(self, name: str, text: str) -> None:
        wait_until(lambda: text in self.orchestrator.logs(name, tail_lines=100), f"{text!r} in the log of {name}")

    def system(self, name: str, script: str) -> ProcessSpec:
        return ProcessSpec(name, ("sh", "-c", script), str(self.home / name), str(self.home / f"{name}.log"))


@pytest.fixture
def house() -> Iterator[House]:
    made = House(Path(tempfile.mkdtemp(prefix="flops-daemon-")))
    made.up()
    yield made
    made.client.shutdown()
    assert made.living() == []
    assert made.daemons() == []
    shutil.rmtree(made.home)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(is_alive(process) for process in processes)


def offspring_of(daemon: psutil.Process) -> list[psutil.Process]:
    return daemon.children(recursive=True)


def test_a_killed_daemon_leaves_nothing_and_starts_everything_again_once(house: House) -> None:
    house.client.ensure(house.system("broker", "exec sleep 64"))
    house.deploy("observ1", "sh", "-c", OFFSPRING, max_restarts=1)
    house.wait_for_log("observ1", "up\n")
    before = offspring_of(house.daemons()[1])
    assert len(before) == 5
    house.kill_daemon()
    house.up()
    wait_until(lambda: gone(before), "the death of the offspring")
    house.wait_for_log("observ1", "up\nup\n")
    assert house.wait_for_state("observ1", InstanceState.RUNNING).restarts == 0
    wait_until(lambda: len(house.living()) == 4, "one copy of each, the hidden stray not counted")
    assert house.status("broker").state is InstanceState.RUNNING
    reasons = [change.instance.reason for change in house.orchestrator.changes(0, 0)]
    assert "the orchestrator was restarted" in reasons


def test_a_killed_daemon_does_not_forget_how_often_a_service_has_crashed(house: House) -> None:
    house.deploy("frail", "sh", "-c", "while [ ! -e crash ]; do sleep 0.02; done; rm crash; exit 3", max_restarts=3)
    crash = house.home / "services" / "frail.0" / "crash"

    def crash_and_await(restarts: int, state: InstanceState) -> None:
        house.wait_for_state("frail", InstanceState.RUNNING)
        crash.touch()
        wait_until(lambda: (house.instance("frail").restarts, house.instance("frail").state) == (restarts, state))

    crash_and_await(1, InstanceState.RUNNING)
    crash_and_await(2, InstanceState.RUNNING)
    house.kill_daemon()
    wait_until(house.client.is_running)
    crash_and_await(3, InstanceState.RUNNING)
    crash_and_await(3, InstanceState.FAILED)


def test_a_daemon_can_be_killed_again_and_again(house: House) -> None:
    house.deploy("observ1", "sleep", "60")
    for _ in range(3):
        house.kill_daemon()
        house.up()
        wait_until(lambda: len(house.living()) == 1, "one instance")


def test_a_killed_guard_stops_everything(house: House) -> None:
    house.client.ensure(house.system("broker", "exec sleep 64"))
    house.deploy("observ1", "sh", "-c", OFFSPRING)
    house.wait_for_log("observ1", "up")
    guard, daemon = house.daemons()
    everything = [daemon, *offspring_of(daemon)]
    guard.kill()
    wait_until(lambda: gone(everything), "the death of everything")


def test_what_outlives_both_is_killed_by_the_next_daemon(house: House) -> None:
    house.deploy("observ1", "sh", "-c", "(setsid sleep 62 &) ; echo up; exec sleep 61")
    house.wait_for_log("observ1", "up")
    before = house.living()
    assert len(before) == 2
    kill_both(house)
    house.up()
    wait_until(lambda: gone(before), "the death of the old instance")
    wait_until(lambda: len(house.living()) == 2, "one new instance")


def test_what_outlives_both_is_killed_by_a_shutdown(house: House) -> None:
    house.deploy("observ1", "sh", "-c", "(setsid sleep 62 &) ; echo up; exec sleep 61")
    house.wait_for_log("observ1", "up")
    kill_both(house)
    house.client.shutdown()
    assert house.living() == []


def kill_both(house: House) -> None:
    both = house.daemons()
    for process in both:
        process.send_signal(signal.SIGSTOP)
    for process in both:
        process.kill()
    wait_until(lambda: gone(both), "the death of guard and daemon")


def test_a_home_has_one_daemon_however_many_start_it(house: House) -> None:
    house.client.shutdown()
    starting = [threading.Thread(target=house.up) for _ in range(4)]
    for thread in starting:
        thread.start()
    for thread in starting:
        thread.join()
    wait_until(lambda: len(house.daemons()) == 2, "the end of those that came too late")


def test_services_wait_for_resume_after_a_shutdown_and_system_processes_are_forgotten(house: House) -> None:
    house.client.ensure(house.system("broker", "exec sleep 64"))
    house.deploy("observ1", "sleep", "60")
    house.wait_for_state("observ1", InstanceState.RUNNING)
    house.deploy("done", "true")
    house.wait_for_state("done", InstanceState.COMPLETED)
    house.client.shutdown()
    house.client.shutdown()
    assert house.daemons() == house.living() == []
    house.up()
    assert [status.id for status in house.client.processes()] == ["observ1.0", "done.0"]
    assert house.instance("observ1").state is InstanceState.SCHEDULED
    house.client.resume()
    house.client.resume()
    house.wait_for_state("observ1", InstanceState.RUNNING)
    assert house.instance("done").state is InstanceState.COMPLETED


def test_a_shutdown_stops_services_first_and_system_processes_in_reverse_order(house: House) -> None:
    def script(name: str) -> str:
        return f"trap 'echo {name} >> {house.home}/order; exit 0' TERM; echo up; while true; do sleep 0.02; done"

    for name in ("broker", "manager"):
        house.client.ensure(house.system(name, script(name)))
    house.deploy("observ1", "sh", "-c", script("service"))
    house.wait_for_log("observ1", "up")
    for name in ("broker", "manager"):
        wait_until((house.home / f"{name}.log").read_text, f"the start of {name}")
    house.client.shutdown()
    assert (house.home / "order").read_text().split() == ["service", "manager", "broker"]


def test_a_system_process_is_always_started_again(house: House) -> None:
    house.client.ensure(house.system("broker", "exit 0"))
    wait_until(lambda: house.status("broker").restarts >= 2, "two restarts")
    assert house.status("broker").reason == "exit code 0"


def test_ensuring_the_same_changes_nothing_and_something_else_restarts(house: House) -> None:
    first = house.client.ensure(house.system("broker", "exec sleep 64"))
    assert first.pid
    assert house.client.ensure(house.system("broker", "exec sleep 64")).pid == first.pid
    second = house.client.ensure(house.system("broker", "exec sleep 65"))
    assert second.pid != first.pid
    assert not psutil.pid_exists(first.pid)
    house.client.stop("broker")
    house.client.stop("broker")
    assert house.client.processes() == house.living() == []


def test_a_system_process_that_cannot_start_says_why(house: House) -> None:
    spec = ProcessSpec("broker", ("/nowhere/mosquitto",), str(house.home), str(house.home / "broker.log"))
    status = house.client.ensure(spec)
    assert status.pid == 0
    wait_until(lambda: "/nowhere/mosquitto" in house.status("broker").reason, "a reason")


def test_a_command_that_cannot_start_fails_with_its_reason(house: House) -> None:
    house.deploy("observ1", "/nowhere/python", max_restarts=3)
    instance = house.wait_for_state("observ1", InstanceState.FAILED)
    assert instance.reason == "it cannot be started: /nowhere/python: No such file or directory"
    assert instance.restarts == 0


def test_a_start_that_cannot_write_fails_with_its_reason(house: House) -> None:
    (house.home / "services").write_text("in the way")
    house.deploy("observ1", "sleep", "60")
    assert "Not a directory" in house.wait_for_state("observ1", InstanceState.FAILED).reason


def test_memory_is_bounded_offspring_included(house: House) -> None:
    hungry = "import time; kept = bytearray(150_000_000); time.sleep(60)"
    command = ("sh", "-c", f'python3 -c "{hungry}" & wait')
    house.deploy("observ1", *command, max_restarts=3, resources=Resources(memory_mb=100))
    instance = house.wait_for_state("observ1", InstanceState.FAILED)
    assert (instance.reason, instance.restarts) == ("used more than 100 MB of memory", 0)
    assert house.living() == []


def test_storage_is_bounded(house: House) -> None:
    command = ("sh", "-c", "head -c 3000000 /dev/zero > big; exec sleep 60")
    house.deploy("observ1", *command, resources=Resources(storage_mb=2))
    assert house.wait_for_state("observ1", InstanceState.FAILED).reason == "used more than 2 MB of storage"


def test_what_stays_within_its_bounds_is_left_alone(house: House) -> None:
    house.deploy("observ1", "sh", "-c", "sleep 1; echo done", resources=Resources(500, 1, 500))
    house.wait_for_state("observ1", InstanceState.COMPLETED)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor cannot be divided")
def test_processors_are_bounded(house: House) -> None:
    house.deploy("observ1", "sleep", "60", resources=Resources(vcpus=0.5))
    house.wait_for_state("observ1", InstanceState.RUNNING)
    (process,) = house.living()
    assert len(process.cpu_affinity()) == 1


def test_a_stray_that_hides_from_its_instance_is_killed(house: House) -> None:
    house.deploy("observ1", "sh", "-c", "(env -i setsid sh -c 'echo stray $$; exec sleep 63' &) ; exec sleep 61")
    house.wait_for_log("observ1", "stray")
    stray = int(house.orchestrator.logs("observ1", tail_lines=1).split()[-1])
    wait_until(lambda: not psutil.pid_exists(stray), "the death of the stray")
    assert house.instance("observ1").state is InstanceState.RUNNING


def test_a_second_service_does_not_touch_the_first_ones_file(house: House) -> None:
    house.deploy("observ1", "sleep", "60")
    house.wait_for_state("observ1", InstanceState.RUNNING)
    path = house.home / "services" / "observ1.0" / "service.json"
    before = path.read_text()
    house.deploy("observ1", "sleep", "61")
    assert path.read_text() == before


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "", "a.0", "x" * 64])
def test_a_name_that_is_no_plain_word_is_refused(house: House, name: str) -> None:
    with pytest.raises(DeploymentRefusedError, match="name"):
        house.deploy(name, "true")


def test_the_directory_of_an_instance_survives_restarts(house: House) -> None:
    house.deploy("observ1", "sh", "-c", "test -e kept && exit 0; touch kept; exit 1", max_restarts=1)
    house.wait_for_state("observ1", InstanceState.COMPLETED)
    house.orchestrator.delete_app(APP)
    assert list((house.home / "services").iterdir()) == []


def test_nobody_else_can_read_anything(house: House) -> None:
    house.deploy("observ1", "sh", "-c", "touch made; echo up; exec sleep 60")
    house.wait_for_log("observ1", "up")
    for path in (house.home, *house.home.rglob("*")):
        assert path.lstat().st_mode & 0o077 == 0, path


def test_only_what_is_passed_through_reaches_a_service(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.client.shutdown()
    monkeypatch.setenv("FLOPS_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("MY_TOKEN", "hidden")
    house.up()
    house.deploy("observ1", "env")
    house.wait_for_state("observ1", InstanceState.COMPLETED)
    lines = house.orchestrator.logs("observ1", tail_lines=100).splitlines()
    assert {f"FLOPS_HOME={house.home}", "FLOPS_LOG_LEVEL=DEBUG", "FLOPS_INSTANCE=observ1.0"} <= set(lines)
    assert not any(line.startswith("MY_TOKEN") for line in lines)


def test_a_home_with_a_long_path_works() -> None:
    top = Path(tempfile.mkdtemp(prefix="flops-daemon-"))
    house = House(top / ("x" * 120))
    house.up()
    house.deploy("observ1", "true")
    house.wait_for_state("observ1", InstanceState.COMPLETED)
    address = Path(address_file(house.home).read_text())
    assert address.exists()
    house.client.shutdown()
    assert not address.parent.exists()
    shutil.rmtree(top)


def test_without_a_daemon_calls_say_so(tmp_path: Path) -> None:
    with pytest.raises(OrchestratorUnavailableError, match="not running"):
        DaemonClient(tmp_path).processes()


def test_a_daemon_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "orchestrator").mkdir()
    (tmp_path / "orchestrator" / "state.db").write_bytes(b"something else " * 100)
    with pytest.raises(OrchestratorUnavailableError, match="not a database"):
        ensure_daemon(Settings(home=tmp_path), os.environ, timeout_s=1.0)


def test_a_call_that_nobody_knows_is_an_error_and_no_crash(house: House) -> None:
    with pytest.raises(OrchestratorUnavailableError, match="does not know"):
        house.client.call("run_as_root")
    with pytest.raises(OrchestratorUnavailableError, match="TypeError"):
        house.client.call("deploy", wrong="argument")
    assert house.client.is_running()
