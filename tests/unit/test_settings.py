"""Settings that cannot work are refused where they are read, not where they would do harm."""

from __future__ import annotations

import pytest

from flops.errors import InvalidSettingError
from flops.settings import Settings, without_credentials


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLOPS_CHUNK_BYTES", str(8 * 1024 * 1024)),
        ("FLOPS_CHUNK_BYTES", "0"),
        ("FLOPS_LOG_LEVEL", "LOUD"),
        ("FLOPS_TOPIC_PREFIX", "team/+"),
        ("FLOPS_TOPIC_PREFIX", "team#"),
        ("FLOPS_EMBEDDED_BROKER", "rabbit"),
        ("FLOPS_LOCAL_NODES", "../elsewhere"),
        ("FLOPS_STORE_URL", "postgresql://host/flops"),
        ("FLOPS_STORE_URL", "sqlite://relative"),
        ("FLOPS_STORE_URL", "sqlite:///"),
        ("FLOPS_STORE_URL", "mongodb://"),
        ("FLOPS_STORE_URL", "mongodb://ada:secret@/flops"),
        ("FLOPS_KEEP_EVENTS_DAYS", "0"),
        ("FLOPS_ORCHESTRATOR", "cloud"),
        ("FLOPS_DOCKER_URL", "tcp://127.0.0.1:2375"),
        ("FLOPS_DOCKER_URL", "unix://docker.sock"),
        ("FLOPS_REGISTRY_URL", "localhost:5000"),
        ("FLOPS_REGISTRY_URL", "https://ada:secret@registry.example.org"),
        ("FLOPS_REGISTRY_URL", "https://registry.example.org/Team"),
        ("FLOPS_IMAGE_PLATFORMS", "linux/amd64,windows/amd64"),
        ("FLOPS_STOP_DEADLINE_S", "0"),
        ("FLOPS_RETRY_ATTEMPTS", "0"),
        ("FLOPS_RETRY_ATTEMPTS", "2.5"),
        ("FLOPS_RETRY_ATTEMPTS", "1001"),
        ("FLOPS_RETRY_LONGEST_S", "-1"),
        ("FLOPS_USER", "../Ada"),
        ("FLOPS_HOME", "/dev/null"),
        ("FLOPS_HOME", "/dev/null/below"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSettingError, match=name):
        Settings.from_environment({"HOME": "/home/ada", name: value})


def test_without_any_setting_the_defaults_hold() -> None:
    settings = Settings.from_environment({"HOME": "/home/ada"})

    assert str(settings.home) == "/home/ada/.flops"
    assert (settings.orchestrator, settings.user, settings.store_url) == ("local", "Admin", "")
    assert settings.chunk_bytes < settings.max_payload_bytes


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongodb://localhost", "mongodb://localhost"),
        ("mongodb://ada:secr%2Ft@h1:27017,h2/flops?replicaSet=x", "mongodb://h1:27017,h2/flops"),
        ("mongodb+srv://ada:secret@cluster.example.org/", "mongodb+srv://cluster.example.org/"),
        ("mongodb://ada:secret@[::1]:27017/?authSource=admin", "mongodb://[::1]:27017/"),
        ("sqlite:///var/lib/flops.db", "sqlite:///var/lib/flops.db"),
    ],
)
def test_a_store_is_shown_without_credentials(url: str, shown: str) -> None:
    settings = Settings.from_environment({"HOME": "/home/ada", "FLOPS_STORE_URL": url})

    assert settings.store_url == url
    assert "secr" not in repr(settings)
    assert without_credentials(url) == shown


def test_credentials_in_a_refused_url_are_not_shown() -> None:
    with pytest.raises(InvalidSettingError) as caught:
        Settings.from_environment({"HOME": "/home/ada", "FLOPS_STORE_URL": "mongo://ada:secret@localhost/flops"})

    assert "mongo://localhost/flops" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("", ""),
        ("http://localhost:5000", "localhost:5000"),
        ("http://localhost", "localhost"),
        ("http://registry", "registry:80"),
        ("https://registry/team/", "registry:443/team"),
        ("https://registry.example.org/team/one", "registry.example.org/team/one"),
    ],
)
def test_engines_pull_images_from_the_registry(url: str, prefix: str) -> None:
    assert Settings.from_environment({"HOME": "/home/ada", "FLOPS_REGISTRY_URL": url}).registry_prefix == prefix
