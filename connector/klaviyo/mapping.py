"""``mappings/destinations/klaviyo.toml``, compiled: which calls of Segment's become which of Klaviyo's.

    [profile]   identify calls: Klaviyo's fields, and what is a property of one's own
    [[events]]  whatever becomes an event: the first that subscribes to a call makes it
    [item]      a product inside an event

Each of the three fills fields from values of the mapping language, and takes over the rest of an object as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector.destination_mapping import DIALECTS, filter_of
from connector.errors import MappingError
from connector.klaviyo.fields import ATTRIBUTES, IDENTIFIERS
from connector.klaviyo.limits import folded
from connector.language import Value
from connector.messages import DAY, Json, Milliseconds, duration_ms
from connector.toml_section import Section

WHERE: Final = "destinations/klaviyo.toml"

KEYS: Final = frozenset(
    {"subscribe", "fql", "on_conflict", "consent", "clicked", "integrations", "never"}
    | {"backfill", "profile", "events", "item"}
)
BACKFILL_KEYS: Final = frozenset({"enabled", "within", "events", "flag"})
PROFILE_KEYS: Final = frozenset({"subscribe", "fields", "rest", "without"})
EVENT_KEYS: Final = frozenset(
    {"subscribe", "metric", "value", "currency", "items", "each", "fields", "rest", "without"}
)
ITEM_KEYS: Final = frozenset({"fields", "rest", "without"})
EACH_KEYS: Final = frozenset({"metric", "fields"})

UNKNOWN_YET: Final = re.compile(r"\buserId\b|\banonymousId\b")
MOST_EVENTS: Final = 10_000

Candidates = tuple[Value, ...]
"""Values to try: the first that fits what it is for counts."""

Filter = Callable[[Mapping[str, Json]], bool]


@dataclass(frozen=True, slots=True)
class Backfill:
    """What is done with the activity of a visitor whom nobody knows yet.

    span_ms: how old it may become; events: how much of it is kept of one visitor. flag: does it leave as Klaviyo's
    ``backfill``, which is recorded and triggers no flows?
    """

    enabled: bool = False
    span_ms: Milliseconds = 14 * DAY
    events: int = MOST_EVENTS
    flag: bool = True


@dataclass(frozen=True, slots=True)
class Shape:
    """How an object of Klaviyo's is filled: its fields, and the rest of another object but for some names (folded)."""

    fields: Mapping[str, Candidates]
    rest: Candidates = ()
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Profile:
    """identify calls, if they pass the filter."""

    subscribes: Filter
    shape: Shape


@dataclass(frozen=True, slots=True)
class Each:
    """The event that each product of a call becomes, beside the call's own."""

    metric: Candidates
    fields: Mapping[str, Candidates]


@dataclass(frozen=True, slots=True)
class Event:
    """One ``[[events]]``. value: None if the metric has none."""

    subscribes: Filter
    metric: Candidates
    shape: Shape
    value: Candidates | None
    currency: Candidates
    items: Candidates
    each: Each | None


@dataclass(frozen=True, slots=True)
class KlaviyoMapping:
    """The file.

    subscribes: does a call go to Klaviyo at all? on_conflict: what is done where two profiles know parts of one person,
    ``drop`` (the weaker identifier) or ``merge``. consent: the categories that must be granted. clicked: is the
    activity of a browser that came from a mail its addressee's? integrations: Klaviyo's names in a call's integrations,
    in small letters. never: names, folded, that leave at no depth.
    """

    subscribes: Filter
    on_conflict: str
    consent: tuple[str, ...]
    clicked: bool
    integrations: frozenset[str]
    never: frozenset[str]
    backfill: Backfill
    profile: Profile
    events: tuple[Event, ...]
    item: Shape


def read(where: str, table: Mapping[str, Any]) -> KlaviyoMapping:
    """What the file says.

    Raises: MappingError, all mistakes of the file together.
    """
    file = Section(where, table, [])
    file.check_keys(KEYS)
    dialect = file.choice("fql", DIALECTS, "strict")
    profile, item = file.section("profile"), file.section("item")
    profile.check_keys(PROFILE_KEYS)
    item.check_keys(ITEM_KEYS)
    mapping = KlaviyoMapping(
        subscribes=_filter(file, dialect),
        on_conflict=file.choice("on_conflict", ("drop", "merge"), "drop"),
        consent=file.texts("consent"),
        clicked=_flag(file, "clicked", True),
        integrations=frozenset(one.lower() for one in file.texts("integrations")),
        never=frozenset(map(folded, file.texts("never"))),
        backfill=_backfill(file.section("backfill")),
        profile=Profile(_filter(profile, dialect), _shape(profile, _attributes(profile))),
        events=tuple(_event(one, dialect) for one in _events(file)),
        item=_shape(item, _fields(item.section("fields", "[item.fields]"))),
    )
    if file.mistakes:
        raise MappingError(*dict.fromkeys(file.mistakes))
    return mapping


def complete(table: dict[str, Any], shipped: Mapping[str, Any]) -> None:
    """Take over from the shipped file what another leaves out: keys of the file, and of its tables."""
    for key, value in shipped.items():
        if key not in table:
            table[key] = value
        elif isinstance(value, dict) and isinstance(table[key], dict):
            table[key] = {**value, **table[key]}


