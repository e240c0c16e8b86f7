"""What a payload says about who is who: its identifiers, and the links between them. Pure.

What a message teaches depends on the message alone, never on what is known when it arrives.
"""

from __future__ import annotations

from collections.abc import Mapping

from connector.identifiers import Rules, is_email
from connector.mapping import Source
from connector.messages import Identifier, Json, Kind

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
        for path in kind.paths:
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
    return distinct(*found)


def alias(call: Mapping[str, Json], rules: Rules) -> tuple[tuple[Identifier, ...], Links]:
    """An alias is shown, never acted on: while identified, analytics.js sends previousId = userId and loses the new."""
    new = rules.identify("user_id", call.get("userId"))
    previous = rules.identify("anonymous_id", call.get("previousId"))
    if new is None or previous is None or new.value == previous.value or is_email(previous.value):
        return distinct(new), ()
    return (new, previous), ((new, previous, Kind.ALIASED),)


def star(identifiers: tuple[Identifier, ...], kind: str, rules: Rules) -> Links:
    """The strongest identifier linked to each other one."""
    if len(identifiers) < 2:
        return ()
    center, *others = sorted(identifiers, key=rules.strength)
    return tuple(
        (center, other, kind) for other in others if not (other.type == "anonymous_id" and rules.is_role(center))
    )


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
