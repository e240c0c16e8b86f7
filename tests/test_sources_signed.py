"""The platforms' own modules: a true request is let in and split, a forged one stays outside."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import mapping, verify
from connector.elements import Element
from connector.errors import ClosedError, PayloadError, Unreachable, VerificationError
from connector.messages import DAY, HOUR, SECOND
from connector.resources import shipped_mappings
from connector.sources import Incoming, customerio, declared, klaviyo, mailgun, mandrill, sendgrid, ses
from tests import amazon, signers

NOW = 1_700_000_000_000
SECONDS = NOW // 1000

MODULES: dict[str, ModuleType] = {
    "klaviyo": klaviyo,
    "customerio": customerio,
    "sendgrid": sendgrid,
    "mailgun": mailgun,
    "mandrill": mandrill,
    "ses": ses,
}

BODIES = {
    "mandrill": b'[{"event":"open","_id":"1","msg":{"email":"zo\xc3\xab@example.com"}}]',
    "mailgun": b'{"event-data":{"event":"opened","recipient":"zo\xc3\xab@example.com"}}',
    "sendgrid": b'[{"event":"open"},{"event":"click"}]\r\n',
}


def request(signed: signers.Signed, now: int = NOW, **other: Any) -> Incoming:
    provider, _, secret = signed.path.removeprefix("/webhooks/").partition("/")
    given = {"settings": lambda name: members(provider, name), "certificate": amazon.certificate, **other}
    return Incoming("POST", signed.path, signed.headers, signed.body, secret=secret or None, now=now, **given)


def members(provider: str, variable: str) -> tuple[str, ...]:
    return tuple(one for one in signers.SECRETS[provider].get(variable, "").split(",") if one)


def secrets(provider: str) -> tuple[str, ...]:
    return members(provider, next(iter(signers.SECRETS[provider])))


def lets_in(signed: signers.Signed, now: int = NOW, **other: Any) -> bool:
    """What the platform's module says, or for those without one the verifier that its mapping names."""
    incoming, provider = request(signed, now, **other), signed.path.split("/")[2]
    if provider in signers.SHOWN:
        return verify.shared_secret(secrets(provider), incoming.secret, incoming.headers.get("authorization"))
    if provider == "segment":
        return verify.segment(secrets(provider), incoming.headers.get("x-signature"), incoming.body)
    if provider == "resend":
        name, stamp, made = (incoming.headers.get(f"svix-{one}") for one in ("id", "timestamp", "signature"))
        return verify.standard_webhooks(secrets(provider), name, stamp, made, incoming.body, now)
    answer: bool = MODULES[provider].signed(incoming, secrets(provider))
    return answer


@pytest.mark.parametrize("provider", signers.SIGNERS)
@pytest.mark.parametrize("more", [b"", b" ", b"  ", b"   ", b"    ", b"     "])
def test_every_platform_is_let_in_and_its_forger_is_not(provider: str, more: bytes) -> None:
    signed = signers.sign(provider, BODIES.get(provider, b'{"event":"open"}') + more, at=SECONDS)
    assert lets_in(signed)
    assert not lets_in(signers.forge(provider, signed))


def test_the_signers_show_secrets_in_every_way() -> None:
    ways = {
        (signed.path.count("/"), signed.headers.get("authorization", "").partition(" ")[0])
        for provider in signers.SHOWN
        for number in range(30)
        for signed in [signers.sign(provider, b"{}" + b" " * number)]
    }
    assert ways == {(3, ""), (2, "Basic"), (2, "Bearer"), (2, signers.SHOWN["iterable"])}


# -- Mailgun ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("off", "accepted"),
    [(0, True), (DAY, True), (-HOUR, True), (DAY + 1, False), (-HOUR - 1, False), (3 * HOUR + SECOND, True)],
)
def test_mailgun_is_a_day_old_or_an_hour_ahead_at_most(off: int, accepted: bool) -> None:
    assert lets_in(signers.sign("mailgun", b"{}", at=SECONDS), NOW + off) is accepted


def test_mailguns_old_forms_are_let_in() -> None:
    signed = signers.sign("mailgun", b"event=opened&recipient=zo%C3%AB%40example.com", at=SECONDS)
    assert b"&signature=" in signed.body
    assert lets_in(signed)
    assert not lets_in(signers.forge("mailgun", signed))


def changed(signed: signers.Signed, **proof: object) -> signers.Signed:
    value = json.loads(signed.body)
    body = json.dumps({**value, "signature": {**value["signature"], **proof}}).encode()
    return signers.Signed(signed.headers, signed.path, body)


