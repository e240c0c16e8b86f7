"""The words of the house: what crosses from one stage to the next, as frozen values.

``Received`` is one element as a door stored it. ``Message`` is what validation makes of it: a Segment
call, and for email events the ``Email`` part that says whom the mail was sent to. Times are integers,
milliseconds since 1970 UTC (Segment's own precision); ``iso`` and ``parse_time`` are the border.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

Json = Any  # JSON exists only inside properties, traits, context and at the border
Milliseconds = int

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

EARLIEST: Final = -62_135_596_800_000
LATEST: Final = 253_402_300_799_999
"""The years 1 to 9999 in UTC, which is what ``iso`` can write."""

_OFFSET: Final = re.compile(r" ([+-]\d\d:?\d\d)\Z")

YEAR_2000: Final = 946_684_800_000
"""Event times before this are clocks that were never set: the receipt counts instead."""

TRACKING_TYPES: Final = ("identify", "track", "page", "screen", "group", "alias")
"""Segment's calls, https://segment.com/docs/connections/spec/ (``delete`` comes by webhook only)."""

EMAIL_EVENTS: Final = (
    "Email Delivered",
    "Email Opened",
    "Email Link Clicked",
    "Email Bounced",
    "Email Marked as Spam",
    "Unsubscribed",
)
"""Segment's Email spec, https://segment.com/docs/connections/spec/email/: note ``Unsubscribed`` without ``Email``."""


class Identifier(NamedTuple):
    """What names a person or a browser: a type of ``mappings/identity.toml`` and a normalised value."""

    type: str
    value: str


class Kind:
    """How two identifiers were seen together. The order is the order of trust (design §4)."""

    MANUAL: Final = "manual"  # an operator said so
    DECLARED: Final = "declared"  # a site or server call carried both
    VENDOR: Final = "vendor"  # an email platform's record or event carried both
    IMPLIED: Final = "implied"  # an email and its hash; a vendor's user id and the userId of the same value
    CLICKED: Final = "clicked"  # a browser landed with a vendor's link token
    EXTENDED: Final = "extended"  # a call carried a first-party id of the browser: with a person, with an anonymousId
    ALIASED: Final = "aliased"  # shown only
    HINTED: Final = "hinted"  # shown only

    ORDER: Final = (MANUAL, DECLARED, VENDOR, IMPLIED, CLICKED, EXTENDED, ALIASED, HINTED)
    JOINING: Final = (MANUAL, DECLARED, VENDOR, IMPLIED)
    OWNING: Final = (MANUAL, DECLARED)


class Outcome:
    """What became of a message. Email events have one of the first ten; other messages are ``learned``."""

    PASSED: Final = "passed"
    STITCHED: Final = "stitched"
    STITCHED_LATE: Final = "stitched_late"
    HELD: Final = "held"
    EXPIRED: Final = "expired"
    AMBIGUOUS: Final = "ambiguous"
    IGNORED: Final = "ignored"
    ECHO: Final = "echo"
    QUARANTINED: Final = "quarantined"
    FORGOTTEN: Final = "forgotten"
    LEARNED: Final = "learned"

    COUNTED: Final = (PASSED, STITCHED, STITCHED_LATE, HELD, EXPIRED, AMBIGUOUS)
    """The outcomes whose sum is ``email_events.total``."""


