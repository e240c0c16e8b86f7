"""What every email platform sends, posted as it sends it, and what is understood of it.

``tests/samples/<provider>/<case>/`` holds a body as the platform makes it (``body.json`` or ``body.form``; without the
signature, or the envelope, that ``tests/signers.py`` puts around it; or with the headers that prove it, ``proof``, and
the ``settings`` they were made with), ``case.toml`` with where that shape is from, the
headers that come with it and texts of it that are never stored (``unkept``), and ``expected.json``: what is stored of
it, element by element, and what that means.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import pytest
import responses
import sqlalchemy as sa
from werkzeug.test import TestResponse

from connector import config, house, mapping, resources, validate
from connector.app import close, create_app
from connector.bodies import MAX_BODY_BYTES
from connector.errors import InvalidMessage
from connector.messages import EMAIL_EVENTS, MINUTE, Email, Identifier, Message, Milliseconds, Stored, iso, parse_time
from connector.store import Store
from connector.tables import inbox
from tests import amazon, signers

SAMPLES: Final = Path(__file__).parent / "samples"

NOW: Final = 1_798_761_600_000
"""2027-01-01, after everything that the samples tell of."""

ANY: Final = "*"
"""A message_id in expected.json that the signature decides, or the envelope."""

NOBODYS: Final = re.compile(r"[^@]+@([a-z-]+\.)*(example\.(com|org|net)|test)", re.IGNORECASE)
"""Addresses under names that are nobody's, RFC 2606."""

MAPPINGS: Final = mapping.load(resources.shipped_mappings())
SOURCES: Final = MAPPINGS.sources
PROVIDERS: Final = sorted(SOURCES)
SIGNING_BODIES: Final = [
    name for name, one in SOURCES.items() if one.door.signed_by or one.door.signature == "standard-webhooks"
]
CASES: Final = sorted(str(path.parent.relative_to(SAMPLES)) for path in SAMPLES.glob("*/*/case.toml"))


@dataclass(frozen=True, slots=True)
class Case:
    """A sample: provider, what is said of it, the body, and what is expected."""

    provider: str
    told: Mapping[str, Any]
    body: bytes
    expected: list[dict[str, Any]]

    @property
    def now(self) -> Milliseconds:
        """When it is posted: for a recorded proof that is good for a while only, ``at`` in case.toml."""
        at = parse_time(self.told["at"]) if "at" in self.told else None
        return NOW if at is None else at


def case(name: str) -> Case:
    folder = SAMPLES / name
    (body,) = folder.glob("body.*")  # .json or .form
    return Case(
        folder.parent.name,
        tomllib.loads((folder / "case.toml").read_text()),
        body.read_bytes(),
        json.loads((folder / "expected.json").read_text()),
    )


class Door:
    """An application over a store, open for one provider, and what it stored."""

    def __init__(self, store: Store, provider: str, now: Milliseconds = NOW) -> None:
        secrets = signers.SECRETS.get(provider) or recorded(provider)
        settings = {"CONNECTOR_SECRET": "0123456789abcdef" * 2, **secrets}
        self.config = config.read(settings, env_file=Path("/nonexistent/.env"))
        self.store = store
        self.app = create_app(self.config, store, mappings=MAPPINGS, now=lambda: now)

    def post(self, signed: signers.Signed) -> TestResponse:
        return self.app.test_client().post(signed.path, data=signed.body, headers=signed.headers)

    def rows(self) -> list[Stored]:
        with self.store.reading() as tx:
            return [Stored(**row._mapping) for row in tx.execute(sa.select(inbox).order_by(inbox.c.id))]

    def understood(self) -> list[dict[str, Any]]:
        reader = house.build(self.config, MAPPINGS).reader
        return [understood(row, reader) for row in self.rows()]


def understood(stored: Stored, reader: validate.Reader) -> dict[str, Any]:
    """What expected.json tells of an element."""
    try:
        message = validate.read(stored, reader)
    except InvalidMessage as error:
        return {"message_id": stored.message_id, "quarantined": list(error.reasons)}
    email = message.email or Email(stored.source)  # Segment's stream has other calls among its email events
    return {
        "message_id": message.message_id,
        "event": message.event,
        "at": iso(message.at),
        "recipient": value_of(email.recipient),
        "email": own_address(message),
        "profile_id": value_of(email.vendor_profile),
        "user_id": value_of(email.vendor_user),
        "properties": dict(message.properties),
        "context": dict(message.context),
        "ignored": email.ignored,
    }