def test_mailgun_may_be_signed_by_the_parent_account() -> None:
    signed = signers.sign("mailgun", b"{}", at=SECONDS)
    true = json.loads(signed.body)["signature"]["signature"]
    assert lets_in(changed(signed, **{"signature": "0" * 64, "parent-signature": true}))
    assert not lets_in(changed(signed, **{"signature": "0" * 64, "parent-signature": "0" * 64}))


def test_mailguns_time_stamp_may_be_a_number() -> None:
    assert lets_in(changed(signers.sign("mailgun", b"{}", at=SECONDS), timestamp=SECONDS))


def test_digits_cannot_move_between_mailguns_time_stamp_and_token() -> None:
    signed = signers.sign("mailgun", b"{}", at=SECONDS)
    proof = json.loads(signed.body)["signature"]
    text = proof["timestamp"] + proof["token"]
    for cut in [*range(1, 10), *range(11, 13)]:
        assert not lets_in(changed(signed, timestamp=text[:cut], token=text[cut:])), cut


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[{}]",
        b'{"signature":1}',
        b'{"signature":{"timestamp":"\xc2\xb2","token":"t","signature":"s"}}',
        b'{"signature":{"timestamp":"1700000000","token":["t"],"signature":{}}}',
        b'{"signature":{"timestamp":true,"token":"t","signature":"s"}}',
        b"timestamp=1700000000",
        b"a=1&" * 2000,
        b"\xff\xfe",
    ],
)
def test_a_mailgun_body_without_proof_stays_outside(body: bytes) -> None:
    assert not lets_in(signers.Signed({}, "/webhooks/mailgun", body))


@pytest.mark.parametrize(
    ("event", "alone"),
    [
        ({"message": {"headers": {"to": "Ann <A@x.test>", "cc": ""}}}, True),
        ({"message": {"headers": {"to": "undisclosed-recipients:;"}, "recipients": ["a@x.test"]}}, True),
        ({"envelope": {"targets": "a@x.test"}}, True),
        ({"message": "none", "envelope": None}, True),
        ({"message": {"headers": {"to": "a@x.test, b@x.test"}}}, False),
        ({"message": {"headers": {"to": "b@x.test"}}}, False),
        ({"message": {"headers": {"to": "a@x.test", "cc": "b@x.test"}}}, False),
        ({"message": {"headers": {"to": "a@x.test", "bcc": "b@x.test"}}}, False),
        ({"message": {"recipients": ["a@x.test", "b@x.test"]}}, False),
        ({"envelope": {"targets": "a@x.test, b@x.test"}}, False),
    ],
)
def test_variables_of_mailguns_mail_to_several_mean_none_of_them(event: dict[str, Any], alone: bool) -> None:
    event = {"recipient": "A@x.test", "user-variables": {"user_id": "u1"}, **event}
    body = json.dumps({"event-data": event}).encode()
    [(element, _)] = mailgun.split(request(signers.sign("mailgun", body, at=SECONDS)))
    assert json.loads(element.text) == element.value
    assert (element.value == {"event-data": event}) is alone
    assert ("b@x.test" in element.text, "user-variables" in element.text) == (False, alone)


# -- Mandrill -----------------------------------------------------------------------------------------------------


def test_mandrills_form_is_split_into_its_events() -> None:
    signed = signers.sign("mandrill", b'[{"event":"open","msg":{"email":"a+b@example.com"}}, {"event":"send"}]')
    assert mandrill.split(request(signed)) == [
        (
            Element(
                '{"event":"open","msg":{"email":"a+b@example.com"}}',
                {"event": "open", "msg": {"email": "a+b@example.com"}},
            ),
            None,
        ),
        (Element('{"event":"send"}', {"event": "send"}), None),
    ]
    assert mandrill.split(request(signers.sign("mandrill", b"[]"))) == []


def test_a_mandrill_form_without_events_is_kept_and_says_so() -> None:
    incoming = request(signers.Signed({}, "/webhooks/mandrill", b"other=1"))
    assert mandrill.split(incoming) == [
        (Element('{"other":"1"}', {"other": "1"}, "the form has no field mandrill_events"), None)
    ]


def test_mandrill_events_that_are_not_json_are_refused() -> None:
    with pytest.raises(PayloadError):
        mandrill.split(request(signers.Signed({}, "/webhooks/mandrill", b"mandrill_events=x")))


def test_a_mandrill_form_larger_than_any_stays_outside() -> None:
    signed = signers.sign("mandrill", b"[]")
    assert not lets_in(signers.Signed(signed.headers, signed.path, signed.body + b"&a=1" * 1000))


