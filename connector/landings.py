"""Whom a page names beside its visitor: by parameters of its URL, by tokens and cookies that the site hands over. Pure.

Anybody can write a URL and anybody can pass a link on, so this is evidence of its own kind: ``clicked`` for an email
platform's tokens (``clicks`` says what they are worth), ``hinted`` for addresses, unless identity.toml says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

from connector import urls
from connector.evidence import EXTERNAL_IDS, Links
from connector.keys import Keys
from connector.klaviyo import cookie
from connector.messages import Identifier, Json, Kind
from connector.rules import Cookie, Rules, Type

PLACES: Final = (("context", "page", "search"), ("context", "page", "url"))
OF_PAGES: Final = (("properties", "search"), ("properties", "url"))
"""Where a page call says its URL too. A track call's properties may tell of any URL."""


MOST: Final = 8
"""Of one call: anybody can write a URL, and each of these is an identifier of its own."""


class Landed(NamedTuple):
    """Whom something named, of which kind it is as evidence, and the token as it came."""

    identifier: Identifier
    kind: str
    token: str


def landed(
    call: Mapping[str, Json], rules: Rules, keys: Keys, notes: list[str], *, named: bool = False
) -> tuple[Landed, ...]:
    """Whom a call of the site names by its URL, by tokens and by cookies; each once.

    Args: named, the call itself says who it is. A URL does not overrule that, and of several that it declares only the
    strongest is believed: the others are hints.
    """
    found = dict.fromkeys(_by_url(call, rules, keys))
    if rules.tokens:
        found |= dict.fromkeys(_handed_over(call, rules, keys))
        found |= dict.fromkeys(_by_cookie(call, rules, keys, notes))
    first = tuple(found)[:MOST]
    declared = [one.identifier for one in first if one.kind == Kind.DECLARED]
    believed = None if named or not declared else min(declared, key=rules.strength)
    return tuple(dict.fromkeys(_hint(one) if _overruled(one, believed) else one for one in first))


def _overruled(one: Landed, believed: Identifier | None) -> bool:
    return one.kind == Kind.DECLARED and one.identifier != believed


def _hint(one: Landed) -> Landed:
    return one._replace(kind=Kind.HINTED)


def joined(links: Links, browser: Identifier, clicks: Sequence[Landed], rules: Rules) -> Links:
    """The links of a call, and those between its browser and whom it landed for."""
    further = ((one.identifier, browser, one.kind) for one in clicks if not rules.is_role(one.identifier))
    return tuple(dict.fromkeys((*links, *further)))


def unresolved(clicks: Sequence[Landed], rules: Rules) -> tuple[tuple[Identifier, str], ...]:
    """The tokens and profiles among these, of which only their platform can say whose they are; with what to ask."""
    return tuple(
        (one.identifier, one.token)
        for one in clicks
        if rules.is_token(one.identifier.type) or one.identifier.type.endswith("_profile_id")
    )


def token(type_name: str, raw: Json, rules: Rules, keys: Keys, kind: str = Kind.CLICKED) -> Landed | None:
    """A token that opens a profile, named by its keyed hash; None if it is none."""
    text = unquote(raw) if isinstance(raw, str) and "%" in raw else raw  # escaped once more, as it stands in a link
    bare = rules.identify(type_name, text)
    return Landed(Identifier(type_name, keys.token(bare.value)), kind, bare.value) if bare else None


def _by_url(call: Mapping[str, Json], rules: Rules, keys: Keys) -> Iterator[Landed]:
    if not rules.landings:
        return
    places = (*PLACES, *OF_PAGES) if call["type"] == "page" else PLACES
    texts = dict.fromkeys(text for place in places if isinstance(text := _at(call, place), str) and "=" in text)
    for text in texts:
        if not any(rule.parameter in text for rule in rules.landings):
            continue
        for name, value in urls.parameters(text):
            for rule in rules.landings:
                if rule.parameter != name:
                    continue
                plain = cookie.from_base64(value) if rule.decode else value
                if rules.is_token(rule.type):
                    one = token(rule.type, plain, rules, keys, rule.kind)
                else:
                    known = rules.identify(rule.type, plain)
                    one = Landed(known, rule.kind, known.value) if known else None
                if one is not None:
                    yield one


def _handed_over(call: Mapping[str, Json], rules: Rules, keys: Keys) -> Iterator[Landed]:
    """The tokens in ``context.externalIds`` and at the paths of their types."""
    for kind in rules.tokens:
        for path in kind.paths:
            found = token(kind.name, _at(call, path.split(".")), rules, keys)
            if found:
                yield found
    listed = (call.get("context") or {}).get("externalIds")
    for one in listed[:EXTERNAL_IDS] if isinstance(listed, list) else ():
        known = _external(one, rules)
        found = token(known.name, one.get("id"), rules, keys) if known else None
        if found:
            yield found


def _external(one: Json, rules: Rules) -> Type | None:
    if not isinstance(one, dict) or one.get("collection") != "users" or one.get("encoding", "none") != "none":
        return None
    known = rules.external_type(one.get("type"))
    return known if known is not None and known.token else None


def _by_cookie(call: Mapping[str, Json], rules: Rules, keys: Keys, notes: list[str]) -> Iterator[Landed]:
    for rule in rules.cookies:
        for path in rule.paths:
            raw = _at(call, path.split("."))
            if raw in (None, ""):
                continue
            visitor = cookie.read(raw)
            if visitor is None:
                notes.append(f"{path} is not the cookie it should be (base64 of JSON) and was not used")
            else:
                yield from _visitor(visitor, rule, rules, keys)


def _visitor(visitor: cookie.Visitor, rule: Cookie, rules: Rules, keys: Keys) -> Iterator[Landed]:
    found = token(rule.type, visitor.exchange_id, rules, keys)
    if found:
        yield found
    email = rules.identify("email", visitor.email)
    if email:
        yield Landed(email, rule.email, email.value)


def _at(call: Mapping[str, Json], steps: tuple[str, ...] | list[str]) -> Json:
    value: Json = call
    for step in steps:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value
