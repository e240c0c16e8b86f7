"""``mappings/identity.toml``, read and checked at start: a mistake names key, expected and found."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import orjson

from connector.errors import MappingError
from connector.identifiers import NORMALISERS
from connector.messages import Kind, Milliseconds, duration_ms
from connector.rules import HUB_LIMIT, NAME, OPT_OUT, SWEEP_LINKS, SWEEP_WITHIN, VENDOR, WHERE, Landing, Rules, Type

BUILT_IN: Final = ("user_id", "email", "phone", VENDOR, "anonymous_id")
MOST: Final = 1_000_000_000
TOP: Final = frozenset({"blocked", "role_addresses", "hub_limit", "types", "landings", "clicked", "consent"})


def load(table: Mapping[str, Any], own_prefix: str = "") -> Rules:
    """The rules in a parsed ``identity.toml``.

    Raises: MappingError, all mistakes together, each naming the key, what was expected and what was found.
    """
    mistakes = [
        f"{WHERE}: '{name}' is not a key of it; expected {', '.join(sorted(TOP))}" for name in sorted(set(table) - TOP)
    ]
    tried = _Tried(mistakes)
    hub_limit = tried.read(HUB_LIMIT, _whole, "hub_limit", table.get("hub_limit", HUB_LIMIT))
    blocked = tried.read((), _patterns, "blocked", table.get("blocked", []))
    entries = tried.read({}, _section, table, "types").items()
    types = {
        name: one
        for rank, (name, entry) in enumerate(entries, start=1)
        if (one := tried.read(None, _type, name, rank, entry, hub_limit, blocked)) is not None
    }
    mistakes += _lacking(dict(entries))
    clicked = tried.read({}, _section, table, "clicked", {"alone", "machine", "sweep_links", "sweep_within"})
    consent = tried.read({}, _section, table, "consent", {"required", OPT_OUT})
    vendor = types.pop(VENDOR, None)
    within = clicked.get("sweep_within", SWEEP_WITHIN)
    found = {
        "role_addresses": frozenset(tried.read((), _texts, "role_addresses", table.get("role_addresses", []))),
        "landings": tried.read((), _landings, table.get("landings", []), dict(entries)),
        "required": frozenset(tried.read((), _texts, "[consent] required", consent.get("required", []))),
        "opt_out": tuple(tried.read((), _texts, "[consent] opt_out", consent.get(OPT_OUT, []))),
        "alone_ms": tried.read(0, _duration, "[clicked] alone", clicked.get("alone", "7d")),
        "machine_ms": tried.read(0, _duration, "[clicked] machine", clicked.get("machine", "60s")),
        "sweep_links": tried.read(0, _sweep_links, clicked.get("sweep_links", SWEEP_LINKS)),
        "sweep_ms": tried.read(0, _duration, "[clicked] sweep_within", within, "60s"),
    }
    if mistakes or vendor is None:
        raise MappingError(*mistakes)
    limits = {name: one.limit for name, one in types.items() if one.limit is not None}
    fingerprint = _fingerprint(table, hub_limit)
    return Rules(types=types, vendor=vendor, own_prefix=own_prefix, limits=limits, fingerprint=fingerprint, **found)


def _lacking(entries: Mapping[str, object]) -> list[str]:
    """What is wrong with the list of types as a whole."""
    found = [
        f"{WHERE}: [types.{needed}] is missing; every Segment message needs it"
        for needed in ("user_id", "email", "anonymous_id", VENDOR)
        if needed not in entries
    ]
    if "anonymous_id" in entries and [*entries][-1] != "anonymous_id":
        found.append(f"{WHERE}: [types.anonymous_id] must come last: a browser names a person least of all")
    return found


class _Tried:
    """Reads part after part, noting what is wrong with each."""

    def __init__(self, mistakes: list[str]) -> None:
        self._mistakes = mistakes

    def read(self, instead: Any, read: Callable[..., Any], *given: Any) -> Any:
        """What read gives, or something instead."""
        try:
            return read(*given)
        except MappingError as error:
            self._mistakes.extend(error.mistakes)
            return instead


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


def _landings(entries: object, types: Collection[str]) -> tuple[Landing, ...]:
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


def _sweep_links(value: object) -> int:
    if type(value) is not int or not (value == 0 or 2 <= value <= MOST):
        raise MappingError(
            f"{WHERE}: [clicked] sweep_links: expected a whole number from 2, or 0 for no such rule, found {value!r}"
        )
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


def _duration(where: str, value: object, most: str = "3650d") -> Milliseconds:
    duration = duration_ms(value) if isinstance(value, str) else None
    if duration is None or duration > (duration_ms(most) or 0):
        raise MappingError(
            f"{WHERE}: {where}: expected a duration such as 7d, 12h or 60s, of at most {most}, found {value!r}"
        )
    return duration


def _fingerprint(table: Mapping[str, Any], hub_limit: int) -> str:
    """Of what decides who is one person, and which clicks are a scanner's: whatever is derived and then kept. Not of
    the paths and normal forms by which messages are read.
    """
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
    clicked = table.get("clicked", {})
    sweeps = [clicked.get("sweep_links", SWEEP_LINKS), clicked.get("sweep_within", SWEEP_WITHIN)]
    if sweeps != [SWEEP_LINKS, SWEEP_WITHIN]:  # stores made before there was such a rule need not be derived again
        told["sweeps"] = sweeps
    return hashlib.sha256(orjson.dumps(told)).hexdigest()[:32]
