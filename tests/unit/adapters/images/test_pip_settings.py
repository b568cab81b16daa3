from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flops.adapters.images.pip_settings import uv_environment

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "https://packages.example.org/simple"
OTHER = "https://other.example.org/simple"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "uv").mkdir()
    return tmp_path


def test_pips_variables_become_uvs(home: Path) -> None:
    environment = uv_environment(
        {
            "HOME": str(home),
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_INDEX_URL": INDEX,
            "PIP_EXTRA_INDEX_URL": f"{OTHER}\n {INDEX}",
            "PIP_FIND_LINKS": f"{home} {home}/missing",
            "PIP_CERT": "/certificates.pem",
            "PIP_TRUSTED_HOST": "other.example.org",
            "PIP_NO_INDEX": "1",
        }
    )
    assert environment["UV_DEFAULT_INDEX"] == INDEX
    assert environment["UV_INDEX"] == f"{OTHER} {INDEX}"
    assert environment["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert environment["UV_FIND_LINKS"] == str(home)
    assert environment["SSL_CERT_FILE"] == "/certificates.pem"
    assert environment["UV_INSECURE_HOST"] == "other.example.org"
    assert environment["UV_NO_INDEX"] == "1"
    assert not any(name.startswith("PIP_") for name in environment)


def test_pips_files_are_read_and_variables_win(home: Path) -> None:
    (home / ".config" / "pip" / "pip.conf").write_text(f"[global]\nindex-url = {INDEX}\ncert = /a.pem\n")
    assert uv_environment({"HOME": str(home)})["UV_DEFAULT_INDEX"] == INDEX
    assert uv_environment({"HOME": str(home), "PIP_INDEX_URL": OTHER})["UV_DEFAULT_INDEX"] == OTHER


def test_uvs_own_settings_win(home: Path) -> None:
    pips = {"HOME": str(home), "PIP_INDEX_URL": INDEX}
    assert uv_environment({**pips, "UV_INDEX_URL": OTHER}).get("UV_DEFAULT_INDEX") is None
    (home / ".config" / "uv" / "uv.toml").write_text(f'index-url = "{OTHER}"\n')
    assert "UV_DEFAULT_INDEX" not in uv_environment(pips)


def test_a_broken_file_of_pip_is_passed_over(home: Path) -> None:
    (home / ".config" / "pip" / "pip.conf").write_text("no section\n")
    assert "UV_DEFAULT_INDEX" not in uv_environment({"HOME": str(home)})


def test_secrets_of_others_do_not_reach_what_a_package_runs(home: Path) -> None:
    secrets = {"FLOPS_BROKER_PASSWORD_FILE": "x", "AWS_SECRET_ACCESS_KEY": "x", "GITHUB_TOKEN": "x"}
    environment = uv_environment({"HOME": str(home), "PATH": "/bin", "HTTPS_PROXY": "p", **secrets})
    assert environment["PATH"] == "/bin"
    assert environment["HTTPS_PROXY"] == "p"
    assert not set(secrets) & set(environment)
