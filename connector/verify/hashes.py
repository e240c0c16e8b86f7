"""Platforms that share a secret with us and send a hash that it keys."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from connector.messages import MINUTE, Milliseconds
from connector.verify import keys as public_keys
from connector.verify.octets import of_base64, of_header

MAX_SIGNATURES: Final = 16
"""Standard Webhooks lists one for each secret that is being rotated; testing a v1a of them costs 0.1 ms."""

_UNIX_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


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
    stamp = of_header(timestamp)
    return stamp is not None and _any_hmac("sha256", secrets, body + stamp, signature)


def customerio(secrets: Sequence[str], signature: str | None, timestamp: str | None, body: bytes) -> bool:
    """Is ``X-CIO-Signature`` the hex HMAC-SHA256 of ``v0:<X-CIO-Timestamp>:<body>``?

    No window on the time: a retry may be days old, and a refused one parks the vendor's whole feed.

    Source: https://docs.customer.io/integrations/api/webhooks/ (read 2026-11-21)
    """
    stamp = of_header(timestamp)
    return stamp is not None and _any_hmac("sha256", secrets, b"v0:" + stamp + b":" + body, signature)


def of_body(
    secrets: Sequence[str], algorithm: str, encoding: str, prefix: str, signature: str | None, body: bytes
) -> bool:
    """Is the signature the HMAC of the body, in hex or base64, behind a prefix such as ``sha256=``?

    What most senders do that follow no standard.
    """
    given = of_header(signature)
    if not given or not given.startswith(prefix.encode("latin-1", "replace")):
        return False
    given = given[len(prefix) :]
    made = (hmac.digest(secret.encode("utf-8", "surrogatepass"), body, algorithm) for secret in secrets)
    written = [base64.b64encode(one) if encoding == "base64" else one.hex().encode() for one in made]
    matches = [hmac.compare_digest(one, given if encoding == "base64" else given.lower()) for one in written]
    return any(matches)


def mailgun(secrets: Sequence[str], timestamp: str | None, token: str | None, signature: str | None) -> bool:
    """Is the signature the hex HMAC-SHA256 of time stamp and token?

    Nothing stands between the two, so the caller has to hold the time against its clock: digits that moved from one
    to the other are years apart.

    Source: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks (read 2026-11-24)
    """
    stamp, nonce = of_header(timestamp), of_header(token)
    return bool(stamp and nonce) and _any_hmac("sha256", secrets, (stamp or b"") + (nonce or b""), signature)


def mandrill(
    secrets: Sequence[str], urls: Sequence[str], signature: str | None, fields: Sequence[tuple[str, str]]
) -> bool:
    """Is ``X-Mandrill-Signature`` the base64 HMAC-SHA1 of the webhook's URL and the form's fields?

    The URL is the one that was entered at Mandrill, to the letter: behind a proxy it cannot be rebuilt from the
    request, so the possible ones are told. The fields are sorted by name; nothing stands between names and values.

    Source: https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/ (read 2026-11-24)
    """
    given = of_header(signature)
    told = "".join(name + value for name, value in sorted(fields, key=lambda field: field[0]))
    form = told.encode("utf-8", "surrogatepass")
    if not given:
        return False
    matches = [
        hmac.compare_digest(base64.b64encode(hmac.digest(secret.encode(), url.encode() + form, "sha1")), given)
        for secret in secrets
        for url in urls
    ]
    return any(matches)


def standard_webhooks(
    secrets: Sequence[str],
    message_id: str | None,
    timestamp: str | None,
    signatures: str | None,
    body: bytes,
    now: Milliseconds,
    tolerance: Milliseconds = 5 * MINUTE,
) -> bool:
    """Is one of the space-separated signatures made over ``<id>.<timestamp>.<body>`` with one of the secrets?

    ``v1,<base64>`` is an HMAC-SHA256 under a ``whsec_`` secret, ``v1a,<base64>`` is ed25519 and tested with a
    ``whpk_`` key. The time (unix seconds) is that of the attempt, so a retry has a new one, and both directions are
    bounded.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md (1.0.0)
    """
    name, stamp, given = of_header(message_id), timestamp or "", of_header(signatures)
    if not name or not given or not _UNIX_SECONDS.fullmatch(stamp) or abs(now - int(stamp) * 1000) > tolerance:
        return False
    message = b".".join((name, stamp.encode(), body))
    listed = given.split(b" ", MAX_SIGNATURES)[:MAX_SIGNATURES]
    hashes = [
        b"v1," + base64.b64encode(hmac.digest(key, message, "sha256"))
        for secret in secrets
        for key in _hmac_keys(secret)
    ]
    matches = [hmac.compare_digest(one, each) for one in listed for each in hashes]
    matches += [
        public_keys.ed25519(secret, one[4:], message) for one in listed if one[:4] == b"v1a," for secret in secrets
    ]
    return any(matches)


def is_standard_secret(secret: str) -> bool:
    """Can this be a secret, or a public key, of Standard Webhooks?"""
    if secret.startswith("whpk_"):
        return of_base64(secret.removeprefix("whpk_")) is not None
    return next(_hmac_keys(secret), None) is not None


def _hmac_keys(secret: str) -> Iterator[bytes]:
    """What a secret of Standard Webhooks may stand for: base64 with a prefix; without one, that or its own bytes.

    A public key is nobody's secret, so ``whpk_`` must never key a hash; neither must nothing at all.
    """
    if secret.startswith(("whpk_", "whsk_")):
        return
    encoded = secret.removeprefix("whsec_")
    decoded = of_base64(encoded + "=" * (-len(encoded) % 4))
    if decoded:
        yield decoded
    if encoded == secret and secret:
        yield secret.encode()


def _any_hmac(
    algorithm: Literal["sha1", "sha256"], secrets: Sequence[str], message: bytes, signature: str | None
) -> bool:
    given = of_header(signature)
    if not given:
        return False
    matches = [
        hmac.compare_digest(hmac.digest(secret.encode(), message, algorithm).hex().encode(), given)
        for secret in secrets
    ]
    return any(matches)
