"""``mappings/identity.toml``, read and checked at start: a mistake names key, expected and found."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from connector import rules_landings
from connector.errors import MappingError
from connector.identifiers import NORMALISERS
from connector.messages import Milliseconds, duration_ms
from connector.rules import HUB_LIMIT, NAME, OPT_OUT, SWEEP_LINKS, SWEEP_WITHIN, VENDOR, WHERE, Rules, Type
from connector.rules_landings import entry_of, texts

BUILT_IN: Final = ("user_id", "email", "phone", VENDOR, "anonymous_id")
MOST: Final = 1_000_000_000
DEVICE_LIMIT: Final = 100
MOST_BROWSERS: Final = 1_000
"""On how many browsers a device may have been seen: so many are looked at when somebody asks whose it is."""
TOP: Final = frozenset({"blocked", "role_addresses", "hub_limit", "types", "landings", "cookies", "clicked", "consent"})


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
    mistakes += _misplaced(dict(entries), table.get("landings", []))
    clicked = tried.read({}, _section, table, "clicked", {"alone", "machine", "sweep_links", "sweep_within"})
    consent = tried.read({}, _section, table, "consent", {"required", OPT_OUT})
    vendor = types.pop(VENDOR, None)
    within = clicked.get("sweep_within", SWEEP_WITHIN)
    found = {
        "role_addresses": frozenset(tried.read((), texts, "role_addresses", table.get("role_addresses", []))),
        "landings": tried.read((), rules_landings.landings, table.get("landings", []), dict(entries)),
        "cookies": tried.read((), rules_landings.cookies, table.get("cookies", []), types),
        "required": frozenset(tried.read((), texts, "[consent] required", consent.get("required", []))),
        "opt_out": tuple(tried.read((), texts, "[consent] opt_out", consent.get(OPT_OUT, []))),
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
    names = [*entries]
    found += [
        f"{WHERE}: [types.{name}] has token = true and must come after [types.vendor]: it stands for a platform's id"
        for name in names
        if VENDOR in names and entry_of(entries, name).get("token") and names.index(name) < names.index(VENDOR)
    ]
    return found


def _misplaced(entries: Mapping[str, object], landings: object) -> list[str]:
    """What is wrong with the devices among the types: their place, and parameters that would hand them on."""
    devices = _devices(entries)
    people = [name for name in entries if name not in devices and name != "anonymous_id"]
    behind = [*entries][[*entries].index(people[-1]) :] if people else []
    found = [
        f"{WHERE}: [types.{name}] must come after [types.{people[-1]}]: a device names a browser and ranks right before"
        " [types.anonymous_id]"
        for name in devices
        if name not in behind
    ]
    named = [one.get("type") for one in landings if isinstance(one, dict)] if isinstance(landings, list) else []
    return found + [
        f"{WHERE}: [[landings]] number {number} type: '{name}' is a device, and a link that is passed on would carry it"
        for number, name in enumerate(named, start=1)
        if name in devices
    ]


def _devices(entries: Mapping[str, object]) -> list[str]:
    return [name for name, one in entries.items() if isinstance(one, dict) and one.get("device") is True]


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
    unknown = set(entry) - {"limit", "paths", "normalise", "hub_limit", "blocked", "external_ids", "token", "device"}
    if unknown:
        raise MappingError(f"{WHERE}: {here} has the unknown key '{min(unknown)}'")
    limit = entry.get("limit")
    if limit is not None:
        limit = _whole(f"{here} limit", limit)
    if name == "user_id" and limit != 1:
        raise MappingError(f"{WHERE}: {here} limit: it must be 1, or two known people could be one profile")
    device = _device(name, here, entry)
    most = entry.get("hub_limit", DEVICE_LIMIT if device else hub_limit)
    if device and type(most) is int and most > MOST_BROWSERS:
        raise MappingError(f"{WHERE}: {here} hub_limit: of a device at most {MOST_BROWSERS}, found {most}")
    normalise = entry.get("normalise", "trim")
    if not isinstance(normalise, str) or normalise not in NORMALISERS:
        raise MappingError(f"{WHERE}: {here} normalise: expected one of {', '.join(NORMALISERS)}, found {normalise!r}")
    return Type(
        name,
        rank,
        limit,
        tuple(texts(f"{here} paths", entry.get("paths", []))),
        normalise,
        _whole(f"{here} hub_limit", most),
        (*blocked, *_patterns(f"{here} blocked", entry.get("blocked", []))),
        tuple(texts(f"{here} external_ids", entry.get("external_ids", []))),
        _flag(f"{here} token", entry.get("token", False)),
        device,
    )


def _device(name: str, here: str, entry: Mapping[str, object]) -> bool:
    device = _flag(f"{here} device", entry.get("device", False))
    if device and (name in BUILT_IN or "token" in entry):
        raise MappingError(f"{WHERE}: {here} device: only a type of your own can be a device's, and no token")
    if device and "limit" in entry:
        raise MappingError(f"{WHERE}: {here} limit: a person may have any number of devices; take it out")
    return device


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


def _flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise MappingError(f"{WHERE}: {where}: expected true or false, found {value!r}")
    return value


def _sweep_links(value: object) -> int:
    if type(value) is not int or not (value == 0 or 2 <= value <= MOST):
        raise MappingError(
            f"{WHERE}: [clicked] sweep_links: expected a whole number from 2, or 0 for no such rule, found {value!r}"
        )
    return value


def _patterns(where: str, value: object) -> tuple[re.Pattern[str], ...]:
    found = []
    for text in texts(where, value):
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
            if not entry.get("token") or not entry.keys().isdisjoint(decides)  # stores from before have none of them
        ],
        "blocked": table.get("blocked", []),
        "consent": sorted(table.get("consent", {}).get("required", [])),
        "opt_out": bool(table.get("consent", {}).get(OPT_OUT)),
    }
    devices = _devices(table["types"])
    if devices:  # as below
        told["devices"] = devices
    clicked = table.get("clicked", {})
    sweeps = [clicked.get("sweep_links", SWEEP_LINKS), clicked.get("sweep_within", SWEEP_WITHIN)]
    if sweeps != [SWEEP_LINKS, SWEEP_WITHIN]:  # stores made before there was such a rule need not be derived again
        told["sweeps"] = sweeps
    return hashlib.sha256(orjson.dumps(told)).hexdigest()[:32]
