"""Messages of Amazon SNS: those that Amazon sent are accepted, each changed one is not."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from connector import verify
from tests import amazon, published

CONFIRMATION = {
    "Type": "SubscriptionConfirmation",
    "MessageId": "165545c9",
    "Token": "2336412f37",
    "TopicArn": "arn:aws:sns:eu-west-1:123456789012:ses-events",
    "Message": "You have chosen to subscribe to the topic.\nVisit the SubscribeURL: é.",
    "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
    "Timestamp": "2026-11-24T10:00:00.000Z",
    "SignatureVersion": "2",
}


@pytest.mark.parametrize(
    ("message", "certificate"),
    [
        *((message, published.AMAZON_2022_CERTIFICATE) for message in published.AMAZON_2022),
        (published.AMAZON_2015, published.AMAZON_2015_CERTIFICATE),
    ],
)
def test_messages_that_amazon_sent(message: dict[str, str], certificate: bytes) -> None:
    assert verify.sns(message, certificate)
    assert verify.sns({**message, "UnsubscribeURL": "https://example.com"}, certificate)
    assert not verify.sns(message, amazon.made_out())
    for name in {*message} - {"SigningCertURL"}:
        assert not verify.sns({**message, name: message[name] + "x"}, certificate), name
        assert not verify.sns({other: message[other] for other in message if other != name}, certificate), name
    swapped = {"1": "2", "2": "1"}[message["SignatureVersion"]]
    assert not verify.sns({**message, "SignatureVersion": swapped}, certificate)


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_confirmations_are_signed_with_their_token(kind: str, version: str) -> None:
    message = {**CONFIRMATION, "Type": kind, "SignatureVersion": version}
    message["Signature"] = amazon.sns_signature(message)
    assert verify.sns(message, amazon.made_out())
    for name in ("Token", "SubscribeURL", "Message", "Timestamp", "TopicArn"):
        assert not verify.sns({**message, name: "x"}, amazon.made_out()), name
    assert not verify.sns({**message, "Type": "Notification"}, amazon.made_out())


@pytest.mark.parametrize("broken", [None, 1, [], {}, "", "é", "====", "\ud800", "A" * 100_000])
def test_an_sns_message_that_is_broken_is_a_mismatch(broken: object) -> None:
    good = published.AMAZON_2022[0]
    for name in ("Type", "Message", "Signature", "SignatureVersion", "Timestamp"):
        assert not verify.sns({**good, name: broken}, published.AMAZON_2022_CERTIFICATE), name


@pytest.mark.parametrize("certificate", [b"", b"zz", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_has_signed_nothing(certificate: bytes) -> None:
    assert not verify.sns(published.AMAZON_2022[0], certificate)


def test_a_value_that_is_no_text_is_not_read_as_one() -> None:
    message = {**CONFIRMATION, "Token": 1}
    message["Signature"] = amazon.sns_signature(message)
    assert not verify.sns(message, amazon.made_out())


def test_a_type_that_amazon_does_not_have_is_signed_by_nobody() -> None:
    nothing = base64.b64encode(amazon.key().sign(b"", PKCS1v15(), hashes.SHA256())).decode()
    message = {**CONFIRMATION, "Type": "Other", "Signature": nothing}
    assert not verify.sns(message, amazon.made_out())


def test_a_certificate_of_another_kind_has_signed_nothing() -> None:
    key = ec.derive_private_key(7, ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    )
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    assert not verify.sns(published.AMAZON_2022[0], pem)