@dataclass(frozen=True, slots=True)
class Received:
    """One element at a door, before anybody asked what it means.

    body is the element's own slice of the request, as text. envelope is what the request said about all its
    elements (``/v1/batch``: sentAt, context, integrations; Klaviyo: meta), as JSON text. message_id is the key
    that deduplicates it within its source. authenticated is False for elements 2…n of a Segment array whose
    signature covers the first only. rotten says why the slice cannot even be read, if so.
    """

    source: str
    message_id: str
    body: str
    received_at: Milliseconds
    authenticated: bool = True
    envelope: str | None = None
    rotten: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A ``Received`` as the inbox hands it to stitching: it has a number now."""

    id: int
    source: str
    message_id: str
    body: str
    received_at: Milliseconds
    authenticated: bool
    envelope: str | None
    rotten: str | None


@dataclass(frozen=True, slots=True)
class Email:
    """Whom an email event speaks of, from the message alone.

    recipient is the address mailed, or, when the vendor told its hash only, the hash as an ``anonymous_id``.
    vendor_profile and vendor_user are the vendor's own ids of that person. ignored says why the event does not
    count (another channel, a word we do not list, a blocked address), None if it does.
    """

    vendor: str
    recipient: Identifier | None = None
    vendor_profile: Identifier | None = None
    vendor_user: Identifier | None = None
    ignored: str | None = None
    forward: str = "all"


@dataclass(frozen=True, slots=True)
class Message:
    """A Segment call that passed validation, with the identifiers it carries.

    key is ``source/message_id``, the tie-breaker everywhere. timed is False where at is only when it was received.
    user_id and anonymous_id are what arrived, unless blocked. links pairs the strongest identifier with each other one
    (a star) as ``(stronger, weaker, kind)``.
    carried are the identifiers a site or server call vouches for: only those userIds are ever emitted.
    landings are (token, whom it names, browser) of a click in a mail; lookups are the names that only an email platform
    can tell whose they are, each with what it is asked with; choices (category, granted) of the consents that
    identity.toml requires; trait_owner is whom the traits of an identify call describe. notes are plain sentences about
    what was repaired on the way in.
    """

    inbox_id: int
    source: str
    message_id: str
    type: str
    at: Milliseconds
    received_at: Milliseconds
    authenticated: bool = True
    timed: bool = True
    event: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    properties: Mapping[str, Json] = field(default_factory=dict)
    traits: Mapping[str, Json] = field(default_factory=dict)
    context: Mapping[str, Json] = field(default_factory=dict)
    integrations: Mapping[str, Json] = field(default_factory=dict)
    identifiers: tuple[Identifier, ...] = ()
    links: tuple[tuple[Identifier, Identifier, str], ...] = ()
    carried: tuple[Identifier, ...] = ()
    email: Email | None = None
    landings: tuple[tuple[str, Identifier, Identifier], ...] = ()
    lookups: tuple[tuple[Identifier, str], ...] = ()
    choices: tuple[tuple[str, bool], ...] = ()
    trait_owner: Identifier | None = None
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.source}/{self.message_id}"

    @property
    def own(self) -> tuple[Identifier, ...]:
        """The identifiers it speaks of itself: not those that only a page's URL named, which anybody can write."""
        named = {one for one, _, kind in self.links if kind in (Kind.CLICKED, Kind.HINTED)} - set(self.carried)
        return tuple(one for one in self.identifiers if one not in named) if named else self.identifiers


def now_ms() -> Milliseconds:
    """The wall clock, for doors only: stages are given ``now``."""
    return int(datetime.now(UTC).timestamp() * 1000)


def iso(at: Milliseconds) -> str:
    """``1732180000123`` → ``2024-11-21T09:06:40.123Z``, as Segment's libraries write it."""
    return (EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: object) -> Milliseconds | None:
    """ISO 8601 (``T`` or space, ``Z`` or offset; without one: UTC) as milliseconds, None if unreadable.

    A space before the offset, and ``UTC`` in its place, are read too: email platforms write them.
    """
    if not isinstance(text, str) or not 8 <= len(text) <= 64:
        return None
    text = text.strip()
    if len(text) > 19 and " " in text[19:]:
        text = _OFFSET.sub(r"\1", text.removesuffix(" UTC"))
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        at = round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return at if EARLIEST <= at <= LATEST else None


def duration_ms(text: str) -> Milliseconds | None:
    """``72h``, ``90m``, ``30s``, ``14d`` as milliseconds, None if it is none of these."""
    units = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if unit not in units or not number.isdecimal():
        return None
    return int(number) * units[unit]