def test_mandrill_is_closed_until_its_url_is_told() -> None:
    read = declared.reader(mapping.load(shipped_mappings()).sources["mandrill"])
    keys = {"MANDRILL_WEBHOOK_KEYS": (signers.MANDRILL,)}
    with pytest.raises(ClosedError, match="set MANDRILL_WEBHOOK_URLS"):
        read(request(signers.sign("mandrill", BODIES["mandrill"])), lambda name: keys.get(name, ()), NOW)


# -- Amazon SES ---------------------------------------------------------------------------------------------------

SNS = {"MessageId": "5f3-1", "Timestamp": "2026-11-24T10:00:00.000Z"}


def notification(event: object, **other: str) -> signers.Signed:
    text = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"))
    message = {"Type": "Notification", "TopicArn": signers.TOPIC, **SNS, "Message": text, **other}
    return signers.sign("ses", json.dumps(message).encode())


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (
            {"eventType": "Bounce", "bounce": {"bouncedRecipients": [{"emailAddress": "a@x.test"}, {"status": "5"}]}},
            ["a@x.test"],
        ),
        (
            {"notificationType": "Complaint", "complaint": {"complainedRecipients": [{"emailAddress": "a@x.test"}]}},
            ["a@x.test"],
        ),
        ({"eventType": "Open", "mail": {"destination": ["a@x.test", "b@x.test"]}}, [None]),
        ({"eventType": "Open", "mail": {"destination": ["A b <A@x.test>"]}}, ["a@x.test"]),
        ({"eventType": "Open", "mail": {"destination": "a@x.test"}}, [None]),
        (
            {
                "eventType": "Delivery",
                "mail": {"destination": ["Ann <A@X.test>"], "commonHeaders": {"to": ["Ann <a@X.test>"]}},
                "delivery": {"recipients": ["a@x.test", "A@x.test", "<a@x.test>"]},
            },
            ["a@x.test"],
        ),
        ({"eventType": "Delivery", "delivery": {"recipients": "a@x.test"}}, [None]),
        ({"eventType": ["Delivery"], "delivery": None}, [None]),
        ({"eventType": "Bounce", "bounce": []}, [None]),
    ],
)
def test_an_ses_event_comes_once_for_each_recipient_it_names(event: dict[str, Any], named: list[str | None]) -> None:
    text = json.dumps(event, separators=(",", ":"))
    beside = [{"_sns": SNS} if one is None else {"_recipient": one, "_sns": SNS} for one in named]
    found = ses.split(request(notification(event)))
    assert [(element, json.loads(told or "")) for element, told in found] == [
        (Element(text, event), one) for one in beside
    ]


def test_an_ses_event_to_several_is_stored_for_each_without_the_others() -> None:
    event = {
        "eventType": "Delivery",
        "mail": {
            "messageId": "m",
            "destination": ["a@x.test", "b@x.test", "c@x.test"],
            "headers": [{"name": "To", "value": "b@x.test"}],
            "commonHeaders": {"to": ["b@x.test"], "subject": "Hello"},
        },
        "delivery": {"recipients": ["a@x.test", "b@x.test", "a@x.test"], "smtpResponse": "250"},
    }
    found = ses.split(request(notification(event)))
    assert [json.loads(element.text) for element, _ in found] == [element.value for element, _ in found]
    assert [(element.value, json.loads(told or "")) for element, told in found] == [
        (
            {
                "eventType": "Delivery",
                "mail": {"messageId": "m", "commonHeaders": {"subject": "Hello"}},
                "delivery": {"recipients": named, "smtpResponse": "250"},
            },
            {"_recipient": one, "_sns": SNS},
        )
        for one, named in (("a@x.test", ["a@x.test", "a@x.test"]), ("b@x.test", ["b@x.test"]))
    ]


OPTED_IN = {"topicName": "News", "subscriptionStatus": "OptIn"}
OPTED_OUT = {"topicName": "News", "subscriptionStatus": "OptOut"}


