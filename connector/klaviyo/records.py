"""What Klaviyo's API says of a profile, as a message of its own: evidence of who is who, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from connector.elements import dumps
from connector.keys import Keys
from connector.messages import Json, Milliseconds, Received, Stored

SOURCE: Final = "klaviyo"
TOPIC: Final = "profile"
PREFIX: Final = "profile-"
"""How the message ids of records begin."""

IDENTIFYING: Final = ("email", "phone_number", "external_id")

_PROFILE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def of_profile(
    profile_id: Json,
    attributes: Json,
    keys: Keys,
    now: Milliseconds,
    *,
    exchange_id: str | None = None,
    formerly: str | None = None,
) -> Received | None:
    """The record of a profile for the inbox, the same for as long as it says the same; None if it says nothing.

    Args: attributes are the API's; exchange_id is the keyed hash of a token that is the profile's; formerly the id of a
    profile that was merged into it.
    """
    if not is_profile_id(profile_id):
        return None
    known = identifying(attributes)
    further = {name: one for name, one in (("exchange_id", exchange_id), ("merged_id", formerly)) if one}
    if not known and not further:
        return None
    said = [profile_id, [known.get(name) for name in IDENTIFYING], sorted(further.items())]
    message_id = PREFIX + keys.record(dumps(said))  # the id of a profile would outlive its being forgotten
    data = {"type": "profile", "id": profile_id, "attributes": known}
    payload = {"data": data, "profile_id": profile_id, **further}
    return Received(SOURCE, message_id, dumps({"external_id": message_id, "topic": TOPIC, "payload": payload}), now)


def is_record(stored: Stored) -> bool:
    """Is this an answer of Klaviyo's API that we stored, and nobody's message?"""
    return stored.source == SOURCE and stored.message_id.startswith(PREFIX)


def identifying(attributes: Json) -> dict[str, str]:
    """What of a profile's attributes says who it is."""
    told = attributes if isinstance(attributes, Mapping) else {}
    return {name: told[name] for name in IDENTIFYING if isinstance(told.get(name), str) and told[name].strip()}


def is_profile_id(value: Json) -> bool:
    """Has it the form of an id of Klaviyo's: 26 characters, of old profiles six?"""
    return isinstance(value, str) and _PROFILE_ID.fullmatch(value) is not None
