"""Builds of images for a registry: the same twice, sent once, retried, killed, and for other platforms."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.ml_repositories import TINY, commit_files, make_repository
from tests.servers.base_image import BASE_IMAGES, own_python, push_bases
from tests.servers.pulled import free_port
from tests.servers.registry import PASSWORD, registry, unpack

from flops.adapters.git import GitRepositories
from flops.adapters.images.environments import COMPLETE
from flops.adapters.images.oci import OciImageBuilder, OciPlan, OciRegistry
from flops.adapters.images.oci.builder import KEEP_S
from flops.adapters.images.oci.client import RegistryClient
from flops.adapters.images.oci.platforms import own_platform
from flops.errors import BuildFailedError, StoppingError
from flops.ports import ActorImages
from flops.project.images import AGGREGATOR, LEARNER, actor_image, trained_model_image
from flops.registry_access import RegistryAccess
from flops.retries import Retries, RetryPolicy
from flops.settings import IMAGE_PLATFORMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.registry import RegistryProcess

    from flops.ports import BuildStep

pytestmark = [pytest.mark.containers, pytest.mark.timeout(300)]

BUILD: Final = """
import sys
from pathlib import Path
from flops.adapters.git import GitRepositories
from flops.adapters.images.oci import OciImageBuilder, OciPlan
from flops.ports import ActorImages
from flops.project.images import actor_image
from flops.registry_access import RegistryAccess
registry, home, url, commit = sys.argv[1:]
images = {actor: actor_image(url, actor, commit) for actor in ("learner", "aggregator")}
plan = OciPlan(RegistryAccess(registry, "flops", sys.stdin.readline().strip()), "flops", Path(home))
OciImageBuilder(plan, GitRepositories()).build_actors(
    ActorImages(url, commit, "", images), lambda step: print(step, flush=True), lambda *_: None
)
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """A registry with bases whose Python is this machine's."""
    with registry(tmp_path_factory.mktemp("registry")) as made:
        push_bases(made.access, tmp_path_factory.mktemp("bases"), python=own_python())
        yield made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build directory in which the environments are, after the first build."""
    return tmp_path_factory.mktemp("home")


def order_for(url: str, commit: str) -> ActorImages:
    return ActorImages(url, commit, "", {actor: actor_image(url, actor, commit) for actor in (LEARNER, AGGREGATOR)})


def build(plan: OciPlan, order: ActorImages, retries: Retries | None = None) -> dict[str, BuildStep]:
    """Build, and return each finished step."""
    steps: dict[str, BuildStep] = {}

    def report(step: BuildStep) -> None:
        if step.duration_s is not None:
            steps[str(step.name)] = step

    OciImageBuilder(plan, GitRepositories(), retries=retries).build_actors(order, report, lambda *_: None)
    return steps


def manifest_of(access: RegistryAccess, image: str) -> dict[str, Any]:
    name, _, tag = image.rpartition(":")
    found = RegistryClient(access).manifest(name, tag)
    assert found is not None
    return found.content


def test_the_same_commit_is_the_same_image_wherever_it_is_built(process: RegistryProcess, tmp_path: Path) -> None:
    order = order_for(str(tmp_path / "source"), make_repository(tmp_path / "source", TINY))
    manifests = []
    for place in (tmp_path / "here", tmp_path / "some" / "where" / "else"):
        build(OciPlan(process.access, BASE_IMAGES, place), order)
        manifests.append({image: manifest_of(process.access, image) for image in order.images.values()})
        for image in order.images.values():
            OciRegistry(process.access).delete(image)
    assert manifests[0] == manifests[1]
    kinds = [
        [
            (layer.get("annotations") or {}).get("fl.flops.layer")
            for layer in manifests[0][order.images[actor]]["layers"]
        ]
        for actor in (LEARNER, AGGREGATOR)
    ]
    assert kinds == [[None, "environment", "code"], [None, "environment", "environment", "code"]]


def test_what_the_registry_has_is_not_sent_again(process: RegistryProcess, home: Path, tmp_path: Path) -> None:
    plan, source, other = OciPlan(process.access, BASE_IMAGES, home), tmp_path / "source", tmp_path / "other"
    build(plan, order_for(str(source), make_repository(source, TINY)))
    code_only = build(plan, order_for(str(source), commit_files(source, {"another.py": "x = 1\n"})))
    neighbour = build(plan, order_for(str(other), make_repository(other, {**TINY, "more.py": "y = 2\n"})))
    for steps in (code_only, neighbour):
        assert 0 < (steps["push"].size_bytes or 0) < 20_000
        assert steps["install learner environment"].detail == "reused"


def test_an_environment_that_nobody_asks_for_goes_after_a_while(
    process: RegistryProcess, home: Path, tmp_path: Path
) -> None:
    plan, source = OciPlan(process.access, BASE_IMAGES, home), tmp_path / "source"
    build(plan, order_for(str(source), make_repository(source, TINY)))
    (used, *_) = home.glob(f"envs/[!.]*/{COMPLETE}")
    for name, age_s in (("stale", KEEP_S + 60), ("fresh", KEEP_S - 60)):
        marker = home / "envs" / name / COMPLETE
        marker.parent.mkdir()
        marker.touch()
        os.utime(marker, (time.time() - age_s,) * 2)
    build(plan, order_for(str(source), commit_files(source, {"another.py": "z = 3\n"})))
    assert {path.name for path in home.glob("envs/[!.]*")} >= {used.parent.name, "fresh"}
    assert not (home / "envs" / "stale").exists()


def test_a_layer_that_the_registry_has_lost_is_made_again(process: RegistryProcess, home: Path, tmp_path: Path) -> None:
    plan, source = OciPlan(process.access, BASE_IMAGES, home), tmp_path / "source"
    order = order_for(str(source), make_repository(source, TINY))
    build(plan, order)
    whole = {image: manifest_of(process.access, image) for image in order.images.values()}
    for image in OciRegistry(process.access).images():
        OciRegistry(process.access).delete(image)
    process.collect_garbage()
    assert (build(plan, order)["push"].size_bytes or 0) > 10_000_000
    assert {image: manifest_of(process.access, image) for image in order.images.values()} == whole


def test_a_registry_that_is_away_for_a_while_delays_a_build(
    process: RegistryProcess, home: Path, tmp_path: Path
) -> None:
    order = order_for(str(tmp_path / "source"), make_repository(tmp_path / "source", TINY))
    warnings: list[str] = []

    def report(step: BuildStep) -> None:
        if step.name in {"resolve", "push"} and step.duration_s is None:
            process.stop()

    def warn(message: str, _remedy: str) -> None:
        warnings.append(message)
        process.start()

    plan = OciPlan(process.access, BASE_IMAGES, home)
    builder = OciImageBuilder(plan, GitRepositories(), retries=Retries(RetryPolicy(attempts=5, longest_s=0.1)))
    process.stop()
    builder.build_actors(order, report, warn)
    assert set(order.images.values()) <= set(OciRegistry(process.access).images())
    assert len(warnings) == 3
    assert all("attempt 1 of 5" in message for message in warnings)


def test_a_registry_that_stays_away_fails_the_build(tmp_path: Path) -> None:
    order = order_for(str(tmp_path / "source"), make_repository(tmp_path / "source", TINY))
    nobody = RegistryAccess(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(BuildFailedError) as caught:
        build(OciPlan(nobody, BASE_IMAGES, tmp_path / "home"), order, Retries(RetryPolicy(2, 0.1)))
    assert caught.value.retryable
    assert "refused" in caught.value.reason
    assert "FLOPS_REGISTRY_URL" in caught.value.remedy


def test_a_build_that_is_stopped_while_it_pushes_leaves_nothing(home: Path, tmp_path: Path) -> None:
    order = order_for(str(tmp_path / "source"), make_repository(tmp_path / "source", TINY))
    stopping = threading.Event()

    def report(step: BuildStep) -> None:
        if step.name == "push":
            stopping.set()

    with registry(tmp_path / "registry") as empty:
        push_bases(empty.access, tmp_path, python=own_python())
        plan = OciPlan(empty.access, BASE_IMAGES, home)
        with pytest.raises(StoppingError):
            OciImageBuilder(plan, GitRepositories(), stopping=stopping).build_actors(order, report, lambda *_: None)
        assert OciRegistry(empty.access).images() == []
    assert not list(home.glob("building/[!.]*"))


def test_a_build_that_is_killed_while_it_pushes_leaves_nothing_that_counts(home: Path, tmp_path: Path) -> None:
    source = str(tmp_path / "source")
    order = order_for(source, make_repository(tmp_path / "source", TINY))
    with registry(tmp_path / "registry") as empty:
        push_bases(empty.access, tmp_path, python=own_python())
        command = [sys.executable, "-c", BUILD, empty.access.url, str(home), source, order.commit]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as builder:
            assert builder.stdout is not None
            assert builder.stdin is not None
            builder.stdin.write(f"{PASSWORD}\n")
            builder.stdin.flush()
            next(line for line in builder.stdout if "'push'" in line)
            builder.send_signal(signal.SIGKILL)
        assert OciRegistry(empty.access).images() == []
        build(OciPlan(empty.access, BASE_IMAGES, home), order)
        assert OciRegistry(empty.access).images() == sorted(order.images.values())
    assert not list(home.glob("building/[!.]*"))


# --- bases ------------------------------------------------------------------------------------------------------------


def test_without_base_images_nothing_is_built(tmp_path: Path) -> None:
    order = order_for(str(tmp_path / "source"), make_repository(tmp_path / "source", TINY))
    with registry(tmp_path / "registry") as empty, pytest.raises(BuildFailedError) as caught:
        build(OciPlan(empty.access, BASE_IMAGES, tmp_path / "home"), order)
    assert (caught.value.step, caught.value.where.rpartition(":")[0]) == ("resolve", "flops/learner")
    assert "run-in-containers" in caught.value.remedy


def test_a_base_with_a_python_that_the_builder_lacks_is_refused(tmp_path: Path) -> None:
    order = order_for(str(tmp_path / "source"), make_repository(tmp_path / "source", TINY))
    other = json.dumps({"path": "/usr/bin/python3.5", "version": "3.5.3", "glibc": "2.24"})
    with registry(tmp_path / "registry") as process:
        push_bases(process.access, tmp_path, python=other)
        with pytest.raises(BuildFailedError, match=r"Python 3\.5"):
            build(OciPlan(process.access, BASE_IMAGES, tmp_path / "home"), order)


def test_a_platform_that_the_bases_lack_is_refused(process: RegistryProcess, tmp_path: Path) -> None:
    order = order_for(str(tmp_path / "source"), make_repository(tmp_path / "source", TINY))
    with pytest.raises(BuildFailedError, match=r"not there for the platform linux/a") as caught:
        build(OciPlan(process.access, BASE_IMAGES, tmp_path / "home", IMAGE_PLATFORMS), order)
    assert (caught.value.step, caught.value.where.rpartition(":")[0]) == ("resolve", "flops/learner")


def test_bases_of_another_registry_are_copied(home: Path, tmp_path: Path) -> None:
    order = order_for(str(tmp_path / "source"), make_repository(tmp_path / "source", TINY))
    with registry(tmp_path / "other", change=lambda text: text.partition("auth:")[0]) as public:
        push_bases(public.access, tmp_path, python=own_python())
        bases = f"{public.access.url.removeprefix('http://')}/{BASE_IMAGES}"
        with registry(tmp_path / "own") as own:
            build(OciPlan(own.access, bases, home), order)
            assert OciRegistry(own.access).images() == sorted(order.images.values())
            assert manifest_of(own.access, order.images[LEARNER])["layers"]


# --- several platforms ------------------------------------------------------------------------------------------------

MACHINES: Final = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}


def test_an_image_for_several_platforms_has_the_packages_of_each(home: Path, tmp_path: Path) -> None:
    order = order_for(str(tmp_path / "source"), make_repository(tmp_path / "source", TINY))
    trained, model = trained_model_image(order.url, "0" * 24), tmp_path / "model"
    model.mkdir()
    (model / "MLmodel").write_text("flavors: {}\n")
    with registry(tmp_path / "registry") as process:
        push_bases(process.access, tmp_path, python=own_python(), platforms=IMAGE_PLATFORMS)
        plan = OciPlan(process.access, BASE_IMAGES, home, IMAGE_PLATFORMS)
        build(plan, order)
        OciImageBuilder(plan, GitRepositories()).build_trained_model(
            trained, order.images[AGGREGATOR], model, lambda _: None
        )
        for image in (*order.images.values(), trained):
            parts = manifest_of(process.access, image)["manifests"]
            assert [part["platform"] for part in parts] == [
                {"os": "linux", "architecture": name} for name in ("amd64", "arm64")
            ]
        assert {platform: machines_in(process.access, order.images[LEARNER], platform) for platform in MACHINES} == {
            platform: {machine} for platform, machine in MACHINES.items()
        }


def machines_in(access: RegistryAccess, image: str, platform: str) -> set[str]:
    """The machines for which an image has shared libraries."""
    root = Path(tempfile.mkdtemp())
    try:
        unpack(access, image, root, platform)
        names = [path.name for path in root.glob("opt/ml/env/**/*.cpython-*.so")]
    finally:
        shutil.rmtree(root)
    return {machine for machine in MACHINES.values() for name in names if machine in name}


def test_a_package_without_a_wheel_for_a_platform_is_named(tmp_path: Path) -> None:
    files = {**TINY, "requirements.txt": "six==1.16.0\ndocopt==0.6.2\n"}
    order = order_for(str(tmp_path / "source"), make_repository(tmp_path / "source", files))
    other = next(platform for platform in IMAGE_PLATFORMS if platform != own_platform())
    with registry(tmp_path / "registry") as process:
        push_bases(process.access, tmp_path, python=own_python(), platforms=IMAGE_PLATFORMS)
        with pytest.raises(BuildFailedError, match=r"docopt==0\.6\.2 has no usable wheels") as caught:
            build(OciPlan(process.access, BASE_IMAGES, tmp_path / "home", (other,)), order)
    assert (caught.value.step, caught.value.where) == ("resolve", "requirements.txt:2")
    assert MACHINES[other] in caught.value.reason
    assert "FLOPS_IMAGE_PLATFORMS" in caught.value.remedy
