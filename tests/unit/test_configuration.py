"""Flags over environment over files over defaults, and every mistake is told with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flops.configuration import Choice, read, read_file, unknown_variables
from flops.errors import InvalidConfigurationError, InvalidSettingError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

LAB = """# mine
user = "Ada"
managers = 2
[contexts.lab]
user = "Lab"
broker_url = "mqtts://lab.example.org"
local_nodes = ["a:learner", "b"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / ".config" / "flops").mkdir(parents=True)
    return tmp_path


def of_user(folder: Path, text: str) -> dict[str, str]:
    (folder / ".config" / "flops" / "flops.toml").write_text(text)
    return {"HOME": str(folder)}


def test_the_nearest_value_wins_and_says_where_it_was_said(folder: Path) -> None:
    environment = of_user(folder, LAB) | {"FLOPS_USER": "Eve"}
    (folder / "here" / "flops.toml").write_text('managers = 3\nlog_level = "DEBUG"')

    found = read(environment, Choice(values=(("log_level", "ERROR"),)))

    settings = found.settings()
    assert (settings.user, settings.managers, settings.log_level) == ("Eve", 3, "ERROR")
    assert found.values["user"].origin == "environment variable FLOPS_USER"
    assert found.values["managers"].origin == f"{folder}/here/flops.toml, line 1"
    assert found.values["log_level"].origin == "flag --set"
    assert found.environment()["FLOPS_MANAGERS"] == "3"


def test_a_context_of_a_flag_comes_before_the_environment_and_others_after_it(folder: Path) -> None:
    environment = of_user(folder, LAB) | {"FLOPS_USER": "Eve"}

    flagged, named = read(environment, Choice("lab")), read(environment | {"FLOPS_CONTEXT": "lab"}, Choice())

    assert flagged.settings().user == "Lab"
    assert named.settings().user == "Eve"
    assert flagged.values["user"].origin == f"{folder}/.config/flops/flops.toml, line 5"
    assert [node.name for node in flagged.settings().local_nodes] == ["a", "b"]
    assert list(flagged.contexts()) == ["lab"]


def test_a_file_may_choose_the_context(folder: Path) -> None:
    assert read(of_user(folder, f'context = "lab"\n{LAB}'), Choice()).settings().user == "Lab"


def test_a_file_that_names_another_broker_gets_no_credentials_of_this_one(folder: Path) -> None:
    environment = of_user(folder, 'broker_url = "mqtts://b"\nbroker_username = "ada"\nbroker_password_file = "/p"')
    assert read(environment, Choice()).settings().broker_username == "ada"
    (folder / "here" / "flops.toml").write_text('broker_url = "mqtt://elsewhere"')

    settings = read(environment, Choice()).settings()

    assert (settings.broker_url, settings.broker_username, settings.broker_password_file) == (
        "mqtt://elsewhere",
        "",
        "",
    )


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('usr = "Ada"', 1, "Did you mean 'user'?"),
        ('user = "Ada"\n\n[contexts.lab]\n"brokerurl" = "x"', 4, "Did you mean 'broker_url'?"),
        ("user = [1]", 1, "has to be a text or a number"),
        ("managers = true", 1, "has to be a text or a number"),
        ("user = \n", 1, "no valid TOML"),
        ("context = 5", 1, "the name of a context"),
        ("contexts = 5", 1, "every context is a table"),
        ("[context.lab]", 1, "the name of a context"),
        ("\n[lab]\nuser = 'x'", 2, "there is no setting 'lab'"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    file = tmp_path / "flops.toml"
    file.write_text(text)

    with pytest.raises(InvalidConfigurationError) as caught:
        read_file(file)

    assert (caught.value.path, caught.value.line) == (str(file), line)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b"#" * 2_000_000])
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "flops.toml").write_bytes(content)
    with pytest.raises(InvalidConfigurationError):
        read_file(tmp_path / "flops.toml")


def test_a_value_that_cannot_work_is_refused_with_its_place(folder: Path) -> None:
    environment = of_user(folder, 'user = "Ada"\nmanagers = 0')
    with pytest.raises(InvalidSettingError, match=r"flops\.toml, line 2"):
        read(environment, Choice()).settings()


def test_a_context_or_file_that_there_is_not_is_answered_with_what_was_meant(folder: Path) -> None:
    environment = of_user(folder, LAB)
    with pytest.raises(NotFoundError, match="Did you mean 'lab'"):
        read(environment, Choice("lap"))
    with pytest.raises(NotFoundError, match="configuration file"):
        read(environment | {"FLOPS_CONFIG": "/nowhere.toml"}, Choice())
    with pytest.raises(NotFoundError, match="Did you mean 'user'"):
        read(environment, Choice(values=(("usr", "x"),)))


def test_a_variable_that_is_no_setting_is_noticed() -> None:
    assert unknown_variables({"FLOPS_BROKER": "x", "FLOPS_HOME": "/x", "PATH": "y"}) == ["FLOPS_BROKER"]


def test_a_file_that_names_another_registry_gets_no_credentials_of_this_one(folder: Path) -> None:
    environment = of_user(folder, 'registry_url = "https://r"\nregistry_username = "ada"\nbroker_username = "bob"')
    (folder / "here" / "flops.toml").write_text('registry_url = "http://elsewhere"')

    settings = read(environment, Choice()).settings()

    assert (settings.registry_url, settings.registry_username, settings.broker_username) == (
        "http://elsewhere",
        "",
        "bob",
    )