@pytest.mark.parametrize(
    ("before", "after", "ends"),
    [
        ([OPTED_IN], [OPTED_OUT], True),
        ([OPTED_OUT], [OPTED_OUT], False),
        ([OPTED_OUT], [OPTED_IN], False),
        ([OPTED_IN], [OPTED_IN], False),
        ([{**OPTED_OUT, "topicName": "Sales"}, OPTED_IN], [OPTED_OUT], True),
        ([{**OPTED_IN, "topicName": "Sales"}, OPTED_OUT], [OPTED_OUT], False),
        ([{**OPTED_OUT, "topicName": "Sales"}], [OPTED_OUT], True),
        ([], [OPTED_OUT], True),
        (None, [OPTED_OUT], True),
        (None, [OPTED_IN], False),
        (["News"], [None, {}], False),
        ([OPTED_OUT], None, False),
    ],
)
def test_an_ses_change_of_topics_says_whether_it_ends_one(before: Any, after: Any, ends: bool) -> None:
    old, new = ({"unsubscribeAll": False, "topicSubscriptionStatus": one} for one in (before, after))
    event = {"subscription": {"oldTopicPreferences": old, "newTopicPreferences": new}}
    [(_, told)] = ses.split(request(notification(event)))
    assert json.loads(told or "") == {"_sns": SNS} | ({"_unsubscribed": True} if ends else {})


@pytest.mark.parametrize("everything", [True, False])
def test_an_ses_change_of_all_topics_ends_them_whatever_was_before(everything: bool) -> None:
    preferences = {"unsubscribeAll": everything, "topicSubscriptionStatus": [OPTED_OUT]}
    event = {"subscription": {"oldTopicPreferences": preferences, "newTopicPreferences": preferences}}
    [(_, told)] = ses.split(request(notification(event)))
    assert json.loads(told or "").get("_unsubscribed", False) is everything


def test_an_ses_event_to_more_than_a_message_can_have_is_kept_once() -> None:
    event = {"eventType": "Delivery", "delivery": {"recipients": [f"{n}@x.test" for n in range(51)]}}
    [(element, told)] = ses.split(request(notification(event)))
    assert element.rotten == "the event names more than 50 recipients, which no message can have"
    assert json.loads(told or "") == {"_sns": SNS}


@pytest.mark.parametrize(
    "message",
    [
        {"Type": "Notification", "Message": "Successfully validated SNS topic for Amazon SES event publishing."},
        {"Type": "SubscriptionConfirmation", "Message": "You have chosen…", "Token": "1", "SubscribeURL": "https://x"},
        {"Type": "UnsubscribeConfirmation", "Message": '{"eventType":"Open"}', "Token": "1", "SubscribeURL": "y"},
    ],
)
def test_an_sns_message_without_an_event_is_itself_the_element(message: dict[str, str]) -> None:
    signed = signers.sign("ses", json.dumps({**message, "TopicArn": signers.TOPIC}).encode())
    assert lets_in(signed)
    assert ses.split(request(signed)) == [(Element(signed.body.decode(), json.loads(signed.body)), None)]


def test_another_topic_is_refused_before_any_certificate_is_fetched() -> None:
    def fetched(url: str) -> bytes:
        raise AssertionError(url)

    assert not lets_in(notification({}, TopicArn=signers.TOPIC + "2"), certificate=fetched)
    assert not lets_in(signers.Signed({}, "/webhooks/ses", b'{"eventType":"Open"}'), certificate=fetched)
    message = json.loads(notification({}).body)
    for url in (None, 1, [amazon.CERTIFICATE_URL]):
        body = json.dumps({**message, "SigningCertURL": url}).encode()
        assert not lets_in(signers.Signed({}, "/webhooks/ses", body), certificate=fetched)


@pytest.mark.parametrize("error", [VerificationError("not Amazon's"), Unreachable("cannot be fetched")])
def test_what_the_certificate_says_is_the_answer(error: Exception) -> None:
    def refused(_url: str) -> bytes:
        raise error

    with pytest.raises(type(error)) as caught:
        lets_in(notification({}), certificate=refused)
    assert caught.value is error


def test_the_header_may_not_name_another_type_than_the_message() -> None:
    signed = notification({})
    other = {**signed.headers, "x-amz-sns-message-type": "SubscriptionConfirmation"}
    assert not lets_in(signers.Signed(other, signed.path, signed.body))
    assert lets_in(signers.Signed({}, signed.path, signed.body))


# -- anything -----------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["signature", "Type", "TopicArn", "Message", "SigningCertURL"]), inner)
    ),
    max_leaves=8,
)
BODY = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())


@given(st.sampled_from(sorted(MODULES)), BODY, st.text(max_size=20))
def test_what_nobody_signed_stays_outside_whatever_it_is(provider: str, body: bytes, header: str) -> None:
    true = signers.sign(provider, BODIES.get(provider, b"{}"), at=SECONDS).headers
    for headers in ({}, dict.fromkeys(true, header)):
        assert not lets_in(signers.Signed(headers, f"/webhooks/{provider}", body))
