from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flops.errors import InvalidSlaError, SlaFault
from flops.sla_library import list_slas
from flops.wire.sla import (
    MockDataSla,
    ProjectSla,
    parse_mock_data_sla,
    parse_project_sla,
    platform_of,
    unsupported,
)


def project(**changes: object) -> dict[str, Any]:
    """The smallest valid project SLA, changed; ``training__x`` changes the key x of the training configuration."""
    document: dict[str, Any] = {
        "ml_repo_url": "https://host/owner/repository",
        "ml_model_flavor": "sklearn",
        "training_configuration": {"data_tags": ["digits"]},
    }
    for name, value in changes.items():
        if name.startswith("training__"):
            document["training_configuration"][name.removeprefix("training__")] = value
        else:
            document[name] = value
    return document


def mock_data(**changes: object) -> dict[str, Any]:
    return {"mock_data_configuration": {"dataset_name": "digits", "data_tag": "digits", **changes}}


def faults_of(document: object) -> list[SlaFault]:
    with pytest.raises(InvalidSlaError) as raised:
        parse_project_sla(document)  # type: ignore[arg-type]  # wrong types are the point
    return raised.value.errors


def paths_of(document: object) -> list[str]:
    return [fault.path for fault in faults_of(document)]


def test_the_smallest_sla_gets_the_documented_defaults() -> None:
    sla = parse_project_sla(project())
    training = sla.training_configuration
    assert (sla.customer_id, sla.verbose, sla.use_devel_base_images) == ("Admin", False, False)
    assert (sla.supported_platforms, sla.post_training_steps) == ([], [])
    assert (training.mode, training.strategy) == ("classic", "FedAvg")
    assert (training.training_cycles, training.training_rounds) == (1, 3)
    assert training.min_available_clients == training.min_fit_clients == training.min_evaluate_clients == 1
    assert (sla.resource_constraints.memory, sla.resource_constraints.vcpus, sla.resource_constraints.storage) == (
        0,
        0,
        0,
    )


def test_an_sla_survives_being_written_and_read() -> None:
    sla = parse_project_sla(project(customerID="alice", training__training_rounds=7, verbose=True))
    assert sla.to_document()["customerID"] == "alice"
    assert parse_project_sla(sla.to_document()) == sla


def test_deadlines_are_seconds_per_phase_and_optional() -> None:
    sla = parse_project_sla(project(deadlines={"training": 90, "checking": 2.5}))
    assert (sla.deadlines.training, sla.deadlines.checking, sla.deadlines.building) == (90, 2.5, 0)
    assert parse_project_sla(sla.to_document()) == sla


def test_both_post_training_steps_are_understood() -> None:
    sla = parse_project_sla(
        project(post_training_steps=["build_image_for_trained_model", "deploy_trained_model_image"])
    )
    assert sla.post_training_steps == ["build_image_for_trained_model", "deploy_trained_model_image"]


@pytest.mark.parametrize("file", list_slas("projects"), ids=lambda file: file.stem)
def test_shipped_project_slas_are_valid_and_supported(file: Any) -> None:  # noqa: ANN401
    assert unsupported(parse_project_sla(file.read_bytes()), "linux/arm64") == []


