from __future__ import annotations

import re
from pathlib import Path

import pytest

from set_up import configuration_of, uv_environment

ROOT = Path(__file__).parents[3]


def test_the_environment_wins_over_files() -> None:
    listing = """\
:env:.index-url='https://from.environment/simple'
global.index-url='https://from.file/simple'
global.cert='/etc/ca.pem'
install.timeout='60'
global.timeout='30'
freeze.timeout='1'
what is no option
"""
    assert configuration_of(listing) == {
        "index-url": "https://from.environment/simple",
        "cert": "/etc/ca.pem",
        "timeout": "60",
    }


def test_uv_is_told_what_pip_knows() -> None:
    listing = "global.extra-index-url='\\nhttps://a/simple\\nhttps://b/simple'\n:env:.find-links='/one /two'"
    assert uv_environment(configuration_of(listing)) == {
        "UV_INDEX": "https://a/simple https://b/simple",
        "UV_FIND_LINKS": "/one,/two",
    }


@pytest.mark.parametrize("name", ["locked.txt", "dev.txt"])
def test_requirements_are_locked_with_hashes_and_name_no_index(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    entries = re.findall(r"^([a-z0-9][\w.\[\]-]*)==\S+ .*\\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    assert "uv" in entries
    assert "://" not in text
    assert "tensorflow" not in text
    assert "flops" not in entries, "there is a package of that name, which has nothing to do with this project"


def test_the_development_lock_extends_the_lock() -> None:
    pins = [set(re.findall(r"^\S+==\S+", (ROOT / "requirements" / name).read_text(), re.MULTILINE)) for name in (
        "locked.txt", "dev.txt"
    )]  # fmt: skip
    assert pins[0] <= pins[1]
