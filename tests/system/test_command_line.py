"""The command line's contract, and its twin in Python, on an installation that administrators then turn over."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import pytest
from sklearn.datasets import load_digits
from tests.brokers import wait_until
from tests.system.installation import Installation, digits_sla

from flops.cli.results import RESULTS, Error, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("command-line")]

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "use-from-python.md"
QUICK: Final = {"training": {"training_rounds": 1}, "post_training_steps": []}
READING: Final[dict[str, tuple[str, ...]]] = {
    "up": (),
    "mock-data": ("digits_multi",),
    "doctor": (),
    "project list": (),
    "project show": ("@latest",),
    "project inbox": ("@latest",),
    "project report": ("@latest", "--format", "html"),
    "data put": ("own", "rows.npz"),
    "data list": (),
    "predict": ("digits_sklearn@latest", "rows.npz"),
    "tracking": (),
    "apps": (),
    "services": (),
    "logs": ("trmodel",),
    "dead-letters list": (),
    "dead-letters show": ("1",),
    "dead-letters drop": ("--all",),
    "completion": ("fish",),
    "config show": (),
    "config contexts": (),
    "broker": (),
    "sla list": (),
    "sla new": ("--yes",),
    "sla show": ("digits_multi",),
    "sla validate": ("quick.json",),
    "sla schema": (),
    "examples": (),
    "demo": (),
}
ADMINISTRATION: Final = ("reset-database", "clear-registry", "restart-management")
STEERING: Final = ("p", "project start", "project cancel", "project retry", "project delete")
ELSEWHERE: Final = {"down": "in the fixture's end", "tui": "test_web.py"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are called, with the files that they are given."""
    import numpy as np  # noqa: PLC0415  slow to load

    made = tmp_path_factory.mktemp("folder")
    (made / "quick.json").write_text(json.dumps(digits_sla(**QUICK)))
    digits = load_digits()
    np.savez(made / "rows.npz", x=(digits.images[:5].reshape(5, 64) / 16).astype("float32"), y=digits.target[:5])
    return made


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Installation]:
    """An installation of this module's own, down in the end."""
    made = Installation(tmp_path_factory.mktemp("flops") / "home", {"XDG_CONFIG_HOME": str(folder)})
    try:
        made.ok("up")
        yield made
    finally:
        matches("down", made.ok("down"))
        assert made.processes() == []


@pytest.fixture(scope="module")
def said(house: Installation, folder: Path) -> list[str]:
    """What the examples of the page on Python print, which start a project and wait for its model."""
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=house.environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, by which nothing may be printed that is not on its command's page."""
    kinds = {name: strict(kind) for name, kind in schema.get("$defs", {}).items()}
    return {**schema, "$defs": kinds, **({"additionalProperties": False} if "properties" in schema else {})}


def matches(command: str, printed: object) -> None:
    jsonschema.validate(printed, strict(schema_of(command)), cls=jsonschema.Draft202012Validator)


def run(house: Installation, folder: Path, command: str, *arguments: str) -> Any:  # noqa: ANN401  any JSON
    files = {name: str(folder / name) for name in ("rows.npz", "quick.json")}
    given = (files.get(argument, argument) for argument in arguments)
    done = house.flops(*command.split(), *given, "--json")
    assert done.exit_code == 0, f"{command} {arguments}\n{done.stdout}\n{done.stderr}"
    assert "\x1b" not in done.stdout + done.stderr
    return done.lines if command == "project inbox" else done.result


def test_the_examples_of_the_page_on_python_do_what_they_say(said: list[str]) -> None:
    assert said[0] == "1797 digits"
    assert any(re.fullmatch(r"success Round 1/5: accuracy 9.+", line) for line in said)
    assert any(re.fullmatch(r"completed 0\.9\d+", line) for line in said)
    assert any(re.fullmatch(r"runs:/\w+/model 0\.9\d+", line) for line in said)
    assert re.fullmatch(r"\['[0-9a-f]{24}'\] \{'local': \{'digits': 1797\}\}", said[-1])


def test_every_command_is_held_against_its_schema_somewhere() -> None:
    assert {*READING, *STEERING, *ADMINISTRATION, *ELSEWHERE} == set(RESULTS)


