"""``mappings/identity.toml``, compiled: the types of identifiers with rank, limits and paths, and what guards a link.

Checked at start: an error names file and key, what was expected and what was found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from connector.errors import MappingError
from connector.identifiers import CONTROL, MAX_VALUE, NORMALISERS
from connector.messages import DAY, MINUTE, Identifier, Kind, Milliseconds, duration_ms

WHERE: Final = "identity.toml"
VENDOR: Final = "vendor"
"""The section that stands for every ``<vendor>_profile_id`` and ``<vendor>_user_id``."""

BUILT_IN: Final = ("user_id", "email", "phone", VENDOR, "anonymous_id")
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")
HUB_LIMIT: Final = 20
MOST: Final = 1_000_000_000
OPT_OUT: Final = "opt_out"
"""The category under which an opt-out flag is remembered."""

TOP: Final = frozenset({"blocked", "role_addresses", "hub_limit", "types", "landings", "clicked", "consent"})


@dataclass(frozen=True, slots=True)
class Type:
    """One type of identifier. rank: 1 is the strongest. limit: how many of it one person may have, None for any.

    blocked: what names nobody, of all types and of this one.
    hub_limit: how many stronger identifiers one of it may be linked to before it names nobody.
    external_ids: what it is called in ``context.externalIds``, beside its own name.
    """

    name: str
    rank: int
    limit: int | None = None
    paths: tuple[str, ...] = ()
    normalise: str = "trim"
    hub_limit: int = HUB_LIMIT
    blocked: tuple[re.Pattern[str], ...] = ()
    external_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Landing:
    """A parameter of a page's URL that names somebody: ``clicked`` (a vendor's link token) or ``hinted``, …"""

    parameter: str
    type: str
    kind: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The file, compiled. required and opt_out say without whose consent nothing is kept.

    alone_ms: no other browser may have carried a link's token that long before. machine_ms: how near a machine's
    click spoils a landing. fingerprint: of everything by which people are resolved, so that a change is noticed.
    """

    types: Mapping[str, Type]
    vendor: Type
    role_addresses: frozenset[str]
    own_prefix: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
    landings: tuple[Landing, ...] = ()
    required: frozenset[str] = frozenset()
    opt_out: tuple[str, ...] = ()
    alone_ms: Milliseconds = 7 * DAY
    machine_ms: Milliseconds = MINUTE
    fingerprint: str = ""

    def type_of(self, name: str) -> Type:
        """The type of this name; a vendor's ids share one."""
        return self.types.get(name, self.vendor)

    def rank(self, type_name: str) -> int:
        return self.type_of(type_name).rank

    def strength(self, identifier: Identifier) -> tuple[int, str, str]:
        """Sorts the strongest first: rank, then type, then value."""
        return (self.rank(identifier.type), identifier.type, identifier.value)

    def is_hub(self, type_name: str, degree: int) -> bool:
        """Is an identifier with links to so many stronger ones nobody's?"""
        return degree > self.type_of(type_name).hub_limit

    def is_blocked(self, type_name: str, value: str) -> bool:
        """Junk that many people share: ``null``, ``undefined``, ``guest``, zeros …, also in quotes."""
        bare = value.strip().strip("\"'`").strip()
        for pattern in self.type_of(type_name).blocked:  # noqa: SIM110 - a generator costs three times a loop here
            if pattern.fullmatch(bare):
                return True
        return False

    def identify(self, type_name: str, raw: object) -> Identifier | None:
        """The identifier a raw value stands for, None if it identifies nobody."""
        if not isinstance(raw, str) or len(raw) > MAX_VALUE:
            return None
        value = NORMALISERS[self.type_of(type_name).normalise](raw)
        if not value or CONTROL.search(value) or self.is_blocked(type_name, value):
            return None
        if type_name == "anonymous_id" and self.own_prefix and value.startswith(self.own_prefix):
            return None  # our own opaque ids coming back name no browser
        return Identifier(type_name, value)

    def is_role(self, identifier: Identifier) -> bool:
        """``info@``, ``support@`` …: an address that several people read never names a browser."""
        return identifier.type == "email" and identifier.value.partition("@")[0] in self.role_addresses

    def is_type(self, name: str) -> bool:
        """Is there such a type of identifier?"""
        vendors = name.endswith(("_profile_id", "_user_id")) and NAME.fullmatch(name) is not None
        return name in self.types or vendors

    def external_type(self, name: object) -> Type | None:
        """The type that ``context.externalIds`` calls so, if it is listed; a browser is none of them."""
        for one in self.types.values():
            if one.name != "anonymous_id" and (name == one.name or name in one.external_ids):
                return one
        return None


