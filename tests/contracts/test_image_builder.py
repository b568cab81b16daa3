"""What every ImageBuilder promises, with real Git repositories, a real uv, real packages and a real registry."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import pytest
from tests.ml_repositories import TINY, commit_files, make_repository
from tests.servers.base_image import BASE_IMAGES, own_python, push_bases
from tests.servers.registry import registry, unpack

from flops.adapters.git import GitRepositories
from flops.adapters.images.local import LocalImageBuilder, LocalImageRegistry, LocalImageStore
from flops.adapters.images.oci import OciImageBuilder, OciPlan, OciRegistry
from flops.adapters.images.runnable import LocalImage, image_around
from flops.errors import BuildFailedError, StoppingError
from flops.ports import ActorImages, BuildStep
from flops.project.images import AGGREGATOR, LEARNER, actor_image, trained_model_image
from flops.registry_access import RegistryAccess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flops.ports import BuiltImage, ImageBuilder, Registry

STEPS = ["clone", "check", "resolve", "install learner environment", "install aggregator environment", "store"]
MISSING = "local/missing/learner:0"


@dataclass
class Workshop:
    """A place with a builder and a registry, and what the builder has said."""

    home: Path
    reports: list[BuildStep] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    environment: dict[str, str] | None = None

    steps_of_all: ClassVar = [*STEPS]

    @property
    def builder(self) -> ImageBuilder:
        repositories = GitRepositories(stopping=self.stopping)
        return LocalImageBuilder(self.home, repositories, environment=self.environment, stopping=self.stopping)

    @property
    def registry(self) -> Registry:
        return LocalImageRegistry(self.home)

    def locate(self, image: str) -> LocalImage:
        """The image as whoever runs it finds it."""
        return LocalImageStore(self.home).locate(image)

    def half_made(self) -> list[Path]:
        """What builds have left that is of no use."""
        return [*self.home.glob("images/*/*/.building/*"), *self._unfinished()]

    def build(self, order: ActorImages) -> list[BuiltImage]:
        self.reports.clear()
        self.warnings.clear()
        return self.builder.build_actors(
            order, self.reports.append, lambda message, remedy: self.warnings.append((message, remedy))
        )

    def steps(self) -> list[str]:
        return [str(step.name) for step in self.reports if step.duration_s is not None]

    def _unfinished(self) -> list[Path]:
        return [path for path in self.home.glob("envs/[!.]*") if not (path / ".flops-complete").exists()]


@dataclass
class OciWorkshop(Workshop):
    """A real registry with a base image; images are unpacked to be looked at, and run by this machine's Python."""

    access: RegistryAccess = field(default_factory=lambda: RegistryAccess(""))

    steps_of_all: ClassVar = [*STEPS, "push"]

    @property
    def builder(self) -> ImageBuilder:
        repositories, plan = GitRepositories(stopping=self.stopping), OciPlan(self.access, BASE_IMAGES, self.home)
        return OciImageBuilder(plan, repositories, environment=self.environment, stopping=self.stopping)

    @property
    def registry(self) -> Registry:
        return OciRegistry(self.access)

    def locate(self, image: str) -> LocalImage:
        root = self.home / "unpacked" / image.replace("/", "-")
        if not root.exists():
            unpack(self.access, image, root)
        found = image_around(image, root)
        assert found is not None
        return found

    def half_made(self) -> list[Path]:
        return [*self.home.glob("building/[!.]*"), *self._unfinished()]


def order_for(url: str, commit: str, flavor: str = "") -> ActorImages:
    images = {actor: actor_image(url, actor, commit) for actor in (LEARNER, AGGREGATOR)}
    return ActorImages(url, commit, flavor, images)


@pytest.fixture(scope="module", params=["local", pytest.param("oci", marks=pytest.mark.containers)])
def workshop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    home = tmp_path_factory.mktemp("home")
    if request.param == "local":
        yield Workshop(home)
        return
    with registry(tmp_path_factory.mktemp("registry")) as process:
        push_bases(process.access, tmp_path_factory.mktemp("bases"), python=own_python())
        yield OciWorkshop(home, access=process.access)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, workshop: Workshop) -> Path:  # noqa: ARG001  one for each
    directory = tmp_path_factory.mktemp("repositories") / "tiny"
    make_repository(directory, TINY)
    return directory


@pytest.fixture(scope="module")
def built(workshop: Workshop, repository: Path) -> ActorImages:
    """Actors' images of the tiny repository."""
    order = order_for(str(repository), GitRepositories().resolve(str(repository)))
    workshop.build(order)
    return order


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    (directory / "data").mkdir(parents=True)
    (directory / "MLmodel").write_text("flavors: {}\n")
    (directory / "data" / "weights").write_bytes(b"1234")
    return directory


def code_in(image: str, workshop: Workshop, program: str) -> str:
    located = workshop.locate(image)
    finished = subprocess.run(
        [located.python, "-c", program], cwd=located.code, check=True, capture_output=True, text=True
    )
    return finished.stdout.strip()


