"""The doors that mappings describe: one reader for all email platforms, told by ``[door]`` what is special of each.

    verify → take the elements → leave out what may not be stored → name each by the platform's own id

What cannot be said in a mapping is said by the platform's module, ``connector/sources/<provider>.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Final

from connector import forms, verify
from connector.elements import Element, decode, dumps, split, split_member, storable
from connector.errors import MappingError, PayloadError, VerificationError
from connector.language.own import HEADERS
from connector.messages import Json, Milliseconds, Received
from connector.source_mapping import Hmac, Source
from connector.sources import Entrance, Incoming, Read, SecretsOf, Split, opened, received

Signed = Callable[[Incoming, Sequence[str]], bool]
"""Is a request from somebody who knows one of the secrets?"""

Take = Callable[[Incoming], Split]
"""From a request to its elements."""

EMPTY: Final = "empty"
"""The probe that is no method: a request without events."""

MAX_EMPTY: Final = 200
"""Bytes of one."""

NO_EVENTS: Final = 'the delivery has no array "{}"'

APART: Final = ("segment",)
"""Sources of ``mappings/sources`` whose doors are not read from a mapping."""


def doors(sources: Mapping[str, Source]) -> dict[str, Entrance]:
    """A door for every email platform that has a mapping.

    Raises: MappingError naming each mapping whose signature nobody knows how to verify.
    """
    found: dict[str, Entrance] = {}
    mistakes: list[str] = []
    for name, source in sources.items():
        if name in APART:
            continue
        try:
            probes = tuple(one for one in source.door.probes if one != EMPTY)
            door = source.door
            found[name] = Entrance(
                name,
                reader(source),
                probes=probes,
                answers=door.answers,
                max_bytes=door.max_bytes,
                basic=door.signature == "secret",
            )
        except MappingError as error:
            mistakes += error.mistakes
    if mistakes:
        raise MappingError(*mistakes)
    return found


def reader(source: Source) -> Read:
    """The reader of one platform's requests.

    Raises: MappingError if its signature is its own and there is no module that verifies it.
    """
    module = _module(source.provider)
    signed: Signed | None = getattr(module, "signed", None)
    if source.door.signature != "own":
        shipped: Mapping[str, Signed] = {
            "secret": _shared_secret,
            "hmac": partial(_hmac, source.door.hmac),
            "standard-webhooks": _standard_webhooks,
        }
        signed = shipped[source.door.signature]
    if signed is None or not source.secrets:
        raise MappingError(
            f"sources/{source.provider}.toml: "
            + (
                "secrets: expected the name of the variable that opens this door"
                if signed
                else f"[door] signature: it is its own, and connector/sources/{source.provider}.py does not verify it;"
                " set it to secret, hmac or standard-webhooks, or write that module (and install again, unless the"
                " connector was installed with -e)"
            )
        )
    return partial(_read, source, signed, _taker(source))


def unusable(source: Source, secrets: Sequence[str]) -> int:
    """How many of these cannot be a secret of this source at all, so that nothing would ever match."""
    usable: Callable[[str], bool] | None = getattr(_module(source.provider), "usable", None)
    if source.door.signature == "standard-webhooks":
        usable = verify.is_standard_secret
    return sum(not usable(one) for one in secrets) if usable else 0


def _read(
    source: Source, signed: Signed, take: Take, request: Incoming, secrets_of: SecretsOf, now: Milliseconds
) -> list[Received]:
    if EMPTY in source.door.probes and _is_empty(take, request):
        return []
    secrets = opened(secrets_of, source.secrets)
    for variable in source.settings:
        opened(secrets_of, variable)
    if not signed(request, secrets):
        raise VerificationError(f"the signature or secret is not one of {source.secrets}, or its time is not now")
    return _elements(source, take, request, now) if request.body.strip() else []  # it tries its secret


def _is_empty(take: Take, request: Incoming) -> bool:
    """Does a request carry no event? Nothing would be stored of it, so it does not matter who sends it."""
    if len(request.body) > MAX_EMPTY:
        return False
    try:
        return not request.body.strip() or not take(request)
    except PayloadError:
        return False


def taken(source: Source, request: Incoming, now: Milliseconds) -> list[Received]:
    """The elements of a request, whoever sent it: what the inbox would store.

    Raises: PayloadError.
    """
    return _elements(source, _taker(source), request, now)


def _elements(source: Source, take: Take, request: Incoming, now: Milliseconds) -> list[Received]:
    headers = {name: request.headers[name] for name in source.door.headers if name in request.headers}
    return [_received(source, element, beside, headers, now) for element, beside in take(request)]


def _received(
    source: Source, element: Element, beside: str | None, headers: Mapping[str, str], now: Milliseconds
) -> Received:
    element = _stripped(storable(element), source)
    if element.rotten is not None and any(f'"{path[-1]}"' in element.text for path in source.door.strip):
        # What cannot be read cannot be cut: better nothing of it than what is never stored.
        return replace(received(source.provider, element, None, now, envelope=beside), body="")
    if headers:
        beside = dumps({**_parsed(beside), HEADERS: headers})
    return received(source.provider, element, _key(source, element, beside), now, envelope=beside)


def _key(source: Source, element: Element, beside: str | None) -> Json:
    """The platform's own id of an event, nothing if it gave none: then a digest of the element stands in."""
    if source.door.dedupe is None or not isinstance(element.value, dict):
        return None
    try:
        key = source.door.dedupe({**_parsed(beside), **element.value})
    except MappingError:
        return None
    return str(key) if type(key) is int else key


