"""Every email platform's own way of proving itself, made from the platforms' documents and without our verifier.

``sign(provider, body)`` is a request as the platform sends it; ``SECRETS[provider]`` is the environment that opens the
door to it; ``forge`` is the same request from somebody who does not know the secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connector import mapping, resources
from tests import amazon


@dataclass(frozen=True, slots=True)
class Signed:
    """A request as a platform sends it: headers in lower case, path, body."""

    headers: dict[str, str]
    path: str
    body: bytes


class Signer(Protocol):
    """Signs a body as of a time (unix seconds, now if left out). headers are sent along as they are."""

    def __call__(self, body: bytes, headers: Mapping[str, str] | None = None, *, at: float | None = None) -> Signed: ...


Prove = Callable[[bytes, float], tuple[bytes, dict[str, str]]]
"""From the event and the time to the body as it is sent, and the headers that prove it."""

RETIRED: Final = "retired-but-still-valid"
"""Stands before every secret that is used, so that a door which knows only the first of its secrets is noticed."""

SEGMENT: Final = "5e6-segment-shared-secret"
KLAVIYO: Final = "k1a-klaviyo-webhook-secret"
CUSTOMERIO: Final = "c10-customerio-signing-key"
MAILGUN: Final = "3a1-mailgun-signing-key"
MANDRILL: Final = "3a2-mandrill-webhook-key"
MANDRILL_URL: Final = "https://shop.example.com/webhooks/mandrill"
RESEND: Final = base64.b64encode(b"resend-secret-of-24-byte").decode()
TOPIC: Final = "arn:aws:sns:eu-west-1:123456789012:ses-events"
_MAPPINGS: Final = mapping.load(resources.shipped_mappings()).sources
SHOWN: Final = {name: f"{name}-shown-secret" for name, one in _MAPPINGS.items() if one.door.signature == "secret"}
"""The secrets of the platforms that sign nothing."""
STANDARD: Final = [name for name, one in _MAPPINGS.items() if one.door.signature == "standard-webhooks"]
"""Those that sign as Standard Webhooks says."""

_SENDGRID: Final = ec.derive_private_key(0x5EED_0F_5E9D_6121D, ec.SECP256R1())


def _spki(key: ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


HASHED: Final = {name: one.door.hmac for name, one in _MAPPINGS.items() if one.door.hmac is not None}
"""Those whose mapping says that they sign with the HMAC of the body."""

SECRETS: Final[Mapping[str, dict[str, str]]] = {
    "segment": {"SEGMENT_SHARED_SECRETS": f"{RETIRED},{SEGMENT}"},
    "klaviyo": {"KLAVIYO_WEBHOOK_SECRETS": f"{RETIRED},{KLAVIYO}"},
    "customerio": {"CUSTOMERIO_SIGNING_KEYS": f"{RETIRED},{CUSTOMERIO}"},
    "sendgrid": {"SENDGRID_PUBLIC_KEYS": f"{_spki(ec.derive_private_key(7, ec.SECP256R1()))},{_spki(_SENDGRID)}"},
    "mailgun": {"MAILGUN_SIGNING_KEYS": f"{RETIRED},{MAILGUN}"},
    "mandrill": {
        "MANDRILL_WEBHOOK_KEYS": f"{RETIRED},{MANDRILL}",
        "MANDRILL_WEBHOOK_URLS": f"https://old.example.com/webhooks/mandrill,{MANDRILL_URL}",
    },
    "ses": {"SES_TOPIC_ARNS": f"arn:aws:sns:us-east-1:123456789012:retired,{TOPIC}"},
    **{
        name: {_MAPPINGS[name].secrets: f"whsec_{base64.b64encode(RETIRED.encode()).decode()},whsec_{RESEND}"}
        for name in STANDARD
    },
    **{name: {_MAPPINGS[name].secrets: f"{RETIRED},{secret}"} for name, secret in SHOWN.items()},
    **{name: {_MAPPINGS[name].secrets: f"{RETIRED},{name}-signing-secret"} for name in HASHED},
}
"""The environment that opens each door, by provider."""


def sign(provider: str, body: bytes, headers: Mapping[str, str] | None = None, *, at: float | None = None) -> Signed:
    """The event as this platform sends it."""
    return SIGNERS[provider](body, headers, at=at)


# -- platforms that share a secret --------------------------------------------------------------------------------


def _hex(algorithm: str, secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, algorithm).hexdigest()


def _segment(body: bytes, _at: float) -> tuple[bytes, dict[str, str]]:
    """Of an array Segment signs the first element alone, byte by byte as it stands in the body."""
    text = body.decode().strip()
    if text.startswith("["):
        rest = text[1:].lstrip()
        text = rest[: json.JSONDecoder().raw_decode(rest)[1]] if not rest.startswith("]") else text
        return body, {"x-signature": _hex("sha1", SEGMENT, text.encode())}
    return body, {"x-signature": _hex("sha1", SEGMENT, body)}


def _klaviyo(body: bytes, at: float) -> tuple[bytes, dict[str, str]]:
    stamp = formatdate(at, usegmt=True)
    signature = _hex("sha256", KLAVIYO, body + stamp.encode())
    return body, {"klaviyo-signature": signature, "klaviyo-timestamp": stamp}


def _customerio(body: bytes, at: float) -> tuple[bytes, dict[str, str]]:
    stamp = str(int(at))
    signature = _hex("sha256", CUSTOMERIO, f"v0:{stamp}:".encode() + body)
    return body, {"x-cio-signature": signature, "x-cio-timestamp": stamp}


def _mailgun(body: bytes, at: float) -> tuple[bytes, dict[str, str]]:
    """The signature is a member of the body; of the old forms it is three fields."""
    stamp, token = str(int(at)), hashlib.sha256(body).hexdigest()[:50]
    proof = {"timestamp": stamp, "token": token, "signature": _hex("sha256", MAILGUN, (stamp + token).encode())}
    if body.lstrip().startswith(b"{"):
        return json.dumps({**json.loads(body), "signature": proof}).encode(), {}
    fields = [(name, value) for name, value in _fields(body) if name not in proof]
    return urlencode([*fields, *proof.items()]).encode(), {}


def _mandrill(body: bytes, _at: float) -> tuple[bytes, dict[str, str]]:
    """Give it the array of events or the form around it."""
    fields = _fields(body) if body.startswith(b"mandrill_events=") else [("mandrill_events", body.decode())]
    text = MANDRILL_URL + "".join(name + value for name, value in sorted(fields))
    digest = hmac.new(MANDRILL.encode(), text.encode(), hashlib.sha1).digest()
    return urlencode(fields).encode(), {"x-mandrill-signature": base64.b64encode(digest).decode()}


def _standard(body: bytes, at: float) -> tuple[bytes, dict[str, str]]:
    name, stamp = "msg_" + hashlib.sha256(body).hexdigest()[:27], str(int(at))
    message = f"{name}.{stamp}.".encode() + body
    digest = hmac.new(base64.b64decode(RESEND), message, hashlib.sha256).digest()
    return body, {
        "svix-id": name,
        "svix-timestamp": stamp,
        "svix-signature": "v1," + base64.b64encode(digest).decode(),
    }


def _hashing(provider: str) -> Prove:
    said = HASHED[provider]

    def prove(body: bytes, _at: float) -> tuple[bytes, dict[str, str]]:
        digest = hmac.new(f"{provider}-signing-secret".encode(), body, said.hash).digest()
        text = base64.b64encode(digest).decode() if said.encoding == "base64" else digest.hex()
        return body, {said.header.lower(): said.prefix + text}

    return prove


# -- platforms that sign with a private key -----------------------------------------------------------------------


def _sendgrid(body: bytes, at: float) -> tuple[bytes, dict[str, str]]:
    stamp = str(int(at))
    signature = _SENDGRID.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return body, {
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": stamp,
    }


def _ses(body: bytes, at: float) -> tuple[bytes, dict[str, str]]:
    """Give it SES's event, or an SNS message (with Type and TopicArn) to be signed anew."""
    given = _json(body)
    told = given if isinstance(given, dict) and {"Type", "TopicArn"} <= given.keys() else {"Message": body.decode()}
    message = {
        "Type": "Notification",
        "MessageId": hashlib.sha256(body).hexdigest()[:32],
        "TopicArn": TOPIC,
        "Timestamp": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "SignatureVersion": "2",
        **told,
        "SigningCertURL": amazon.CERTIFICATE_URL,
    }
    message["Signature"] = amazon.sns_signature(message)
    text = json.dumps(message, ensure_ascii=False).encode()
    return text, {"x-amz-sns-message-type": message["Type"], "content-type": "text/plain; charset=UTF-8"}


