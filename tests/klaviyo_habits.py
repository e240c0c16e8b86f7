"""What lives of a day are made of: visits of the site, accounts, addresses, mails and what becomes of them."""

from __future__ import annotations

import random
from typing import Any

from connector.messages import HOUR, MINUTE, SECOND, Milliseconds, iso
from tests.klaviyo_people import UNCOUNTED, Call, Mail, Person, Visit

SHARE_OF_DAY = 22 * HOUR
"""Nobody is up later, so that what comes late comes within the day."""


class Habits:
    """Makes the calls and the email events of a day. Args: began is its midnight."""

    def __init__(self, rng: random.Random, began: Milliseconds) -> None:
        self.rng = rng
        self.began = began
        self.visits: list[Visit] = []
        self.mails: list[Mail] = []
        self._numbers = 0

    def _signed_up(
        self, one: Person, browser: str, since: Milliseconds = HOUR, until: Milliseconds = 14 * HOUR, **traits: Any
    ) -> Milliseconds:
        one.user, one.emails = f"u-{one.name}", [f"{one.name}@mail.test"]
        at = self._between(self.began + since, until)
        one.plan = "free"
        self._identify(at, browser, one.user, email=one.emails[0], plan="free", **traits)
        if self.rng.random() < 0.3:
            one.plan = "pro"
            self._identify(self._between(at + MINUTE, SHARE_OF_DAY), browser, one.user, plan="pro")
        self._browse(one, browser, 15, since=at)
        return at

    def _change_address(self, one: Person, browser: str, since: Milliseconds) -> None:
        one.emails.append(f"{one.name}.new@mail.test")
        self._identify(self._between(since, SHARE_OF_DAY), browser, one.user, email=one.emails[-1])

    def _browse(self, one: Person, browser: str, n: int, since: Milliseconds | None = None) -> None:
        """All over the day. Args: since when the site says who they are, where it does."""
        for _ in range(self.rng.randrange(n // 2, n + n // 2)):
            at = self._between(self.began, SHARE_OF_DAY)
            says = since is not None and at >= since and self.rng.random() < 0.5
            self._event(at, browser, one.user if says else None, one)

    def _land(self, one: Person, since: Milliseconds) -> Milliseconds:
        browser = self._browser(one)
        at = self._between(since, SHARE_OF_DAY - HOUR)
        self.mails.append(Mail(at, one, "Clicked Email", {"URL": "https://shop.test/"}))
        call = self._call("page", at + 3 * SECOND, browser, None)
        self.visits.append(Visit(at + 3 * SECOND, at + 3 * SECOND, call, one, landing=True))
        for _ in range(3):
            self._event(self._between(self.began, SHARE_OF_DAY), browser, None, one)
        return at

    def _mailed(self, one: Person, since: Milliseconds, *, bots: bool = True) -> None:
        for _ in range(self.rng.randrange(4, 13)):
            self.mails.append(self._mail(one, self._between(since, SHARE_OF_DAY), bots=bots))

    def _mail(self, one: Person, at: Milliseconds, *, bots: bool) -> Mail:
        metric, properties = self.rng.choices(
            [
                ("Received Email", {}),
                ("Opened Email", {}),
                ("Opened Email", {"machine_open": True}),
                ("Clicked Email", {"URL": f"https://shop.test/{self.rng.randrange(99)}"}),
                ("Clicked Email", {"URL": "https://shop.test/", **({"Bot Click": True} if bots else {})}),
                ("Bounced Email", {"Bounce Type": "Hard"}),
                ("Bounced Email", {"Bounce Type": "Soft"}),
                ("Marked Email as Spam", {}),
                ("Unsubscribed from Email Marketing", {}),
                *((name, {}) for name in UNCOUNTED),
            ],
            [30, 25, 10, 15, 3, 2, 2, 1, 2, 2, 2],
        )[0]
        late = self.rng.random() < 0.03
        return Mail(
            at,
            one,
            metric,
            dict(properties),  # type: ignore[call-overload]  # of two lists, which mypy joins to objects
            late_ms=self.rng.randrange(20 * MINUTE, 5 * HOUR) if late else 0,
            hook=self.rng.random() < 0.2,
            copied=self.rng.random() < 0.1,
            ahead=self.rng.random() < 0.002,
        )

    def _identify(
        self, at: Milliseconds, browser: str, user: str | None, *, prompt: bool = False, **traits: Any
    ) -> None:
        """Args: prompt, it is there at once."""
        call = self._call("identify", at, browser, user, traits=traits)
        self.visits.append(Visit(at if prompt else self._arrival(at), at, call))

    def _event(
        self, at: Milliseconds, browser: str | None, user: str | None, whose: Person | None, **parts: Any
    ) -> None:
        kind = self.rng.choices(["page", "Product Viewed", "Song Played", "Order Completed"], [5, 3, 2, 1])[0]
        if kind == "page":
            call = self._call("page", at, browser, user, name="Home", **parts)
        else:
            products = [{"product_id": f"{n}", "price": 5, "quantity": 1} for n in range(2)]
            said = {"products": products, "total": 10} if kind == "Order Completed" else {"product_id": "7"}
            call = self._call("track", at, browser, user, event=kind, properties=said, **parts)
        visit = Visit(self._arrival(at), at, call, whose)
        self.visits.append(visit)
        if self.rng.random() < 0.02:  # Segment tries again what it was not told to have arrived
            later = visit.arrives + self.rng.randrange(2 * HOUR)
            self.visits.append(Visit(later, at, call, whose))

    def _call(self, kind: str, at: Milliseconds, browser: str | None, user: str | None, **parts: Any) -> Call:
        self._numbers += 1
        ids = {"anonymousId": browser, "userId": user}
        given = {name: value for name, value in ids.items() if value is not None}
        return {"type": kind, "messageId": f"m{self._numbers}", "timestamp": iso(at), **given, **parts}

    def _browser(self, one: Person) -> str:
        browser = f"{one.name}-b{len(one.browsers)}"
        one.browsers.add(browser)
        return browser

    def _between(self, begin: Milliseconds, until: Milliseconds) -> Milliseconds:
        """Args: until is counted from midnight."""
        return self.rng.randrange(begin, max(begin + 2 * MINUTE, self.began + until))

    def _arrival(self, at: Milliseconds) -> Milliseconds:
        """Mostly at once; now and then a phone was without a net."""
        return at + (self.rng.randrange(5 * MINUTE, 90 * MINUTE) if self.rng.random() < 0.05 else 0)
