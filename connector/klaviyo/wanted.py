"""What of the site's activity must not go to Klaviyo: email events, other platforms' calls, what a call forbids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from connector.klaviyo.calls import COMPOSED
from connector.klaviyo.mapping import KlaviyoMapping
from connector.messages import Json, Message

ALL: Final = "all"


def refusal(message: Message, mapping: KlaviyoMapping) -> str | None:
    """Why a message must not leave for Klaviyo, None if nothing speaks against it. A filter may still leave it out."""
    if message.email is not None:
        return "an email event: Klaviyo counts its own"
    if message.type not in COMPOSED:
        return f"Klaviyo knows nothing like {message.type}"
    if message.source == "import":
        return "imported history is evidence only"
    if not message.carried:
        return "no call of the site's own, or one that names nobody"
    if is_switched_off(message.integrations, mapping.integrations):
        return "its integrations switch Klaviyo off"
    category = denied(message.context, mapping.consent)
    return None if category is None else f"its visitor has refused {category}"


def is_switched_off(integrations: Mapping[str, Json], names: Iterable[str]) -> bool:
    """Does a call forbid a destination? By its name, or ``All`` with none of its names beside it.

    Args: names are those of the destination, in small letters.

    Source: https://segment.com/docs/guides/filtering-data/#filtering-with-the-integrations-object
    """
    said = {name.lower(): value for name, value in integrations.items()}
    own = [said[name] for name in names if said.get(name) is not None]
    return any(one is False for one in own) if own else said.get(ALL) is False


def denied(context: Mapping[str, Json], categories: Iterable[str]) -> str | None:
    """The first of these categories that a call itself refuses; what it does not speak of, earlier calls may grant.

    Source: https://segment.com/docs/privacy/consent-management/consent-in-segment-connections/
    """
    consent = context.get("consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    said = preferences if isinstance(preferences, dict) else {}
    return next((one for one in categories if said.get(one) is False), None)