# -- platforms that sign nothing ----------------------------------------------------------------------------------


def shown(provider: str, secret: str, way: int) -> tuple[str, dict[str, str]]:
    """Path and headers by which a secret is shown: 0 in the path, 1 as a password, 2 as a token, 3 bare."""
    path = f"/webhooks/{provider}"
    pair = base64.b64encode(f"connector:{secret}".encode()).decode()
    ways: Sequence[tuple[str, dict[str, str]]] = (
        (f"{path}/{secret}", {}),
        (path, {"authorization": f"Basic {pair}"}),
        (path, {"authorization": f"Bearer {secret}"}),
        (path, {"authorization": secret}),
    )
    return ways[way]


def _showing(provider: str, body: bytes) -> tuple[str, dict[str, str]]:
    """Now here, now there: where the secret is shown is decided by the body."""
    return shown(provider, SHOWN[provider], zlib.crc32(body) % (4 if provider == "iterable" else 3))


def _unsigned(provider: str) -> Signer:
    def signer(body: bytes, headers: Mapping[str, str] | None = None, *, at: float | None = None) -> Signed:
        path, proof = _showing(provider, body)
        return Signed({"content-type": _kind(body), **(headers or {}), **proof}, path, body)

    return signer


def _signing(provider: str, prove: Prove) -> Signer:
    def signer(body: bytes, headers: Mapping[str, str] | None = None, *, at: float | None = None) -> Signed:
        sent, proof = prove(body, time.time() if at is None else at)
        return Signed({"content-type": _kind(sent), **(headers or {}), **proof}, f"/webhooks/{provider}", sent)

    return signer