@pytest.mark.parametrize("command", READING)
def test_what_a_command_prints_is_what_its_page_says(
    house: Installation, folder: Path, said: list[str], command: str
) -> None:
    assert said
    if command == "dead-letters list":
        send_nonsense(house)
    printed = run(house, folder, command, *READING[command])
    assert printed or command == "config contexts"
    for item in printed if command == "project inbox" else [printed]:
        matches(command, item)
    if isinstance(printed, list) and command != "project inbox":
        lines = house.flops(*command.split(), "--jsonl").lines
        matches(command, lines)
        assert len(lines) == len(printed)


def test_a_project_is_steered(house: Installation, folder: Path) -> None:
    for command, option in (("project start", ""), ("p", "--project-sla-file-name")):
        started = run(house, folder, command, *filter(None, (option, "quick.json")))
        matches(command, started)
        name = started["project_id"][:12]
        matches("project cancel", run(house, folder, "project cancel", name))
        followed = house.flops("project", "inbox", name, "-f", "--json")
        assert (followed.exit_code, followed.lines[-1]["event_type"]) == (4, "project.cancelled")
        seen = str(followed.lines[-1]["sequence"])
        assert house.flops("project", "inbox", name, "-f", "--after", seen).exit_code == 4
        matches("project retry", run(house, folder, "project retry", name))
        matches("project delete", run(house, folder, "project delete", name, "--cancel"))
        assert house.flops("project", "show", name, "--json").exit_code == 7


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ("project", "list", "nonsense")),
        (2, ("--set", "local_nodes=:", "project", "list")),
        (3, ("sla", "validate", __file__)),
        (5, ("--set", "broker_url=mqtt://127.0.0.1:9", "project", "list")),
        (6, ("--set", "broker_url={broker}", "project", "list")),
        (7, ("project", "show", "none@latest")),
    ],
)
def test_an_error_has_the_code_of_its_class_and_one_shape(
    house: Installation, code: int, arguments: tuple[str, ...]
) -> None:
    url = house.ok("broker")["url"]
    done = house.flops(*(argument.replace("{broker}", url) for argument in arguments), "--json")
    assert (done.exit_code, done.stdout) == (code, "")
    Error.model_validate(done.error)


@pytest.mark.parametrize("command", ADMINISTRATION)
def test_after_what_administrators_do_a_new_project_completes(
    house: Installation, folder: Path, said: list[str], command: str
) -> None:
    assert said
    matches(command, run(house, folder, command, "--yes"))
    if command == "reset-database":
        assert house.ok("project", "list") == []
        assert [service for service in house.ok("services") if service["project_id"]] == []
    outcome = house.run_project(digits_sla(**QUICK), folder)
    assert outcome.exit_code == 0, outcome.last


def test_a_damaged_store_is_put_aside(house: Installation, folder: Path) -> None:
    store = house.home / "store" / "flops.db"
    house.ok("down")
    content = bytearray(store.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    store.write_bytes(content)
    house.ok("up")
    findings = {item["subject"]: item for item in house.flops("doctor", "--json").result if item["level"] == "fault"}
    assert "reset-database" in findings["store"]["remedy"]

    reset = run(house, folder, "reset-database", "--yes")

    matches("reset-database", reset)
    assert Path(reset["put_aside"]).stat().st_size == len(content)
    started = run(house, folder, "project start", "quick.json")["project_id"]
    assert [item["project_id"] for item in house.ok("project", "list")] == [started]
    wait_until(lambda: {item["project_id"] for item in house.ok("services")} <= {"", started}, 30)
    house.ok("project", "delete", started, "--cancel")


def send_nonsense(house: Installation) -> None:
    """Publish something that nobody understands, and wait until the manager has put it away."""
    script = (
        "import sys; from flops.bootstrap import adapters; s = adapters.read_settings();"
        "b = adapters.connect(s, 'nonsense', persistent=False);"
        "b.publish(adapters.topics(s).project_events('0' * 24), b'{'); b.close()"
    )
    subprocess.run([sys.executable, "-c", script], env=house.environment, check=True, timeout=60)

    wait_until(lambda: bool(house.ok("dead-letters", "list")))
