"""The bodies that Klaviyo's endpoints take, revision 2026-10-15.

``anonymous_id`` is a field of an event's profile and of no other; a stray field is a hard 400.

Source: https://github.com/klaviyo/openapi, ``openapi/stable.json``
"""

from __future__ import annotations

from typing import Final

from connector.demo.klaviyo_standin.shapes import (
    Kind,
    Many,
    Maybe,
    Properties,
    Resource,
    Shape,
    Spec,
    Text,
    Word,
    email,
    phone,
)

BULK_EVENTS: Final = 1_000

TEXT: Final = Text()
FLAG: Final = Kind((bool,), "boolean")
NUMBER: Final = Kind((int, float), "number")
OBJECT: Final = Kind((dict,), "object")
COORDINATE: Final = Kind((int, float, str), "coordinate")

LOCATION: Final = Shape(
    "location",
    {
        **dict.fromkeys(("address1", "address2", "city", "country", "region", "zip", "timezone", "ip"), TEXT),
        **dict.fromkeys(("latitude", "longitude"), COORDINATE),
    },
)


IDENTIFIERS: Final[dict[str, Spec]] = {
    "email": Text(valid=email),
    "phone_number": Text(valid=phone),
    "external_id": Text(longest=255),
}
TRAITS: Final[dict[str, Spec]] = {
    **dict.fromkeys(("first_name", "last_name", "organization", "locale", "title", "image"), TEXT),
    "location": Maybe(LOCATION),
    "properties": OBJECT,
}
PATCHES: Final = Shape(
    "profile",
    {
        "patch_properties": Shape(
            "profile", {"append": OBJECT, "unappend": OBJECT, "unset": Kind((str, list), "property name")}
        ),
        "patch_identifiers": Shape("profile", {"append": OBJECT, "unappend": OBJECT}),
    },
)


def _profile(attributes: dict[str, Spec], *more_required: str) -> Shape:
    members: dict[str, Spec] = {
        "type": Word("profile"),
        "id": TEXT,
        "attributes": Shape("profile", attributes),
        "meta": PATCHES,
    }
    return Shape("profile", members, frozenset({"type", "attributes", *more_required}))


PROFILE_IMPORT: Final = Resource(_profile({**IDENTIFIERS, "_kx": TEXT, **TRAITS}))
PROFILE_PATCH: Final = Resource(_profile({**IDENTIFIERS, **TRAITS}, "id"))
PROFILE_CREATE: Final = Resource(
    Shape(
        "profile",
        {"type": Word("profile"), "attributes": Shape("profile", {**IDENTIFIERS, **TRAITS})},
        frozenset({"type", "attributes"}),
    )
)
_MERGED: Final = Shape("profile", {"type": Word("profile"), "id": Text(null=False)}, frozenset({"type", "id"}))
PROFILE_MERGE: Final = Resource(
    Shape(
        "profile-merge",
        {
            "type": Word("profile-merge"),
            "id": Text(null=False),
            "relationships": Shape(
                "profile-merge",
                {"profiles": Shape("profile-merge", {"data": Many(_MERGED, 1, 1)}, frozenset({"data"}))},
                frozenset({"profiles"}),
            ),
        },
        frozenset({"type", "id", "relationships"}),
    )
)

METRIC: Final = Shape(
    "metric",
    {
        "data": Shape(
            "metric",
            {
                "type": Word("metric"),
                "attributes": Shape(
                    "metric", {"name": Text(longest=127, shortest=1, null=False), "service": TEXT}, frozenset({"name"})
                ),
            },
            frozenset({"type", "attributes"}),
        )
    },
    frozenset({"data"}),
)
EVENT_PROFILE: Final = Shape(
    "event",
    {"data": _profile({**IDENTIFIERS, "anonymous_id": TEXT, "_kx": TEXT, **TRAITS})},
    frozenset({"data"}),
)
_EVENT: Final[dict[str, Spec]] = {
    "properties": Properties(),
    "time": TEXT,
    "value": NUMBER,
    "value_currency": TEXT,
    "unique_id": Text(longest=255, shortest=1),
    "backfill": FLAG,
    "metric": METRIC,
}


def _event(attributes: dict[str, Spec], *required: str) -> Shape:
    members: dict[str, Spec] = {"type": Word("event"), "attributes": Shape("event", attributes, frozenset(required))}
    return Shape("event", members, frozenset({"type", "attributes"}))