@lru_cache(maxsize=8)
def _parsed(beside: str | None) -> Mapping[str, Json]:
    """What a request says about its elements: the same text for each of a thousand."""
    value: dict[str, Json] = json.loads(beside) if beside else {}
    return value


def _stripped(element: Element, source: Source) -> Element:
    """The element without what the mapping says is never stored: a mail's own text, its headers."""
    value = element.value
    if not isinstance(value, dict) or not any(_has(value, path) for path in source.door.strip):
        return element
    for path in source.door.strip:
        value = _without(value, path)
    return replace(element, text=dumps(value), value=value)


def _has(value: Json, path: Sequence[str]) -> bool:
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return False
        value = value[step]
    return True


def _without(value: Mapping[str, Json], path: Sequence[str]) -> dict[str, Json]:
    first, *rest = path
    if not rest:
        return {name: one for name, one in value.items() if name != first}
    if not _has(value, path):
        return dict(value)
    return {**value, first: _without(value[first], rest)}


# -- the elements of a request ------------------------------------------------------------------------------------


def _split(source: Source, request: Incoming) -> Split:
    if source.door.form and request.body.lstrip()[:1] not in (b"{", b"["):
        value = forms.parse(request.body.decode("utf-8", "replace"))
        return [(Element(dumps(value), value), None)]
    text = decode(request.body)
    if not source.door.elements:
        return [(element, None) for element in split(text)]
    return [pair for envelope in _envelopes(text) for pair in _members(envelope, source)]


def _envelopes(text: str) -> list[str]:
    """The one object of a request, or the objects of an array of them."""
    return [element.text for element in split(text)] if text.lstrip(" \t\r\n")[:1] == "[" else [text]


def _members(text: str, source: Source) -> Split:
    members, found = split_member(text, source.door.elements)
    if found is None:
        return [(Element(text.strip(), rotten=NO_EVENTS.format(source.door.elements)), None)]
    told = [
        f"{dumps(name)}:{members[name].text}"
        for name in source.door.beside
        if name in members and members[name].rotten is None
    ]
    return [(element, "{" + ",".join(told) + "}" if told else None) for element in found]


def _taker(source: Source) -> Take:
    own: Take | None = getattr(_module(source.provider), "split", None)
    return own or partial(_split, source)


# -- who is calling -----------------------------------------------------------------------------------------------


def _shared_secret(request: Incoming, secrets: Sequence[str]) -> bool:
    return verify.shared_secret(secrets, request.secret, request.headers.get("authorization"))


def _hmac(hmac: Hmac | None, request: Incoming, secrets: Sequence[str]) -> bool:
    assert hmac is not None  # noqa: S101 - source_mapping made it so
    signature = request.headers.get(hmac.header.lower())
    return verify.of_body(secrets, hmac.hash, hmac.encoding, hmac.prefix, signature, request.body)


def _standard_webhooks(request: Incoming, secrets: Sequence[str]) -> bool:
    """``webhook-*``, or ``svix-*`` as Svix and Resend call the same."""
    prefix = "svix" if "svix-signature" in request.headers else "webhook"
    name, stamp, signature = (request.headers.get(f"{prefix}-{one}") for one in ("id", "timestamp", "signature"))
    return verify.standard_webhooks(secrets, name, stamp, signature, request.body, request.now)


def _module(provider: str) -> ModuleType | None:
    name = f"{__package__}.{provider}"
    if not provider.isidentifier() or provider in ("declared", "tracking") or find_spec(name) is None:
        return None
    return import_module(name)
