"""Every topic that FLOps publishes or subscribes to. No other module writes a topic string."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_PROJECT_ID: Final = re.compile(r"[0-9a-f]{24}")
ANY: Final = "+"


def may_answer(request_topic: str, reply_topic: str) -> bool:
    """Whether a request on one topic may be answered on the other.

    Answers go to ``reply/<client>`` under the same prefix only, or a request could have others' topics written to.
    """
    prefix, _, client = reply_topic.rpartition("reply/")
    is_reply = reply_topic.startswith(f"{prefix}reply/") and prefix[-1:] in {"", "/"}
    return is_reply and bool(client) and not set(client) & set("+#/") and request_topic.startswith(prefix)


class Topics(NamedTuple):
    """The topics of one installation; ``prefix`` lets several share a broker.

    Methods that take an id accept ``ANY`` to make the subscription filter for all of them.
    """

    prefix: str = ""

    def _topic(self, *levels: str) -> str:
        return "/".join([*filter(None, self.prefix.strip("/").split("/")), *levels])

    def project_start(self) -> str:
        """Where project SLAs are published."""
        return self._topic("project", "start")

    def project_events(self, project_id: str = ANY) -> str:
        """Every event of one project, by whatever process it happened in."""
        return self._topic("project", project_id, "events")

    def project_inbox(self, project_id: str = ANY) -> str:
        """The entries that the observer makes for a person."""
        return self._topic("project", project_id, "inbox")

    def project_confirmed(self, project_id: str = ANY) -> str:
        """Retained: per source, the last sequence number that the manager has made durable."""
        return self._topic("project", project_id, "confirmed")

    def project_status(self, project_id: str = ANY) -> str:
        """Retained: the project at a glance."""
        return self._topic("project", project_id, "status")

    def project_cancel(self, project_id: str = ANY) -> str:
        """Cancellation requests."""
        return self._topic("project", project_id, "cancel")

    def learning(self, project_id: str, *levels: str) -> str:
        """A topic of the learning plane, e.g. ``learning(id, "to", learner)``."""
        return self._topic("project", project_id, "learning", *levels)

    def learning_all(self, project_id: str) -> str:
        """From the aggregator to every learner: the global model's chunks, calls, the dismissal."""
        return self.learning(project_id, "all")

    def learning_to(self, project_id: str, learner: str) -> str:
        """From the aggregator to one learner: its tasks, and chunks that it missed."""
        return self.learning(project_id, "to", learner)

    def learning_from(self, project_id: str, learner: str = ANY) -> str:
        """From one learner to the aggregator: that it joins or leaves, its answers and their chunks."""
        return self.learning(project_id, "from", learner)

    def learner_of(self, topic: str) -> str | None:
        """The learner in a ``project/<id>/learning/from/<learner>`` topic, or None."""
        tail = self.tail_of(topic)
        return tail[2] if tail[:2] == ("learning", "from") and len(tail) == len(("learning", "from", "id")) else None

    def presence(self, instance_id: str = ANY) -> str:
        """Retained, and the last will: whether an instance is online."""
        return self._topic("service", instance_id, "presence")

    def request(self, name: str = ANY) -> str:
        """Requests that are not projects: lists, histories, mock data and so on."""
        return self._topic("request", name)

    def reply(self, client_id: str) -> str:
        """Answers to one client."""
        return self._topic("reply", client_id)

    def project_of(self, topic: str) -> str | None:
        """The project id in a ``project/<id>/…`` topic, or None if it has none that is well formed."""
        depth = len(self._topic("project").split("/"))
        levels = topic.split("/")
        if len(levels) <= depth or "/".join(levels[:depth]) != self._topic("project"):
            return None
        return levels[depth] if _PROJECT_ID.fullmatch(levels[depth]) else None

    def tail_of(self, topic: str) -> tuple[str, ...]:
        """The levels after ``project/<id>/``, ``service/<id>/``, ``request/`` or ``reply/``."""
        levels = topic.split("/")[len(self._topic("x").split("/")) - 1 :]
        return tuple(levels[1:] if levels[:1] in (["request"], ["reply"]) else levels[2:])

    def instance_of(self, topic: str) -> str | None:
        """The instance id in a ``service/<id>/presence`` topic, or None."""
        levels = topic.split("/")[len(self._topic("x").split("/")) - 1 :]
        is_presence = len(levels) == len(("service", "id", "presence")) and levels[0] == "service"
        return levels[1] if is_presence and levels[2] == "presence" else None