# --- images that are there --------------------------------------------------------------------------------------------


def test_a_build_reports_every_step_and_leaves_its_images(workshop: Workshop, repository: Path) -> None:
    commit = commit_files(repository, {"note": "for this test"})
    order = order_for(str(repository), commit)
    images = workshop.build(order)
    assert [image.image for image in images] == [order.images[LEARNER], order.images[AGGREGATOR]]
    assert all(image.size_bytes > 0 and image.duration_s > 0 for image in images)
    assert all(workshop.registry.exists(image.image) for image in images)
    assert workshop.steps() == workshop.steps_of_all == [*workshop.builder.actor_steps]
    assert [str(step.name) for step in workshop.reports if step.duration_s is None] == workshop.steps_of_all
    assert workshop.warnings == []


def test_what_is_there_is_not_built_again(workshop: Workshop, built: ActorImages) -> None:
    assert len(workshop.build(built)) == len(built.images)
    assert workshop.steps() == []


def test_a_change_of_code_alone_reuses_the_environments(
    workshop: Workshop, repository: Path, built: ActorImages
) -> None:
    order = order_for(str(repository), commit_files(repository, {"another.py": "x = 1\n"}))
    workshop.build(order)
    details = [step.detail for step in workshop.reports if step.duration_s is not None and "install" in step.name]
    assert details == ["reused", "reused"]
    for actor in (LEARNER, AGGREGATOR):
        assert (workshop.locate(order.images[actor]).code / "another.py").exists()
        assert not (workshop.locate(built.images[actor]).code / "another.py").exists()


def test_both_environments_have_exactly_the_versions_that_are_pinned(workshop: Workshop, built: ActorImages) -> None:
    program = "from importlib.metadata import version as v; print(v('six'), v('datasets'), v('iniconfig'))"
    learner, aggregator = (code_in(built.images[actor], workshop, program) for actor in (LEARNER, AGGREGATOR))
    assert learner == aggregator
    assert learner.startswith("1.16.0 ")


def test_only_the_aggregator_can_save_models(workshop: Workshop, built: ActorImages) -> None:
    program = "from importlib.util import find_spec as f; print(bool(f('mlflow')), bool(f('flwr')), bool(f('flops')))"
    assert code_in(built.images[LEARNER], workshop, program) == "False False False"
    assert code_in(built.images[AGGREGATOR], workshop, program) == "True False False"


def test_the_code_is_there_without_its_history_and_cannot_be_changed(workshop: Workshop, built: ActorImages) -> None:
    image = workshop.locate(built.images[LEARNER])
    names = {path.name for path in image.code.iterdir()}
    assert set(TINY) <= names
    assert ".git" not in names
    others_may_write = 0o022 if isinstance(workshop, OciWorkshop) else 0o277
    assert all(path.stat().st_mode & others_may_write == 0 for path in [image.code, *image.code.rglob("*")])
    assert (image.commit, image.url, image.model) == (built.commit, built.url, None)


def test_builders_of_the_same_image_do_not_clash(workshop: Workshop, repository: Path) -> None:
    order = order_for(str(repository), commit_files(repository, {"note": "together"}))
    outcomes: list[object] = []

    def build() -> None:
        try:
            outcomes.append(workshop.builder.build_actors(order, lambda _: None, lambda *_: None))
        except Exception as error:  # noqa: BLE001  shown by the assertion
            outcomes.append(error)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(outcome) if isinstance(outcome, list) else outcome for outcome in outcomes] == [2] * 4


# --- trained models ---------------------------------------------------------------------------------------------------


def test_a_trained_model_becomes_an_image(workshop: Workshop, built: ActorImages, model: Path) -> None:
    image, steps = trained_model_image(built.url, "a" * 24), [*workshop.builder.model_steps]
    workshop.reports.clear()
    made = workshop.builder.build_trained_model(image, built.images[AGGREGATOR], model, workshop.reports.append)
    assert (made.image, workshop.steps()) == (image, steps)
    assert made.size_bytes >= len("flavors: {}\n") + len("1234")
    located = workshop.locate(image)
    assert located.model is not None
    assert (located.model / "data" / "weights").read_bytes() == b"1234"
    assert (located.commit, located.url) == (built.commit, built.url)
    assert code_in(image, workshop, "import six, mlflow; print(six.__version__)") == "1.16.0"
    again = workshop.builder.build_trained_model(image, built.images[AGGREGATOR], model, workshop.reports.append)
    assert again.size_bytes == made.size_bytes
    workshop.registry.delete(image)
    assert not workshop.registry.exists(image)
    assert workshop.registry.exists(built.images[AGGREGATOR])


@pytest.mark.parametrize("fault", ["no MLmodel", "link", "no base"])
def test_what_is_no_model_becomes_no_image(workshop: Workshop, built: ActorImages, model: Path, fault: str) -> None:
    image, base = trained_model_image(built.url, "b" * 24), built.images[AGGREGATOR]
    if fault == "no MLmodel":
        (model / "MLmodel").unlink()
    elif fault == "link":
        (model / "data" / "link").symlink_to("/etc/passwd")
    else:
        base = MISSING
    with pytest.raises(BuildFailedError) as caught:
        workshop.builder.build_trained_model(image, base, model, workshop.reports.append)
    assert caught.value.step == "store"
    assert not workshop.registry.exists(image)


