"""The shapes of what ``connector.answers`` tells, one named schema each: ``components.schemas`` of the description."""

from __future__ import annotations

from typing import Final

from connector.answers.stats import STATUSES
from connector.inspector.api import OUTCOMES
from connector.inspector.openapi.shapes import (
    COUNT,
    FLAG,
    MOMENT,
    SENTENCES,
    SHARE,
    TEXT,
    Schema,
    listed,
    names,
    nullable,
    one_of,
    record,
    ref,
    table,
    told,
)
from connector.messages import Kind, Outcome

MAYBE: Final = nullable(TEXT)
WHEN: Final = nullable(MOMENT)
AS_OF: Final = {"as_of": told(MOMENT, "only where as_of was asked: the end of its minute")}
KIND: Final = one_of(Kind.ORDER)

LINK: Final = {
    "link_id": told(TEXT, "a keyed hash of the pair and the kind"),
    "kind": KIND,
    **names("left", "right", like=ref("Identifier")),
    **names("first_at", "last_at", like=MOMENT),
    "message_id": told(TEXT, "of the message that showed it first"),
    "proved_by": told(TEXT, "the same with its source, source/messageId"),
}

WHO_IS_WHO: Final[dict[str, Schema]] = {
    "Identifier": record(names("type", "value")),
    "KnownIdentifier": record({**names("type", "value"), **names("first_at", "last_at", like=MOMENT)}),
    "Link": record(LINK, description="two identifiers that were seen together"),
    "RefusedLink": record({**LINK, "because": TEXT}, description="a link that joins nobody, and why"),
    "Browser": record(
        {"anonymous_id": TEXT, "from": WHEN, "until": WHEN},
        optional={"clicked": told(FLAG, "true where only a click in a mail says so")},
        description="when a browser was this person's; from null: from its beginning, until null: until now",
    ),
    "Hub": record(
        {
            **names("type", "value", "because", "released_by"),
            **names("degree", "hub_limit", like=COUNT),
            **names("first_at", "last_at", like=MOMENT),
        },
        description="an identifier that names nobody",
    ),
    "Hubs": record({"entries": listed(ref("Hub")), "next": nullable(COUNT)}),
    "Profile": record(
        {
            "profile_id": told(MAYBE, "null of what is nobody's: a free browser, a hub"),
            "identifiers": listed(ref("KnownIdentifier")),
            "traits": told({"type": "object"}, "per name what was told last, by event time"),
            "browsers": listed(ref("Browser")),
            "links": listed(ref("Link")),
            "refused": listed(ref("RefusedLink")),
            "timeline": listed(ref("Entry")),
        },
        optional={
            "truncated": told(TEXT, "what was left out of a very large one"),
            "hub": ref("Hub"),
            "device": told(TEXT, "of a first-party id of a browser: why it is nobody's"),
            **AS_OF,
        },
    ),
    "Pair": record(
        {
            "what": {"const": "pair"},
            "joined": FLAG,
            **names("left", "right", like=nullable(ref("Identifier"))),
            "path": told(listed(ref("Link")), "the chain of links between them"),
            "kept_apart_by": listed(ref("KeptApart")),
            **names("would_change", "in_words", like=SENTENCES),
        },
        optional=AS_OF,
    ),
    "KeptApart": {"oneOf": [ref("ByLimit"), ref("ByHub"), ref("ByRevocation"), ref("ByOwner")]},
    "ByLimit": record(
        {
            "link": ref("Link"),
            "type": TEXT,
            "limit": COUNT,
            "identities": listed(ref("Identifier")),
            "because": TEXT,
        },
        description="a refused link: the limit it would break, and the two identities",
    ),
    "ByHub": record({"hub": ref("Hub")}, description="what both are linked to names nobody"),
    "ByRevocation": record(
        {"taken_back": record({**names("left", "right", like=ref("Identifier")), "kind": KIND})},
        description="a link that does not count any more",
    ),
    "ByOwner": record(
        {
            "browser": ref("Identifier"),
            "owner": TEXT,
            "earlier_owners": listed(record({"profile_id": MAYBE, "until": WHEN})),
        },
        description="a browser that belongs to somebody else",
    ),
}

