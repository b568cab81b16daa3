"""What is to be said of an SLA while its name is typed; loaded by whoever types one: SLAs take long to load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flops.errors import FlopsError, InvalidSlaError
from flops.sla_library import load_sla
from flops.tui.entries import printable
from flops.tui.screens import Verdict
from flops.wire.sla import parse_mock_data_sla, parse_project_sla

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from flops.sla_library import SlaKind
    from flops.wire.sla import MockDataSla


def read_project_sla(name: str) -> dict[str, Any]:
    """The project SLA that a name leads to."""
    return parse_project_sla(load_sla(name).content).to_document()


def read_mock_data_sla(name: str) -> MockDataSla:
    """The mock-data SLA that a name leads to."""
    return parse_mock_data_sla(load_sla(name, "mocks").content)


def check_project_sla(name: str) -> Verdict:
    """Whether a name leads to a valid project SLA."""
    return _check_sla(name, "projects", _praise_of_project)


def check_mock_data_sla(name: str) -> Verdict:
    """Whether a name leads to a valid mock-data SLA."""
    return _check_sla(name, "mocks", _praise_of_mock_data)


def faults_of(error: InvalidSlaError) -> list[str]:
    """What is wrong with an SLA, one line for each fault."""
    return [printable(f"✗ {fault.path or 'SLA'}: {fault.message} {fault.hint}".rstrip()) for fault in error.errors]


def _check_sla(name: str, kind: SlaKind, praise: Callable[[bytes], str]) -> Verdict:
    if not name.strip() or name == "-":
        return Verdict(is_good=False, text="Esc closes this.")
    try:
        return Verdict(is_good=True, text=f"✓ valid: {praise(load_sla(name, kind).content)} Enter starts it.")
    except InvalidSlaError as error:
        return Verdict(is_good=False, text="\n".join(faults_of(error)))
    except FlopsError as error:
        return Verdict(is_good=False, text=f"✗ {error.message} {error.remedy}")


def _praise_of_project(content: bytes) -> str:
    sla = parse_project_sla(content)
    return f"{sla.ml_repo_url}, {sla.training_configuration.training_rounds} rounds, for {sla.customer_id}."


def _praise_of_mock_data(content: bytes) -> str:
    wanted = parse_mock_data_sla(content).mock_data_configuration
    return f"{wanted.dataset_name} in {wanted.number_of_partitions} parts with the tag {wanted.data_tag}."
