"""Which registry and which builder the settings choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flops.adapters.images.local import LocalImageBuilder, LocalImageRegistry
from flops.adapters.images.oci import OciImageBuilder, OciRegistry
from flops.adapters.images.runnable import contents, image_around
from flops.bootstrap import adapters
from flops.errors import InvalidSettingError
from flops.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://localhost:5000/team"


def settings(home: Path, **given: Any) -> Settings:  # noqa: ANN401  of any setting
    return Settings(home=home, **given)


def test_a_registry_is_used_where_one_is_named(tmp_path: Path) -> None:
    local, elsewhere = settings(tmp_path), settings(tmp_path, registry_url=URL)
    assert isinstance(adapters.registry(local), LocalImageRegistry)
    assert isinstance(adapters.registry(elsewhere), OciRegistry)
    assert isinstance(adapters.image_builder(local), LocalImageBuilder)
    assert isinstance(adapters.image_builder(elsewhere), OciImageBuilder)


def test_the_registry_on_the_host_is_reached_from_containers_with_its_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    access = adapters.registry_access(
        settings(
            tmp_path,
            registry_url=URL,
            registry_username="ada",
            registry_password_file=str(tmp_path / "password"),
            loopback_host="host.docker.internal",
        )
    )
    assert (access.url, access.username, access.password) == ("http://host.docker.internal:5000/team", "ada", "secret")
    assert "secret" not in repr(access)
    assert (access.origin, access.namespace) == ("http://host.docker.internal:5000", "team/")


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = settings(tmp_path, registry_url=URL, registry_password_file=str(tmp_path / "missing"))
    with pytest.raises(InvalidSettingError, match="FLOPS_REGISTRY_PASSWORD_FILE"):
        adapters.registry(missing)


def test_local_processes_have_no_use_for_a_registry(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="FLOPS_REGISTRY_URL"):
        adapters.orchestrator(settings(tmp_path, registry_url=URL))


def test_an_image_says_where_things_are_inside(tmp_path: Path) -> None:
    assert image_around("a/b/learner:c", tmp_path) is None
    (tmp_path / "opt" / "ml").mkdir(parents=True)
    (tmp_path / "opt" / "ml" / "image.json").write_text(contents("sklearn", "c" * 40, "url", has_model=True))
    image = image_around("a/b/learner:c", tmp_path)
    assert image is not None
    assert image.python == tmp_path / "opt" / "ml" / "env" / "bin" / "python"
    assert (image.code, image.model) == (tmp_path / "opt" / "ml" / "code", tmp_path / "opt" / "ml" / "model")
    assert (image.flavor, image.commit, image.url) == ("sklearn", "c" * 40, "url")
