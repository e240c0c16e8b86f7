"""Klaviyo as an email platform: mails that are read and clicked, links with their tokens, webhooks that go out.

Source: https://developers.klaviyo.com/en/docs/working_with_system_webhooks (second hand),
https://help.klaviyo.com/hc/en-us/articles/115005082927 (properties of email metrics)
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from connector.demo.klaviyo import post_system_webhook
from connector.demo.klaviyo_standin.account import Account, Webhook
from connector.demo.klaviyo_standin.history import KLAVIYO, Event
from connector.demo.klaviyo_standin.people import Profile
from connector.messages import HOUR, SECOND, Milliseconds

DELIVERY_EVENTS: Final = 1_000
GIVES_UP_AFTER: Final = 48 * HOUR
TAKEN: Final = (200, 201, 202)


class Mail:
    """The mails of an account.

    ``reach`` is where webhooks are delivered in place of the https host they name, such as ``http://127.0.0.1:8080``;
    ``header_off_by_ms`` is how wrong the clock of the Klaviyo-Timestamp header is.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.email_to_website = True
        self.reach: str | None = None
        self.header_off_by_ms: Milliseconds = 0
        self._changed = threading.Condition(threading.RLock())

    def mail(
        self,
        to: str | Profile,
        metric: str,
        at: Milliseconds,
        properties: Mapping[str, Any] | None = None,
        *,
        late_ms: Milliseconds = 0,
        service: str = KLAVIYO,
    ) -> Event:
        """An email event, such as ``Opened Email``; its id is the event's.

        Args: to is a profile, its id or its email; for an address nobody has, a profile is made. properties are added
        to the common ones of every mail, and win. late_ms: it becomes readable so much later; webhooks do not wait.
        """
        with self._changed:
            account, now = self.account, self.account.clock()
            profile = to if isinstance(to, Profile) else self._recipient(to)
            made = account.history.metric(metric, service, now)
            common = _common(account, profile, to, at, len(account.history.accepted))
            event = account.history.add(
                made, profile, at // SECOND, {**common, **(properties or {})}, common["$event_id"], due=now + late_ms
            )
            assert event is not None  # noqa: S101 - the number within its unique id is new
            account.catch_up()
            account.announce(event)
            self._changed.notify_all()
            return event

    def token(self, profile: Profile | str) -> str:
        """A new exchange id of a profile (or of the one with this id), as links carry it in ``_kx``."""
        with self._changed:
            account = self.account
            if isinstance(profile, str):
                profile = account.people.all[profile]
            secret = hashlib.sha256(account.name(32).encode()).digest()[:16]
            made = f"{base64.urlsafe_b64encode(secret).decode()}.{account.id}"
            account.people.mint(made, profile)
            return made

    def link(self, profile: Profile | str, url: str, *, source: str = "campaign") -> str:
        """The link as it stands in a mail to the profile: with its token and the account's tracking parameters.

        Args: source is ``campaign`` or ``flow``.
        """
        with self._changed:
            if isinstance(profile, str):
                profile = self.account.people.all[profile]
            added = self._parameters(profile, source)
        if self.email_to_website:
            added["_kx"] = self.token(profile)
        parts = urlsplit(url)
        query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *added.items()])
        return urlunsplit(parts._replace(query=query))

    def deliver(self) -> list[int]:
        """Post to every enabled webhook what waits for it, a thousand events a time; the statuses of the answers.

        0 is no answer. What was not taken waits for the next call; a webhook that has failed for 48 hours is disabled,
        and what waited for it is lost.
        """
        statuses = []
        with self._changed:
            webhooks = [one for one in self.account.webhooks.values() if one.enabled and one.waiting]
        for webhook in webhooks:
            while webhook.waiting and webhook.enabled:
                statuses.append(self._deliver(webhook))
                if statuses[-1] not in TAKEN:
                    break
        return statuses

    def _deliver(self, webhook: Webhook) -> int:
        now, events = self.account.clock(), webhook.waiting[:DELIVERY_EVENTS]
        parts = urlsplit(webhook.endpoint_url)
        url = f"{self.reach or f'{parts.scheme}://{parts.netloc}'}{parts.path}"
        try:
            status, _ = post_system_webhook(
                url,
                [element(topic, event) for topic, event in events],
                webhook.secret_key,
                now,
                webhook_id=webhook.id,
                account_id=self.account.id,
                header_off_by_ms=self.header_off_by_ms,
            )
        except (OSError, HTTPException):
            status = 0
        with self._changed:
            if status in TAKEN:
                del webhook.waiting[: len(events)]
                webhook.failing_since = None
            elif webhook.failing_since is None:
                webhook.failing_since = now
            elif now - webhook.failing_since > GIVES_UP_AFTER:
                webhook.enabled = False
                webhook.waiting.clear()
        return status

    def _recipient(self, to: str) -> Profile:
        people = self.account.people
        profile = people.find("id", to) or people.find("email", to)
        if profile is None:
            now = self.account.clock()
            profile, _ = people.apply(people.plan({"email": to}), {"email": to}, now, now)
        return profile

    def _parameters(self, profile: Profile, source: str) -> dict[str, str]:
        """The account's own tracking parameters; a profile without an external id has none to show."""
        settings = self.account.tracking
        if not settings.get("auto_add_parameters"):
            return {}
        dynamic = {"profile_id": profile.id, "profile_external_id": profile.external_id}
        added = {}
        for parameter in settings.get("custom_parameters") or []:
            value = parameter.get(source)
            if value is None:
                continue
            text = value["value"] if value["type"] == "static" else dynamic.get(value["value"], value["value"])
            if text is not None:
                added[parameter["name"]] = text
        return added


def element(topic: str, event: Event) -> dict[str, Any]:
    """One element of a delivery: no profile is inlined, and the datetime has a space in it."""
    relationships = {
        kind: {"data": {"type": kind, "id": one.id}}
        for kind, one in (("profile", event.profile), ("metric", event.metric))
        if one is not None
    }
    data = {
        "type": "event",
        "id": event.id,
        "attributes": {
            "timestamp": event.second,
            "datetime": event.datetime(" "),
            "event_properties": event.properties,
            "uuid": event.uuid,
        },
        "relationships": relationships,
    }
    return {"external_id": event.id, "topic": topic, "payload": {"data": data}}


def _common(account: Account, profile: Profile, to: str | Profile, at: Milliseconds, number: int) -> dict[str, Any]:
    """The properties that the events of every mail have."""
    address = to if isinstance(to, str) and "@" in to else profile.email
    message = "01" + hashlib.sha256(account.id.encode()).hexdigest()[:24].upper()
    found: dict[str, Any] = {
        "Subject": "New in the shop",
        "Campaign Name": "Autumn",
        "$message": message,
        "$_cohort$message_send_cohort": f"{at // SECOND}:{message}",
        "$ESP": 0,
        "$event_id": f"{message}:{number}:{at // SECOND}",
    }
    if address is not None:
        found["Recipient Email Address"] = address
        found["Email Domain"] = address.rpartition("@")[2]
    return found