@pytest.mark.parametrize("file", list_slas("mocks"), ids=lambda file: file.stem)
def test_shipped_mock_data_slas_are_valid(file: Any) -> None:  # noqa: ANN401
    assert isinstance(parse_mock_data_sla(file.read_bytes()), MockDataSla)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"ml_repo_url": 3}, "ml_repo_url", "must be a text, not 3"),
        ({"ml_repo_url": ""}, "ml_repo_url", "must not be empty"),
        ({"ml_repo_url": "https://h/" + "x" * 2048}, "ml_repo_url", "at most 2,048 characters"),
        ({"ml_repo_url": "ext::sh"}, "ml_repo_url", "transport helper"),
        (
            {"ml_model_flavor": "sklern"},
            "ml_model_flavor",
            "must be one of 'sklearn', 'pytorch', 'tensorflow', 'keras'",
        ),
        ({"ml_model_flavor": ["sklearn"]}, "ml_model_flavor", "must be one of"),
        ({"verbose": 1}, "verbose", "must be true or false, not 1"),
        ({"verbose": "true"}, "verbose", 'must be true or false, not "true"'),
        ({"customerID": "../x"}, "customerID", "begin with a letter or digit"),
        ({"customerID": ""}, "customerID", "1 to 64"),
        ({"customerID": "a" * 65}, "customerID", "1 to 64"),
        ({"customerID": "a\n"}, "customerID", "1 to 64"),
        ({"supported_platforms": ["linux/amd64", "linux/amd64"]}, "supported_platforms[1]", "is listed twice"),
        ({"supported_platforms": ["windows"]}, "supported_platforms[0]", "must be one of"),
        ({"supported_platforms": "linux/amd64"}, "supported_platforms", "must be a list"),
        ({"post_training_steps": ["x"]}, "post_training_steps[0]", "must be one of"),
        ({"post_training_steps": ["build_image_for_trained_model"] * 2}, "post_training_steps[1]", "is listed twice"),
        ({"post_training_steps": ["deploy_trained_model_image"]}, "post_training_steps", "nothing builds"),
        ({"training_configuration": []}, "training_configuration", "must be an object"),
        ({"training_configuration": None}, "training_configuration", "must be an object, not null"),
        ({"training__data_tags": []}, "training_configuration.data_tags", "must not be empty"),
        ({"training__data_tags": ["a", "b", "a"]}, "training_configuration.data_tags[2]", '"a" is listed twice'),
        ({"training__data_tags": ["../../x"]}, "training_configuration.data_tags[0]", "must be 1 to 64 letters"),
        ({"training__data_tags": ["a/b"]}, "training_configuration.data_tags[0]", "must be 1 to 64 letters"),
        ({"training__data_tags": [1]}, "training_configuration.data_tags[0]", "must be a text, not 1"),
        ({"training__data_tags": [f"t{n}" for n in range(65)]}, "training_configuration.data_tags", "at most 64 items"),
        ({"training__training_rounds": 0}, "training_configuration.training_rounds", "must be at least 1, not 0"),
        ({"training__training_rounds": "3"}, "training_configuration.training_rounds", 'whole number, not "3"'),
        ({"training__training_rounds": True}, "training_configuration.training_rounds", "whole number, not true"),
        ({"training__training_rounds": 2.5}, "training_configuration.training_rounds", "whole number, not 2.5"),
        ({"training__training_rounds": 10**30}, "training_configuration.training_rounds", "must be at most 100,000"),
        ({"training__training_cycles": 2}, "training_configuration.training_cycles", "only a hierarchy has cycles"),
        ({"training__mode": "clasic"}, "training_configuration.mode", "must be one of 'classic', 'hierarchical'"),
        ({"training__strategy": "FedSGD"}, "training_configuration.strategy", "must be one of 'FedAvg'"),
        ({"training__min_fit_clients": 2}, "training_configuration.min_fit_clients", "waited for (the default)"),
        ({"training__min_evaluate_clients": 2}, "training_configuration.min_evaluate_clients", "only 1 learners"),
        ({"resource_constraints": {"memory": -1}}, "resource_constraints.memory", "must be at least 0"),
        ({"resource_constraints": {"vcpus": float("inf")}}, "resource_constraints.vcpus", "must be a number"),
        ({"resource_constraints": {"vcpus": "1"}}, "resource_constraints.vcpus", 'must be a number, not "1"'),
        ({"resource_constraints": {"storage": False}}, "resource_constraints.storage", "whole number, not false"),
        ({"deadlines": {"training": -1}}, "deadlines.training", "must be at least 0"),
        ({"deadlines": {"building": 10**8}}, "deadlines.building", "must be at most 2,678,400"),
        ({"deadlines": {"serving": "60"}}, "deadlines.serving", 'must be a number, not "60"'),
    ],
)
def test_a_fault_is_named_with_its_path(changes: dict[str, Any], path: str, message: str) -> None:
    [fault] = faults_of(project(**changes))
    assert fault.path == path
    assert message in fault.message


