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


def test_every_command_has_a_page_that_says_what_its_json_is() -> None:
    pages = {path.stem: text for path, text in documents().items() if path.parent.name == "cli"}
    overview = pages.pop("README")
    assert {name.split("-")[0] for name in COMMANDS} <= {page.split("-")[0] for page in pages}
    for name, text in pages.items():
        assert f"({name}.md)" in overview
        assert re.search(r"`--json` .+ is\n\n```\n\S", text), name
    assert "# flops project start\n" in pages["project-start"]


def test_a_page_of_a_command_that_is_gone_is_noticed_and_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("generate_documents.ROOT", tmp_path)
    monkeypatch.setattr("generate_documents.documents", dict)
    gone = tmp_path / "docs" / "reference" / "cli" / "gone.md"
    gone.parent.mkdir(parents=True)
    gone.touch()
    assert stale_documents() == [gone.relative_to(tmp_path)]
    assert main([]) == 0
    assert not gone.exists()
