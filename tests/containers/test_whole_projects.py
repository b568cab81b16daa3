"""Whole projects in containers, from 'docker compose up' to predictions, and what is left when something dies."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tests.brokers import wait_until
from tests.servers.base_image import BASE
from tests.servers.composed import REGISTRY, ROLES, Composed, composed, size_of
from tests.system.installation import Outcome, digits_sla

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

PROJECT_S: Final = 240.0
ROUNDS: Final = 120  # long enough for two deaths in between
GOOD: Final = 0.9
MB: Final = 1_000_000
BUDGET: Final = 1.1
SIZES: Final = Path(__file__).parents[2] / "docs" / "how-to" / "run-in-containers.md"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with composed(tmp_path_factory.mktemp("compose")) as made:
        made.user.ok("mock-data", "digits_multi")
        yield made


class Project:
    """A project that is under way, as its user sees it."""

    def __init__(self, house: Composed, directory: Path, **changes: Any) -> None:  # noqa: ANN401  any key of an SLA
        self._user = house.user
        sla = directory / "sla.json"
        sla.write_text(json.dumps(digits_sla(**changes)))
        self.id = str(self._user.ok("project", "start", str(sla))["project_id"])

    def inbox(self) -> Outcome:
        """All entries so far; none while nobody answers."""
        read = self._user.flops("project", "inbox", self.id, "--json")
        return Outcome(self.id, read.exit_code, read.lines if read.exit_code == 0 else [])

    def await_entry(self, event_type: str, *, more_than: int = 0) -> Outcome:
        self._until(lambda: len(self.inbox().of_type(event_type)) > more_than, event_type)
        return self.inbox()

    def await_completion(self) -> Outcome:
        def has_ended() -> bool:
            return any(self.inbox().of_type(f"project.{end}") for end in ("completed", "failed", "cancelled"))

        self._until(has_ended, "an end")
        inbox = self.inbox()
        assert inbox.of_type("project.completed"), inbox.entries[-5:]
        return inbox

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, PROJECT_S, lambda: f"{what} in {[entry['text'] for entry in self.inbox().entries[-8:]]}")


def predicts_digits(house: Composed, project: Project, directory: Path) -> bool:
    digits = load_digits()
    rows = directory / "rows.json"
    rows.write_text(json.dumps(digits.data[:100].tolist()))
    predictions = house.user.ok("predict", project.id, str(rows))["predictions"]
    return bool(np.mean(np.array(predictions) == digits.target[:100]) > GOOD)


def test_the_base_case_while_the_registry_is_away_for_a_moment(house: Composed, tmp_path: Path) -> None:
    first = Project(house, tmp_path)
    first.await_entry("build.started")
    house.compose("stop", "registry")
    first.await_entry("service.warned")
    house.compose("start", "registry")
    inbox = first.await_completion()
    assert len(inbox.of_type("round.finished")) == 5
    assert predicts_digits(house, first, tmp_path)


def test_what_dies_in_the_middle_of_training_comes_back(house: Composed, tmp_path: Path) -> None:
    project = Project(house, tmp_path, training={"training_rounds": ROUNDS})
    project.await_entry("round.finished")
    with house.engine.client() as api:
        api.kill(house.container_of(f"flearner{project.id[:12]}"))
    project.await_entry("learner.joined", more_than=2)
    house.engine.kill()
    house.engine.start()
    inbox = project.await_completion()
    rounds = [entry["data"]["round"] for entry in inbox.of_type("round.finished")]
    assert rounds == list(range(1, ROUNDS + 1))
    assert predicts_digits(house, project, tmp_path)


def test_down_and_up_lose_nothing_and_deleting_leaves_nothing(house: Composed, tmp_path: Path) -> None:
    project = Project(house, tmp_path)
    inbox = project.await_completion()
    assert inbox.of_type("images.found")
    house.compose("stop")
    house.compose("rm", "--force")
    house.up()
    wait_until(lambda: project.inbox().entries == inbox.entries, PROJECT_S)
    wait_until(lambda: house.user.ok("data", "list") == {"local": {"digits": 1797}}, PROJECT_S)
    assert predicts_digits(house, project, tmp_path)

    assert house.of_project(project.id)
    house.user.ok("project", "delete", project.id)
    assert house.of_project(project.id) == []


def test_images_are_within_their_budget(house: Composed) -> None:
    """The table in the documentation says how much each one adds to its base."""
    rows = re.findall(r"^\| `([a-z-]+)` \| ([\d,]+) MB ", SIZES.read_text("utf-8"), re.MULTILINE)
    budgets = {role: float(size.replace(",", "")) * BUDGET for role, size in rows}
    base = size_of(house.engine, BASE)
    sizes = {role: (size_of(house.engine, f"flops/{role}:{version('flops-fl')}") - base) / MB for role in ROLES}
    assert set(budgets) == set(ROLES)
    assert {role: size for role, size in sizes.items() if size > budgets[role]} == {}


def test_containers_from_flops_up(house: Composed, tmp_path: Path) -> None:
    here = house.installation(
        "here",
        FLOPS_BROKER_USERNAME="flops",
        FLOPS_TOPIC_PREFIX="here",
        FLOPS_ORCHESTRATOR="docker",
        FLOPS_DOCKER_URL=house.engine.url,
        FLOPS_DOCKER_IMAGES=f"{REGISTRY}/flops",
        FLOPS_DOCKER_NETWORK="flops-services",  # in which the broker can be reached
        FLOPS_LOCAL_NODES="one,two",
    )
    table = tmp_path / "table.csv"
    table.write_text("x,label\n" + "1,0\n" * 50)
    here.ok("up")
    try:
        here.ok("data", "put", "mine", str(table), "--node", "two")
        here.ok("mock-data", "digits_multi")
        assert here.ok("data", "list") == {"one": {"digits": 899}, "two": {"digits": 898, "mine": 50}}
        here.ok("down")
        here.ok("up")
        assert here.ok("data", "list") == {"one": {"digits": 899}, "two": {"digits": 898, "mine": 50}}
    finally:
        here.ok("down")
    assert here.processes() == []
