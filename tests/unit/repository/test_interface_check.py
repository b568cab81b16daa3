from __future__ import annotations

import pytest
from tests.ml_repositories import DATA_MANAGER, MODEL_MANAGER

from flops.repository.interface_check import check_interface


def problems(model: str = MODEL_MANAGER, data: str = DATA_MANAGER, **others: str) -> list[str]:
    files = {"model_manager.py": model, "data_manager.py": data}
    return [
        str(problem) for problem in check_interface({**files, **{f"{name}.py": text for name, text in others.items()}})
    ]


def test_a_complete_repository_has_no_problems() -> None:
    assert problems() == []


def test_every_problem_is_told_at_once() -> None:
    model = MODEL_MANAGER.replace("fit_model(self)", "fit_model(self, epochs)").replace("def get_model(", "def got(")
    data = DATA_MANAGER.replace("def get_data(self)", "def get_data()").replace("_prepare_data", "_other")
    assert problems(model, data) == [
        "model_manager.py:5: class ModelManager has no method get_model(self)",
        "model_manager.py:18: ModelManager.fit_model must be callable as fit_model(self)",
        "data_manager.py:8: DataManager.get_data must be callable as get_data(self)",
        "data_manager.py:4: class DataManager has no method _prepare_data(self)",
    ]


def test_missing_files_are_told() -> None:
    assert [problem.where for problem in check_interface({})] == ["model_manager.py", "data_manager.py"]


def test_a_syntax_error_is_told_with_its_line() -> None:
    assert problems(model="x = 1\nclass ModelManager(:\n    pass\n")[0].startswith(
        "model_manager.py:2: this is not valid"
    )


@pytest.mark.parametrize("text", ["\0", "(" * 5000, "x = " + "-" * 100_000 + "1"])
def test_hostile_source_is_a_problem_and_no_crash(text: str) -> None:
    assert len(problems(model=text)) == 1


def test_a_class_that_is_missing_is_told() -> None:
    assert problems(data="class Other: pass") == ["data_manager.py: it has no class DataManager"]


def test_methods_may_be_inherited_in_the_same_file() -> None:
    model = MODEL_MANAGER.replace("class ModelManager(", "class Shared(") + "\nclass ModelManager(Shared):\n    pass\n"
    assert problems(model) == []


def test_methods_may_be_inherited_from_another_file_of_the_repository() -> None:
    shared = MODEL_MANAGER.replace("class ModelManager(", "class Shared(").replace("def fit_model", "def fit")
    model = "from shared import Shared as Parent\nclass ModelManager(Parent):\n    pass\n"
    assert problems(model, shared=shared) == ["model_manager.py:2: class ModelManager has no method fit_model(self)"]


def test_what_comes_from_elsewhere_is_trusted() -> None:
    model = "import library\nclass ModelManager(library.Manager):\n    pass\n"
    assert problems(model, data="from library import DataManager\n") == []


def test_an_abstract_method_is_no_method() -> None:
    model = MODEL_MANAGER.replace("    def fit_model", "    @abstractmethod\n    def fit_model")
    assert problems(model) == ["model_manager.py:5: class ModelManager has no method fit_model(self)"]


@pytest.mark.parametrize(
    "signature",
    ["(self, parameters, extra=1)", "(self, *parameters)", "(self, values, /)", "(self, parameters, **options)"],
)
def test_any_signature_that_can_be_called_is_fine(signature: str) -> None:
    assert problems(MODEL_MANAGER.replace("(self, parameters)", signature)) == []


@pytest.mark.parametrize("signature", ["(self)", "(self, a, b)", "(self, parameters, *, strict)", "()"])
def test_a_signature_that_cannot_be_called_is_told(signature: str) -> None:
    (problem,) = problems(MODEL_MANAGER.replace("(self, parameters)", signature))
    assert "must be callable as set_model_parameters(self, parameters)" in problem


def test_async_methods_and_constructors_with_parameters_are_told() -> None:
    model = MODEL_MANAGER.replace("    def fit_model", "    def __init__(self, depth): ...\n\n    async def fit_model")
    assert problems(model) == [
        "model_manager.py:20: ModelManager.fit_model must not be async",
        "model_manager.py:18: ModelManager.__init__ must be callable as __init__(self)",
    ]


def test_the_template_alone_asks_for_prepare_data() -> None:
    assert problems(data="class DataManager:\n    def get_data(self): ...\n") == []


def test_a_class_may_be_made_by_an_alias_or_inside_a_condition() -> None:
    model = "try:\n    import x\nexcept ImportError:\n    x = None\n" + MODEL_MANAGER.replace(
        "ModelManager(", "Mine(", 1
    )
    assert problems(model + "\nModelManager = Mine\n") == []


def test_inheritance_in_a_circle_ends() -> None:
    assert problems("class A(B): ...\nclass B(A): ...\nclass ModelManager(A): ...\n")
    assert problems("from model_manager import ModelManager\n") == []
