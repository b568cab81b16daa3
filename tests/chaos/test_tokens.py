"""The same request, sent again and again: one project, however often the manager dies meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.conftest import Tell
    from tests.chaos.house import House


def test_a_project_requested_three_times_is_one_project(scripted: House, tell: Tell) -> None:
    scripted.kill_at("thrice", 1, "after")
    ids = {scripted.start("thrice") for _ in range(3)}
    assert scripted.was_killed()
    scripted.kill_at("thrice", 2, "before")
    ids |= {scripted.start("thrice") for _ in range(3)}
    scripted.was_killed()

    (project_id,) = ids
    performance = scripted.end(project_id)

    assert ids == {scripted.id_of("thrice")}
    assert performance.status["phase"] == "completed"
    scripted.assert_deployed_once(project_id)
    tell("the same request sent again, the manager killed meanwhile", times=6, lost=0)