# --- builds that fail -------------------------------------------------------------------------------------------------


def failing(workshop: Workshop, directory: Path, files: dict[str, str], flavor: str = "") -> BuildFailedError:
    commit = make_repository(directory, files)
    order = order_for(str(directory), commit, flavor)
    with pytest.raises(BuildFailedError) as caught:
        workshop.build(order)
    assert not any(workshop.registry.exists(image) for image in order.images.values())
    assert workshop.half_made() == []
    assert caught.value.remedy
    return caught.value


def test_a_repository_that_is_not_there(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(BuildFailedError) as caught:
        workshop.build(order_for(str(tmp_path / "missing"), "a" * 40))
    assert caught.value.step == "clone"


def test_an_interface_that_is_incomplete(workshop: Workshop, tmp_path: Path) -> None:
    files = {"data_manager.py": TINY["data_manager.py"], "requirements.txt": "six=1.16.0"}
    failure = failing(workshop, tmp_path / "source", files)
    assert failure.step == "check"
    assert failure.where == "model_manager.py, requirements.txt:1"


@pytest.mark.parametrize(
    ("lines", "reason", "where"),
    [
        ("six==99.0", r"no version of six==99\.0", "requirements.txt:1"),
        ("\nno-such-package-of-flops", "not found in the package registry", "requirements.txt:2"),
        ("tensorflow==2.4.0", "no wheels with a matching Python", "requirements.txt:1"),
        ("python-dateutil<2.8\npandas==2.2.2", "depends on python-dateutil", "requirements.txt:1, requirements.txt:2"),
        ("click==6.7", "leaves no room for what FLOps adds", "requirements.txt:1"),
    ],
)
def test_dependencies_that_cannot_be_met(
    workshop: Workshop, tmp_path: Path, lines: str, reason: str, where: str
) -> None:
    failure = failing(workshop, tmp_path / "source", {**TINY, "requirements.txt": lines})
    assert failure.step == "resolve"
    assert re.search(reason, failure.reason)
    assert ", ".join(sorted(failure.where.split(", "))) == where


def test_a_package_that_does_not_build(workshop: Workshop, tmp_path: Path) -> None:
    failure = failing(workshop, tmp_path / "source", {**TINY, "requirements.txt": "\nsklearn==0.0.post12\n"})
    assert "cannot be built here" in failure.reason
    assert failure.where == "sklearn, requirements.txt:2"
    assert "use 'scikit-learn'" in failure.details


def test_a_flavor_without_its_library(workshop: Workshop, tmp_path: Path) -> None:
    failure = failing(workshop, tmp_path / "source", dict(TINY), flavor="sklearn")
    assert "scikit-learn" in failure.reason


def test_files_outside_the_repository_are_not_read(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("six==1.16.0\n")
    directory = tmp_path / "source"
    make_repository(directory, {name: text for name, text in TINY.items() if name != "requirements.txt"})
    (directory / "requirements.txt").symlink_to(tmp_path / "secret")
    order = order_for(str(directory), commit_files(directory, {}))
    with pytest.raises(BuildFailedError, match="no dependency file"):
        workshop.build(order)


def test_a_python_that_is_not_there_is_replaced_with_a_warning(workshop: Workshop, tmp_path: Path) -> None:
    bare = {**os.environ, "PYENV_ROOT": str(tmp_path), "PATH": "/usr/bin:/bin", "UV_PYTHON_DOWNLOADS": "never"}
    bare["UV_PYTHON_INSTALL_DIR"] = str(tmp_path)
    conda = "dependencies:\n- python=3.6\n- pip:\n  - six==1.16.0\n  - iniconfig\n"
    files = {name: text for name, text in TINY.items() if name != "requirements.txt"}
    commit = make_repository(tmp_path / "source", {**files, "conda.yaml": conda})
    elsewhere = replace(workshop, environment=bare, warnings=[], reports=[])
    elsewhere.build(order_for(str(tmp_path / "source"), commit))
    ((message, remedy),) = elsewhere.warnings
    assert "3.6" in message
    assert remedy


def test_stopping_a_build_leaves_nothing(workshop: Workshop, repository: Path) -> None:
    order = order_for(str(repository), commit_files(repository, {"requirements.txt": "attrs==21.4.0\n"}))
    stopped = replace(workshop, stopping=threading.Event())
    begun: list[BuildStep] = []

    def report(step: BuildStep) -> None:
        begun.append(step)
        if step.name == "install learner environment":
            stopped.stopping.set()

    with pytest.raises(StoppingError):
        stopped.builder.build_actors(order, report, lambda *_: None)
    assert begun[-1].duration_s is None
    assert not any(workshop.registry.exists(image) for image in order.images.values())
    assert stopped.half_made() == []
