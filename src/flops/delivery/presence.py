"""Whether a service is online: announced by itself, withdrawn by its last will."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from flops.wire.envelope import Envelope
from flops.wire.requests import Presence

if TYPE_CHECKING:
    from flops.delivery.service import ServiceIdentity

PRESENCE_TYPE: Final = "presence"


def presence_payload(
    identity: ServiceIdentity, *, online: bool, url: str = "", data_tags: dict[str, int] | None = None
) -> bytes:
    """The retained message on ``service/<instance>/presence``."""
    presence = Presence(
        instance=identity.instance,
        role=identity.role,
        online=online,
        node=identity.node,
        url=url,
        data_tags=data_tags or {},
        project_id=identity.project_id,
        user=identity.user,
    )
    return Envelope(
        id=str(uuid.uuid4()),
        source=identity.source,
        type=PRESENCE_TYPE,
        subject=identity.project_id,
        time=datetime.now(UTC),
        data=presence.model_dump(mode="json"),
    ).encode()
