from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flops.repository.dependencies import Dependencies, InvalidDependencyFileError, is_provided
from flops.repository.dependency_file import read_dependencies

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(files: Mapping[str, str]) -> Dependencies:
    return read_dependencies(files.get)


def texts(dependencies: Dependencies) -> list[str]:
    return [requirement.text for requirement in dependencies.requirements]


# --- which file -------------------------------------------------------------------------------------------------------


def test_conda_goes_before_requirements_and_those_before_pyproject() -> None:
    files = {
        "conda.yaml": "dependencies: [python=3.11]",
        "conda.yml": "dependencies: []",
        "requirements.txt": "",
        "pyproject.toml": "[project]",
    }
    read_first = []
    while files:
        read_first.append(read(files).file)
        del files[read_first[-1]]
    assert read_first == ["conda.yaml", "conda.yml", "requirements.txt", "pyproject.toml"]


def test_a_repository_without_any_is_told_what_to_add() -> None:
    with pytest.raises(
        InvalidDependencyFileError, match=r"conda\.yaml, conda\.yml, requirements\.txt, pyproject\.toml"
    ):
        read({})


@pytest.mark.parametrize(
    "requirement",
    [
        "flops-utils",
        "flops_utils==0.6.3",
        "Flops.Utils>=0.1",
        "git+https://git.example.org/someone/flops-utils.git@main",
        "git+https://git.example.org/someone/other.git@main#egg=flops_utils",
        "git+ssh://git@git.example.org/someone/flops_utils",
        "flops-utils @ git+https://git.example.org/x.git",
    ],
)
def test_what_flops_provides_itself_is_dropped(requirement: str) -> None:
    assert is_provided(requirement)
    assert texts(read({"requirements.txt": f"{requirement}\nsix"})) == ["six"]
    assert texts(read({"conda.yaml": f"dependencies:\n- pip:\n  - '{requirement}'\n  - six"})) == ["six"]


def test_a_requirement_is_found_by_the_package_it_asks_for() -> None:
    dependencies = read({"requirements.txt": "# one\nScikit_Learn==1.4.2\n"})
    assert dependencies.place_of("scikit-learn") == "requirements.txt:2"
    assert dependencies.place_of("numpy") == ""


# --- conda ------------------------------------------------------------------------------------------------------------

MLFLOW_STYLE = """\
channels:
- conda-forge
dependencies:
- python=3.10.13
- pip<=23.0
- pip:
  - mlflow==2.9.2
  - numpy==1.26.4
name: mlflow-env
"""
PIP_ON_THE_SAME_LEVEL = MLFLOW_STYLE.replace("  - mlflow", "- mlflow").replace("  - numpy", "- numpy")
PIP_BESIDE_THE_LIST = "dependencies:\n- python=3.10.13\npip:\n- mlflow==2.9.2\n- numpy==1.26.4\n"


@pytest.mark.parametrize("text", [MLFLOW_STYLE, PIP_ON_THE_SAME_LEVEL, PIP_BESIDE_THE_LIST])
def test_mlflows_format_is_read_in_all_its_variants(text: str) -> None:
    dependencies = read({"conda.yaml": text})
    assert texts(dependencies) == ["mlflow==2.9.2", "numpy==1.26.4"]
    assert dependencies.python == "==3.10.13.*"
    assert dependencies.warnings == ()


def test_places_are_lines_of_the_file() -> None:
    dependencies = read({"conda.yaml": MLFLOW_STYLE})
    assert [requirement.where for requirement in dependencies.requirements] == ["conda.yaml:7", "conda.yaml:8"]


@pytest.mark.parametrize(
    ("conda", "pip"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy==1.26.4", "numpy==1.26.4"),
        ("numpy=1.26.4=py311h1234_0", "numpy==1.26.4.*"),
        ("numpy 1.26.*", "numpy==1.26.*"),
        ("numpy >= 1.20, <2", "numpy>=1.20,<2"),
        ("conda-forge::numpy>=1.20", "numpy>=1.20"),
        ("numpy=1.26.4[build=x]", "numpy==1.26.4.*"),
        ("numpy=*", "numpy"),
        ("pytorch=2.1", "torch==2.1.*"),
        ("PyTables", "tables"),
    ],
)
def test_conda_packages_are_taken_from_the_index_with_a_warning(conda: str, pip: str) -> None:
    dependencies = read({"conda.yaml": f"dependencies:\n- '{conda}'\n"})
    assert texts(dependencies) == [pip]
    assert len(dependencies.warnings) == 1


