"""A day of a town, and, by construction, who is whom at its end.

Made from a seed. Nobody here asks the connector's rules: each life is made so that what is to be known of it at the end
of the day is known to its maker, whatever comes late, twice or in another order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from connector.messages import HOUR, MINUTE, SECOND, Milliseconds
from tests.klaviyo_habits import SHARE_OF_DAY, Habits
from tests.klaviyo_people import Person, Visit


class Day(Habits):
    """Everything that happens, sorted by when it arrives. Args: began is its midnight."""

    def __init__(self, seed: int, people: int, began: Milliseconds) -> None:
        super().__init__(random.Random(seed), began)
        self.people: list[Person] = []
        lives = list(self._lives(people))
        self.rng.shuffle(lives)
        for life in lives:
            if len(self.people) < people:
                life(self._person())
        self._go_wrong()
        self.visits.sort(key=lambda one: (one.arrives, one.at, one.call["messageId"]))
        self.mails.sort(key=lambda one: one.at)

    # -- what is to be true at the end ------------------------------------------------------------------------------

    def profiles(self) -> set[tuple[str | None, str, str | None]]:
        """(external id, email, plan) of the profiles that Klaviyo is to have."""
        return {(one.user, one.emails[-1], one.plan) for one in self.people if one.in_klaviyo}

    def activity(self) -> dict[tuple[str, str], tuple[str, int]]:
        """(unique id, metric) → (whose, second) of the events that Klaviyo is to have."""
        return {
            told: (one.whose.name, one.at // SECOND)
            for one in self.visits
            if one.whose is not None and not one.wrong
            for told in one.told
        }

    # -- lives ------------------------------------------------------------------------------------------------------

    def _lives(self, people: int) -> Iterator[Callable[[Person], None]]:
        shares: list[tuple[float, Callable[[Person], None]]] = [
            (0.30, self._customer),
            (0.06, self._customer_on_two_devices),
            (0.05, self._customer_with_two_addresses),
            (0.05, self._customer_who_logs_out),
            (0.06, self._customer_by_a_click),
            (0.04, self._customers_who_share),
            (0.02, self._household),
            (0.03, self._customer_of_the_shop),
            (0.14, self._lead),
            (0.08, self._lead_and_customer),
            (0.05, self._subscriber_and_customer),
            (0.03, self._subscriber_by_another_address),
            (0.04, self._subscriber_by_a_click),
            (0.04, self._subscriber),
            (0.03, self._nameless_customer),
        ]
        for share, life in shares:
            yield from [life] * max(1, round(share * people))
        yield from [self._visitor] * people  # everybody else

    def _person(self) -> Person:
        one = Person(f"p{len(self.people)}")
        self.people.append(one)
        return one

    def _customer(self, one: Person) -> None:
        """Browses, then signs up: what was before is theirs too."""
        self._mailed(one, self._signed_up(one, self._browser(one)))

    def _customer_on_two_devices(self, one: Person) -> None:
        first, second = self._browser(one), self._browser(one)
        signed_up = self._signed_up(one, first)
        again = self._between(signed_up, SHARE_OF_DAY)
        traits: dict[str, Any] = {} if self.rng.random() < 0.5 else {"email": one.emails[-1]}
        self._identify(again, second, one.user if not traits or self.rng.random() < 0.5 else None, **traits)
        self._browse(one, second, 4)
        self._mailed(one, signed_up)

    def _customer_with_two_addresses(self, one: Person) -> None:
        browser = self._browser(one)
        signed_up = self._signed_up(one, browser)
        self._change_address(one, browser, signed_up + 2 * HOUR)
        self._mailed(one, signed_up)

    def _customer_who_logs_out(self, one: Person) -> None:
        """The site makes a new anonymousId then; half of them come back by it."""
        signed_up = self._signed_up(one, self._browser(one))
        out = self._between(signed_up, SHARE_OF_DAY)
        comes_back = self.rng.random() < 0.5
        browser = self._browser(one) if comes_back else f"{one.name}-out"
        for _ in range(3):
            self._event(self._between(out, SHARE_OF_DAY), browser, None, one if comes_back else None)
        if comes_back:
            self._identify(self._between(out, SHARE_OF_DAY), browser, one.user)
        self._mailed(one, signed_up)

    def _customer_by_a_click(self, one: Person) -> None:
        """Comes to the site by a mail, on a device where nobody has signed in; some have a new address after that."""
        browser = self._browser(one)
        signed_up = self._signed_up(one, browser, until=10 * HOUR)
        landed = self._land(one, signed_up + 2 * HOUR)
        if self.rng.random() < 0.4:
            self._change_address(one, browser, landed + 10 * MINUTE)
        self._mailed(one, signed_up, bots=False)

    def _customers_who_share(self, one: Person) -> None:
        """One browser, two people in turns, who both sign in; between them nobody signs out."""
        other = self._person()
        for person in (one, other):
            person.user, person.emails, person.plan = f"u-{person.name}", [f"{person.name}@mail.test"], "free"
        browser = self._browser(one)
        other.browsers.add(browser)
        turns: list[tuple[Milliseconds, Person]] = []
        for person, hour in ((one, 3), (other, 9), (one, 15)):
            at = self.began + hour * HOUR + self.rng.randrange(HOUR)
            turns.append((at, person))
            self._identify(at, browser, person.user, email=person.emails[0], plan="free", prompt=True)
        for _ in range(14):
            at = self._between(self.began, SHARE_OF_DAY)
            before = [person for when, person in turns if when <= at]
            self._event(at, browser, None, before[-1] if before else one)
        for person in (one, other):
            self._mailed(person, self.began + 10 * HOUR)

    def _household(self, one: Person) -> None:
        """Two people, one telephone."""
        for person in (one, self._person()):
            phone = f"+15005{int(one.name[1:]):06}"
            self._mailed(person, self._signed_up(person, self._browser(person), phone=phone))

    def _customer_of_the_shop(self, one: Person) -> None:
        """Known to the shop's server only, which names their address in every call."""
        one.user, one.emails = f"u-{one.name}", [f"{one.name}@mail.test"]
        for _ in range(6):
            at = self._between(self.began, SHARE_OF_DAY)
            self._event(at, None, one.user, one, context={"traits": {"email": one.emails[0]}})
        self._mailed(one, self.began + 2 * HOUR)

    def _lead(self, one: Person) -> None:
        """Leaves an address, and stays anonymous."""
        one.emails, one.plan = [f"{one.name}@mail.test"], "none"
        browser = self._browser(one)
        at = self._between(self.began + HOUR, 14 * HOUR)
        self._identify(at, browser, None, email=one.emails[0], plan="none")
        self._browse(one, browser, 13)
        self._mailed(one, at)

    def _lead_and_customer(self, one: Person) -> None:
        one.emails = [f"{one.name}@mail.test"]
        browser = self._browser(one)
        self._identify(self._between(self.began + HOUR, 6 * HOUR), browser, None, email=one.emails[0], plan="none")
        self._mailed(one, self._signed_up(one, browser, since=7 * HOUR))

    def _subscriber_and_customer(self, one: Person) -> None:
        """Klaviyo's own form had them first; the mails of before wait for them."""
        one.listed = f"{one.name}@mail.test"
        self._signed_up(one, self._browser(one), since=8 * HOUR)
        self._mailed(one, self.began + HOUR)

    def _subscriber_by_another_address(self, one: Person) -> None:
        """Two profiles at Klaviyo, until the site learns that both are one."""
        browser = self._browser(one)
        signed_up = self._signed_up(one, browser, until=10 * HOUR)
        one.listed = f"{one.name}.list@mail.test"
        one.emails.append(one.listed)
        self._identify(self._between(signed_up + HOUR, SHARE_OF_DAY), browser, one.user, email=one.listed)
        self._mailed(one, self.began + HOUR)

    def _subscriber_by_a_click(self, one: Person) -> None:
        """Known by the click in a mail alone."""
        one.listed = f"{one.name}@mail.test"
        one.emails = [one.listed]
        self._mailed(one, self.began + HOUR, bots=False)
        self._land(one, self.began + 4 * HOUR)

    def _subscriber(self, one: Person) -> None:
        one.listed, one.on_site = f"{one.name}@mail.test", False
        one.emails = [one.listed]
        self._mailed(one, self.began + HOUR)

    def _nameless_customer(self, one: Person) -> None:
        """Signs in, and never gives an address: nobody to Klaviyo."""
        one.user = f"u-{one.name}"
        browser = self._browser(one)
        self._identify(self._between(self.began, 10 * HOUR), browser, one.user, plan="free")
        for _ in range(8):
            user = one.user if self.rng.random() < 0.5 else None
            self._event(self._between(self.began, SHARE_OF_DAY), browser, user, None)

    def _visitor(self, one: Person) -> None:
        browser = self._browser(one)
        for _ in range(self.rng.randrange(1, 12)):
            self._event(self._between(self.began, SHARE_OF_DAY), browser, None, None)

    def _go_wrong(self) -> None:
        """A few calls that name nobody, and a few email events that Segment will not have."""
        for _ in range(3):
            at = self._between(self.began, SHARE_OF_DAY)
            self.visits.append(Visit(at, at, self._call("track", at, None, None, event="Nobody's"), wrong=True))
        sure = [one for one in self.mails if one.counted and one.whose.placed and not one.ahead]
        for one in self.rng.sample(sure, 3):
            one.refused = True
