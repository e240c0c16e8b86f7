"""Where messages come from: doors that verify a request, split it, and name each element for the inbox.

``segment`` and ``tracking`` take Segment's own calls. Every email platform has a mapping, whose ``[door]`` says how its
requests are read (``declared``); where that is not enough, a small module of the platform's name says it in code:

    signed(request, secrets) -> bool                 is the sender one who knows one of the secrets?
    split(request) -> [(element, envelope), …]       optional: the elements of a request
    usable(secret) -> bool                           optional: can this be a secret at all? for `connector check`

None of them knows what an event means: that is read from the mapping when the message is stitched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from connector.bodies import MAX_BODY_BYTES
from connector.elements import Element, dedupe_key
from connector.errors import ClosedError, Unreachable
from connector.messages import Json, Milliseconds, Received

SecretsOf = Callable[[str], tuple[str, ...]]
"""The members of a plural variable, empty if it is not set: ``Config.secrets_of``."""


def nothing_set(_variable: str) -> tuple[str, ...]:
    """Where no further variables are to be had."""
    return ()


def no_certificate(_url: str) -> NoReturn:
    """Where nobody fetches certificates.

    Raises: Unreachable.
    """
    raise Unreachable("the signing certificate cannot be fetched here")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request, whoever served it.

    Header names are in lower case. token is the query's ``token``; secret is the last part of a path
    ``/webhooks/<provider>/<secret>``. now is the receipt. settings gives further plural variables; certificate fetches
    a PEM by its URL (Amazon signs with one that it names).
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    token: str | None = None
    secret: str | None = None
    now: Milliseconds = 0
    settings: SecretsOf = nothing_set
    certificate: Callable[[str], bytes] = no_certificate


Read = Callable[[Incoming, SecretsOf, Milliseconds], list[Received]]
"""A source: verify the request, split it, name each element.

Raises: ClosedError, VerificationError, PayloadError, Unreachable.
"""


@dataclass(frozen=True, slots=True)
class Entrance:
    """A door: who comes in by it, how it is read, and what is special about its answers.

    probes: methods by which a platform tries whether somebody is there. headers: sent with every answer. answers: other
    statuses than ours, by ours. success: answers as Segment's tracking API. max_bytes: of a body, decompressed. basic:
    a password may open it, and some senders show theirs only when they are asked for it.
    """

    source: str
    read: Read
    methods: tuple[str, ...] = ("POST",)
    probes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[int, int] = field(default_factory=dict)
    success: bool = False
    max_bytes: int = MAX_BODY_BYTES
    basic: bool = False


Split = list[tuple[Element, str | None]]
"""The elements of a request, each with what the request said about it beside (JSON text), if anything."""


def opened(secrets_of: SecretsOf, variable: str) -> tuple[str, ...]:
    """The secrets of a source.

    Raises: ClosedError naming the variable if there is none: there is no silent unsigned mode.
    """
    secrets = secrets_of(variable)
    if not secrets:
        raise ClosedError(f"this source is closed: set {variable} and restart the connector")
    return secrets


def received(
    source: str,
    element: Element,
    given: Json,
    now: Milliseconds,
    *,
    authenticated: bool = True,
    envelope: str | None = None,
) -> Received:
    """An element on its way to the inbox, under the id that the sender gave it or a digest of its text."""
    key = dedupe_key(given, element.text)
    return Received(source, key, element.text, now, authenticated, envelope, element.rotten)
