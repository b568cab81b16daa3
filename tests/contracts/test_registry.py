"""What every Registry promises, with real files and a real OCI registry behind it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

import pytest
from tests.servers.registry import registry

from flops.adapters.images.environments import COMPLETE
from flops.adapters.images.local import LocalImageRegistry, LocalImageStore
from flops.adapters.images.local.store import Manifest, write_manifest
from flops.adapters.images.oci import OciRegistry, client
from flops.adapters.images.oci.client import RegistryClient
from flops.adapters.images.oci.image import Document, index
from flops.errors import NotFoundError, RegistryUnavailableError
from flops.project.images import AGGREGATOR, LEARNER, TRAINED_MODEL, parse_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.registry import RegistryProcess

    from flops.ports import Registry

COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40


class Stock(Protocol):
    """A registry, and what a builder would do there."""

    @property
    def registry(self) -> Registry: ...

    def put(self, image: str) -> None: ...


class LocalStock:
    def __init__(self, home: Path) -> None:
        self.registry, self._store = LocalImageRegistry(home), LocalImageStore(home)

    def put(self, image: str) -> None:
        reference = parse_image(image)
        python = self._store.python("environment")
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        (self._store.environments / "environment" / COMPLETE).touch()
        self._store.code(reference, COMMIT).mkdir(parents=True, exist_ok=True)
        write_manifest(self._store.directory(reference), Manifest("url", COMMIT, "sklearn", "environment", 1))


class OciStock:
    """Images of nothing but a configuration, below a namespace."""

    def __init__(self, process: RegistryProcess) -> None:
        self._process, access = process, process.access_below("team/one")
        self.registry, self.client = OciRegistry(access), RegistryClient(access)

    def put(self, image: str, below: str = "team/one/") -> None:
        reference = parse_image(image)
        self.put_document(f"{below}{image.rpartition(':')[0]}", reference.tag)

    def put_document(self, repository: str, tag: str) -> Document:
        content = f'{{"about": "{repository}:{tag}"}}'.encode()
        config = Document("application/vnd.oci.image.config.v1+json", content)
        self.client.upload(repository, config.digest, io.BytesIO(content))
        document = client.MANIFEST, {"schemaVersion": 2, "config": config.descriptor, "layers": []}
        manifest = Document.of(*document)
        self.client.put_manifest(repository, tag, manifest.content, manifest.media_type)
        return manifest

    def close(self) -> None:
        self._process.stop()


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[OciStock]:
    with registry(tmp_path) as process:
        yield OciStock(process)


@pytest.fixture(params=["local", "oci"])
def stock(request: pytest.FixtureRequest, tmp_path: Path) -> Stock:
    if request.param == "local":
        return LocalStock(tmp_path)
    stock: OciStock = request.getfixturevalue("oci")
    return stock


def test_an_image_is_there_once_it_was_put_there(stock: Stock) -> None:
    image = f"ada/digits/{LEARNER}:{COMMIT}"
    assert not stock.registry.exists(image)
    stock.put(image)
    assert stock.registry.exists(image)
    assert not stock.registry.exists(f"ada/digits/{LEARNER}:{OTHER_COMMIT}")


def test_every_image_is_listed_once_and_sorted(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE", 2)
    images = [f"{owner}/digits/{actor}:{COMMIT}" for owner in ("ada", "bob", "eve") for actor in (LEARNER, AGGREGATOR)]
    images += [f"ada/digits/{LEARNER}:{digit * 40}" for digit in "bcdef"]
    images += [f"ada/digits/{TRAINED_MODEL}:{'0' * 24}"]
    for image in reversed(images):
        stock.put(image)
    assert stock.registry.images() == sorted(images)


def test_an_image_is_deleted_alone_and_twice_without_harm(stock: Stock) -> None:
    image, other = (f"ada/digits/{LEARNER}:{commit}" for commit in (COMMIT, OTHER_COMMIT))
    for each in (image, other):
        stock.put(each)
    for _ in range(2):
        stock.registry.delete(image)
    assert not stock.registry.exists(image)
    assert stock.registry.images() == [other]
    stock.put(image)
    assert stock.registry.images() == [image, other]


def test_what_was_never_there_can_be_deleted(stock: Stock) -> None:
    stock.registry.delete(f"ada/missing/{LEARNER}:{COMMIT}")
    assert stock.registry.images() == []


def test_what_is_no_image_name_is_refused(stock: Stock) -> None:
    for call in (stock.registry.exists, stock.registry.delete):
        with pytest.raises(NotFoundError):
            call("../../etc/passwd:x")


# --- what only a registry for many has to care for --------------------------------------------------------------------


def test_a_registry_that_is_away_can_be_asked_later(oci: OciStock) -> None:
    oci.put(image := f"ada/digits/{LEARNER}:{COMMIT}")
    oci.close()
    for call in (oci.registry.images, lambda: oci.registry.exists(image), lambda: oci.registry.delete(image)):
        with pytest.raises(RegistryUnavailableError) as caught:
            call()
        assert caught.value.retryable
        assert "refused" in str(caught.value)


def test_images_of_others_and_of_flops_own_services_are_not_listed(oci: OciStock) -> None:
    for repository, tag in (("team/one/flops/learner", "0.1.0"), ("team/one/x/flops/learner", "0.1.0"), ("a/b/c", "1")):
        oci.put_document(repository, tag)
    oci.put(f"ada/digits/{LEARNER}:{COMMIT}", below="team/two/")
    assert oci.registry.images() == []


def test_an_image_for_several_platforms_is_deleted_with_its_parts(oci: OciStock) -> None:
    image, repository = f"ada/digits/{LEARNER}:{COMMIT}", f"team/one/ada/digits/{LEARNER}"
    parts = {f"linux/{name}": oci.put_document(repository, name) for name in ("amd64", "arm64")}
    whole = index(parts)
    oci.client.put_manifest(repository, COMMIT, whole.content, whole.media_type)
    assert oci.registry.exists(image)
    oci.registry.delete(image)
    assert not oci.registry.exists(image)
    assert not any(oci.client.find_digest(repository, part.digest) for part in parts.values())