def asked(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """As much of what was understood as a sample asks for: all but the id that it leaves open, and the context."""
    open_id = {"message_id": ANY} if expected["message_id"] == ANY else {}
    return {name: value for name, value in found.items() if name != "context" or name in expected} | open_id


def value_of(identifier: Identifier | None) -> str | None:
    return None if identifier is None else identifier.value


def own_address(message: Message) -> str | None:
    """The profile's own address, which comes after the one that was mailed where the two differ."""
    return next((one.value for one in reversed(message.identifiers) if one.type == "email"), None)


def signed(sample: Case, minutes_ago: int = 0) -> signers.Signed:
    headers = {name.lower(): value for name, value in sample.told.get("headers", {}).items()}
    if "proof" in sample.told:
        return signers.Signed({**headers, **sample.told["proof"]}, f"/webhooks/{sample.provider}", sample.body)
    return signers.sign(sample.provider, sample.body, headers, at=NOW / 1000 - 60 * minutes_ago)


def forged(sample: Case) -> signers.Signed:
    if "proof" not in sample.told:
        return signers.forge(sample.provider, signed(sample))
    once = signed(sample)
    wrong = {name: signers.other(value) for name, value in sample.told["proof"].items()}
    return replace(once, headers=once.headers | wrong)


def recorded(provider: str) -> dict[str, str]:
    """The settings with which the proofs of a platform's samples were made."""
    settings: dict[str, str] = next(
        told["settings"] for name in CASES if name.startswith(f"{provider}/") if "settings" in (told := case(name).told)
    )
    return settings


@pytest.fixture(autouse=True)
def certificate() -> Iterator[None]:
    """Amazon's certificate where SNS says that it is; nothing else is to be had from the network."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as network:
        network.get(amazon.CERTIFICATE_URL, body=amazon.made_out())
        yield


@pytest.mark.parametrize("name", CASES)
def test_a_true_request_is_stored_once_and_understood_as_the_sample_says(sqlite_store: Store, name: str) -> None:
    sample = case(name)
    door = Door(sqlite_store, sample.provider, sample.now)
    answers = [door.post(signed(sample, minutes_ago)) for minutes_ago in (1, 0)]  # sent again, and signed anew
    close(door.app)
    found = door.understood()
    n = len(found)
    assert [(one.status_code, one.json) for one in answers] == [
        (200, {"stored": n, "duplicates": 0}),
        (200, {"stored": 0, "duplicates": n}),
    ]
    assert [asked(*pair) for pair in zip(found, sample.expected, strict=True)] == sample.expected
    assert "@" not in "".join(one["message_id"] for one in found)  # they are shown in logs
    kept = "".join(f"{row.body}{row.envelope}" for row in door.rows())
    unkept = sample.told.get("unkept", [])
    assert [(text in sample.body.decode(), text in kept) for text in unkept] == [(True, False)] * len(unkept)


@pytest.mark.parametrize("name", CASES)
def test_a_forged_request_stays_outside(sqlite_store: Store, name: str) -> None:
    sample = case(name)
    door = Door(sqlite_store, sample.provider, sample.now)
    answer = door.post(forged(sample))
    close(door.app)
    assert (answer.status_code, door.rows()) == (401, [])


@pytest.mark.parametrize(
    "name", [name for name in CASES if SOURCES[name.partition("/")[0]].door.signed_by or name[:7] == "resend/"]
)
def test_a_body_that_was_changed_under_its_signature_stays_outside(sqlite_store: Store, name: str) -> None:
    sample = case(name)
    door = Door(sqlite_store, sample.provider, sample.now)
    once = signed(sample)
    answer = door.post(replace(once, body=once.body + b" "))
    close(door.app)
    assert (answer.status_code, door.rows()) == (401, [])


@pytest.mark.parametrize(
    ("provider", "method", "status"),
    [("mandrill", "HEAD", 200), ("postmark", "HEAD", 405), ("mailgun", "GET", 405)],
)
def test_a_platform_that_tries_the_door_unsigned_finds_it(
    sqlite_store: Store, provider: str, method: str, status: int
) -> None:
    door = Door(sqlite_store, provider)
    answer = door.app.test_client().open(f"/webhooks/{provider}", method=method)
    close(door.app)
    assert (answer.status_code, door.rows()) == (status, [])


@pytest.mark.parametrize(
    ("provider", "body", "headers", "status"),
    [
        ("mailgun", b"{}", {"content-encoding": "br"}, 406),
        ("mailgun", b" " * (MAX_BODY_BYTES + 1), {}, 406),
        ("mailgun", b"{}", {}, 401),
        ("postmark", b"{}", {"content-encoding": "br"}, 400),
        ("postmark", b" " * (MAX_BODY_BYTES + 1), {}, 413),
    ],
    ids=["encoding", "size", "unsigned", "another's encoding", "another's size"],
)
def test_mailgun_hears_that_it_need_not_come_again(
    sqlite_store: Store, provider: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    door = Door(sqlite_store, provider)
    answer = door.post(signers.Signed(headers, f"/webhooks/{provider}", body))
    close(door.app)
    assert answer.status_code == status


def proven(once: signers.Signed) -> dict[str, str]:
    proof: dict[str, str] = json.loads(once.body)["signature"]
    return proof


def with_the_proof(body: Mapping[str, Any], proof: Mapping[str, str]) -> bytes:
    return json.dumps({**body, "signature": {**proof, "parent-signature": proof["signature"]}}).encode()


def form_with_the_proof(variables: str, proof: Mapping[str, str]) -> bytes:
    return f"{variables}&{urlencode({**proof, 'parent-signature': proof['signature']})}".encode()


def test_a_proof_of_mailgun_lets_one_event_in_whatever_it_is_put_to(sqlite_store: Store) -> None:
    door = Door(sqlite_store, "mailgun")
    once = signed(case("mailgun/delivered"))
    proof = proven(once)
    event = {"event": "complained", "recipient": "joe@example.com"}
    complaint = "event=complained&recipient=joe%40example.com"
    others = [
        with_the_proof({"event-data": event}, proof),
        with_the_proof({"event-data": event, "_token": "another"}, proof),
        with_the_proof({**event, "token": "another"}, proof),
        form_with_the_proof(complaint, proof),
        form_with_the_proof(f"token=another&{complaint}", proof),
        form_with_the_proof(f"token=another&_token=another&signature[token]=another&{complaint}", proof),
    ]
    answers = [door.post(replace(once, body=body)) for body in (once.body, *others)]
    close(door.app)
    assert [one.json for one in answers] == [{"stored": int(not n), "duplicates": int(n > 0)} for n in range(7)]
    assert [row.message_id for row in door.rows()] == [proof["token"]]


@pytest.mark.parametrize(("provider", "status"), [("mailgun", 406), ("ses", 413)])
def test_what_has_to_be_read_before_its_sender_is_known_is_small(
    sqlite_store: Store, provider: str, status: int
) -> None:
    """A stranger's body is parsed whole to look for a signature in it, and nine megabytes of small things are a lot."""
    door = Door(sqlite_store, provider)
    answer = door.post(signers.Signed({}, f"/webhooks/{provider}", b'{"a":[' + b"{}," * 400_000 + b"{}]}"))
    close(door.app)
    assert answer.status_code == status


@pytest.mark.parametrize(
    "sent",
    [
        lambda proof: with_the_proof({"event-data": {"event": "opened"}}, proof),
        lambda proof: with_the_proof({"event-data": {"event": "opened"}, "rate": float("nan")}, proof),
        lambda proof: form_with_the_proof("event=opened&signature=ours", proof),
    ],
    ids=["an object", "an object that is not quite JSON", "a form"],
)
def test_what_proves_an_event_of_mailgun_is_not_kept(
    sqlite_store: Store, sent: Callable[[dict[str, str]], bytes]
) -> None:
    door = Door(sqlite_store, "mailgun")
    once = signed(case("mailgun/delivered"))
    proof = proven(once)
    answer = door.post(replace(once, body=sent(proof)))
    close(door.app)
    (kept,) = door.rows()
    assert (answer.status_code, kept.message_id, kept.envelope) == (
        200,
        proof["token"],
        f'{{"_token":"{proof["token"]}"}}',
    )
    assert "opened" in kept.body
    assert [text in kept.body for text in ("signature", proof["token"], proof["signature"])] == [False] * 3


def test_mailguns_own_fields_count_where_variables_are_called_like_them(sqlite_store: Store) -> None:
    door = Door(sqlite_store, "mailgun")
    sample = case("mailgun/a_form_delivered")
    once, again = (signed(sample, minutes_ago) for minutes_ago in (2, 1))
    variables = b"timestamp=spring&token=party&signature=ours&"
    answers = [door.post(replace(one, body=variables + one.body)) for one in (once, again)]
    close(door.app)
    assert [one.json for one in answers] == [{"stored": 1, "duplicates": 0}, {"stored": 0, "duplicates": 1}]
    (expected,) = sample.expected
    (found,) = door.understood()
    assert asked(found, expected) == {**expected, "at": iso(NOW - 2 * MINUTE)}


@pytest.mark.parametrize(
    ("provider", "payload", "name"),
    [
        *(
            ("mailgun", {"event-data": {"event": "failed", "severity": severity, "reason": reason}}, name)
            for severity, reason, name in [
                *(("permanent", reason, "Email Bounced") for reason in ("bounce", "delayed-bounce", "espblock")),
                *(("permanent", reason, "Email Bounced") for reason in ("generic", "hardfail", "old")),
                *(("permanent", f"suppress-{list_}", None) for list_ in ("bounce", "complaint", "unsubscribe")),
                ("temporary", "generic", None),
            ]
        ),
        *(
            ("ses", {"eventType": "Bounce", "bounce": {"bounceType": type_, "bounceSubType": subtype}}, name)
            for type_, subtype, name in [
                ("Permanent", "General", "Email Bounced"),
                ("Permanent", "NoEmail", "Email Bounced"),
                ("Permanent", "Suppressed", None),
                ("Permanent", "OnAccountSuppressionList", None),
                ("Permanent", "UnsubscribedRecipient", None),
                ("Transient", "General", None),
            ]
        ),
        *(
            ("resend", {"type": "email.bounced", "data": {"bounce": {"type": type_, "subType": subtype}}}, name)
            for type_, subtype, name in [
                ("Permanent", "General", "Email Bounced"),
                ("Permanent", "NoEmail", "Email Bounced"),
                ("Permanent", "MessageRejected", "Email Bounced"),
                ("Permanent", "Suppressed", None),
                ("Temporary", "General", None),
            ]
        ),
    ],
)
def test_a_mail_that_was_not_even_tried_did_not_bounce(
    provider: str, payload: dict[str, Any], name: str | None
) -> None:
    source = SOURCES[provider]
    assert source.name_of(source.event(payload), payload) == name


def events_in(sample: Case) -> list[Any]:
    """The events of a sample, as they were sent."""
    if not sample.body.lstrip().startswith((b"{", b"[")):
        return [dict(parse_qsl(sample.body.decode(), keep_blank_values=True))]
    value = json.loads(sample.body)
    return value if isinstance(value, list) else [value]


def standing_at(path: tuple[str, ...], value: Any) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


@pytest.mark.parametrize(
    ("provider", "path"), [(provider, path) for provider in PROVIDERS for path in SOURCES[provider].door.strip]
)
def test_whatever_is_never_stored_stands_in_a_sample_that_says_so(provider: str, path: tuple[str, ...]) -> None:
    samples = [case(name) for name in CASES if name.startswith(f"{provider}/")]
    found = [
        text
        for sample in samples
        for event in events_in(sample)
        for text in sample.told.get("unkept", [])
        if text in json.dumps(standing_at(path, event))
    ]
    assert found


@pytest.mark.parametrize("name", CASES)
def test_a_sample_says_where_its_shape_is_from_and_speaks_of_nobody_real(name: str) -> None:
    sample = case(name)
    assert set(sample.told) <= {"shape", "note", "headers", "unkept", "proof", "settings", "at"}
    assert re.search(r"(https://|recorded).*\b20\d\d-\d\d-\d\d", sample.told["shape"])
    named = [one.get(key) or "" for one in sample.expected for key in ("recipient", "email")]
    assert [one for one in named if "@" in one and not NOBODYS.fullmatch(one)] == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_name_of_segments_email_spec_has_a_sample_or_a_reason_why_there_is_none(provider: str) -> None:
    cases = [case(name) for name in CASES if name.startswith(f"{provider}/")]
    counted = {one["event"] for sample in cases for one in sample.expected if one.get("ignored", "") is None}
    absent = SOURCES[provider].absent
    assert sorted([*counted.intersection(EMAIL_EVENTS), *absent]) == sorted(EMAIL_EVENTS)
    assert all(absent.values())


def test_every_mapping_has_samples_and_every_folder_of_them_is_complete() -> None:
    assert sorted(path.name for path in SAMPLES.iterdir()) == PROVIDERS
    found = sorted(str(path.relative_to(SAMPLES).with_suffix("")) for path in SAMPLES.glob("*/*/*"))
    assert found == sorted(f"{name}/{part}" for name in CASES for part in ("body", "case", "expected"))