_PROOFS: Final[Mapping[str, Prove]] = {
    "segment": _segment,
    "klaviyo": _klaviyo,
    "customerio": _customerio,
    "sendgrid": _sendgrid,
    "mailgun": _mailgun,
    "mandrill": _mandrill,
    "ses": _ses,
    **dict.fromkeys(STANDARD, _standard),
    **{name: _hashing(name) for name in HASHED},
}

SIGNERS: Final[Mapping[str, Signer]] = {
    **{name: _signing(name, prove) for name, prove in _PROOFS.items()},
    **{name: _unsigned(name) for name in SHOWN},
}


# -- forging ------------------------------------------------------------------------------------------------------

_SIGNATURES: Final = (
    "x-signature",
    "klaviyo-signature",
    "x-cio-signature",
    "x-twilio-email-event-webhook-signature",
    "x-mandrill-signature",
    "svix-signature",
    *(one.header.lower() for one in HASHED.values()),
)


def forge(provider: str, signed: Signed) -> Signed:
    """The same request with a signature, or a secret, that is well-formed and wrong."""
    if provider in SHOWN:
        return _shown_wrong(provider, signed)
    if provider == "ses":
        message = json.loads(signed.body)
        return replace(signed, body=json.dumps({**message, "Signature": other(message["Signature"])}).encode())
    if provider == "mailgun":
        return replace(signed, body=_mailgun_forged(signed.body))
    wrong = {name: other(value) for name, value in signed.headers.items() if name in _SIGNATURES}
    assert wrong
    return replace(signed, headers={**signed.headers, **wrong})


def other(text: str) -> str:
    """The text with its middle character changed: hex stays hex and base64 stays base64."""
    middle = len(text) // 2
    return text[:middle] + ("1" if text[middle] == "0" else "0") + text[middle + 1 :]


def _shown_wrong(provider: str, signed: Signed) -> Signed:
    ways = [shown(provider, SHOWN[provider], way) for way in range(4)]
    way = next(
        number
        for number, (path, proof) in enumerate(ways)
        if path == signed.path and proof.get("authorization") == signed.headers.get("authorization")
    )
    path, proof = shown(provider, "not-the-secret", way)
    return replace(signed, path=path, headers={**signed.headers, **proof})


def _mailgun_forged(body: bytes) -> bytes:
    if not body.startswith(b"{"):
        return urlencode([(n, other(v) if n == "signature" else v) for n, v in _fields(body)]).encode()
    value = json.loads(body)
    proof = {**value["signature"], "signature": other(value["signature"]["signature"])}
    return json.dumps({**value, "signature": proof}).encode()


# -- bodies -------------------------------------------------------------------------------------------------------


def _kind(body: bytes) -> str:
    return "application/json" if body.lstrip()[:1] in (b"{", b"[") else "application/x-www-form-urlencoded"


def _fields(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode(), keep_blank_values=True)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
