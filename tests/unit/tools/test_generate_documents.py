from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from flops import errors
from flops.cli.main import COMMANDS
from generate_documents import documents, main, stale_documents
from reference_pages import EXIT_CODES, error_classes

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[3]


def test_no_document_is_out_of_date() -> None:
    assert stale_documents() == [], "run 'make docs'"


def test_the_check_says_what_is_out_of_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("generate_documents.ROOT", ROOT / "docs")
    monkeypatch.setattr("generate_documents.documents", lambda: {Path("missing.md"): "text"})
    assert main(["--check"]) == 1
    assert "missing.md is out of date" in capsys.readouterr().err


def test_documents_name_no_machine() -> None:
    for path, text in documents().items():
        assert str(ROOT) not in text, path


def test_every_error_of_the_tree_is_on_its_page() -> None:
    page = documents()[Path("docs/reference/errors.md")]
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.FlopsError):
            retry = "yes" if kind.retryable else "no"
            assert re.search(rf"^\| `{kind.code}` \| .+ \| {retry} \| {kind.exit_code} \|$", page, re.MULTILINE), name


def test_every_exit_code_is_explained() -> None:
    codes = {value: name for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert codes == {number: name for number, (name, _) in EXIT_CODES.items() if number}


def test_codes_are_not_shared() -> None:
    codes = [item.code for item in error_classes(ROOT / "src" / "flops")]
    assert sorted(set(codes), key=str) == sorted(codes, key=str)


def test_every_setting_is_on_its_page_and_nothing_else_is() -> None:
    source = (ROOT / "src" / "flops" / "settings.py").read_text(encoding="utf-8")
    page = documents()[Path("docs/reference/settings.md")]
    read = set(re.findall(r'"(FLOPS_[A-Z_]+)"', source))
    assert set(re.findall(r"^\| `(FLOPS_[A-Z_]+)`", page, re.MULTILINE)) == read


def test_every_command_is_on_its_page() -> None:
    page = documents()[Path("docs/reference/cli.md")]
    for name in COMMANDS:
        assert re.search(rf"^## flops {name}\b", page, re.MULTILINE), name
    assert "## flops project start" in page


def test_the_page_of_commands_names_every_json_option() -> None:
    sections = documents()[Path("docs/reference/cli.md")].split("\n## ")[1:]
    assert [section.splitlines()[0] for section in sections if "`--json`" not in section] == []
