"""Settings that cannot work are refused where they are read, not where they would do harm."""

from __future__ import annotations

import pytest

from flops.errors import InvalidSettingError
from flops.settings import Settings


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
        ("FLOPS_ORCHESTRATOR", "cloud"),
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
