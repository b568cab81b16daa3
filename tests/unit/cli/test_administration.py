"""What administrators do: said before, asked for, and nothing more than was said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.doubles.answers import ID, OTHER_ID, status
from tests.servers.registry import put_image
from tests.servers.registry import registry as oci_registry

from flops.adapters.images.oci import OciRegistry
from flops.bootstrap import adapters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.doubles.answers import Manager, Outcome

MODEL = f"local/r__0123456789ab/trained-model:{ID}"
ACTOR = f"local/r__0123456789ab/learner:{'c' * 40}"


class Images:
    """A registry that only knows names."""

    def __init__(self) -> None:
        self.names = [ACTOR, MODEL]

    def images(self) -> list[str]:
        return list(self.names)

    def delete(self, image: str) -> None:
        self.names.remove(image)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Images:
    made = Images()
    monkeypatch.setattr(adapters, "registry", lambda _: made)
    return made


def test_a_reset_cancels_what_runs_and_forgets_everything(flops: Callable[..., Outcome], manager: Manager) -> None:
    manager.replies |= {"cancel": {"phase": "stopping"}, "delete": {}, "dead-letters-drop": {"dropped": 3}}
    manager.replies["projects"] = {"projects": [status(phase="training"), status(project_id=OTHER_ID)]}
    manager.replies["project"] = {"status": status(phase="cancelled")}

    done = flops("reset-database", "--yes", "--json")

    assert json.loads(done.stdout) == {"deleted": [ID, OTHER_ID], "dropped_dead_letters": 3, "put_aside": ""}
    assert [name for name, _ in manager.heard] == [
        "projects", "cancel", "project", "delete", "delete", "dead-letters-drop",
    ]  # fmt: skip
    assert ID in done.stderr


@pytest.mark.parametrize("command", ["reset-database", "clear-registry"])
def test_without_a_yes_nothing_goes(
    flops: Callable[..., Outcome], manager: Manager, registry: Images, command: str
) -> None:
    manager.replies["services"] = {"services": []}
    done = flops(command)
    assert (done.exit_code, "--yes" in done.stderr) == (2, True)
    assert {name for name, _ in manager.heard} <= {"projects", "services"}
    assert len(registry.names) == 2


def test_images_of_served_models_stay(flops: Callable[..., Outcome], manager: Manager, registry: Images) -> None:
    manager.replies["services"] = {"services": [{"role": "inference", "project_id": ID}]}
    done = flops("clear-registry", "--yes", "--json")
    assert json.loads(done.stdout) == {"deleted": [ACTOR], "kept": [MODEL]}
    assert registry.names == [MODEL]


def test_a_registry_elsewhere_is_cleared_as_well(
    flops: Callable[..., Outcome], manager: Manager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manager.replies["services"] = {"services": [{"role": "inference", "project_id": ID}]}
    with oci_registry(tmp_path) as process:
        for image in (MODEL, ACTOR, "flops/learner:0.1.0"):
            put_image(process.access, image)
        (tmp_path / "password").write_text(process.access.password)
        monkeypatch.setenv("FLOPS_REGISTRY_URL", process.access.url)
        monkeypatch.setenv("FLOPS_REGISTRY_USERNAME", process.access.username)
        monkeypatch.setenv("FLOPS_REGISTRY_PASSWORD_FILE", str(tmp_path / "password"))
        done = flops("clear-registry", "--yes", "--json")
        assert json.loads(done.stdout) == {"deleted": [ACTOR], "kept": [MODEL]}
        assert OciRegistry(process.access).images() == [MODEL]


def test_no_image_goes_while_a_project_is_under_way(
    flops: Callable[..., Outcome], manager: Manager, registry: Images
) -> None:
    manager.replies["projects"] = {"projects": [status(phase="building")]}
    done = flops("clear-registry", "--yes", "--json")
    assert (done.exit_code, done.error["code"], len(registry.names)) == (1, "project.not-ended", 2)


def test_a_management_that_is_not_up_is_not_restarted(flops: Callable[..., Outcome]) -> None:
    assert flops("restart-management", "--yes").exit_code == 5
