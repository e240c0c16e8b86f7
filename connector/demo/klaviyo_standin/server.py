"""The HTTP server of the stand-in, and what a test asks it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final

import orjson

from connector.demo.klaviyo_standin import routes
from connector.demo.klaviyo_standin.account import Account, Call, Dropped, Reply
from connector.demo.klaviyo_standin.entrance import body_of, check_revision, key_of, query_of
from connector.demo.klaviyo_standin.faults import Fault
from connector.demo.klaviyo_standin.history import Event
from connector.demo.klaviyo_standin.limits import Windows, headers_without_limits
from connector.demo.klaviyo_standin.mail import Mail
from connector.demo.klaviyo_standin.people import Profile
from connector.demo.klaviyo_standin.problems import Mistake, Problem, forbidden
from connector.demo.loopback import Answer, Asked, LoopbackServer
from connector.messages import MINUTE, Milliseconds, now_ms

JSON_TYPE: Final = {"Content-Type": "application/vnd.api+json"}
KEY: Final = "pk_stand_in"
NEEDS_KDP: Final = "You must have Advanced KDP enabled on your account, or use an OAuth app, to use this endpoint."


class KlaviyoStandIn(Mail):
    """Klaviyo's API at ``url``, and Klaviyo as an email platform; a context manager.

    Args: keys are the private keys that exist, ``pk_stand_in`` if none is named; all may do everything until
    ``scopes[key]`` says otherwise. account_id is also the public key. advanced: the account may use webhooks.
    limits: requests are counted; without, nothing is ever throttled. multi_email: profiles may have several addresses.
    merges_phone: a profile known by its phone number only merges into the one with the email instead of a 409.
    later_ms: how long what was answered 201 or 202 takes until it is done; ``settle`` lets that time pass.
    clock: Klaviyo's.
    """

    def __init__(
        self,
        *keys: str,
        account_id: str = "DeMo01",
        advanced: bool = False,
        limits: bool = True,
        multi_email: bool = False,
        merges_phone: bool = False,
        later_ms: Milliseconds = MINUTE,
        clock: Callable[[], Milliseconds] = now_ms,
    ) -> None:
        account = Account(account_id, clock, later_ms, multi_email=multi_email, merges_phone=merges_phone)
        super().__init__(account)
        self.keys = keys or (KEY,)
        self.scopes: dict[str, set[str]] = {key: set(routes.SCOPES) for key in self.keys}
        self.advanced = advanced
        self.limits = limits
        self.requests: list[Asked] = []
        self._windows = Windows()
        self._script: deque[tuple[str | None, Fault]] = deque()
        self._server = LoopbackServer(self._answer)

    @property
    def url(self) -> str:
        """What KLAVIYO_API_URL is set to, and ``test_host`` of Klaviyo's own library."""
        return self._server.url

    def __enter__(self) -> KlaviyoStandIn:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop()

    # -- what a test does ----------------------------------------------------------------------------------------

    def script(self, *faults: Fault, path: str | None = None) -> None:
        """Mistreat the next requests so, one fault each; of one path only, such as ``/api/events``, if it is given."""
        with self._changed:
            self._script.extend((path, fault) for fault in faults)

    def release(self) -> None:
        """Let hanging requests go: their connections are closed without an answer."""
        self._server.release()

    def settle(self) -> None:
        """Do everything that Klaviyo does later: events become readable, merges and deletions happen."""
        with self._changed:
            self.account.catch_up(everything=True)

    def wait_until(self, true: Callable[[KlaviyoStandIn], bool], seconds: float = 10.0) -> bool:
        """Wait for something to be true of what has arrived, and say whether it came true."""
        with self._changed:
            return self._changed.wait_for(lambda: true(self), seconds)

    # -- what a test looks at ------------------------------------------------------------------------------------

    @property
    def profiles(self) -> list[Profile]:
        """All profiles there are, also those that cannot be read yet."""
        with self._changed:
            return list(self.account.people.all.values())

    @property
    def events(self) -> list[Event]:
        """All events that were accepted, in order of arrival, also those that cannot be read yet."""
        with self._changed:
            return list(self.account.history.accepted)

    @property
    def silent(self) -> list[Dropped]:
        """What was answered like a success and is gone, or is not where it was meant to be."""
        with self._changed:
            return list(self.account.dropped)

    @property
    def consents(self) -> list[tuple[str, Any]]:
        """The subscription and suppression jobs that were asked for: name and document."""
        with self._changed:
            return list(self.account.consents)

    def profile(self, kind: str, value: str) -> Profile | None:
        """Who has this ``id``, ``external_id``, ``email``, ``phone_number``, ``_kx`` or ``anonymous_id``."""
        with self._changed:
            return self.account.people.find(kind, value)

    def emailless(self) -> list[Profile]:
        """Profiles without an email address."""
        return [one for one in self.profiles if one.email is None]

    def duplicates(self, people: Iterable[Mapping[str, Iterable[str]]] = ()) -> list[set[str]]:
        """Groups of profile ids that are one person.

        Those that were ever given an identifier in common; and those that have identifiers of one of these people,
        each ``{"email": [...], "external_id": [...]}``.
        """
        with self._changed:
            found = self.account.people.alike()
            for person in people:
                owners = [self.account.people.find(kind, value) for kind, values in person.items() for value in values]
                ids = {owner.id for owner in owners if owner is not None}
                if len(ids) > 1 and ids not in found:
                    found.append(ids)
            return found

    def asked(self, line: str) -> list[Any]:
        """The documents of the requests of one endpoint, such as ``POST /api/events``; None for what has no body."""
        method, _, path = line.partition(" ")
        with self._changed:
            found = [one for one in self.requests if one.method == method and one.path.partition("?")[0] == path]
        return [orjson.loads(one.body) if one.body else None for one in found]

    # -- how it answers ------------------------------------------------------------------------------------------

    def _answer(self, asked: Asked) -> Answer:
        path = asked.path.partition("?")[0]
        with self._changed:
            self.account.catch_up()
            self.requests.append(asked)
            fault = self._fault(path)
            given = self._serve(asked) if fault is None or fault.stored else None
            self._changed.notify_all()
        if fault is None and given is not None:
            return given
        assert fault is not None  # noqa: S101 - one of the two is there
        return Answer(fault.status, fault.headers, fault.body, hang=fault.hang, reset=fault.reset)

    def _fault(self, path: str) -> Fault | None:
        for index, (wanted, fault) in enumerate(self._script):
            if wanted in (None, path):
                del self._script[index]
                return fault
        return None

    def _serve(self, asked: Asked) -> Answer:
        headers: dict[str, str] = {}
        try:
            reply = self._let_in(asked, headers)
        except Problem as problem:
            body = orjson.dumps(problem.document())
            return Answer(problem.status, {**JSON_TYPE, **headers, **problem.headers}, body)
        body = b"" if reply.document is None else orjson.dumps(reply.document)
        return Answer(reply.status, {**JSON_TYPE, **headers}, body)

    def _let_in(self, asked: Asked, headers: dict[str, str]) -> Reply:
        """The endpoint's reply; the limits' headers are put into the headers as soon as the key is known."""
        path, _, query_text = asked.path.partition("?")
        key = key_of(asked)
        if key not in self.keys:
            detail = "Missing or invalid private key." if key is None else "The API key specified is invalid."
            raise Problem(401, [Mistake(detail, "/data", code="authentication_failed")])
        route, names, known = routes.find(asked.method, path)
        if route is None:
            code = "method_not_allowed" if known else "not_found"
            raise Problem(405 if known else 404, [Mistake("There is no such endpoint.", code=code)])
        query = query_of(query_text)
        self._count(route, query, headers)
        check_revision(asked, self.account.clock())
        if route.gated and not self.advanced:
            raise forbidden(NEEDS_KDP)
        lacking = sorted(route.scopes - self.scopes.get(key, set()))
        if lacking:
            raise forbidden(f"The API key is missing the required scopes: {', '.join(lacking)}.")
        document, size = body_of(asked)
        return route.answer(self.account, Call(self.url, path, names, query, document, size))

    def _count(self, route: routes.Route, query: Mapping[str, str], headers: dict[str, str]) -> None:
        tier = route.tier
        if "predictive_analytics" in query.get("additional-fields[profile]", ""):
            tier = routes.PREDICTIVE
        if self.limits:
            headers.update(self._windows.take(f"{route.name} {tier}", tier, self.account.clock()))
        else:
            headers.update(headers_without_limits(tier))
