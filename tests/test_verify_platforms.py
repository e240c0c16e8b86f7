"""Signatures of the email platforms: what vendors and other people's libraries made is accepted, nothing else is."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from connector import verify
from connector.messages import MINUTE, now_ms
from tests import published, signers

BODY = b'{"metric":"clicked"}'
SECONDS = 1_700_000_000
NOW = SECONDS * 1000
STAMP = str(SECONDS)

WEBHOOK_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
WEBHOOK_SIGNATURE = "v1,QZ44tWqRs20y+zqY71pvh2r9wXvoWMBY1ZwVFHU9TYk="
MAILGUN_SIGNATURE = "c3dc0a079ab23eb4fbc41c0980b991e2791a876f8e536db8444e1caa867411cb"

SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ED25519_PUBLIC = "whpk_" + base64.b64encode(ED25519.public_key().public_bytes_raw()).decode()
ED25519_SIGNATURE = "v1a," + base64.b64encode(ED25519.sign(b"msg_1.1700000000." + BODY)).decode()


def webhook(*secrets: str, signature: str | None = WEBHOOK_SIGNATURE, now: int = NOW, **changed: Any) -> bool:
    told = {"message_id": "msg_1", "timestamp": STAMP, "body": BODY, **changed}
    return verify.standard_webhooks(secrets, signatures=signature, now=now, **told)


def v1(key: bytes, message: bytes = b"msg_1.1700000000." + BODY) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, message, hashlib.sha256)).decode()


# -- Standard Webhooks --------------------------------------------------------------------------------------------


def test_standard_webhooks_vector() -> None:
    assert webhook("whsec_AAAA", WEBHOOK_SECRET)
    assert not webhook("whsec_AAAA")
    assert not webhook()
    assert not webhook(WEBHOOK_SECRET, body=BODY + b" ")
    assert not webhook(WEBHOOK_SECRET, message_id="msg_2") | webhook(WEBHOOK_SECRET, timestamp="1700000001")


@given(
    st.binary(min_size=1, max_size=64),
    st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=40),
    st.text(max_size=200),
    st.sampled_from([standardwebhooks.Webhook, svix.webhooks.Webhook]),
)
def test_what_the_reference_libraries_sign_is_accepted(
    key: bytes, name: str, text: str, library: Callable[[str], Any]
) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    signature = library(secret).sign(name, datetime.fromtimestamp(SECONDS, UTC), text)
    told = {"message_id": name, "body": text.encode(), "signature": signature}
    assert webhook(secret, **told)
    assert webhook(secret.removeprefix("whsec_"), **told)
    assert webhook(secret.rstrip("="), **told)
    assert not webhook("whsec_" + base64.b64encode(key + b"x").decode(), **told)


def test_what_the_tests_sign_is_accepted_by_the_reference_library() -> None:
    signed = signers.sign("resend", BODY)
    library = svix.webhooks.Webhook("whsec_" + signers.RESEND)
    library.verify(signed.body, signed.headers)
    with pytest.raises(svix.webhooks.WebhookVerificationError):
        library.verify(signed.body, signers.forge("resend", signed).headers)


@pytest.mark.parametrize(
    ("off", "accepted"),
    [(0, True), (5 * MINUTE, True), (-5 * MINUTE, True), (5 * MINUTE + 1, False), (-5 * MINUTE - 1, False)],
)
def test_standard_webhooks_are_five_minutes_old_or_ahead_at_most(off: int, accepted: bool) -> None:
    assert webhook(WEBHOOK_SECRET, now=NOW + off) is accepted


@pytest.mark.parametrize("stamp", ["", "\u00b2", "\u0663", "1.7e9", f"{STAMP}.0", f" {STAMP}", f"+{STAMP}", "9" * 5000])
def test_the_time_is_whole_seconds_in_plain_digits(stamp: str) -> None:
    signature = v1(b"key", f"msg_1.{stamp}.".encode() + BODY)
    assert not webhook("whsec_" + base64.b64encode(b"key").decode(), timestamp=stamp, signature=signature)


def test_any_of_several_signatures_may_match() -> None:
    wrong = v1(b"another key")
    assert webhook(WEBHOOK_SECRET, signature=f"{wrong} {WEBHOOK_SIGNATURE}")
    assert webhook(WEBHOOK_SECRET, signature=f"v2,abc v1a,AAAA {WEBHOOK_SIGNATURE} {wrong}")
    assert not webhook(WEBHOOK_SECRET, signature=f"{wrong} {wrong}")


def test_no_more_signatures_are_looked_at_than_a_rotation_needs() -> None:
    assert webhook(WEBHOOK_SECRET, signature=f"{'v1a,AA ' * 15}{WEBHOOK_SIGNATURE}")
    assert not webhook(WEBHOOK_SECRET, signature=f"{'v1a,AA ' * 16}{WEBHOOK_SIGNATURE}")


def test_a_secret_without_prefix_may_be_its_own_bytes() -> None:
    assert webhook("not base64!", signature=v1(b"not base64!"))
    assert webhook("abcdefgh", signature=v1(b"abcdefgh"))
    assert not webhook("whsec_abcdefgh", signature=v1(b"whsec_abcdefgh"))


def test_ed25519_signatures_are_tested_with_public_keys() -> None:
    assert webhook(WEBHOOK_SECRET, ED25519_PUBLIC, signature=ED25519_SIGNATURE)
    assert webhook(ED25519_PUBLIC, signature=f"v1,AAAA {ED25519_SIGNATURE}")
    assert not webhook(ED25519_PUBLIC, signature=ED25519_SIGNATURE, body=BODY + b" ")
    assert not webhook(WEBHOOK_SECRET, ED25519_PUBLIC[5:], signature=ED25519_SIGNATURE)
    assert not webhook("whpk_" + base64.b64encode(bytes(31)).decode(), signature=ED25519_SIGNATURE)


def test_a_public_key_is_nobodys_secret() -> None:
    public = base64.b64decode(ED25519_PUBLIC[5:])
    for key in (public, ED25519_PUBLIC.encode(), ED25519_PUBLIC[5:].encode()):
        assert not webhook(ED25519_PUBLIC, signature=v1(key))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_====", "whsec_!!", "whpk_", "whsk_AAAA"])
def test_an_empty_secret_opens_nothing(secret: str) -> None:
    assert not webhook(secret, signature=v1(b""))


# -- SendGrid -----------------------------------------------------------------------------------------------------


def sendgrid(*keys: str, body: bytes = published.SENDGRID_BODY) -> bool:
    return verify.sendgrid(keys, published.SENDGRID_SIGNATURE, published.SENDGRID_TIME, body)


def test_sendgrid_vectors() -> None:
    keys = [published.SENDGRID_KEY_2, published.SENDGRID_KEY]
    second = (published.SENDGRID_SIGNATURE_2, published.SENDGRID_TIME_2, published.SENDGRID_BODY_2)
    assert sendgrid(*keys)
    assert verify.sendgrid(keys, *second)
    assert not sendgrid(published.SENDGRID_KEY_2)
    assert not verify.sendgrid(keys[1:], *second)


def test_sendgrid_signs_the_line_feed_at_the_end() -> None:
    assert not sendgrid(published.SENDGRID_KEY, body=published.SENDGRID_BODY.rstrip())


def test_a_sendgrid_key_may_wear_its_armour() -> None:
    armoured = f"-----BEGIN PUBLIC KEY-----\n{published.SENDGRID_KEY[:64]}\n{published.SENDGRID_KEY[64:]}\n"
    assert sendgrid(armoured + "-----END PUBLIC KEY-----\n")
    assert sendgrid(armoured.replace("\n", "\\n") + "-----END PUBLIC KEY-----")


def test_a_key_of_another_kind_is_a_mismatch_and_hides_no_other() -> None:
    others: list[Any] = [
        ec.derive_private_key(7, ec.SECP384R1()).public_key(),
        rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(),
        ED25519.public_key(),
    ]
    keys = [base64.b64encode(key.public_bytes(*SPKI)).decode() for key in others] + ["", "zz", "é", "AAAA"]
    assert not sendgrid(*keys)
    assert sendgrid(*keys, published.SENDGRID_KEY)


def test_another_curve_is_not_sendgrids() -> None:
    key = ec.derive_private_key(7, ec.SECP384R1())
    signature = base64.b64encode(key.sign(STAMP.encode() + BODY, ec.ECDSA(hashes.SHA256()))).decode()
    public = key.public_key().public_bytes(*SPKI)
    assert not verify.sendgrid([base64.b64encode(public).decode()], signature, STAMP, BODY)


# -- Mailgun and Mandrill -----------------------------------------------------------------------------------------


def test_mailgun_vector() -> None:
    assert verify.mailgun(["other", "test_secret"], STAMP, "tok", MAILGUN_SIGNATURE)
    assert not verify.mailgun(["other"], STAMP, "tok", MAILGUN_SIGNATURE)
    assert not verify.mailgun(["test_secret"], STAMP, "to", MAILGUN_SIGNATURE)
    assert not verify.mailgun(["test_secret"], STAMP + "tok", "", MAILGUN_SIGNATURE)


@pytest.mark.parametrize(("key", "url", "fields", "signature"), published.MANDRILL)
def test_mandrill_vectors(key: str, url: str, fields: list[tuple[str, str]], signature: str) -> None:
    assert verify.mandrill(["other", key], ["http://example.com/", url], signature, fields)
    assert not verify.mandrill([key], [url + "/"], signature, fields)
    assert not verify.mandrill(["other"], [url], signature, fields)
    assert not verify.mandrill([key], [url], signature, [*fields, ("more", "")])


def test_mandrill_signs_text_and_not_its_form() -> None:
    fields = [("test", "1"), ("mandrill_events", '[{"event":"open","msg":{"email":"zo\\u00eb@example.com"}}]')]
    # echo -n … | openssl dgst -sha1 -hmac … -binary | base64
    made_by_openssl = "w5yLLci1JP2FTxa5WJU8mr4aeF4="
    assert verify.mandrill(["KfFuThPttL_KoUyDndHW3A"], ["https://shop.example.com/hooks?x=1"], made_by_openssl, fields)


# -- secrets that are shown ---------------------------------------------------------------------------------------


def basic(pair: bytes) -> str:
    return "Basic " + base64.b64encode(pair).decode()


@pytest.mark.parametrize(
    ("path", "authorization", "accepted"),
    [
        ("s3cret", None, True),
        ("old", None, True),
        (None, basic(b"any:s3cret"), True),
        (None, basic(b":s3cret").replace("Basic", "basic"), True),
        (None, "Bearer s3cret", True),
        (None, "bearer  s3cret ", True),
        (None, "s3cret", True),
        ("wrong", "s3cret", True),
        (None, basic("any:schlüssel".encode()), True),
        ("schlüssel", None, True),
        (None, None, False),
        ("", "", False),
        ("s3cre", "Bearer s3cre", False),
        (None, basic(b"any:s3cret").replace("Basic", "Bearer"), False),
        (None, basic(b"s3cret"), False),
        (None, basic(b"s3cret:"), False),
        (None, basic(b"s3cret:any"), False),
        (None, "Bearer \u0142", False),
        ("\ud800", "\ud800", False),
    ],
)
def test_a_shared_secret_is_shown_in_one_of_four_ways(
    path: str | None, authorization: str | None, accepted: bool
) -> None:
    assert verify.shared_secret(["old", "s3cret", "schlüssel"], path, authorization) is accepted
    assert not verify.shared_secret([], path, authorization)


# -- anything -----------------------------------------------------------------------------------------------------

ANYTHING = st.none() | st.text(max_size=80) | st.text("0123456789abcdefABCDEF+/=, v1", max_size=200)


@given(ANYTHING, ANYTHING, ANYTHING, st.binary(max_size=80), st.text(st.characters(codec="utf-8"), max_size=40))
def test_what_nobody_signed_is_a_mismatch_and_no_crash(
    one: str | None, two: str | None, three: str | None, body: bytes, secret: str
) -> None:
    keys = [f"{secret}-unguessed", WEBHOOK_SECRET, ED25519_PUBLIC, published.SENDGRID_KEY]
    assert not verify.standard_webhooks(keys, one, STAMP, two, body, NOW)
    assert not verify.standard_webhooks(keys, one, two, three, body, now_ms())
    assert not verify.sendgrid(keys, one, two, body)
    assert not verify.mailgun(keys, one, two, three)
    assert not verify.mandrill(keys, keys, one, [(two or "", three or "")])
    assert not verify.shared_secret(keys, one, two)
    assert not verify.sns({"Type": one, "Message": two, "Signature": three}, body)
