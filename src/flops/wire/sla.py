"""The SLAs: what a user may ask for, how it is checked, and what of it is not built yet."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003  pydantic needs it at run time
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from flops.errors import InvalidSlaError, SlaFault
from flops.settings import USER_PATTERN
from flops.wire.repository_url import MAX_URL, url_fault
from flops.wire.sla_faults import MAX_TOLD, excerpt, placed, structure_faults
from flops.wire.sla_text import item_path, read_sla

TAG_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
DATASET_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
_MEANINGS: Final = {
    TAG_PATTERN: "must be 1 to 64 letters, digits, dots, dashes or underscores and begin with a letter or digit",
    USER_PATTERN: "must be 1 to 64 letters, digits or any of . _ @ - and begin with a letter or digit",
    DATASET_PATTERN: "must be the name of a dataset like 'digits' or 'owner/name'",
}

Flavor = Literal["sklearn", "pytorch", "tensorflow", "keras"]
Platform = Literal["linux/amd64", "linux/arm64"]
Mode = Literal["classic", "hierarchical"]
Strategy = Literal[
    "FedAvg", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi", "FedMedian", "FedTrimmedAvg"
]  # fmt: skip
PostTrainingStep = Literal["build_image_for_trained_model", "deploy_trained_model_image"]
Partitioner = Literal["iid", "dirichlet"]


def _whole(value: object) -> object:
    """JSON has one kind of number: 3.0 is 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _usable_url(url: str) -> str:
    fault = url_fault(url)
    if fault:
        raise PydanticCustomError("url", "{what}", {"what": fault[0], "hint": fault[1]})
    return url


Item = TypeVar("Item")
AS_WHOLE: Final = BeforeValidator(_whole)
Clients = Annotated[int, Field(ge=1, le=10_000), AS_WHOLE]
Tag = Annotated[str, Field(pattern=TAG_PATTERN)]
User = Annotated[str, Field(pattern=USER_PATTERN)]
Distinct = Annotated[list[Item], Field(json_schema_extra={"uniqueItems": True})]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def to_document(self) -> dict[str, Any]:
        """The SLA as JSON, with every default written out; parsing it gives an equal SLA."""
        return self.model_dump(mode="json", by_alias=True)


class TrainingConfiguration(_Part):
    """How the model is trained."""

    mode: Mode = Field("classic", description="One aggregator, or one root over an aggregator per cluster.")
    data_tags: Distinct[Tag] = Field(
        min_length=1, max_length=64, description="Learners train on all local data under any of these tags."
    )
    training_cycles: Annotated[int, Field(ge=1, le=10_000), AS_WHOLE] = Field(
        1, description="Passes from the root over the clusters and back; above 1 only in mode 'hierarchical'."
    )
    training_rounds: Annotated[int, Field(ge=1, le=100_000), AS_WHOLE] = Field(
        3, description="Train and evaluate, so often."
    )
    min_available_clients: Clients = Field(1, description="How many learners must be there before a round begins.")
    min_fit_clients: Clients = Field(1, description="How many learners have to train in each round.")
    min_evaluate_clients: Clients = Field(1, description="How many learners have to evaluate in each round.")
    strategy: Strategy = Field("FedAvg", description="How the learners' results are aggregated.")


class ResourceConstraints(_Part):
    """Upper bounds for each actor; 0 means no bound."""

    memory: Annotated[int, Field(ge=0, le=16_777_216), AS_WHOLE] = Field(
        0, description="Memory in MB; 0 means no bound."
    )
    vcpus: Annotated[float, Field(ge=0, le=4096)] = Field(0, description="Virtual CPUs; 0 means no bound.")
    storage: Annotated[int, Field(ge=0, le=1_073_741_824), AS_WHOLE] = Field(
        0, description="Disk in MB; 0 means no bound."
    )


MOST_SECONDS: Final = 31 * 24 * 3600
Seconds = Annotated[float, Field(ge=0, le=MOST_SECONDS)]


class PhaseDeadlines(_Part):
    """How many seconds each phase may take before the project fails; 0 means: as the installation is set."""

    checking: Seconds = Field(0, description="Checking the repository, the data and the images.")
    building: Seconds = Field(0, description="Building the actors' images.")
    deploying: Seconds = Field(0, description="From deploying the actors to the first round.")
    training: Seconds = Field(0, description="All rounds together.")
    packaging: Seconds = Field(0, description="Building the trained model's image.")
    serving: Seconds = Field(0, description="Until the inference server answers.")


