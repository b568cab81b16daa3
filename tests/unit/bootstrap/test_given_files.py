from __future__ import annotations

from typing import TYPE_CHECKING

from flops.bootstrap.given_files import link

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_whose_name_is_a_path_is_found_there_and_stays_where_it_is(tmp_path: Path) -> None:
    secrets, home = tmp_path / "secrets", tmp_path / "home"
    secrets.mkdir()
    (secrets / "nodes~north~data-server.json").write_text("first")
    (secrets / "service.json").write_text("its own")
    link(secrets, home)
    link(secrets, home)
    found = home / "nodes" / "north" / "data-server.json"
    assert found.read_text() == "first"
    assert found.is_symlink()
    assert [path.name for path in home.iterdir()] == ["nodes"]


def test_it_replaces_what_a_former_run_was_given(tmp_path: Path) -> None:
    former = tmp_path / "home" / "nodes" / "north" / "data-server.json"
    former.parent.mkdir(parents=True)
    former.symlink_to(tmp_path / "gone")
    (tmp_path / "nodes~north~data-server.json").write_text("second")
    link(tmp_path, tmp_path / "home")
    assert former.read_text() == "second"