@pytest.mark.parametrize(
    ("changes", "path", "hint"),
    [
        ({"ml_model_flavour": "sklearn"}, "ml_model_flavour", "Did you mean 'ml_model_flavor'?"),
        ({"customer_id": "x"}, "customer_id", "Did you mean 'customerID'?"),
        ({"training__data_tag": ["x"]}, "training_configuration.data_tag", "Did you mean 'data_tags'?"),
        ({"data_tags": ["x"]}, "data_tags", "It belongs into 'training_configuration'."),
        ({"training__memory": 3}, "training_configuration.memory", "It belongs into 'resource_constraints'."),
        ({"training__verbose": True}, "training_configuration.verbose", "It belongs to the top level."),
        ({"deadlines": {"trainng": 60}}, "deadlines.trainng", "Did you mean 'training'?"),
        ({"deadlines": {"stopping": 60}}, "deadlines.stopping", "Known are checking, building"),
        ({"zzzz": 1}, "zzzz", "Known are verbose, customerID,"),
    ],
)
def test_an_unknown_key_gets_a_hint(changes: dict[str, Any], path: str, hint: str) -> None:
    [fault] = faults_of(project(**changes))
    assert (fault.path, fault.message) == (path, "is not a key that FLOps knows")
    assert hint in fault.hint


def test_all_faults_come_at_once_and_do_not_hide_combinations() -> None:
    document = project(
        ml_repo_url="-x",
        ml_model_flavour="sklearn",
        post_training_steps=["deploy_trained_model_image", "x"],
        training__data_tags=["../x", "a", "a"],
        training__min_available_clients=2,
        training__min_fit_clients=3,
        training__min_evaluate_clients=4,
        training__training_rounds="3",
        training__training_cycles=5,
    )
    assert set(paths_of(document)) == {
        "ml_repo_url",
        "ml_model_flavour",
        "post_training_steps",
        "post_training_steps[1]",
        "training_configuration.data_tags[0]",
        "training_configuration.data_tags[2]",
        "training_configuration.min_fit_clients",
        "training_configuration.min_evaluate_clients",
        "training_configuration.training_rounds",
        "training_configuration.training_cycles",
    }


def test_faults_of_a_text_carry_their_lines_in_order() -> None:
    text = """{
  "ml_repo_url": "https://host/owner/repository",
  "ml_model_flavor": "x",
  "training_configuration": {
    "training_rounds": 0
  }
}"""
    places = [(fault.path, fault.line, fault.column) for fault in faults_of(text)]
    assert places == [
        ("ml_model_flavor", 3, 3),
        ("training_configuration.data_tags", 4, 3),
        ("training_configuration.training_rounds", 5, 5),
    ]


def test_the_error_names_everything_in_one_message() -> None:
    with pytest.raises(InvalidSlaError) as raised:
        parse_project_sla('{"ml_repo_url": "https://host/owner/repository"}')
    assert raised.value.code == "sla.invalid"
    assert "The SLA has 2 faults:" in str(raised.value)
    assert "ml_model_flavor, line 1, column 1: is required." in str(raised.value)


def test_a_long_list_of_faults_is_cut_and_says_so() -> None:
    faults = faults_of(project(**{f"key{number}": 1 for number in range(5000)}))
    assert len(faults) == 51
    assert "4,950 more faults are not shown" in faults[-1].message


def test_long_values_and_keys_are_cut() -> None:
    for fault in faults_of(project(**{"k" * 100_000: 1, "verbose": "v" * 100_000})):
        assert len(str(fault)) < 1000


@pytest.mark.parametrize("document", ["[]", "3", '"text"', "null", "true"])
def test_what_is_no_object_is_refused(document: str) -> None:
    [fault] = faults_of(document)
    assert "JSON object" in fault.message


def test_one_kind_of_number() -> None:
    sla = parse_project_sla('{"ml_repo_url": "/r", "ml_model_flavor": "keras", "training_configuration": '
                            '{"data_tags": ["a"], "training_rounds": 3.0}}')  # fmt: skip
    assert sla.training_configuration.training_rounds == 3
    assert type(sla.training_configuration.training_rounds) is int


def test_a_hierarchy_may_have_cycles() -> None:
    sla = parse_project_sla(project(training__mode="hierarchical", training__training_cycles=4))
    assert sla.training_configuration.training_cycles == 4