class ProjectSla(_Part):
    """What a user asks for with a project."""

    verbose: bool = Field(
        default=False,
        description="Whether the inbox also tells what begins, what is removed, and each learner's results.",
    )
    customer_id: User = Field("Admin", alias="customerID", description="The user that the project belongs to.")
    ml_repo_url: Annotated[str, Field(min_length=1, max_length=MAX_URL), AfterValidator(_usable_url)] = Field(
        description="The ML Git repository: a URL or an absolute path, optionally followed by @branch, @tag or @commit."
    )
    ml_model_flavor: Flavor = Field(description="The ML framework of the repository.")
    use_devel_base_images: bool = Field(
        default=False, description="Build on prebuilt images for the development of FLOps."
    )
    supported_platforms: Distinct[Platform] = Field(
        [], max_length=2, description="The platforms the images are for; none means: those of the nodes."
    )
    training_configuration: TrainingConfiguration = Field(description="The data, the learners and the rounds.")
    post_training_steps: Distinct[PostTrainingStep] = Field(
        [], max_length=2, description="What happens with the trained model; deploying needs building."
    )
    resource_constraints: ResourceConstraints = Field(ResourceConstraints(), description="Upper bounds for each actor.")
    deadlines: PhaseDeadlines = Field(PhaseDeadlines(), description="How many seconds each phase may take.")


class MockDataConfiguration(_Part):
    """Which dataset is spread over the learner nodes, and how."""

    dataset_name: Annotated[str, Field(pattern=DATASET_PATTERN)] = Field(
        description="'digits' (bundled), or the name of any dataset on the Hugging Face hub."
    )
    number_of_partitions: Annotated[int, Field(ge=1, le=10_000), AS_WHOLE] = Field(
        1, description="Into how many parts the dataset is split."
    )
    data_tag: Tag = Field(description="The tag that projects find the data by.")
    partitioner: Partitioner = Field("iid", description="Even parts, or parts with skewed labels.")
    alpha: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        0.5, description="Concentration of the partitioner 'dirichlet': the smaller, the more skewed."
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1), AS_WHOLE] = Field(
        0, description="The same seed gives the same parts."
    )


class MockDataSla(_Part):
    """What a user asks for with mock data."""

    customer_id: User = Field("Admin", alias="customerID", description="The user that asks.")
    mock_data_configuration: MockDataConfiguration = Field(description="Which dataset, and how it is spread.")


def parse_project_sla(document: bytes | str | dict[str, Any]) -> ProjectSla:
    """Read and check a project SLA.

    Raises:
        InvalidSlaError: with every fault at once.
    """
    return _parse(document, ProjectSla, _project_combinations)


def parse_mock_data_sla(document: bytes | str | dict[str, Any]) -> MockDataSla:
    """Read and check a mock data SLA.

    Raises:
        InvalidSlaError: with every fault at once.
    """
    return _parse(document, MockDataSla, _mock_data_combinations)


def unsupported(sla: ProjectSla, machine_platform: str) -> list[SlaFault]:
    """What a valid SLA asks for that is not built yet, on local processes on a machine of this platform."""
    faults = []
    if sla.training_configuration.mode == "hierarchical":
        message = "the mode 'hierarchical' is not built yet"
        faults.append(SlaFault("training_configuration.mode", message, "Use the mode 'classic'."))
    if sla.use_devel_base_images:
        message = "prebuilt base images are not built yet"
        faults.append(SlaFault("use_devel_base_images", message, "Remove it: builds are cached anyway."))
    for index, platform in enumerate(sla.supported_platforms):
        if platform != machine_platform:
            message = f"images for {platform} cannot be built yet: local processes run on {machine_platform} only"
            hint = "Leave 'supported_platforms' out to use what is there."
            faults.append(SlaFault(f"supported_platforms[{index}]", message, hint))
    return faults


def platform_of(machine: str) -> str:
    """The platform of a machine as ``platform.machine()`` names it."""
    architectures = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    return f"linux/{architectures.get(machine.lower(), machine.lower())}"


_Sla = TypeVar("_Sla", ProjectSla, MockDataSla)


