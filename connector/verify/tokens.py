"""Secrets that are shown instead of used: write keys, tokens, Basic passwords, secret paths."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from connector.verify.octets import of_base64, of_header


def token(valid: Sequence[str], given: str | None) -> bool:
    """Is this one of the valid tokens or keys? Every one is compared, so that the time taken tells nothing."""
    return given is not None and _known(valid, given.encode("utf-8", "surrogatepass"))


def shared_secret(secrets: Sequence[str], path: str | None, authorization: str | None) -> bool:
    """Does a platform that signs nothing show one of the secrets?

    Wherever such a platform lets its customer put one: the last part of the webhook's path, the password of Basic
    authentication (``https://any:secret@…``), ``Authorization: Bearer secret`` or ``Authorization: secret`` alone,
    which is what Iterable sends for "Basic".

    Source: https://support.iterable.com/hc/en-us/articles/208013936-System-Webhooks ,
    https://postmarkapp.com/developer/webhooks/webhooks-overview (read 2026-11-24)
    """
    header = (authorization or "").strip()
    scheme, _, rest = header.partition(" ")
    shown = [of_header(header), of_header(rest.strip())]
    if scheme.lower() == "basic":
        pair = of_base64(rest.strip()) or b""
        shown.append(pair.partition(b":")[2])
    matches = [token(secrets, path), *(_known(secrets, one) for one in shown)]
    return any(matches)


def bearer(authorization: str | None) -> str | None:
    """The token of ``Authorization: Bearer …``, None if the header is of another scheme."""
    scheme, _, rest = (authorization or "").partition(" ")
    return rest.strip() or None if scheme.lower() == "bearer" else None


def basic_user(authorization: str | None) -> str | None:
    """The user name of ``Authorization: Basic …``, where Segment's libraries put the write key."""
    scheme, _, rest = (authorization or "").partition(" ")
    pair = of_base64(rest.strip()) if scheme.lower() == "basic" else None
    try:
        return (pair or b"").decode().partition(":")[0] or None
    except UnicodeDecodeError:
        return None


def _known(valid: Sequence[str], given: bytes | None) -> bool:
    if not given:
        return False
    matches = [hmac.compare_digest(given, one.encode("utf-8", "surrogatepass")) for one in valid]
    return any(matches)
