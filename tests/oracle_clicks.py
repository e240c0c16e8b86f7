"""A part of the second opinion: who clicked and landed, and which clicks are a scanner's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

from connector.messages import Identifier, Message
from tests.oracle_people import People


class Delivery(NamedTuple):
    """One mail to one person."""

    source: str
    vendor: str
    addressee: Identifier
    mail: tuple[str, str]


class Clicks(People):
    """What was clicked."""

    @cached_property
    def landings(self) -> set[tuple[int, str, Identifier, Identifier]]:
        """When, with which token, whom it names at its platform, on which browser."""
        return {(message.at, *landing) for message in self.messages for landing in message.landings}

    @cached_property
    def machine_clicks(self) -> set[tuple[int, Identifier]]:
        """When, and of which vendor profile: what its platform flagged, and all of every sweep."""
        return {
            (message.at, message.email.vendor_profile)
            for message in self.messages
            if message.email and message.email.vendor_profile
            if message.properties.get("machine_click") or message.key in self.swept
        }

    @cached_property
    def swept(self) -> frozenset[str]:
        """The clicks among any so many of one mail that lie within the time and are of different links each."""
        settings = self.table.get("clicked", {})
        enough, within = settings.get("sweep_links", 3), settings.get("sweep_within", "1s")
        if enough == 0:
            return frozenset()
        mails: dict[Delivery, list[tuple[Message, str]]] = {}
        for message, delivery, link in self._deliveries():
            mails.setdefault(delivery, []).append((message, link))
        return frozenset(
            message.key
            for clicks in mails.values()
            for some in combinations(clicks, enough)
            if len({link for _, link in some}) == enough
            if max(one.at for one, _ in some) - min(one.at for one, _ in some) <= int(within.removesuffix("s")) * 1_000
            for message, _ in some
        )

    def _deliveries(self) -> Iterator[tuple[Message, Delivery, str]]:
        for message in self.messages:
            told, email = message.properties, message.email
            if email is None or message.event != "Email Link Clicked" or not message.timed:
                continue
            named = [one for one in (email.recipient, email.vendor_profile, email.vendor_user) if one]
            mail = next(((name, str(told[name])) for name in ("email_id", "campaign_id") if told.get(name)), None)
            link = (told.get("link_url") or "").split("#")[0] or told.get("link_id")
            if named and mail and link:
                yield message, Delivery(message.source, email.vendor, min(named, key=self.strength), mail), str(link)