def load(table: Mapping[str, Any], own_prefix: str = "") -> Rules:
    """The rules in a parsed ``identity.toml``.

    Raises: MappingError naming the key, what was expected and what was found.
    """
    unknown = set(table) - TOP
    if unknown:
        raise MappingError(f"{WHERE}: '{min(unknown)}' is not a key of it; expected {', '.join(sorted(TOP))}")
    hub_limit = _whole("hub_limit", table.get("hub_limit", HUB_LIMIT))
    blocked = _patterns("blocked", table.get("blocked", []))
    types = {
        name: _type(name, rank, entry, hub_limit, blocked)
        for rank, (name, entry) in enumerate(_section(table, "types").items(), start=1)
    }
    for needed in ("user_id", "email", "anonymous_id", VENDOR):
        if needed not in types:
            raise MappingError(f"{WHERE}: [types.{needed}] is missing; every Segment message needs it")
    if max(types.values(), key=lambda one: one.rank).name != "anonymous_id":
        raise MappingError(f"{WHERE}: [types.anonymous_id] must come last: a browser names a person least of all")
    vendor = types.pop(VENDOR)
    clicked = _section(table, "clicked", {"alone", "machine"})
    consent = _section(table, "consent", {"required", OPT_OUT})
    return Rules(
        types=types,
        vendor=vendor,
        role_addresses=frozenset(_texts("role_addresses", table.get("role_addresses", []))),
        own_prefix=own_prefix,
        limits={name: one.limit for name, one in types.items() if one.limit is not None},
        landings=_landings(table.get("landings", []), types),
        required=frozenset(_texts("[consent] required", consent.get("required", []))),
        opt_out=tuple(_texts("[consent] opt_out", consent.get(OPT_OUT, []))),
        alone_ms=_duration("[clicked] alone", clicked.get("alone", "7d")),
        machine_ms=_duration("[clicked] machine", clicked.get("machine", "60s")),
        fingerprint=_fingerprint(table, hub_limit),
    )


def _type(name: str, rank: int, entry: object, hub_limit: int, blocked: tuple[re.Pattern[str], ...]) -> Type:
    here = f"[types.{name}]"
    if not isinstance(entry, dict):
        raise MappingError(f"{WHERE}: {here}: expected a section, found {entry!r}")
    if name not in BUILT_IN and (not NAME.fullmatch(name) or name.endswith(("_profile_id", "_user_id"))):
        raise MappingError(
            f"{WHERE}: {here}: expected a name of lower-case letters, digits and _ that ends neither in _profile_id nor"
            " in _user_id, which are the email platforms' own"
        )
    unknown = set(entry) - {"limit", "paths", "normalise", "hub_limit", "blocked", "external_ids"}
    if unknown:
        raise MappingError(f"{WHERE}: {here} has the unknown key '{min(unknown)}'")
    limit = entry.get("limit")
    if limit is not None:
        limit = _whole(f"{here} limit", limit)
    if name == "user_id" and limit != 1:
        raise MappingError(f"{WHERE}: {here} limit: it must be 1, or two known people could be one profile")
    normalise = entry.get("normalise", "trim")
    if not isinstance(normalise, str) or normalise not in NORMALISERS:
        raise MappingError(f"{WHERE}: {here} normalise: expected one of {', '.join(NORMALISERS)}, found {normalise!r}")
    return Type(
        name,
        rank,
        limit,
        tuple(_texts(f"{here} paths", entry.get("paths", []))),
        normalise,
        _whole(f"{here} hub_limit", entry.get("hub_limit", hub_limit)),
        (*blocked, *_patterns(f"{here} blocked", entry.get("blocked", []))),
        tuple(_texts(f"{here} external_ids", entry.get("external_ids", []))),
    )


