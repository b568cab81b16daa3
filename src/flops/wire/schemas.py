"""JSON Schema (2020-12) of what travels on the wire and of what users write."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from flops.wire.sla import MockDataSla, ProjectSla

if TYPE_CHECKING:
    from pydantic import BaseModel

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def project_schema() -> dict[str, Any]:
    """The schema of a project SLA, for editors; it knows every rule that concerns a single key."""
    return _document(ProjectSla, "A FLOps project SLA")


def mock_data_schema() -> dict[str, Any]:
    """The schema of a mock data SLA, for editors."""
    return _document(MockDataSla, "A FLOps mock data SLA")


def schema_of(model: type[BaseModel], ref_template: str = "#/$defs/{model}") -> dict[str, Any]:
    """The schema of a model without the titles that only repeat names."""
    schema = model.model_json_schema(by_alias=True, ref_template=ref_template)
    _drop_titles(schema)
    schema["description"] = inspect.getdoc(model) or ""
    return schema


def _document(model: type[BaseModel], title: str) -> dict[str, Any]:
    return {"$schema": DIALECT, "title": title, **schema_of(model)}


def _drop_titles(schema: Any) -> None:  # noqa: ANN401  any part of a JSON Schema
    if isinstance(schema, list):
        for item in schema:
            _drop_titles(item)
    if isinstance(schema, dict):
        if isinstance(schema.get("title"), str):
            del schema["title"]
        for item in schema.values():
            _drop_titles(item)
