"""Mailgun's webhooks: one event a request, JSON; a form from webhooks that were made before 2018.

What is signed, {timestamp, token}, lies in the body and says nothing of it: whoever sees one request can forge one
other until its time has passed, if it comes first, so nobody may see any, and the webhook's URL has to be https. No
more than one, because the token tells events apart, and it alone.

A request is sent again after 10, 10, 15, 30 minutes, 1, 2 and 4 hours unless it is answered with 200, or with 406,
which means "never again". Whether the time stamp is then a new one is not documented: a day's window has room for both.

Into a form Mailgun mixes the variables of the mail. Where one is called like a field of its own, Mailgun's value is the
first of the two, but of what proves the request it is the last.

Source: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks (read 2026-11-24),
https://github.com/anymail/django-anymail/blob/main/anymail/webhooks/mailgun.py (the order in forms, read 2026-11-25)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson

from connector import addressees, elements, forms, verify
from connector.elements import Element, dumps
from connector.errors import PayloadError
from connector.messages import DAY, HOUR, Json
from connector.sources import Incoming, Split

TOKEN: Final = "_token"  # noqa: S105 # the name of a member
"""Beside the event: the token that was verified."""

PROOF: Final = ("signature", "parent-signature", "token")
"""Not kept of a form: with these, and its time stamp, somebody else could pass."""

FIELDS: Final = frozenset(
    {"event", "recipient", "domain", "timestamp", "message-headers", "Message-Id", "message-id", "X-Mailgun-Sid"}
    | {"code", "error", "notification", "reason", "description", "url", "ip", "country", "region", "city"}
    | {"user-agent", "device-type", "client-type", "client-name", "client-os"}
    | {"campaign-id", "campaign-name", "tag", "mailing-list"}
)
"""Mailgun's own in a form; all others are variables."""

ADDRESSED: Final = ("to", "cc", "bcc")

_UNIX_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def signed(request: Incoming, secrets: Sequence[str]) -> bool:
    """Is the request's ``signature`` recent, and made with one of the account's keys or its parent's?"""
    told = _proof(request.body)
    timestamp, token = _text(told.get("timestamp")), _text(told.get("token"))
    if not timestamp or not _UNIX_SECONDS.fullmatch(timestamp):
        return False
    if not -HOUR <= request.now - int(timestamp) * 1000 <= DAY:
        return False
    matches = [
        verify.mailgun(secrets, timestamp, token, _text(told.get(name))) for name in ("signature", "parent-signature")
    ]
    return any(matches)


def split(request: Incoming) -> Split:
    """The event without what proves it and without other addressees of its mail; beside it the token.

    Raises: PayloadError.
    """
    token = _text(_proof(request.body).get("token"))
    beside = dumps({TOKEN: token}) if token else None
    if _is_form(request.body):
        found = [_told_in(_pairs(request.body))]
    else:
        found = [_event(element) for element in elements.split(elements.decode(request.body))]
    return [(element, beside) for element in found]


def _proof(body: bytes) -> Mapping[str, Json]:
    """The member ``signature``, the last fields of a form, or nothing."""
    try:
        if _is_form(body):
            return dict(_pairs(body))
        found = elements.split(elements.decode(body))
    except PayloadError:
        return {}
    value = found[0].value if len(found) == 1 else None
    member = value.get("signature") if isinstance(value, dict) else None
    return member if isinstance(member, dict) else {}


def _is_form(body: bytes) -> bool:
    return body.lstrip()[:1] not in (b"{", b"[")


def _pairs(body: bytes) -> list[tuple[str, str]]:
    return forms.pairs(body.decode("utf-8", "replace"))


def _text(value: Json) -> str | None:
    return str(value) if isinstance(value, str) or type(value) is int else None


# -- the event ----------------------------------------------------------------------------------------------------


def _event(element: Element) -> Element:
    value = element.value
    if not isinstance(value, dict):
        return element
    value = {name: one for name, one in value.items() if name not in ("signature", TOKEN)}
    if isinstance(value.get("event-data"), dict):
        value["event-data"] = _alone(value["event-data"])
    return replace(element, text=dumps(value), value=value)


def _alone(data: Mapping[str, Json]) -> Mapping[str, Json]:
    """The event as it is if its mail went to the recipient alone; else without the others and without variables."""
    message, envelope = _object(data.get("message")), _object(data.get("envelope"))
    headers = _object(message.get("headers"))
    known = [*(headers.get(name) for name in ADDRESSED), message.get("recipients"), envelope.get("targets")]
    if not _others(known, data.get("recipient")):
        return data
    alone = {name: one for name, one in data.items() if name != "user-variables"}
    kept = {name: one for name, one in headers.items() if name not in ADDRESSED}
    if message:
        alone["message"] = {name: one for name, one in message.items() if name != "recipients"} | {"headers": kept}
    if envelope:
        alone["envelope"] = {name: one for name, one in envelope.items() if name != "targets"}
    return alone


def _told_in(pairs: Sequence[tuple[str, str]]) -> Element:
    """The event of a form: of each name one value, Mailgun's own."""
    last = dict(pairs)
    value: dict[str, Json] = {}
    for name, one in pairs:
        if name not in (*PROOF, TOKEN):
            value.setdefault(name, last[name] if name == "timestamp" else one)
    if _others(_headers(value.get("message-headers", "[]")), value.get("recipient")):
        value = {name: one for name, one in value.items() if name in FIELDS}
    return Element(dumps(value), value)


def _headers(text: str) -> list[Json]:
    """To whom headers such as ``[["To", "jane@x.test"], …]`` address a mail; all of the text if it is none."""
    try:
        listed = orjson.loads(text)
        return [value for name, value in listed if name.lower() in ADDRESSED]
    except (ValueError, TypeError, AttributeError):
        return [text]


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _others(headers: Sequence[Json], recipient: Json) -> bool:
    """Do these name others than the recipient, or several if none is told?"""
    named = addressees.named(*headers)
    return bool(named - {addressees.bare(recipient)}) if isinstance(recipient, str) and recipient else len(named) > 1
