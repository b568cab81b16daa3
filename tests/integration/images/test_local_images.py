"""What images on this disk share, and who may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.ml_repositories import TINY, commit_files, make_repository

from flops.adapters.git import GitRepositories
from flops.adapters.images.local import LocalImageBuilder, LocalImageRegistry, LocalImageStore
from flops.errors import NotFoundError
from flops.ports import ActorImages
from flops.project.images import AGGREGATOR, LEARNER, actor_image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("repositories") / "tiny"
    make_repository(directory, TINY)
    return directory


@pytest.fixture(scope="module")
def built(home: Path, repository: Path) -> ActorImages:
    return build(home, order_for(str(repository), GitRepositories().resolve(str(repository))))


def order_for(url: str, commit: str) -> ActorImages:
    return ActorImages(url, commit, "", {actor: actor_image(url, actor, commit) for actor in (LEARNER, AGGREGATOR)})


def build(home: Path, order: ActorImages) -> ActorImages:
    LocalImageBuilder(home, GitRepositories()).build_actors(order, lambda _: None, lambda *_: None)
    return order


def test_an_image_that_is_not_there_is_not_found(home: Path) -> None:
    with pytest.raises(NotFoundError):
        LocalImageStore(home).locate("local/missing/learner:0")


def test_everything_is_private(home: Path, built: ActorImages) -> None:
    for image in built.images.values():
        located = LocalImageStore(home).locate(image)
        for path in (located.code, located.python.parent.parent):
            for directory in [path, *path.parents]:
                if directory == home:
                    break
                assert directory.stat().st_mode & 0o077 == 0, directory


# --- the registry -----------------------------------------------------------------------------------------------------


def test_an_image_without_its_environment_is_no_image(home: Path, repository: Path) -> None:
    order = order_for(str(repository), commit_files(repository, {"requirements.txt": "idna==3.10\n"}))
    build(home, order)
    python = LocalImageStore(home).locate(order.images[LEARNER]).python
    python.unlink()
    assert not LocalImageRegistry(home).exists(order.images[LEARNER])
    assert order.images[LEARNER] not in LocalImageRegistry(home).images()


def test_deleting_takes_what_only_this_image_used(home: Path, repository: Path, built: ActorImages) -> None:
    order = order_for(str(repository), commit_files(repository, {"requirements.txt": "idna==3.7\n"}))
    build(home, order)
    learner, aggregator = (LocalImageStore(home).locate(order.images[actor]) for actor in (LEARNER, AGGREGATOR))
    LocalImageRegistry(home).delete(order.images[LEARNER])
    assert not learner.python.exists()
    assert aggregator.python.exists()
    assert aggregator.code.is_dir()
    LocalImageRegistry(home).delete(order.images[AGGREGATOR])
    LocalImageRegistry(home).delete(order.images[AGGREGATOR])
    assert not aggregator.python.exists()
    assert not aggregator.code.exists()
    assert all(LocalImageRegistry(home).exists(image) for image in built.images.values())
