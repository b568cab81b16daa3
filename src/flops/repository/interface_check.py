"""Checks that an ML repository has the interface that learners and aggregators call, without running it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODEL_MANAGER: Final = "model_manager.py"
DATA_MANAGER: Final = "data_manager.py"
_MAX_INHERITANCE: Final = 16
_OPAQUE_BASES: Final = frozenset(
    {"object", "ABC", "ModelManagerTemplate", "DataManagerTemplate", "Generic", "Protocol"}
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in an ML repository that has to be mended; ``where`` is ``file`` or ``file:line``."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Method:
    """A method that FLOps calls with so many arguments; ``template_only`` ones are asked for by the template alone."""

    name: str
    arguments: tuple[str, ...] = ()
    template_only: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """A class that has to be importable from a file at the repository's root."""

    file: str
    class_name: str
    template: str
    methods: tuple[Method, ...]


INTERFACES: Final = (
    Interface(
        MODEL_MANAGER,
        "ModelManager",
        "ModelManagerTemplate",
        (
            Method("set_model_data"),
            Method("get_model"),
            Method("get_model_parameters"),
            Method("set_model_parameters", ("parameters",)),
            Method("fit_model"),
            Method("evaluate_model"),
        ),
    ),
    Interface(
        DATA_MANAGER,
        "DataManager",
        "DataManagerTemplate",
        (Method("get_data"), Method("_prepare_data", template_only=True)),
    ),
)


def check_interface(files: Mapping[str, str]) -> list[Problem]:
    """Every problem in the Python files at a repository's root (file name → text)."""
    modules: dict[str, ast.Module] = {}
    problems: list[Problem] = []
    for name, text in sorted(files.items()):
        try:
            modules[name] = ast.parse(text, filename=name)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if name in {MODEL_MANAGER, DATA_MANAGER}:
                problems.append(_syntax_problem(name, error))
    broken = {problem.where.partition(":")[0] for problem in problems}
    for interface in INTERFACES:
        if interface.file not in files:
            problems.append(Problem(interface.file, "this file is missing at the root of the repository"))
        elif interface.file not in broken:
            problems.extend(_interface_problems(interface, modules))
    return problems


def _syntax_problem(file: str, error: Exception) -> Problem:
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return Problem(f"{file}:{error.lineno}", f"this is not valid Python: {error.msg}")
    return Problem(file, f"this is not valid Python: {error}")


def _interface_problems(interface: Interface, modules: Mapping[str, ast.Module]) -> list[Problem]:
    found = _find(interface.class_name, interface.file, modules)
    if found is None:
        return [Problem(interface.file, f"it has no class {interface.class_name}")]
    if found.definition is None:
        return []
    ancestry = list(_ancestry(found, modules))
    is_complete = all(ancestor.definition is not None or ancestor.name in _OPAQUE_BASES for ancestor in ancestry)
    uses_template = any(ancestor.name == interface.template for ancestor in ancestry)
    problems: list[Problem] = []
    for method in interface.methods:
        if method.template_only and not uses_template:
            continue
        owner, definition = _method(method.name, ancestry)
        if definition is not None:
            problems.extend(_signature_problems(owner, interface.class_name, definition, method.arguments))
        elif is_complete and not _is_assigned(method.name, ancestry):
            where = f"{found.file}:{found.definition.lineno}"
            problems.append(Problem(where, f"class {interface.class_name} has no method {_spelled(method)}"))
    constructor_owner, constructor = _method("__init__", ancestry)
    if constructor is not None:
        problems.extend(_signature_problems(constructor_owner, interface.class_name, constructor, ()))
    return problems


@dataclass(frozen=True, slots=True)
class _Found:
    """A class by name; ``definition`` is None where it comes from outside the repository."""

    name: str
    file: str
    definition: ast.ClassDef | None = None


