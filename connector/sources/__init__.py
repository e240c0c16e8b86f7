"""Where messages come from: one small module a provider, each turning a request into what the inbox stores.

A source knows the provider's signature, how it batches and what its event id is called. It does not know what an
event means: that is said by ``mappings/sources/<provider>.toml`` and read when the message is stitched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connector.elements import Element, dedupe_key
from connector.errors import ClosedError
from connector.messages import Json, Milliseconds, Received

SecretsOf = Callable[[str], tuple[str, ...]]
"""The members of a plural variable, empty if it is not set: ``Config.secrets_of``."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request, whoever served it. Header names are in lower case; token is the query's ``token``."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    token: str | None = None


Read = Callable[[Incoming, SecretsOf, Milliseconds], list[Received]]
"""A source: verify the request, split it, name each element.

Raises: ClosedError, VerificationError, PayloadError.
"""


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