IDS: Final = names("user_id", "anonymous_id", like=MAYBE)
MESSAGES: Final[dict[str, Schema]] = {
    "Entry": record(
        {
            "id": COUNT,
            **names("source", "message_id", "reason"),
            **names("type", "event", "vendor", like=MAYBE),
            **names("at", "received_at", like=MOMENT),
            "authenticated": FLAG,
            "outcome": one_of(OUTCOMES),
            "notes": SENTENCES,
            **IDS,
            "recipient": nullable(ref("Identifier")),
        },
        description="one line of the log",
    ),
    "Log": record(
        {
            "entries": listed(ref("Entry")),
            "next": told(nullable(COUNT), "before of the next page, null on the last"),
        }
    ),
    "MessageAnswer": record(
        {
            "message": ref("Message"),
            "decision": ref("Decision"),
            "considered": told(listed(ref("Considered")), "the browsers among which one was chosen"),
            "refused": listed(ref("RefusedLink")),
            "taught": told(listed(ref("Link")), "the links that it showed"),
            "deliveries": listed(ref("Delivery")),
            "visitor": told(nullable(ref("Visitor")), "of an email event: whom the same evidence names now"),
            "since_then": told(
                {"enum": ["enriched", "reattributed", None]}, "how the visitor differs from what was decided"
            ),
        },
        optional={
            "held": told(nullable(ref("Waits")), "what it waits for"),
            "same_id_from": told(listed(TEXT), "other sources with a message of this id"),
            **AS_OF,
        },
    ),
    "Message": record(
        {
            **names("message_id", "source"),
            **names("type", "event", "vendor", like=MAYBE),
            "at": told(WHEN, "null while nobody has read it"),
            "received_at": MOMENT,
            "authenticated": FLAG,
            "identifiers": told(listed(ref("Identifier")), "those it carried, the strongest first"),
            "notes": SENTENCES,
            "raw": told(MAYBE, "as it came, null once it is no longer kept"),
        }
    ),
    "Decision": record(
        {
            "outcome": one_of([*OUTCOMES, "waiting"]),
            "profile_id": MAYBE,
            **IDS,
            "reason": TEXT,
            "evidence": listed(ref("Link")),
        }
    ),
    "Visitor": record({"profile_id": MAYBE, **IDS, "reason": TEXT}),
    "Considered": record(
        {"anonymous_id": TEXT, "seen_with": ref("Identifier"), "seen_at": MOMENT, "chosen": FLAG, "why": TEXT}
    ),
    "Delivery": record(
        {
            "destination": TEXT,
            "status": one_of([*STATUSES, "dropped"]),
            "message_id": told(TEXT, "of what leaves"),
            "body": told({"type": ["object", "null"]}, "what leaves, null where it was erased"),
            "attempts": listed(ref("Attempt")),
        }
    ),
    "Attempt": record({"at": MOMENT, "status": TEXT, "detail": TEXT}),
    "Waits": record({"expires_at": MOMENT, "waits_for": listed(ref("Identifier")), "released_by": TEXT}),
}

SENT: Final = {**names("message_id", "destination"), "event": MAYBE, "at": MOMENT, "since": MOMENT}
LISTS: Final[dict[str, Schema]] = {
    "Held": record(
        {
            **SENT,
            **names("source", "why", "released_by"),
            "expires_at": MOMENT,
            "waits_for": listed(ref("Identifier")),
        }
    ),
    "Dead": record(
        {
            **SENT,
            "id": told(COUNT, "what /api/dead/{id}/retry takes"),
            "source": MAYBE,
            "message_id": MAYBE,
            **names("outgoing_id", "why", "released_by"),
            "attempts": COUNT,
            "may_have_arrived": FLAG,
        }
    ),
    "Quarantined": record(
        {**names("source", "message_id", "why", "released_by"), "since": MOMENT, "authenticated": FLAG}
    ),
}

STATS: Final[Schema] = record(
    {
        "messages": record(
            {
                **names(
                    "received", "waiting", "quarantined", "duplicates", "conflicting_duplicates", "rejected", like=COUNT
                ),
                "rejected_by": told(table(table(COUNT)), "refused requests, by source and reason"),
            }
        ),
        "email_events": record(names("total", *Outcome.COUNTED, Outcome.IGNORED, like=COUNT)),
        "orphan_rate": record(
            names("before", "after", like=SHARE), description="shares of email_events.total, null while that is 0"
        ),
        **names("profiles", "links", "refused_links", like=COUNT),
        "outbox": told(table(record(names(*STATUSES, like=COUNT))), "by destination"),
    }
)

SCHEMAS: Final[dict[str, Schema]] = {**WHO_IS_WHO, **MESSAGES, **LISTS, "Stats": STATS}