EVENT_CREATE: Final = Resource(_event({**_EVENT, "profile": EVENT_PROFILE}, "properties", "metric", "profile"))
_BULK_ITEM: Final = Shape(
    "event-bulk-create",
    {
        "type": Word("event-bulk-create"),
        "attributes": Shape(
            "event-bulk-create",
            {
                "backfill": FLAG,
                "profile": EVENT_PROFILE,
                "events": Shape(
                    "event-bulk-create", {"data": Many(_event(_EVENT, "properties", "metric"))}, frozenset({"data"})
                ),
            },
            frozenset({"profile", "events"}),
        ),
    },
    frozenset({"type", "attributes"}),
)
EVENT_BULK_CREATE: Final = Resource(
    Shape(
        "event-bulk-create-job",
        {
            "type": Word("event-bulk-create-job"),
            "attributes": Shape(
                "event-bulk-create-job",
                {
                    "events-bulk-create": Shape(
                        "event-bulk-create-job", {"data": Many(_BULK_ITEM, 1, BULK_EVENTS)}, frozenset({"data"})
                    )
                },
                frozenset({"events-bulk-create"}),
            ),
        },
        frozenset({"type", "attributes"}),
    )
)

DELETION: Final = Resource(
    Shape(
        "data-privacy-deletion-job",
        {
            "type": Word("data-privacy-deletion-job"),
            "attributes": Shape(
                "data-privacy-deletion-job",
                {
                    "profile": Shape(
                        "data-privacy-deletion-job",
                        {
                            "data": Shape(
                                "profile",
                                {
                                    "type": Word("profile"),
                                    "id": TEXT,
                                    "attributes": Shape(
                                        "profile", {name: IDENTIFIERS[name] for name in ("email", "phone_number")}
                                    ),
                                },
                                frozenset({"type", "attributes"}),
                            )
                        },
                        frozenset({"data"}),
                    )
                },
                frozenset({"profile"}),
            ),
        },
        frozenset({"type", "attributes"}),
    )
)


def _https(value: str) -> str | None:
    return None if value.startswith("https://") else "The endpoint URL has to be an https URL."


_WEBHOOK: Final[dict[str, Spec]] = {
    "name": Text(shortest=1, null=False),
    "description": TEXT,
    "endpoint_url": Text(null=False, valid=_https),
    "secret_key": Text(shortest=16, null=False),
}
_TOPICS: Final = Shape(
    "webhook",
    {
        "webhook-topics": Shape(
            "webhook",
            {
                "data": Many(
                    Shape(
                        "webhook-topic",
                        {"type": Word("webhook-topic"), "id": Text(null=False)},
                        frozenset({"type", "id"}),
                    )
                )
            },
            frozenset({"data"}),
        )
    },
    frozenset({"webhook-topics"}),
)
WEBHOOK_CREATE: Final = Resource(
    Shape(
        "webhook",
        {
            "type": Word("webhook"),
            "attributes": Shape("webhook", _WEBHOOK, frozenset({"name", "endpoint_url", "secret_key"})),
            "relationships": _TOPICS,
        },
        frozenset({"type", "attributes", "relationships"}),
    )
)
WEBHOOK_PATCH: Final = Resource(
    Shape(
        "webhook",
        {
            "type": Word("webhook"),
            "id": Text(null=False),
            "attributes": Shape("webhook", {**_WEBHOOK, "enabled": Kind((bool,), "boolean", null=False)}),
            "relationships": _TOPICS,
        },
        frozenset({"type", "id", "attributes"}),
    )
)

_PARAMETER: Final[dict[str, Spec]] = dict.fromkeys(
    ("flow", "campaign"),
    Maybe(Shape("tracking-setting", {"type": TEXT, "value": TEXT}, frozenset({"type", "value"}))),
)
_UTM: Final = Maybe(Shape("tracking-setting", _PARAMETER))
TRACKING_PATCH: Final = Resource(
    Shape(
        "tracking-setting",
        {
            "type": Word("tracking-setting"),
            "id": Text(null=False),
            "attributes": Shape(
                "tracking-setting",
                {
                    "auto_add_parameters": FLAG,
                    **dict.fromkeys(("utm_source", "utm_medium", "utm_campaign", "utm_id", "utm_term"), _UTM),
                    "custom_parameters": Many(
                        Shape(
                            "tracking-setting",
                            {"name": Text(shortest=1, null=False), **_PARAMETER},
                            frozenset({"name"}),
                        ),
                        0,
                    ),
                },
            ),
        },
        frozenset({"type", "id", "attributes"}),
    )
)
