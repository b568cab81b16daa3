from __future__ import annotations

from urllib.request import OpenerDirector, ProxyHandler

import pytest

from flops.http_opener import opener_for


def proxies_of(opener: OpenerDirector) -> dict[str, str]:
    found = [handler for handler in vars(opener)["handlers"] if isinstance(handler, ProxyHandler)]
    return {scheme: url for handler in found for scheme, url in vars(handler)["proxies"].items()}


@pytest.mark.parametrize(
    ("url", "is_direct"),
    [
        ("http://127.0.0.1:5000/ping", True),
        ("http://localhost:5000", True),
        ("http://[::1]:5000", True),
        ("http://host.docker.internal:5000", True),
        ("http://models.example.org", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_only_this_machine_is_called_past_the_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, *, is_direct: bool
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")

    assert proxies_of(opener_for(url)) == ({} if is_direct else {"http": "http://proxy.example.org:3128"})
