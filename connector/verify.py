"""Who is calling? Signatures over raw bytes, compared in constant time. Pure: bytes in, yes or no out.

Every function answers False for anything malformed: a header that is missing, not ASCII or of another scheme is a
mismatch, never a crash. Each takes all secrets that are valid at the moment, so that they rotate without downtime.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Literal


def segment(secrets: Sequence[str], signature: str | None, signed: bytes) -> bool:
    """Is ``X-Signature`` the hex HMAC-SHA1 of these bytes?

    Segment signs the raw body of a single event and the first element only of an array; which of the two the
    bytes are is the caller's knowledge.

    Source: https://segment.com/docs/connections/destinations/catalog/actions-webhook/ (read 2026-11-21)
    """
    return _any_hmac("sha1", secrets, signed, signature)


def klaviyo(secrets: Sequence[str], signature: str | None, timestamp: str | None, body: bytes) -> bool:
    """Is ``Klaviyo-Signature`` the hex HMAC-SHA256 of the body followed by the ``Klaviyo-Timestamp`` header?

    The header's clock has been seen hours off, so it is input to the hash and nothing else.

    Source: https://developers.klaviyo.com/en/docs/working_with_system_webhooks (second hand, read 2026-11-21)
    """
    stamp = _octets(timestamp)
    return stamp is not None and _any_hmac("sha256", secrets, body + stamp, signature)


def customerio(secrets: Sequence[str], signature: str | None, timestamp: str | None, body: bytes) -> bool:
    """Is ``X-CIO-Signature`` the hex HMAC-SHA256 of ``v0:<X-CIO-Timestamp>:<body>``?

    No window on the time: a retry may be days old, and a refused one parks the vendor's whole feed.

    Source: https://docs.customer.io/integrations/api/webhooks/ (read 2026-11-21)
    """
    stamp = _octets(timestamp)
    return stamp is not None and _any_hmac("sha256", secrets, b"v0:" + stamp + b":" + body, signature)


def token(valid: Sequence[str], given: str | None) -> bool:
    """Is this one of the valid tokens or keys? Every one is compared, so that the time taken tells nothing."""
    octets = None if given is None else given.encode("utf-8", "surrogatepass")
    if not octets:
        return False
    matches = [hmac.compare_digest(octets, one.encode()) for one in valid]
    return any(matches)


def bearer(authorization: str | None) -> str | None:
    """The token of ``Authorization: Bearer …``, None if the header is of another scheme."""
    scheme, _, rest = (authorization or "").partition(" ")
    return rest.strip() or None if scheme.lower() == "bearer" else None


def basic_user(authorization: str | None) -> str | None:
    """The user name of ``Authorization: Basic …``, where Segment's libraries put the write key."""
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(rest.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return pair.partition(":")[0] or None


def _any_hmac(
    algorithm: Literal["sha1", "sha256"], secrets: Sequence[str], message: bytes, signature: str | None
) -> bool:
    given = _octets(signature)
    if not given:
        return False
    matches = [
        hmac.compare_digest(hmac.digest(secret.encode(), message, algorithm).hex().encode(), given)
        for secret in secrets
    ]
    return any(matches)


def _octets(header: str | None) -> bytes | None:
    """A header's own bytes (WSGI hands them over as Latin-1), None if it cannot have been one."""
    try:
        return None if header is None else header.encode("latin-1")
    except UnicodeEncodeError:
        return None
