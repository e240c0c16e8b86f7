"""Amazon's part in the tests of SNS: its signature, and a certificate that stands for its own."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

CERTIFICATE_URL: Final = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"


def sns_signature(message: Mapping[str, Any], by: rsa.RSAPrivateKey | None = None) -> str:
    """The ``Signature`` of an SNS message, in the version that it names, by Amazon or by somebody else's key."""
    confirms = message["Type"] != "Notification"
    names = ["Message", "MessageId", "SubscribeURL" if confirms else "Subject", "Timestamp"]
    names += ["Token", "TopicArn", "Type"] if confirms else ["TopicArn", "Type"]
    text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    digest = hashes.SHA1() if message["SignatureVersion"] == "1" else hashes.SHA256()  # noqa: S303 - Amazon's choice
    return base64.b64encode((by or key()).sign(text.encode(), padding.PKCS1v15(), digest)).decode()


@cache
def key() -> rsa.RSAPrivateKey:
    """The key that stands for Amazon's. A new one each time: nothing holds it against a stored value."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def made_out(
    name: str = "sns.amazonaws.com",
    also: str = "example.com",
    *,
    begins_in: timedelta = timedelta(days=-1),
    ends_in: timedelta = timedelta(days=90),
) -> bytes:
    """Its certificate (PEM), made out to a name and also to another, valid for a time around now."""
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, key().public_key(), x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(also)]), critical=False)
        .not_valid_before(now + begins_in)
        .not_valid_after(now + ends_in)
        .sign(key(), hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def certificate(url: str) -> bytes:
    """What ``Incoming.certificate`` gives in tests: the certificate at CERTIFICATE_URL, and there is no other."""
    assert url == CERTIFICATE_URL
    return made_out()
