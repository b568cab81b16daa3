"""How a registry is reached: with a password, with tokens of a server of its own, over TLS, and when it will not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.servers.registry import RegistryProcess, put_image, registry
from tests.servers.registry_tokens import ISSUER, SERVICE, make_certificate, token_server

from flops.adapters.images.oci import OciRegistry
from flops.errors import AccessDeniedError, RegistryRefusedError, RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.registry_tokens import TokenServer

    from flops.registry_access import RegistryAccess

IMAGE = f"ada/digits/learner:{'a' * 40}"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[RegistryProcess]:
    with registry(tmp_path / "registry") as made:
        yield made


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.mark.parametrize("password", ["", "wrong"])
def test_whoever_does_not_know_the_password_is_refused(process: RegistryProcess, password: str) -> None:
    stranger = replace(process.access, password=password)
    for call in (
        OciRegistry(stranger).images,
        lambda: OciRegistry(stranger).exists(IMAGE),
        lambda: put_image(stranger, IMAGE),
    ):
        with pytest.raises(AccessDeniedError) as caught:
            call()
        assert "FLOPS_REGISTRY_PASSWORD_FILE" in caught.value.remedy
        assert not caught.value.retryable
        assert "wrong" not in str(caught.value)


def test_a_registry_that_does_not_delete_says_how_it_would(tmp_path: Path) -> None:
    process = RegistryProcess(tmp_path, change=lambda text: text.replace("delete: {enabled: true}", ""))
    process.start()
    try:
        put_image(process.access, IMAGE)
        with pytest.raises(RegistryRefusedError) as caught:
            OciRegistry(process.access).delete(IMAGE)
        assert "STORAGE_DELETE_ENABLED" in caught.value.remedy
    finally:
        process.stop()


def test_what_garbage_collection_took_can_be_pushed_again(process: RegistryProcess) -> None:
    images = OciRegistry(process.access)
    put_image(process.access, IMAGE)
    images.delete(IMAGE)
    process.collect_garbage()
    assert not list(process.directory.glob("images/**/blobs/sha256/*/*/data"))
    put_image(process.access, IMAGE)
    assert images.images() == [IMAGE]


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[300, 1])
def tokens(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: tuple[Path, Path]
) -> Iterator[tuple[RegistryProcess, TokenServer]]:
    """A registry that believes the tokens of a server; some tokens hold too short to be used twice."""
    with token_server(*certificate, holds_s=request.param) as server:
        basic = f"htpasswd: {{realm: tests, path: {tmp_path}/htpasswd}}"
        bearer = (
            f"token: {{realm: {server.url}, service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {certificate[1]}}}"
        )
        process = RegistryProcess(tmp_path, change=lambda text: text.replace(basic, bearer))
        process.start()
        try:
            yield process, server
        finally:
            process.stop()


def test_tokens_are_fetched_for_what_is_done(tokens: tuple[RegistryProcess, TokenServer]) -> None:
    process, server = tokens
    put_image(process.access, IMAGE)
    images = OciRegistry(process.access)
    assert images.images() == [IMAGE]
    images.delete(IMAGE)
    assert not images.exists(IMAGE)
    name = IMAGE.rpartition(":")[0]
    assert {f"repository:{name}:{what}" for what in ("pull", "pull,push", "delete,pull")} | {
        "registry:catalog:*"
    } == set(server.asked)


def test_a_token_server_that_does_not_know_us_refuses(tokens: tuple[RegistryProcess, TokenServer]) -> None:
    process, _ = tokens
    with pytest.raises(AccessDeniedError, match="token server"):
        OciRegistry(replace(process.access, password="wrong")).images()  # noqa: S106  that is the point


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def encrypted(tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[RegistryAccess]:
    tls = "tls: {{key: {}, certificate: {}}}".format(*certificate)
    process = RegistryProcess(tmp_path, change=lambda text: text.replace('"}', f'", {tls}}}'))
    access = replace(process.access, url=process.access.url.replace("http://127.0.0.1", "https://localhost"))
    process.access = replace(access, ca_file=str(certificate[1]))
    process.start()
    try:
        yield process.access
    finally:
        process.stop()


def test_a_registry_is_reached_over_tls(encrypted: RegistryAccess) -> None:
    put_image(encrypted, IMAGE)
    assert OciRegistry(encrypted).images() == [IMAGE]


def test_a_registry_that_nobody_vouches_for_gets_no_password(encrypted: RegistryAccess) -> None:
    with pytest.raises(RegistryUnavailableError, match=r"(?i)certificate"):
        OciRegistry(replace(encrypted, ca_file="")).images()