def _find(name: str, file: str, modules: Mapping[str, ast.Module], depth: int = 0) -> _Found | None:
    """Follow a name through definitions, aliases and imports from other files of the repository."""
    if file not in modules or depth > _MAX_INHERITANCE:
        return _Found(name, file)
    found: _Found | None = None
    for statement in _statements(modules[file].body):
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            found = _Found(name, file, statement)
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    source = f"{statement.module or ''}.py"
                    found = _find(alias.name, source, modules, depth + 1)
        elif isinstance(statement, ast.Import):
            if any((alias.asname or alias.name.partition(".")[0]) == name for alias in statement.names):
                found = _Found(name, "")
        elif isinstance(statement, ast.Assign) and any(_is_name(target, name) for target in statement.targets):
            is_alias = isinstance(statement.value, ast.Name) and statement.value.id != name
            found = _find(statement.value.id, file, modules, depth + 1) if is_alias else _Found(name, "")  # type: ignore[attr-defined]
    return found


def _ancestry(found: _Found, modules: Mapping[str, ast.Module], depth: int = 0) -> Iterator[_Found]:
    """The class and what it inherits from, nearest first."""
    yield found
    if found.definition is None or depth > _MAX_INHERITANCE:
        return
    for parent in found.definition.bases:
        name = _base_name(parent)
        ancestor = _find(name, found.file, modules) or _Found(name, "")
        if isinstance(parent, ast.Name):
            yield from _ancestry(ancestor, modules, depth + 1)
        else:
            yield _Found(name, "")


def _base_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _base_name(value)
    return ""


def _method(name: str, ancestry: list[_Found]) -> tuple[_Found, ast.FunctionDef | ast.AsyncFunctionDef | None]:
    for ancestor in ancestry:
        for statement in _statements(ancestor.definition.body if ancestor.definition else []):
            is_function = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == name
            if is_function and not _is_abstract(statement):  # type: ignore[arg-type]
                return ancestor, statement  # type: ignore[return-value]
    return ancestry[0], None


def _is_assigned(name: str, ancestry: list[_Found]) -> bool:
    return any(
        isinstance(statement, ast.Assign) and any(_is_name(target, name) for target in statement.targets)
        for ancestor in ancestry
        for statement in _statements(ancestor.definition.body if ancestor.definition else [])
    )


def _signature_problems(
    owner: _Found, class_name: str, definition: ast.FunctionDef | ast.AsyncFunctionDef, arguments: tuple[str, ...]
) -> Iterator[Problem]:
    where = f"{owner.file}:{definition.lineno}"
    spelled = f"{class_name}.{definition.name}"
    if isinstance(definition, ast.AsyncFunctionDef):
        yield Problem(where, f"{spelled} must not be async")
    decorators = {_base_name(decorator) for decorator in definition.decorator_list}
    if not decorators <= {"staticmethod", "classmethod", "override"}:
        return
    signature = definition.args
    positional = [*signature.posonlyargs, *signature.args]
    taken = len(arguments) if "staticmethod" in decorators else len(arguments) + 1
    required = len(positional) - len(signature.defaults)
    required_keywords = [
        argument.arg
        for argument, default in zip(signature.kwonlyargs, signature.kw_defaults, strict=True)
        if default is None
    ]
    fits = required <= taken <= len(positional) or (required <= taken and signature.vararg is not None)
    if not fits or required_keywords:
        expected = ", ".join(("self", *arguments)) if "staticmethod" not in decorators else ", ".join(arguments)
        yield Problem(where, f"{spelled} must be callable as {definition.name}({expected})")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module or class, including those inside ``if``, ``try`` and ``with``."""
    for statement in body:
        yield statement
        match statement:
            case ast.If(body=inner, orelse=others):
                yield from _statements([*inner, *others])
            case ast.Try(body=inner, handlers=handlers, orelse=others, finalbody=final):
                caught = [line for handler in handlers for line in handler.body]
                yield from _statements([*inner, *caught, *others, *final])
            case ast.With(body=inner):
                yield from _statements(inner)


def _is_abstract(definition: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(_base_name(decorator) == "abstractmethod" for decorator in definition.decorator_list)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _spelled(method: Method) -> str:
    return f"{method.name}({', '.join(('self', *method.arguments))})"
