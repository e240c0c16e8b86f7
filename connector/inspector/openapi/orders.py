"""The shapes of what operators post and what they are told: the orders of ``connector.inspector.acts``."""

from __future__ import annotations

from typing import Final

from connector.inspector.openapi.answers import IDS
from connector.inspector.openapi.shapes import (
    COUNT,
    FLAG,
    MOMENT,
    SENTENCES,
    TEXT,
    Schema,
    listed,
    names,
    nullable,
    one_of,
    record,
    ref,
    told,
)

TIME: Final[Schema] = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"format": "date"}],
    "description": "ISO 8601, from 1970; UTC where it names no zone",
}
WHY: Final = {"reason": told({"type": "string", "minLength": 1, "pattern": r"\S"}, "for the log, which keeps it")}
WHO: Final = {"operator": told(TEXT, "who orders it, for the log")}
CORRECT: Final = {"correct": told(FLAG, "send once more, under the right ids, what left under others")}


def _order(properties: dict[str, Schema], optional: dict[str, Schema], description: str) -> Schema:
    """What may be posted: a key that is not known is refused."""
    schema = record({**WHY, **properties}, optional={**WHO, **optional}, description=description)
    return {**schema, "additionalProperties": False}


NAMED: Final[Schema] = {**record(names("type", "value")), "additionalProperties": False}

BODIES: Final[dict[str, Schema]] = {
    "NamedIdentifier": told(NAMED, "an identifier as it may be typed"),
    "LinkOrder": _order(
        names("left", "right", like=ref("NamedIdentifier")), CORRECT, "these two are one person's from now on"
    ),
    "RevokeOrder": {
        **_order(
            {},
            {**CORRECT, "until": TIME, **names("left", "right", like=ref("NamedIdentifier"))},
            "take a link back; with its ends it need not be looked for; seen after until it counts again",
        ),
        "dependentRequired": {"left": ["right"], "right": ["left"]},
    },
    "ForgetOrder": _order(
        names("type", "value"),
        {"at": TIME, "suppress": told(FLAG, "drop also whatever comes later")},
        "erase the person of this identifier, up to a time, by default now",
    ),
    "RetryOrder": _order({}, {}, "try a dead delivery once more"),
}

AROUND: Final = listed(record({"profile_id": TEXT, "identifiers": listed(ref("Identifier")), "browsers": listed(TEXT)}))

EFFECTS: Final[dict[str, Schema]] = {
    "Ordered": record({"act": told(TEXT, "the id of the order"), "see": told(TEXT, "where to read what came of it")}),
    "LinkRefused": record({"message": TEXT, "in_words": SENTENCES}),
    "Moved": record(
        {
            "message": told(TEXT, "source/messageId"),
            "event": nullable(TEXT),
            "at": MOMENT,
            **names("before", "after", like=record(IDS)),
            "what": one_of(["addressed_anew", "held_again", "reattributed", "corrected"]),
        },
        description="an email event that leaves, or left, with other ids",
    ),
    "Preview": record(
        {
            "said": told(TEXT, "what the log would say"),
            "profiles": told(record(names("before", "after", like=AROUND)), "the people around it"),
            "events": listed(ref("Moved")),
            "erased": told(
                record({}, optional=names("identifiers", "messages", "deliveries", like=COUNT)),
                "how much a forgetting erases, empty for other orders",
            ),
            "gone": told(listed(ref("Identifier")), "the identifiers it erases"),
            "released": told(COUNT, "how many held events leave by it"),
            "unknown": told(listed(ref("Identifier")), "those it names that were never seen"),
            "refused": told(FLAG, "it is a link that would join nobody"),
            "pair": told(nullable(ref("Pair")), "of a link by hand: what joins its ends, or keeps them apart"),
        },
        description="what an order would do; nothing of it is done",
    ),
}
