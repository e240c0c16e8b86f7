"""Who lives in the town of a test's day, what they do on the site and with their mails, and whose that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from connector.messages import Milliseconds

Call = dict[str, Any]

METRICS = {"page": "Viewed Page", "Product Viewed": "Viewed Product", "Order Completed": "Placed Order"}
"""How Klaviyo is to call them; other tracks keep their names."""

SENT = {
    "Received Email": "Email Delivered",
    "Opened Email": "Email Opened",
    "Clicked Email": "Email Link Clicked",
    "Bounced Email": "Email Bounced",
    "Marked Email as Spam": "Email Marked as Spam",
    "Unsubscribed from Email Marketing": "Unsubscribed",
}
"""How Segment is to call them."""

UNCOUNTED = ("Dropped Email", "Subscribed to List")


@dataclass(eq=False, slots=True)
class Person:
    """Somebody. emails: the last one is theirs at the end. listed: the address that they gave to a form of Klaviyo's
    own, which made a profile of it. on_site: do they ever come to the site?
    """

    name: str
    user: str | None = None
    emails: list[str] = field(default_factory=list)
    browsers: set[str] = field(default_factory=set)
    plan: str | None = None
    listed: str | None = None
    on_site: bool = True

    @property
    def in_klaviyo(self) -> bool:
        return bool(self.emails)

    @property
    def placed(self) -> bool:
        """Does Segment have something of theirs that an email event can join?"""
        return bool(self.emails) and self.on_site


@dataclass(eq=False, slots=True)
class Visit:
    """A call of the site, when it arrives, and whose it is: nobody's if that is never known.

    landing: its URL is a link of a mail to them.
    """

    arrives: Milliseconds
    at: Milliseconds
    call: Call
    whose: Person | None = None
    landing: bool = False
    wrong: bool = False

    @property
    def told(self) -> list[tuple[str, str]]:
        """(unique id, metric) of what Klaviyo is to have of it."""
        kind, message_id = self.call["type"], self.call["messageId"]
        if kind == "identify":
            return []
        name = str(self.call.get("event", kind))
        more = [("Ordered Product", f"{message_id}/{n}") for n in range(2)] if name == "Order Completed" else []
        return [(unique_id, metric) for metric, unique_id in [(METRICS.get(name, name), message_id), *more]]


@dataclass(eq=False, slots=True)
class Mail:
    """An email event of somebody. hook: Klaviyo's webhook tells of it too; copied: Segment's source for Klaviyo too."""

    at: Milliseconds
    whose: Person
    metric: str
    properties: dict[str, Any]
    late_ms: Milliseconds = 0
    hook: bool = False
    copied: bool = False
    refused: bool = False
    ahead: bool = False

    @property
    def counted(self) -> bool:
        return self.metric in SENT and self.properties.get("Bounce Type") != "Soft"
