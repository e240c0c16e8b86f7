"""``/api/…``: the answers as JSON, for who shows ``Authorization: Bearer`` with one of INSPECTOR_TOKENS.

Orders (``acts``) are posted under the same address, and no cookie is good for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flask import Blueprint, Response, request

from connector import answers, orders, verify
from connector.elements import dumps
from connector.house import House
from connector.inspector.access import VARIABLE, WINDOW_SECONDS, Access
from connector.messages import Json, Outcome
from connector.store import Store

MOST: Final = 500
"""Entries of one page."""

OUTCOMES: Final = tuple(value for name, value in vars(Outcome).items() if name.isupper() and isinstance(value, str))


class BadParameter(Exception):
    """What is wrong with the query, in words for its sender."""


def as_of() -> int | None:
    """The time in the query, to ask what was known then."""
    text = request.args.get("as_of", "")
    return orders.moment("as_of", text) if text else None


def blueprint(store: Store, house: House, access: Access) -> Blueprint:
    """The routes of the JSON interface."""
    api = Blueprint("api", __name__, url_prefix="/api")
    api.before_request(lambda: _refusal(access))
    api.before_request(refuse_nul)
    for refused in (BadParameter, orders.BadOrder):
        api.register_error_handler(refused, lambda error: said(400, str(error)))
    _whole(api, store, house)
    _who_is_who(api, store, house)
    _lists(api, store)

    @api.get("/", defaults={"path": ""})
    @api.get("/<path:path>")
    def unknown(path: str) -> Response:
        return said(404, f"there is no /api/{path}")

    return api


def _whole(api: Blueprint, store: Store, house: House) -> None:
    @api.get("/stats")
    def stats() -> Response:
        only()
        with store.reading() as tx:
            return told(answers.stats(tx))

    @api.get("/messages/<path:message_id>")
    def message(message_id: str) -> Response:
        only("as_of")
        with store.reading() as tx:
            found = answers.message(tx, house, message_id, as_of())
        return told(found) if found else said(404, "no message is known by this messageId, incoming or outgoing")


def _who_is_who(api: Blueprint, store: Store, house: House) -> None:
    @api.get("/profiles")
    def profiles() -> Response:
        only("type", "value", "as_of")
        type_name, value = request.args.get("type", ""), request.args.get("value", "")
        if not type_name or not value:
            raise BadParameter("give both, as in /api/profiles?type=email&value=jane@example.com")
        orders.require_type(house.rules, type_name)
        if house.rules.identify(type_name, value) is None:
            raise BadParameter(f"value: this names nobody; expected a {type_name} that is not a blocked value")
        with store.reading() as tx:
            found = answers.profile(tx, house, type_name, value, as_of())
        return told(found) if found else said(404, f"this {type_name} was never seen{_then()}")

    @api.get("/profiles/<profile_id>")
    def profile(profile_id: str) -> Response:
        only("as_of")
        with store.reading() as tx:
            found = answers.profile_by_id(tx, house, profile_id, as_of())
        return told(found) if found else said(404, f"there is no profile with this id{_then()}")

    @api.get("/explain")
    def explain() -> Response:
        only("left", "right", "as_of")
        left, right = request.args.get("left", ""), request.args.get("right", "")
        if not left.strip() or not right.strip():
            raise BadParameter("give both, as in /api/explain?left=jane@example.com&right=user_id:1042")
        with store.reading() as tx:
            return told(answers.explain_pair(tx, house, left, right, as_of()))

    @api.get("/hubs")
    def hubs() -> Response:
        only("limit", "after")
        with store.reading() as tx:
            return told(answers.hubs(tx, house, number("limit", 50, MOST) or 50, number("after", 0, 1 << 62) or 0))


def _then() -> str:
    return " up to that time" if request.args.get("as_of") else ""


def _lists(api: Blueprint, store: Store) -> None:
    @api.get("/log")
    def log() -> Response:
        only("outcome", "source", "event", "q", "before", "limit")
        outcome = request.args.get("outcome") or None
        if outcome is not None and outcome not in OUTCOMES:
            raise BadParameter(f"outcome: expected one of {', '.join(OUTCOMES)}")
        with store.reading() as tx:
            page = answers.log_page(
                tx,
                outcome=outcome,
                source=request.args.get("source") or None,
                event=request.args.get("event") or None,
                q=request.args.get("q") or None,
                before=number("before", None, 1 << 62),
                limit=number("limit", 50, MOST) or 50,
            )
        return told(page)

    for name, listed in (("held", answers.held), ("dead", answers.dead), ("quarantined", answers.quarantined)):
        api.add_url_rule(f"/{name}", name, _listing(store, listed))


def _listing(store: Store, listed: Callable[..., list[dict[str, Json]]]) -> Callable[[], Response]:
    def view() -> Response:
        only("limit")
        with store.reading() as tx:
            return told({"entries": listed(tx, number("limit", 50, MOST) or 50)})

    return view


def _refusal(access: Access) -> Response | None:
    """The answer to who may not look, None for who may."""
    given = verify.bearer(request.headers.get("Authorization"))
    match access.by_token(given, request.remote_addr or ""):
        case "welcome":
            return None
        case "closed":
            return said(403, f"the inspector is closed: set {VARIABLE} and restart the connector")
        case "slow down":
            return said(429, "too many wrong tokens; wait a minute", {"Retry-After": str(int(WINDOW_SECONDS))})
        case _:
            wanted = {"WWW-Authenticate": 'Bearer realm="connector"'}
            return said(401, f"send Authorization: Bearer with one of {VARIABLE}", wanted)


def refuse_nul() -> None:
    """No text that we store has a NUL, and PostgreSQL fails on being asked for one."""
    query = (text for name, value in request.args.items(multi=True) for text in (name, value))
    if any("\x00" in text for text in (request.path, *query)):
        raise BadParameter("the address contains a NUL character (%00): leave it out")


def only(*known: str) -> None:
    """A misspelt filter would otherwise answer with everything."""
    strange = sorted(set(request.args) - set(known))
    if strange:
        expected = f"expected only {', '.join(known)}" if known else "this takes none"
        raise BadParameter(f"'{strange[0][:40]}' is not a parameter here; {expected}")


def number(name: str, default: int | None, most: int) -> int | None:
    """A whole number of the query, from 1 to most."""
    text = request.args.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdecimal() and len(text) < 20 and 1 <= int(text) <= most:
        return int(text)
    raise BadParameter(f"{name}: expected a whole number from 1" + (f" to {most}" if most < 1 << 40 else ""))


def told(value: Json, status: int = 200) -> Response:
    return _json(status, value, {})


def said(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return _json(status, {"message": message}, headers or {})


def _json(status: int, value: Json, headers: dict[str, str]) -> Response:
    guarded = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **headers}
    return Response(dumps(value), status, guarded, content_type="application/json")