def _refuse_other_kind(value: dict[str, Any], model: type[BaseModel]) -> None:
    of_project, of_mock_data = "training_configuration" in value, "mock_data_configuration" in value
    if model is ProjectSla and of_mock_data and not of_project:
        hint = "Use 'flops mock-data FILE'."
        raise InvalidSlaError([SlaFault("", "that is a mock-data SLA, not a project SLA", hint)])
    if model is MockDataSla and of_project and not of_mock_data:
        hint = "Use 'flops project start FILE'."
        raise InvalidSlaError([SlaFault("", "that is a project SLA, not a mock-data SLA", hint)])


def _parse(
    document: bytes | str | dict[str, Any], model: type[_Sla], combinations: Callable[[dict[str, Any]], list[SlaFault]]
) -> _Sla:
    read = read_sla(document)
    if not isinstance(read.value, dict):
        raise InvalidSlaError([SlaFault("", "an SLA is a JSON object", "Begin with '{'.")])
    _refuse_other_kind(read.value, model)
    faults = combinations(read.value)
    try:
        sla = model.model_validate(read.value)
    except ValidationError as error:
        told = error.errors(include_url=False)[:MAX_TOLD]
        faults += structure_faults(told, model, _MEANINGS)
        untold = error.error_count() - len(told)
        raise InvalidSlaError(placed(faults, read.places, untold=untold)) from None
    if faults:
        raise InvalidSlaError(placed(faults, read.places))
    return sla


def _project_combinations(document: dict[str, Any]) -> list[SlaFault]:
    """Faults between keys, looked for in whatever of them can be read."""
    steps = document.get("post_training_steps")
    faults = [
        *_training_combinations(document.get("training_configuration")),
        *_duplicates("supported_platforms", document.get("supported_platforms")),
        *_duplicates("post_training_steps", steps),
    ]
    asked = steps if isinstance(steps, list) else []
    if "deploy_trained_model_image" in asked and "build_image_for_trained_model" not in asked:
        message = "'deploy_trained_model_image' needs an image that nothing builds"
        hint = "Add 'build_image_for_trained_model' before it."
        faults.append(SlaFault("post_training_steps", message, hint))
    return faults


def _duplicates(path: str, values: object) -> list[SlaFault]:
    if not isinstance(values, list):
        return []
    seen: set[str] = set()
    faults = []
    for index, value in enumerate(values):
        if isinstance(value, str) and value in seen:
            faults.append(SlaFault(item_path(path, index), f"{excerpt(value)} is listed twice", "Remove one of them."))
        elif isinstance(value, str):
            seen.add(value)
    return faults


def _training_combinations(training: object) -> list[SlaFault]:
    if not isinstance(training, dict):
        return []
    faults = _duplicates("training_configuration.data_tags", training.get("data_tags"))
    available = _number(training, "min_available_clients")
    for key in ("min_fit_clients", "min_evaluate_clients"):
        clients = _number(training, key)
        if available is not None and clients is not None and clients > available > 0:
            default = "" if "min_available_clients" in training else " (the default)"
            message = f"is {clients:,}, but only {available:,} learners are waited for{default}"
            hint = f"Set 'min_available_clients' to {clients:,} or more."
            faults.append(SlaFault(f"training_configuration.{key}", message, hint))
    if training.get("mode", "classic") == "classic" and (_number(training, "training_cycles") or 1) > 1:
        message = "must be 1 in the mode 'classic': only a hierarchy has cycles"
        hint = "Use 'training_rounds' for more rounds."
        faults.append(SlaFault("training_configuration.training_cycles", message, hint))
    return faults


def _number(training: dict[str, Any], key: str) -> int | None:
    value = _whole(training.get(key, 1))
    return value if type(value) is int else None


def _mock_data_combinations(document: dict[str, Any]) -> list[SlaFault]:
    """An alpha without effect; the default is let pass, since ``to_document`` writes it out."""
    configuration = document.get("mock_data_configuration")
    if not isinstance(configuration, dict) or "alpha" not in configuration:
        return []
    is_default = configuration["alpha"] == MockDataConfiguration.model_fields["alpha"].default
    if is_default or configuration.get("partitioner", "iid") != "iid":
        return []
    message, hint = "has no effect on the partitioner 'iid'", "Set 'partitioner' to 'dirichlet', or remove it."
    return [SlaFault("mock_data_configuration.alpha", message, hint)]
