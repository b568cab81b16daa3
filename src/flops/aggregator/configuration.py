"""What an aggregator is asked to do."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from flops.learning.strategies import DEFAULT_STRATEGY, Minimums

Count = Annotated[int, Field(ge=1)]


class AggregatorConfig(BaseModel):
    """The configuration in the aggregator's service specification.

    ``learners`` are the instances it waits for; it goes on from the checkpoint of the first of ``former``, instances of
    earlier attempts, that has one. With ``deploy_deadline_s`` 0 the installation's setting holds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    rounds: Count = 1
    cycles: Count = 1
    strategy: str = DEFAULT_STRATEGY
    strategy_options: dict[str, float] = {}
    min_available_clients: Count = 1
    min_fit_clients: Count = 1
    min_evaluate_clients: Count = 1
    learners: list[str]
    flavor: str = ""
    commit: str = ""
    sla: dict[str, Any] = {}
    tracking_service: str
    former: list[str] = []
    deploy_deadline_s: Annotated[float, Field(ge=0)] = 0

    @property
    def minimums(self) -> Minimums:
        """The SLA's minimums of clients."""
        return Minimums(self.min_available_clients, self.min_fit_clients, self.min_evaluate_clients)