def _backfill(section: Section) -> Backfill:
    section.check_keys(BACKFILL_KEYS)
    within = section.text("within", "14d")
    span = duration_ms(within)
    if not span:
        section.wrong("within", "a duration such as 14d", within)
    return Backfill(
        enabled=section.flag("enabled"),
        span_ms=span or 14 * DAY,
        events=section.whole("events", MOST_EVENTS),
        flag=_flag(section, "flag", True),
    )


def _attributes(profile: Section) -> dict[str, Candidates]:
    """The fields of a profile; a table ``location`` is the same as keys with dots."""
    section = profile.section("fields", "[profile.fields]")
    found = dict(section.table)
    location = found.get("location")
    if isinstance(location, dict) and not any(name[:1] == "@" for name in location):
        del found["location"]
        found |= {f"location.{name}": spec for name, spec in location.items()}
    for name in found:
        if name in IDENTIFIERS:
            section.wrong(name, "no identifier: they are those of identity.toml that evidence joined", found[name])
        elif name not in ATTRIBUTES:
            section.wrong(name, f"one of {', '.join(ATTRIBUTES)}; for others there is rest", found[name])
    return {name: _candidates(section, f'"{name}"', spec) for name, spec in found.items()}


def _events(file: Section) -> list[Section]:
    """Each ``[[events]]`` as a section of its own, counted from 1."""
    found = file.table.get("events", [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        file.wrong("events", "tables headed [[events]]", found)
        return []
    return [Section(file.where, one, file.mistakes, f"[[events]] {at}") for at, one in enumerate(found, 1)]


def _event(section: Section, dialect: str) -> Event:
    table = section.table
    section.check_keys(EVENT_KEYS)
    for key in ("subscribe", "metric"):
        if key not in table:
            section.wrong(key, "text" if key == "metric" else "a filter such as 'type = \"track\"'", None)
    items = _optional(section, "items")
    if "each" in table and not items:
        section.wrong("each", "items beside it, of which each becomes an event", table["each"])
    return Event(
        subscribes=_filter(section, dialect),
        metric=_metric(section),
        shape=_shape(section, _fields(section.section("fields", f"{section.name} fields"))),
        value=_optional(section, "value") if "value" in table else None,
        currency=_optional(section, "currency"),
        items=items,
        each=_each(section.section("each", f"{section.name} each")) if "each" in table else None,
    )


def _each(section: Section) -> Each:
    section.check_keys(EACH_KEYS)
    return Each(_metric(section), _fields(section.section("fields", f"{section.name} fields")))


def _metric(section: Section) -> Candidates:
    metric = section.table.get("metric", "")
    if isinstance(metric, str) and not metric.strip() and "metric" in section.table:
        section.wrong("metric", "a name", metric)
    return _candidates(section, "metric", metric)


def _shape(section: Section, fields: Mapping[str, Candidates]) -> Shape:
    rest = section.table.get("rest")
    if rest is not None:
        section.check_looked_up("rest", rest)
    return Shape(fields, _optional(section, "rest"), frozenset(map(folded, section.texts("without"))))


def _fields(section: Section) -> dict[str, Candidates]:
    return {name: _candidates(section, f'"{name}"', spec) for name, spec in section.table.items()}


def _optional(section: Section, key: str) -> Candidates:
    """Nothing to try where the key is not there, or an empty list."""
    return _candidates(section, key, section.table[key]) if section.table.get(key, []) != [] else ()


def _candidates(section: Section, key: str, spec: Json) -> Candidates:
    """The members of a list one by one, so that each can be asked whether it fits; anything else by itself."""
    if not isinstance(spec, Sequence) or isinstance(spec, str) or not spec:
        return (section.value(key, spec),)
    section.value(key, spec)  # says all mistakes together
    return tuple(section.value(key, {"@path": one} if isinstance(one, str) else one) for one in spec)


def _filter(section: Section, dialect: str) -> Filter:
    return filter_of(section, dialect, UNKNOWN_YET, "no userId and no anonymousId")


def _flag(section: Section, key: str, default: bool) -> bool:
    return section.flag(key) if key in section.table else default


def values(table: Mapping[str, Any]) -> list[tuple[str, Json]]:
    """Everything in the file that is written in the mapping language, and where it stands. For a file that is right."""
    found = _values_of("[profile]", table.get("profile", {}), ("rest",)) + _values_of(
        "[item]", table.get("item", {}), ("rest",)
    )
    for at, event in enumerate(table.get("events", ()), 1):
        found += _values_of(f"[[events]] {at}", event, ("value", "currency", "items", "rest"))
        found += _values_of(f"[[events]] {at} each", event.get("each", {}), ())
    return found


def _values_of(place: str, table: Mapping[str, Any], keys: Collection[str]) -> list[tuple[str, Json]]:
    fields = table.get("fields", {})
    return [(f"{place} {key}", table[key]) for key in keys if key in table] + [
        (f'{place} fields "{name}"', spec) for name, spec in fields.items()
    ]
