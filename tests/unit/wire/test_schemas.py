from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flops.errors import InvalidSlaError
from flops.sla_library import list_slas
from flops.wire.schemas import mock_data_schema, project_schema
from flops.wire.sla import parse_mock_data_sla, parse_project_sla

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = Draft202012Validator(project_schema())
MOCK_DATA = Draft202012Validator(mock_data_schema())
VALID: dict[str, Any] = {
    "verbose": True,
    "customerID": "alice",
    "ml_repo_url": "https://host/owner/repository",
    "ml_model_flavor": "keras",
    "use_devel_base_images": False,
    "supported_platforms": ["linux/amd64"],
    "training_configuration": {
        "mode": "hierarchical",
        "data_tags": ["a", "b"],
        "training_cycles": 2,
        "training_rounds": 3,
        "min_available_clients": 1,
        "min_fit_clients": 1,
        "min_evaluate_clients": 1,
        "strategy": "FedAdam",
    },
    "post_training_steps": ["build_image_for_trained_model"],
    "resource_constraints": {"memory": 250, "vcpus": 1.5, "storage": 25},
}
REPLACEMENTS = [None, True, 0, 1, -1, 3.0, 2.5, 10**9, "", "x", "a b", "../x", [], ["x"], ["x", "x"], {}, {"x": 1}]
MISSING = object()
PATHS = [
    *((key,) for key in VALID),
    *(("training_configuration", key) for key in VALID["training_configuration"]),
    *(("resource_constraints", key) for key in VALID["resource_constraints"]),
    ("unknown",),
    ("training_configuration", "unknown"),
]


def changed(path: tuple[str, ...], value: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(VALID))
    inside = document
    for key in path[:-1]:
        inside = inside[key]
    if value is MISSING:
        inside.pop(path[-1], None)
    else:
        inside[path[-1]] = value
    return document


def is_parsed(document: dict[str, Any]) -> bool:
    try:
        parse_project_sla(document)
    except InvalidSlaError:
        return False
    return True


@pytest.mark.parametrize("schema", [project_schema(), mock_data_schema()], ids=["project", "mock-data"])
def test_the_schemas_are_schemas_and_describe_every_key(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    for part in (schema, *schema["$defs"].values()):
        assert part["description"]
        assert part["additionalProperties"] is False
        for key, rules in part["properties"].items():
            assert rules["description"], key
            assert not rules.keys() & {"ge", "gt", "le", "lt"}, "these are pydantic's words, not JSON Schema's"


@pytest.mark.parametrize("file", list_slas("projects"), ids=lambda file: file.stem)
def test_shipped_project_slas_fit_the_schema(file: Path) -> None:
    PROJECT.validate(json.loads(file.read_text()))


@pytest.mark.parametrize("file", list_slas("mocks"), ids=lambda file: file.stem)
def test_shipped_mock_data_slas_fit_the_schema(file: Path) -> None:
    MOCK_DATA.validate(json.loads(file.read_text()))


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_the_schema_takes_exactly_what_is_parsed(path: tuple[str, ...]) -> None:
    """For faults of single keys. Combinations and the forms of URLs are beyond a schema, so none are made here."""
    for value in [MISSING, *REPLACEMENTS]:
        document = changed(path, value)
        if path == ("ml_repo_url",) and isinstance(value, str):
            continue
        if path[-1] in {"min_fit_clients", "min_evaluate_clients"} and isinstance(value, int | float) and value > 1:
            continue
        if path == ("training_configuration", "mode") and value is MISSING:
            document["training_configuration"]["training_cycles"] = 1
        assert PROJECT.is_valid(document) == is_parsed(document), value


@given(
    st.sampled_from(PATHS),
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.lists(st.integers()),
)
def test_what_the_schema_refuses_is_refused(path: tuple[str, ...], value: object) -> None:
    document = changed(path, value)
    assert PROJECT.is_valid(document) or not is_parsed(document)


def test_mock_data_is_described_as_it_is_parsed() -> None:
    valid = {"mock_data_configuration": {"dataset_name": "owner/name", "data_tag": "a", "seed": 3}}
    MOCK_DATA.validate(valid)
    assert parse_mock_data_sla(valid).mock_data_configuration.seed == 3
    assert not MOCK_DATA.is_valid({"mock_data_configuration": {"dataset_name": "../x", "data_tag": "a"}})