def _landings(entries: object, types: Mapping[str, Type]) -> tuple[Landing, ...]:
    if not isinstance(entries, list):
        raise MappingError(f"{WHERE}: [[landings]]: expected sections in double brackets, found {entries!r}")
    found = []
    for number, entry in enumerate(entries, start=1):
        here = f"[[landings]] number {number}"
        if not isinstance(entry, dict) or set(entry) != {"parameter", "type", "kind"}:
            raise MappingError(f"{WHERE}: {here}: expected exactly parameter, type and kind")
        one = Landing(*(str(entry[key]) for key in ("parameter", "type", "kind")))
        vendors = one.type.endswith(("_profile_id", "_user_id")) and NAME.fullmatch(one.type)
        if one.type == "anonymous_id" or (one.type not in types and not vendors):
            raise MappingError(
                f"{WHERE}: {here} type: expected a type of this file or <vendor>_profile_id, found {one.type!r}"
            )
        kinds = (Kind.CLICKED, Kind.HINTED, Kind.DECLARED)
        if one.kind not in kinds or (one.kind == Kind.CLICKED and not one.type.endswith("_profile_id")):
            raise MappingError(
                f"{WHERE}: {here} kind: expected {', '.join(kinds)} (clicked for a <vendor>_profile_id only),"
                f" found {one.kind!r}"
            )
        found.append(one)
    return tuple(found)


def _section(table: Mapping[str, Any], name: str, known: set[str] | None = None) -> Mapping[str, Any]:
    section = table.get(name, {})
    if not isinstance(section, dict):
        raise MappingError(f"{WHERE}: [{name}]: expected a section, found {section!r}")
    unknown = set(section) - known if known is not None else set()
    if unknown:
        raise MappingError(f"{WHERE}: [{name}] has the unknown key '{min(unknown)}'")
    return section


def _whole(where: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= MOST:
        raise MappingError(f"{WHERE}: {where}: expected a whole number from 1, found {value!r}")
    return value


def _texts(where: str, value: object) -> Sequence[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise MappingError(f"{WHERE}: {where}: expected a list of texts, found {value!r}")
    return value


def _patterns(where: str, value: object) -> tuple[re.Pattern[str], ...]:
    found = []
    for text in _texts(where, value):
        try:
            found.append(re.compile(text))
        except (re.error, OverflowError) as error:
            raise MappingError(f"{WHERE}: {where}: {text!r} is not a regular expression: {error}") from error
    return tuple(found)


def _duration(where: str, value: object) -> Milliseconds:
    duration = duration_ms(value) if isinstance(value, str) else None
    if duration is None or duration > 3_650 * DAY:
        raise MappingError(f"{WHERE}: {where}: expected a duration such as 7d, 12h or 60s, found {value!r}")
    return duration


def _fingerprint(table: Mapping[str, Any], hub_limit: int) -> str:
    """Of what decides who is one person: not of the paths and normal forms by which messages are read."""
    decides = ("limit", "hub_limit", "blocked")
    told = {
        "types": [
            [name, *(entry.get(key, hub_limit if key == "hub_limit" else None) for key in decides)]
            for name, entry in table["types"].items()
        ],
        "blocked": table.get("blocked", []),
        "consent": sorted(table.get("consent", {}).get("required", [])),
        "opt_out": bool(table.get("consent", {}).get(OPT_OUT)),
    }
    return hashlib.sha256(orjson.dumps(told)).hexdigest()[:32]
