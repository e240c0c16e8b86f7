"""Platforms that sign with a private key of their own; we hold, or fetch, the public one.

``cryptography`` is imported where it is used: most installations receive from none of these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from connector.messages import Json
from connector.verify.octets import of_base64, of_header

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

SNS_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
"""What Amazon signs of each type of message, in the order of signing. ``Subject`` may be missing."""

_ARMOUR: Final = re.compile(r"-----[A-Z ]++-----|\\n|\s")


def sendgrid(public_keys: Sequence[str], signature: str | None, timestamp: str | None, body: bytes) -> bool:
    """Is ``X-Twilio-Email-Event-Webhook-Signature`` an ECDSA signature (P-256, SHA-256) of time stamp and body?

    The keys are as SendGrid shows them (base64, no armour); PEM will do. The body counts to its last byte, which
    is a line feed. No window on the time: whether a retry has a new one is not documented.

    Source: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    (read 2026-11-24)
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    stamp, given = of_header(timestamp), of_base64(signature or "")
    if not stamp or not given:
        return False
    for key in map(_p256, public_keys):
        try:
            if key is not None:
                key.verify(given, stamp + body, ECDSA(hashes.SHA256()))
                return True
        except InvalidSignature:
            continue
    return False


def is_p256(text: str) -> bool:
    """Is this a public key of SendGrid's kind?"""
    return _p256(text) is not None


def ed25519(public_key: str, signature: bytes, message: bytes) -> bool:
    """Is this the base64 signature of the message, by the owner of a ``whpk_`` key?"""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = of_base64(public_key.removeprefix("whpk_")) if public_key.startswith("whpk_") else None
    given = of_base64(signature.decode("latin-1"))
    if key is None or given is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(given, message)
    except (InvalidSignature, ValueError):  # ValueError: not 32 bytes
        return False
    return True


def sns(message: Mapping[str, Json], certificate: bytes) -> bool:
    """Is the message signed by the owner of this certificate (PEM)?

    Whose certificate it is, and whose topic, is the caller's knowledge: everybody's topics are signed with the same
    one. Version 1 of the signature is over a SHA-1, version 2 over a SHA-256.

    Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html (read 2026-11-24)
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    signed, given, key = _sns_text(message), message.get("Signature"), _rsa(certificate)
    signature = of_base64(given) if isinstance(given, str) else None
    version = message.get("SignatureVersion")
    if signed is None or signature is None or key is None or version not in ("1", "2"):
        return False
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 - Amazon's choice
    try:
        key.verify(signature, signed, PKCS1v15(), digest)
    except InvalidSignature:
        return False
    return True


def _sns_text(message: Mapping[str, Json]) -> bytes | None:
    """The lines that Amazon signs: name and value in turn. None if one is missing or no text."""
    kind = message.get("Type")
    lines: list[str] = []
    for name in SNS_FIELDS.get(kind, ()) if isinstance(kind, str) else ():
        value = message.get(name)
        if name == "Subject" and value is None:
            continue
        if not isinstance(value, str):
            return None
        lines += [f"{name}\n", f"{value}\n"]
    return "".join(lines).encode("utf-8", "surrogatepass") or None


@lru_cache(maxsize=32)
def _p256(text: str) -> EllipticCurvePublicKey | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(of_base64(_ARMOUR.sub("", text)) or b"")
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else None


@lru_cache(maxsize=32)
def _rsa(certificate: bytes) -> RSAPublicKey | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate

    try:
        key = load_pem_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, RSAPublicKey) else None
