"""Who is forgotten here is deleted at Klaviyo too, where KLAVIYO_DELETE says so.

Klaviyo deletes by exactly one name, and every profile that has it: so one call for each of its profiles that we know by
its id, one for each address, and another name only where there is neither.

Source: https://developers.klaviyo.com/en/reference/request_profile_deletion
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from connector.keys import Keys
from connector.klaviyo import calls
from connector.messages import Identifier, Milliseconds, Stored
from connector.outbox import PENDING, Parcel

DESTINATION: Final = "klaviyo"

NAMES: Final = {"klaviyo_profile_id": "profile_id", "email": "email", "phone": "phone", "user_id": "external_id"}
"""What Klaviyo calls our types of identifiers, the surest first."""

ENOUGH: Final = ("klaviyo_profile_id", "email")


def deletions(names: Iterable[Identifier], stored: Stored, keys: Keys, now: Milliseconds) -> list[Parcel]:
    """The calls that delete whoever has these names. Args: stored is the message that asks for it."""
    known = {kind: sorted(one.value for one in names if one.type == kind) for kind in NAMES}
    chosen = [(kind, value) for kind in ENOUGH for value in known[kind]]
    for kind in NAMES:
        if not chosen:
            chosen = [(kind, value) for value in known[kind]]
    return [_parcel(kind, value, stored, keys, now) for kind, value in chosen]


def _parcel(kind: str, value: str, stored: Stored, keys: Keys, now: Milliseconds) -> Parcel:
    message_id = keys.outgoing_id(f"delete/{stored.source}/{stored.message_id}/{kind}/{value}", DESTINATION)
    body = calls.deletion(**{NAMES[kind]: value})
    return Parcel(stored.id, message_id, PENDING, now, now, body)
