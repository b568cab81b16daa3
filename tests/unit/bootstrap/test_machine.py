"""What of a machine reaches the containers that fetch from elsewhere."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from flops.bootstrap.machine import CERTIFICATES, VARIABLES, adopt, files_for
from flops.project.deployment import Role

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def variables(environment: dict[str, str]) -> dict[str, str]:
    told: dict[str, str] = json.loads(files_for(Role.BUILDER, environment)[VARIABLES])
    return told


def test_package_indexes_are_told_whether_uv_or_pip_knows_them() -> None:
    told = variables({"PIP_INDEX_URL": "https://ada:secret@index.example.org/simple", "UV_HTTP_TIMEOUT": "9"})
    assert told == {"UV_DEFAULT_INDEX": "https://ada:secret@index.example.org/simple", "UV_HTTP_TIMEOUT": "9"}


def test_no_path_and_no_foreign_variable_is_told(tmp_path: Path) -> None:
    environment = {
        "PATH": "/bin",
        "HOME": "/root",
        "UV_CACHE_DIR": "/cache",
        "SSL_CERT_DIR": "/etc/ssl",
        "FLOPS_USER": "Ada",
    }
    assert variables(environment | {"PIP_FIND_LINKS": f"{tmp_path} https://wheels.example.org"}) == {
        "UV_FIND_LINKS": "https://wheels.example.org"
    }


def test_a_proxy_on_this_machine_is_reached_from_containers_and_not_asked_for_what_is_here() -> None:
    told = variables({"https_proxy": "http://localhost:3128", "NO_PROXY": "lab.example.org"})
    assert told["https_proxy"] == "http://host.docker.internal:3128"
    assert told["NO_PROXY"] == "lab.example.org,host.docker.internal"


def test_who_fetches_nothing_is_told_nothing() -> None:
    assert files_for(Role.LEARNER, {"UV_HTTP_TIMEOUT": "9"}) == {}


def test_a_container_adopts_what_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name, text in files_for(Role.MOCK_DATA, {"UV_HTTP_TIMEOUT": "9", "SSL_CERT_FILE": str(bundle)}).items():
        (tmp_path / name).write_text(text)

    adopt(tmp_path)

    assert os.environ["UV_HTTP_TIMEOUT"] == "9"
    assert os.environ["GIT_SSL_CAINFO"] == str(tmp_path / CERTIFICATES)
    assert (tmp_path / CERTIFICATES).read_text() == "certificates"
