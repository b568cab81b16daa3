"""Lets all property lists of MQTT 5 share the tables of what properties there are.

paho makes these tables anew for each packet that comes, and tries each name in them when it reads the list: for most
packets that is more work than all the rest of it. What a list is and does stays the same.
"""

from __future__ import annotations

from typing import Any, Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

_TABLES: Final = {
    name: value
    for name, value in vars(Properties(PacketTypes.PUBLISH)).items()  # type: ignore[no-untyped-call]
    if name != "packetType"
}
_clear: Final[Any] = Properties.clear


def share_tables() -> None:
    """From now on, in this process. Idempotent."""
    Properties.__init__, Properties.clear = _begin, _clear_if_any  # type: ignore[method-assign]


def _begin(self: Properties, packetType: int) -> None:  # noqa: N803  as paho calls it
    vars(self).update(_TABLES, packetType=packetType)


def _clear_if_any(self: Properties) -> None:
    if len(vars(self)) > len(_TABLES) + 1:
        _clear(self)