def test_what_the_index_cannot_have_is_left_out_with_a_warning() -> None:
    dependencies = read({"conda.yaml": "dependencies: [cudatoolkit=11.8, pip]"})
    assert texts(dependencies) == []
    assert "cudatoolkit" in dependencies.warnings[0][0]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("dependencies:\n- a: [\n", "conda.yaml:3"),
        ("name: x\n", "conda.yaml"),
        ("", "conda.yaml"),
        ("- x\n", "conda.yaml"),
        ("dependencies: numpy\n", "conda.yaml:1"),
        ("dependencies:\n- pip:\n  - numpy=1.2\n", "conda.yaml:3"),
        ("dependencies:\n- numpy>=x.y\n", "conda.yaml:2"),
        ("dependencies:\n- npm:\n  - left-pad\n", "conda.yaml:2"),
        ("dependencies:\n- '!!'\n", "conda.yaml:2"),
        ("dependencies:\n- pip:\n  - -r /etc/passwd\n", "conda.yaml:3"),
        ("dependencies: &a\n- pip: *a\n", "conda.yaml:2"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, where: str) -> None:
    with pytest.raises(InvalidDependencyFileError) as caught:
        read({"conda.yaml": text})
    assert caught.value.where == where


# --- requirements -----------------------------------------------------------------------------------------------------


def test_requirements_are_read_as_pip_reads_them() -> None:
    text = (
        "\ufeff# a comment\n"
        "numpy==1.26.4  # why\n"
        "\n"
        "pandas[parquet]>=2 ; \\\n"
        "    python_version >= '3.9'\n"
        "--extra-index-url https://packages.example.org/simple\n"
        "six==1.16.0 --hash=sha256:00\n"
        "thing @ https://files.example.org/thing-1.0-py3-none-any.whl#sha256=00\n"
        "last\\"
    )
    dependencies = read({"requirements.txt": text})
    assert [(requirement.text, requirement.where) for requirement in dependencies.requirements] == [
        ("numpy==1.26.4", "requirements.txt:2"),
        ("pandas[parquet]>=2 ;  python_version >= '3.9'", "requirements.txt:4"),
        ("six==1.16.0 --hash=sha256:00", "requirements.txt:7"),
        ("thing @ https://files.example.org/thing-1.0-py3-none-any.whl#sha256=00", "requirements.txt:8"),
        ("last", "requirements.txt:9"),
    ]
    assert dependencies.options == ("--extra-index-url https://packages.example.org/simple",)


def test_included_files_are_followed_inside_the_repository() -> None:
    files = {
        "requirements.txt": "-r requirements/main.txt\n-rother.txt\n--requirement=other.txt\n",
        "requirements/main.txt": "-r ../requirements.txt\nnumpy\n",
        "other.txt": "six\n",
    }
    dependencies = read(files)
    assert [requirement.where for requirement in dependencies.requirements] == [
        "requirements/main.txt:2",
        "other.txt:1",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "-r ../outside.txt",
        "-r /etc/passwd",
        "-r https://example.org/requirements.txt",
        "-r missing.txt",
        "-e .",
        "./package",
        "thing @ file:///etc/passwd",
        "--find-links /srv/packages",
        "https://example.org/${SECRET}/x.whl",
        "--index-url https://example.org/${SECRET}",
        "--trusted-host example.org",
        "numpy=1.2",
        "-r 'unfinished",
    ],
)
def test_what_leads_out_of_the_repository_or_is_no_requirement_is_refused(line: str) -> None:
    with pytest.raises(InvalidDependencyFileError) as caught:
        read({"requirements.txt": f"six\n{line}\n"})
    assert caught.value.where == "requirements.txt:2"


# --- pyproject --------------------------------------------------------------------------------------------------------


def test_a_pyproject_file_is_read() -> None:
    text = (
        '[project]\nname = "x"\nrequires-python = ">=3.10"\ndependencies = [\n  "numpy==1.26.4",\n  "flops-utils",\n]\n'
    )
    dependencies = read({"pyproject.toml": text})
    assert dependencies.python == ">=3.10"
    assert [(requirement.text, requirement.where) for requirement in dependencies.requirements] == [
        ("numpy==1.26.4", "pyproject.toml:5")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[project",
        "[tool.poetry]\n",
        '[project]\ndynamic = ["dependencies"]\n',
        "[project]\ndependencies = [1]\n",
        '[project]\ndependencies = ["a=1"]\n',
        '[project]\nrequires-python = "three"\n',
        "[project]\nrequires-python = 3\n",
    ],
)
def test_a_pyproject_file_that_does_not_tell_is_refused(text: str) -> None:
    with pytest.raises(InvalidDependencyFileError) as caught:
        read({"pyproject.toml": text})
    assert caught.value.where.startswith("pyproject.toml")
