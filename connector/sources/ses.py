"""Amazon SES by way of an SNS topic: an envelope that Amazon signs, around one event as JSON text.

Amazon signs for everybody's topics with the same key, so ``SES_TOPIC_ARNS`` says whose count; "raw message delivery"
has no signature and stays outside. A subscription is confirmed by whoever operates it: the URL for that is stored with
the request for it, and never called from here.

What is not answered with 2xx is sent again as the topic's delivery policy says (3 times within a minute unless
changed), but not after 4xx.

Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html ,
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html (read 2026-11-24)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from connector import addressees, elements, verify
from connector.elements import Element, decode, dumps
from connector.errors import PayloadError
from connector.messages import Json
from connector.sources import Incoming, Split

RECIPIENTS: Final = {
    "Bounce": ("bounce", "bouncedRecipients"),
    "Complaint": ("complaint", "complainedRecipients"),
    "Delivery": ("delivery", "recipients"),
}
"""Where an event names those it is about. Opens and clicks name nobody: they are of the one to whom the mail went."""

ADDRESSED: Final = ("to", "cc", "bcc")

OF_ALL: Final = ("destination", "headers", "commonHeaders", "tags")
"""What a mail says of all of its addressees together: a tag that names a user cannot mean each of them."""

OUT: Final = "OptOut"

MAX_RECIPIENTS: Final = 50
"""SES takes no message to more."""

TOO_MANY: Final = f"the event names more than {MAX_RECIPIENTS} recipients, which no message can have"


def signed(request: Incoming, secrets: Sequence[str]) -> bool:
    """Is this a message of one of the topics, signed by Amazon?

    Raises: VerificationError if the certificate that it names is not Amazon's; Unreachable if that cannot be
    had now.
    """
    message = _message(request)
    topic, url = message.get("TopicArn"), message.get("SigningCertURL")
    said = request.headers.get("x-amz-sns-message-type", message.get("Type"))
    if not isinstance(topic, str) or not isinstance(url, str) or said != message.get("Type"):
        return False
    return verify.token(secrets, topic) and verify.sns(message, request.certificate(url))


def split(request: Incoming) -> Split:
    """The event once for each recipient, beside it who that is and SNS's own id and time; and whether it ends a
    subscription.

    A message that carries no event (a subscription to confirm, Amazon's test) is itself the element.

    Raises: PayloadError.
    """
    message = _message(request)
    beside: dict[str, Json] = {"_sns": {name: message.get(name) for name in ("MessageId", "Timestamp")}}
    try:
        carried = message.get("Message") if message.get("Type") == "Notification" else None
        found = elements.split(carried if isinstance(carried, str) else "")
    except PayloadError:
        return [(element, None) for element in elements.split(decode(request.body))]
    return [pair for element in found for pair in _each(element, beside)]


def _each(element: Element, beside: dict[str, Json]) -> Split:
    named = _recipients(element.value)
    if len(named) > MAX_RECIPIENTS:
        return [(replace(element, rotten=TOO_MANY), dumps(beside))]
    if _unsubscribes(element.value):
        beside = {**beside, "_unsubscribed": True}
    if not named:
        return [(element, dumps(beside))]
    return [(_alone(element, one), dumps({"_recipient": one, **beside})) for one in named]


def _alone(element: Element, recipient: str) -> Element:
    """The event without the other addressees of its mail: whoever forgets one of them would not find them here."""
    event = element.value
    place, name, members = _listed(event)
    mail = _object(event.get("mail"))
    headers = _object(mail.get("commonHeaders"))
    addressed = addressees.named(mail.get("destination"), *(headers.get(one) for one in ADDRESSED))
    if {*filter(None, map(_address, members)), *addressed} == {recipient}:
        return element
    alone = dict(event)
    if place in event:
        alone[place] = {**event[place], name: [one for one in members if _address(one) == recipient]}
    if mail:
        kept = {key: one for key, one in mail.items() if key not in OF_ALL}
        alone["mail"] = {**kept, "commonHeaders": {"subject": headers["subject"]} if "subject" in headers else {}}
    return replace(element, text=dumps(alone), value=alone)


def _unsubscribes(event: Json) -> bool:
    """Does a change of somebody's topics end any? Of one whose former state is not told, "out" counts as an end."""
    told = _object(_object(event).get("subscription"))
    now, before = (_object(told.get(name)) for name in ("newTopicPreferences", "oldTopicPreferences"))
    were = _topics(before)
    return now.get("unsubscribeAll") is True or any(
        status == OUT and were.get(topic) != OUT for topic, status in _topics(now).items()
    )


def _topics(preferences: Mapping[str, Json]) -> dict[str, Json]:
    """The state of each topic, by name."""
    listed = preferences.get("topicSubscriptionStatus")
    topics = map(_object, listed if isinstance(listed, list) else [])
    return {str(one["topicName"]): one.get("subscriptionStatus") for one in topics if "topicName" in one}


def _recipients(event: Json) -> list[str]:
    """Whom an event is about: those it names, or the one to whom the mail went, if it went to one alone."""
    place, _, members = _listed(event)
    if not place:
        told = _object(_object(event).get("mail")).get("destination")
        members = told if isinstance(told, list) and len(told) == 1 else []
    return list(dict.fromkeys(one for one in map(_address, members) if one))


def _listed(event: Json) -> tuple[str, str, list[Json]]:
    """Where an event names those it is about, and what stands there."""
    kind = event.get("eventType", event.get("notificationType")) if isinstance(event, dict) else None
    place, name = RECIPIENTS.get(kind, ("", "")) if isinstance(kind, str) else ("", "")
    told = event.get(place) if place else None
    listed = told.get(name) if isinstance(told, dict) else None
    return place, name, listed if isinstance(listed, list) else []


def _address(one: Json) -> str | None:
    """The address of ``{"emailAddress": …}`` or of a text; the same person's may be written in several ways."""
    address = one.get("emailAddress") if isinstance(one, dict) else one
    return addressees.bare(address) if isinstance(address, str) else None


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _message(request: Incoming) -> dict[str, Json]:
    """The request's envelope, empty if it is none."""
    try:
        found = elements.split(decode(request.body))
    except PayloadError:
        return {}
    value = found[0].value if len(found) == 1 else None
    return value if isinstance(value, dict) else {}
