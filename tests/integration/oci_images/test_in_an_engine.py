"""Images from Git, pushed to a real registry, pulled and run by a real Docker Engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.ml_repositories import make_repository
from tests.servers.base_image import BASE_IMAGES, push_bases, root_file_system
from tests.servers.docker_engine import own_docker_engine
from tests.servers.registry import PASSWORD, USERNAME, registry

import flops.examples
from flops.adapters.git import GitRepositories
from flops.adapters.images.oci import OciImageBuilder, OciPlan
from flops.ports import ActorImages
from flops.project.images import AGGREGATOR, LEARNER, actor_image, trained_model_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.docker_engine import EngineProcess

pytestmark = [pytest.mark.containers, pytest.mark.timeout(300)]

EXAMPLE: Final = Path(next(iter(flops.examples.__path__))) / "repositories" / "digits_sklearn"
# What FLOps does in such a container: it reads where things are, and starts the environment's Python there.
LOOK: Final = """
import json, os, subprocess
said = json.load(open("/opt/ml/image.json"))
program = "import sklearn.linear_model, numpy, datasets, sys; print(sklearn.__version__, numpy.__version__, sys.prefix)"
ran = subprocess.run([said["python"], "-c", program], cwd=said["code"], capture_output=True, text=True)
mlflow = subprocess.run([said["python"], "-c", "import mlflow.sklearn"], capture_output=True).returncode == 0
code = sorted(os.listdir(said["code"]))
model = said["model"] and open(said["model"] + "/MLmodel").read()
packages = [component["name"] for component in json.load(open("/opt/ml/sbom.cdx.json"))["components"]]
print(json.dumps({"ran": ran.stdout.split(), "errors": ran.stderr, "mlflow": mlflow, "code": code, "model": model,
                  "user": os.getuid(), "base": os.environ["BASE"], "packages": packages}))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EngineProcess, str, dict[str, str]]]:
    """An engine, what precedes images' names there, and the images: learner, aggregator and trained model."""
    place = tmp_path_factory.mktemp("images")
    files = {path.name: path.read_text() for path in EXAMPLE.iterdir() if path.is_file()}
    url = str(place / "digits")
    order = _order(url, make_repository(place / "digits", files))
    model = place / "model"
    model.mkdir()
    (model / "MLmodel").write_text("flavors: {}\n")
    trained = trained_model_image(url, "0" * 24)
    with own_docker_engine() as engine, registry(place / "registry") as process:
        push_bases(process.access, place, root=root_file_system())
        process.serve_inside(engine.enter)
        builder = OciImageBuilder(OciPlan(process.access, BASE_IMAGES, place / "build"), GitRepositories())
        builder.build_actors(order, lambda _: None, lambda *_: None)
        builder.build_trained_model(trained, order.images[AGGREGATOR], model, lambda _: None)
        yield engine, process.access.url.removeprefix("http://"), {**order.images, "model": trained}


def _order(url: str, commit: str) -> ActorImages:
    return ActorImages(
        url, commit, "sklearn", {actor: actor_image(url, actor, commit) for actor in (LEARNER, AGGREGATOR)}
    )


def _look_inside(engine: EngineProcess, image: str) -> dict[str, Any]:
    """Pull an image and run what FLOps would, in a container as narrow as FLOps' own."""
    name, _, tag = image.rpartition(":")
    with engine.client() as client:
        client.pull(name, tag=tag, auth_config={"username": USERNAME, "password": PASSWORD})
        limits = client.create_host_config(read_only=True, network_mode="none", cap_drop=["ALL"], tmpfs={"/tmp": ""})  # noqa: S108
        container = client.create_container(image, ["-c", LOOK], host_config=limits)
        client.start(container)
        status = client.wait(container)["StatusCode"]
        said = client.logs(container).decode()
        client.remove_container(container)
    assert status == 0, said
    return dict(json.loads(said))


@pytest.mark.parametrize("role", [LEARNER, AGGREGATOR, "model"])
def test_an_engine_runs_what_was_pushed(images: tuple[EngineProcess, str, dict[str, str]], role: str) -> None:
    engine, host, names = images
    found = _look_inside(engine, f"{host}/{names[role]}")
    assert (found["ran"][-1], found["errors"]) == ("/opt/ml/env", "")
    assert found["code"] == ["README.md", "data_manager.py", "model_manager.py", "requirements.txt"]
    assert (found["user"], found["base"]) == (10001, "kept")
    assert found["mlflow"] == (role != LEARNER)
    assert found["model"] == ("flavors: {}\n" if role == "model" else None)
    assert {"scikit-learn", "numpy", "datasets"} <= set(found["packages"])
