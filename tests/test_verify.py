"""Signatures over raw bytes: the vectors of the reference, and everything that must be a mismatch and no crash."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from connector import verify

EVENT = b'{"type":"track","event":"Caf\xc3\xa9","properties":{"n":1e21}}'

KLAVIYO_BODY = b'{"data":[],"meta":{"klaviyo_webhook_id":"W1"}}'
KLAVIYO_TIME = "Sat, 21 Nov 2026 10:00:00 GMT"
KLAVIYO_SIGNATURE = "ba4df2f029428af88380b42954b88db08aebed9b06eb9fcd1a1d0038ffd8998c"

CUSTOMERIO_BODY = b'{"metric":"clicked"}'
CUSTOMERIO_TIME = "1700000000"
CUSTOMERIO_SIGNATURE = "20e8cce11773ba40df0e008fb97bbd3dc4c39a98278404c81383ab54d20188fa"

MALFORMED = [None, "", "zz", "é", "\u0142\u00f3d\u017a", "\ud800", "0" * 40, "sha1=" + "0" * 40, "0" * 100_000]


def sha1(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha1).hexdigest()


def test_segment_accepts_any_of_several_secrets() -> None:
    signature = sha1("new", EVENT)
    assert verify.segment(["old", "new"], signature, EVENT)
    assert verify.segment(["new", "old"], signature, EVENT)
    assert not verify.segment(["old"], signature, EVENT)
    assert not verify.segment([], signature, EVENT)


def test_segment_refuses_one_changed_byte() -> None:
    assert not verify.segment(["s"], sha1("s", EVENT), EVENT + b" ")


def test_klaviyo_vector() -> None:
    secrets = ["another-secret-00", "0123456789abcdef"]
    assert verify.klaviyo(secrets, KLAVIYO_SIGNATURE, KLAVIYO_TIME, KLAVIYO_BODY)
    assert not verify.klaviyo(secrets[:1], KLAVIYO_SIGNATURE, KLAVIYO_TIME, KLAVIYO_BODY)
    assert not verify.klaviyo(secrets, KLAVIYO_SIGNATURE, KLAVIYO_TIME.replace("10:", "11:"), KLAVIYO_BODY)
    assert not verify.klaviyo(secrets, KLAVIYO_SIGNATURE, None, KLAVIYO_BODY)


def test_customerio_vector() -> None:
    assert verify.customerio(["x", "test_secret"], CUSTOMERIO_SIGNATURE, CUSTOMERIO_TIME, CUSTOMERIO_BODY)
    assert not verify.customerio(["x"], CUSTOMERIO_SIGNATURE, CUSTOMERIO_TIME, CUSTOMERIO_BODY)
    assert not verify.customerio(["test_secret"], CUSTOMERIO_SIGNATURE, "1700000001", CUSTOMERIO_BODY)
    assert not verify.customerio(["test_secret"], "v0=" + CUSTOMERIO_SIGNATURE, CUSTOMERIO_TIME, CUSTOMERIO_BODY)


def test_customerio_signs_the_triple_and_not_the_body_alone() -> None:
    alone = hmac.new(b"test_secret", CUSTOMERIO_BODY, hashlib.sha256).hexdigest()
    assert not verify.customerio(["test_secret"], alone, CUSTOMERIO_TIME, CUSTOMERIO_BODY)


@pytest.mark.parametrize("header", MALFORMED)
def test_a_malformed_header_is_a_mismatch(header: str | None) -> None:
    assert not verify.segment(["s"], header, EVENT)
    assert not verify.klaviyo(["s"], header, header, KLAVIYO_BODY)
    assert not verify.customerio(["s"], header, header, CUSTOMERIO_BODY)
    assert not verify.token(["s"], header)


def test_a_token_may_be_any_text() -> None:
    assert verify.token(["ascii", "schlüssel"], "schlüssel")
    assert not verify.token(["schlüssel"], "schlussel")


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
    ],
)
def test_bearer(header: str | None, token: str | None) -> None:
    assert verify.bearer(header) == token


@pytest.mark.parametrize(
    ("header", "user"),
    [
        (None, None),
        ("Basic d3JpdGVrZXk6", "writekey"),
        ("basic d3JpdGVrZXk=", "writekey"),
        ("Basic Ong=", None),
        ("Basic !!!", None),
        ("Basic \u0142", None),
        ("Basic /w==", None),
        ("Bearer d3JpdGVrZXk6", None),
    ],
)
def test_basic_user(header: str | None, user: str | None) -> None:
    assert verify.basic_user(header) == user
