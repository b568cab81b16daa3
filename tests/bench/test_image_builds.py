"""What images cost: against a bare 'docker build' of the same packages with uv inside, and after a change of code."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.ml_repositories import commit_files, make_repository
from tests.servers.base_image import BASE_IMAGES, import_base, push_bases, root_file_system
from tests.servers.docker_engine import NAMESPACES, PATH, EngineProcess, what_is_not_installed, what_is_not_permitted
from tests.servers.registry import registry

import flops.examples
from flops.adapters.git import GitRepositories
from flops.adapters.images.oci import OciImageBuilder, OciPlan
from flops.ports import ActorImages
from flops.project.images import AGGREGATOR, LEARNER, actor_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.table import Table

    from flops.ports import BuildStep
    from flops.registry_access import RegistryAccess

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

TURNS: Final = 3
EXAMPLE: Final = Path(next(iter(flops.examples.__path__))) / "repositories" / "digits_sklearn"
# Both images, the aggregator's above the learner's; what was downloaded before is in a cache, as it is for FLOps.
DOCKERFILE: Final = """\
FROM {base} AS learner
COPY uv /usr/local/bin/uv
RUN uv venv --quiet --python /usr/bin/python3 /opt/ml/env
ENV VIRTUAL_ENV=/opt/ml/env UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 SSL_CERT_FILE=/run/secrets/ca
COPY learner.txt .
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/uv uv pip install --quiet -r learner.txt

FROM learner
COPY aggregator.txt .
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/uv uv pip install --quiet -r aggregator.txt
"""


class EngineWithNetwork(EngineProcess):
    """An engine whose builds reach what this machine reaches; it changes nothing about the machine's network."""

    namespaces = tuple(part for part in NAMESPACES if part != "--net")

    @property
    def command(self) -> list[str]:
        return [*super().command, "--iptables=false", "--ip6tables=false", "--ip-forward=false"]


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    if reason := what_is_not_installed() or what_is_not_permitted():
        pytest.skip(reason)
    made = EngineWithNetwork()
    try:
        made.start()
        import_base(made)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("source") / "digits"
    make_repository(directory, {path.name: path.read_text() for path in EXAMPLE.iterdir() if path.is_file()})
    return directory


def build_s(access: RegistryAccess, directory: Path, source: Path) -> dict[str, float]:
    """How long each step takes, and the whole, for what is at the head of the repository."""
    commit = GitRepositories().resolve(str(source))
    images = {actor: actor_image(str(source), actor, commit) for actor in (LEARNER, AGGREGATOR)}
    taken: dict[str, float] = {}

    def report(step: BuildStep) -> None:
        taken[str(step.name)] = step.duration_s or 0.0

    begun = time.monotonic()
    builder = OciImageBuilder(OciPlan(access, BASE_IMAGES, directory), GitRepositories())
    builder.build_actors(ActorImages(str(source), commit, "sklearn", images), report, lambda *_: None)
    return {**taken, "whole": time.monotonic() - begun}


def docker_build_s(engine: EngineProcess, context: Path) -> float:
    command = [_docker(), "build", "--quiet", "--no-cache", "--network", "host"]
    certificates = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    environment = {**os.environ, "PATH": PATH, "DOCKER_BUILDKIT": "1", "DOCKER_HOST": engine.url}
    begun = time.monotonic()
    command += ["--secret", f"id=ca,src={certificates}", str(context)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return time.monotonic() - begun


def _docker() -> str:
    """Debian's program, which knows BuildKit, wherever others of the same name are."""
    return shutil.which("docker", path="/usr/bin") or "docker"


def make_context(context: Path, base: str, build_directory: Path) -> Path:
    """The same packages in the same versions as FLOps has resolved, as a Docker build would take them."""
    import uv  # noqa: PLC0415  only builders have it

    context.mkdir()
    (resolution,) = (build_directory / "envs" / ".resolutions").glob("*.json")
    for actor, lock in json.loads(resolution.read_text()).items():
        (context / f"{actor}.txt").write_text(lock)
    shutil.copy(uv.find_uv_bin(), context / "uv")
    (context / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    return context


def test_images_cost_hardly_more_than_a_bare_docker_build(
    engine: EngineProcess, source: Path, tmp_path: Path, table: Table
) -> None:
    ours, bare, again = [], [], []
    with registry(tmp_path / "warm") as process:
        push_bases(process.access, tmp_path)
        build_s(process.access, tmp_path / "warming", source)
    context = make_context(tmp_path / "context", import_base(engine), tmp_path / "warming")
    docker_build_s(engine, context)
    for turn in range(TURNS):
        bare.append(docker_build_s(engine, context))
        with registry(tmp_path / f"registry-{turn}") as process:
            push_bases(process.access, tmp_path, root=root_file_system())
            directory = tmp_path / f"cold-{turn}"
            ours.append(build_s(process.access, directory, source))
            commit_files(source, {"another.py": f"turn = {turn}\n"})
            again.append(build_s(process.access, directory, source))
    cold_s, bare_s = statistics.median(taken["whole"] for taken in ours), statistics.median(bare)
    store_s, sent_s = (statistics.median(taken[step] for taken in ours) for step in ("store", "push"))
    code_s = statistics.median(taken["whole"] - taken["push"] for taken in again)
    push_s = statistics.median(taken["push"] for taken in again)
    table.at_most("images after a change of code alone", code_s, 5.0, " s", detail=f"and {push_s:.2f} s to push")
    table.at_most(
        "images from Git, cold, pushed, against a bare docker build", cold_s / bare_s, 1.15, "x",
        detail=f"{cold_s:.1f} s against {bare_s:.1f} s; {store_s:.1f} s to write layers, {sent_s:.1f} s to push",
    )  # fmt: skip
