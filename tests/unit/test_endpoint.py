"""Addresses as others see them."""

from __future__ import annotations

import pytest

from flops.endpoint import seen_from


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("mqtt://127.0.0.1:1884", "mqtt://host.docker.internal:1884"),
        ("mqtt://localhost", "mqtt://host.docker.internal"),
        ("mqtts://[::1]:8883", "mqtts://host.docker.internal:8883"),
        ("mqtts://broker.example.org:8883", "mqtts://broker.example.org:8883"),
        ("http://localhost:20001/a?b=c#d", "http://host.docker.internal:20001/a?b=c#d"),
    ],
)
def test_this_machines_loopback_is_not_that_of_a_container(url: str, inside: str) -> None:
    assert seen_from("host.docker.internal", url) == inside
    assert seen_from("", url) == url