def test_what_is_not_built_yet_is_refused_with_its_reason() -> None:
    sla = parse_project_sla(
        project(
            training__mode="hierarchical",
            supported_platforms=["linux/amd64", "linux/arm64"],
            use_devel_base_images=True,
        )
    )
    faults = unsupported(sla, "linux/amd64")
    assert [fault.path for fault in faults] == [
        "training_configuration.mode",
        "use_devel_base_images",
        "supported_platforms[1]",
    ]
    assert "the mode 'hierarchical' is not built yet" in faults[0].message
    assert "linux/arm64" in faults[2].message


def test_the_platform_of_this_machine_is_supported() -> None:
    sla = parse_project_sla(project(supported_platforms=["linux/amd64"]))
    assert unsupported(sla, platform_of("x86_64")) == []
    assert unsupported(sla, platform_of("aarch64")) != []


def test_mock_data_gets_the_documented_defaults() -> None:
    sla = parse_mock_data_sla(mock_data())
    configuration = sla.mock_data_configuration
    assert (configuration.number_of_partitions, configuration.partitioner) == (1, "iid")
    assert (configuration.alpha, configuration.seed, sla.customer_id) == (0.5, 0, "Admin")
    assert parse_mock_data_sla(mock_data(partitioner="dirichlet", alpha=1)).mock_data_configuration.alpha == 1


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"dataset_name": "../x"}, "dataset_name", "must be the name of a dataset"),
        ({"dataset_name": "a/b/c"}, "dataset_name", "must be the name of a dataset"),
        ({"data_tag": ".."}, "data_tag", "must be 1 to 64 letters"),
        ({"number_of_partitions": 0}, "number_of_partitions", "must be at least 1"),
        ({"partitioner": "random"}, "partitioner", "must be one of 'iid', 'dirichlet'"),
        ({"partitioner": "dirichlet", "alpha": 0}, "alpha", "must be above 0"),
        ({"alpha": 0.1}, "alpha", "has no effect on the partitioner 'iid'"),
        ({"seed": -1}, "seed", "must be at least 0"),
        ({"tag": "x"}, "tag", "is not a key that FLOps knows"),
    ],
)
def test_faults_of_mock_data_are_named(changes: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(InvalidSlaError) as raised:
        parse_mock_data_sla(mock_data(**changes))
    [fault] = raised.value.errors
    assert fault.path == f"mock_data_configuration.{path}"
    assert message in fault.message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=4),
    max_leaves=20,
)
KEYS = sorted(ProjectSla.model_json_schema()["properties"])


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=10), VALUES, max_size=8))
def test_any_object_is_parsed_or_refused(document: dict[str, Any]) -> None:
    for parse in (parse_project_sla, parse_mock_data_sla):
        with contextlib.suppress(InvalidSlaError):
            assert parse(document).customer_id


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_never_crash(document: bytes) -> None:
    with pytest.raises(InvalidSlaError):
        parse_project_sla(document)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.integers(-1, 4) | st.just("1")
            for name in ("min_available_clients", "min_fit_clients", "min_evaluate_clients", "training_cycles")
        },
    )
)
def test_an_sla_is_accepted_exactly_when_its_numbers_fit_together(numbers: dict[str, Any]) -> None:
    values = {
        "min_available_clients": 1, "min_fit_clients": 1, "min_evaluate_clients": 1, "training_cycles": 1, **numbers
    }  # fmt: skip
    fits = all(isinstance(value, int) and value >= 1 for value in values.values()) and (
        max(values["min_fit_clients"], values["min_evaluate_clients"]) <= values["min_available_clients"]
        and values["training_cycles"] == 1
    )
    document = project(**{f"training__{name}": value for name, value in numbers.items()})
    if fits:
        assert parse_project_sla(document).training_configuration.training_cycles == 1
    else:
        assert faults_of(document)


def test_an_sla_of_the_other_kind_is_told_with_its_command() -> None:
    with pytest.raises(InvalidSlaError, match=r"mock-data SLA, .*flops mock-data"):
        parse_project_sla({"customerID": "Ada", "mock_data_configuration": {}})
    with pytest.raises(InvalidSlaError, match=r"project SLA, .*flops project start"):
        parse_mock_data_sla({"customerID": "Ada", "training_configuration": {}})
