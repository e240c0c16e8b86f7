"""What a payload says about who is who: its identifiers, and the links between them. Pure.

What a message teaches depends on the message alone, never on what is known when it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from connector.identifiers import is_email
from connector.mapping import Source
from connector.messages import Identifier, Json, Kind
from connector.rules import NAME, OPT_OUT, Rules

EXTERNAL_IDS: Final = 50

Links = tuple[tuple[Identifier, Identifier, str], ...]
"""(stronger, weaker, kind)."""


def site_identifiers(
    call: Mapping[str, Json], rules: Rules, notes: list[str], platform: str | None
) -> tuple[Identifier, ...]:
    """The identifiers of a site or server call. An email in anonymousId is an email; in userId it is both.

    Of an email platform's call a userId is the platform's own, and an email in its place just the email.
    """
    found: list[Identifier | None] = []
    for kind in rules.types.values():
        for path in () if kind.token else kind.paths:  # what opens a profile is ``landings``'
            if path.startswith("traits.") and call["type"] == "group":
                continue  # a group's traits are the group's
            raw = _at(call, path)
            if raw in (None, ""):
                continue
            name = f"{platform}_user_id" if platform and kind.name == "user_id" else kind.name
            if kind.name in ("user_id", "anonymous_id") and is_email(raw):
                found.append(rules.identify("email", raw))
                if kind.name == "anonymous_id" or platform:
                    continue
            identifier = rules.identify(name, raw)
            if identifier is None:
                notes.append(f"{path} names nobody (blocked or malformed value) and was not used")
            found.append(identifier)
    found += _external(call, rules, notes)
    return people(distinct(*found), rules) if platform else distinct(*found)


def people(identifiers: tuple[Identifier, ...], rules: Rules) -> tuple[Identifier, ...]:
    """Those that are no device's: what the call is about. An email platform knows nothing of devices."""
    return tuple(one for one in identifiers if not rules.is_device(one.type)) if rules.devices else identifiers


def _external(call: Mapping[str, Json], rules: Rules, notes: list[str]) -> Iterator[Identifier | None]:
    """The users in ``context.externalIds``, of the types that identity.toml lists.

    Source: https://segment.com/docs/unify/identity-resolution/externalids/
    """
    listed = (call.get("context") or {}).get("externalIds")
    for one in listed[:EXTERNAL_IDS] if isinstance(listed, list) else ():
        if not isinstance(one, dict) or one.get("collection") != "users" or one.get("encoding", "none") != "none":
            continue
        known = rules.external_type(one.get("type"))
        if known is None:
            named = str(one.get("type"))
            kind = f"'{named}'" if NAME.fullmatch(named) else "one of them"  # whatever it says may be an address
            notes.append(f"externalIds: {kind} is not a type in identity.toml and was not used")
            continue
        if known.token:
            continue  # ``landings``
        raw = one.get("id")
        yield rules.identify(known.name, str(raw) if type(raw) is int else raw)


def chosen(call: Mapping[str, Json], rules: Rules) -> tuple[tuple[str, bool], ...]:
    """What a call says of the consents without which nothing is kept: (category, granted)."""
    found: dict[str, bool] = {}
    consent = (call.get("context") or {}).get("consent") if rules.required else None
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if isinstance(preferences, dict):
        found |= {name: preferences[name] for name in rules.required if isinstance(preferences.get(name), bool)}
    for path in rules.opt_out:
        raw = _at(call, path)
        if raw is not None:
            out = raw not in (False, 0, "", "0", "false", "False", "no")
            found[OPT_OUT] = found.get(OPT_OUT, True) and not out
    return tuple(sorted(found.items()))


def alias(call: Mapping[str, Json], rules: Rules) -> tuple[tuple[Identifier, ...], Links]:
    """An alias is shown, never acted on: while identified, analytics.js sends previousId = userId and loses the new."""
    new = rules.identify("user_id", call.get("userId"))
    kind = "email" if is_email(call.get("previousId")) else "anonymous_id"
    previous = rules.identify(kind, call.get("previousId"))
    if new is None or previous is None or new.value == previous.value:
        return distinct(new), ()
    return (new, previous), ((new, previous, Kind.ALIASED),)


def star(identifiers: tuple[Identifier, ...], kind: str, rules: Rules) -> Links:
    """The strongest identifier linked to each other one; devices apart, with links of their own."""
    if len(identifiers) < 2:
        return ()
    about = people(identifiers, rules)
    shown = extended(about, identifiers, rules) if len(about) < len(identifiers) else ()
    if len(about) < 2:
        return shown
    center, *others = sorted(about, key=rules.strength)
    links = ((center, other, kind) for other in others if not (other.type == "anonymous_id" and rules.is_role(center)))
    return (*links, *shown)


def extended(about: tuple[Identifier, ...], identifiers: tuple[Identifier, ...], rules: Rules) -> Links:
    """What a call shows of the devices it carries: each with the strongest name of a person, and with the anonymousId.

    Args: about are the identifiers that are no device's. An address that several people read has no device.
    """
    named = [one for one in about if one.type != "anonymous_id" and not rules.is_role(one)]
    person = min(named, key=rules.strength, default=None)
    browser = next((one for one in about if one.type == "anonymous_id"), None)
    found = []
    for one in identifiers:
        if rules.is_device(one.type):
            found += [(person, one, Kind.EXTENDED)] if person else []
            found += [(one, browser, Kind.EXTENDED)] if browser else []
    return tuple(found)


def recipient_of(payload: Mapping[str, Json], source: Source, rules: Rules) -> tuple[Identifier | None, bool]:
    """The first address among the candidates, and whether a blocked one was met instead."""
    blocked = False
    for value_of in source.identifiers.get("recipient", ()):
        raw = value_of(payload)
        if not is_email(raw):
            continue
        found = rules.identify("email", raw)
        if found:
            return found, False
        blocked = True
    return None, blocked


def first_of(payload: Mapping[str, Json], source: Source, key: str, type_name: str, rules: Rules) -> Identifier | None:
    """The first identifier that one of the mapping\'s values for a key stands for."""
    for value_of in source.identifiers.get(key, ()):
        raw = value_of(payload)
        found = rules.identify(type_name, str(raw) if type(raw) is int else raw)
        if found:
            return found
    return None


def further(payload: Mapping[str, Json], source: Source, rules: Rules) -> Iterator[Identifier | None]:
    """What else names the same person, by the mapping's ``[identifiers.also]``: every value of each type."""
    for type_name, values in source.also.items():
        for value_of in values:
            yield rules.identify(type_name, value_of(payload))


def distinct(*identifiers: Identifier | None) -> tuple[Identifier, ...]:
    """Those that are there, each once, in their order."""
    return tuple(dict.fromkeys(one for one in identifiers if one is not None))


def _at(call: Mapping[str, Json], path: str) -> Json:
    value: Json = call
    for step in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value
