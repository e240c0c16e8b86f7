"""``POST /api/…``: what operators order over HTTP, stored in the inbox as messages like the commands' orders.

Each takes a JSON object with a reason; ``?preview=1`` answers what it would do and orders nothing. Only the bearer
token opens these routes, never the pages' cookie, so no other site can make a browser post here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from flask import Blueprint, Response, request

from connector import inbox, operate, orders
from connector.answers.finding import TooMany, ends_of
from connector.house import House
from connector.inspector.api import only, said, told
from connector.messages import Identifier, Json, Kind, Milliseconds, Received, now_ms
from connector.orders import BadOrder
from connector.preview import preview
from connector.store import Store
from connector.tables import outbox

MOST_BYTES: Final = 64 * 1024
OPERATOR: Final = "the JSON interface"


class TooLarge(BadOrder):
    """A body that no order needs."""


def routes(api: Blueprint, store: Store, house: House) -> None:
    """Add them to the JSON interface."""

    @api.post("/links")
    def link() -> Response:
        body = _body("left", "right", "correct")
        left, right = orders.pair(_identifier(body, "left", house), _identifier(body, "right", house))
        orders.require_joinable(house.rules, left, right)
        return _ordered(store, house, operate.link(now_ms(), left, right, **_why(body), correct=_flag(body, "correct")))

    @api.post("/links/<link_id>/revoke")
    def revoke(link_id: str) -> Response:
        body = _body("until", "correct", "left", "right")
        ends = _ends(store, house, link_id, body)
        if ends is None:
            return said(404, "there is no link with this id")
        until, correct, why = _moment(body, "until"), _flag(body, "correct"), _why(body)
        order = operate.unlink(now_ms(), left=ends[0], right=ends[1], until=until, correct=correct, **why)
        return _ordered(store, house, order)

    @api.post("/profiles/forget")
    def forget() -> Response:
        body = _body("type", "value", "at", "suppress")
        one = _identifier({"it": {name: body.get(name) for name in ("type", "value")}}, "it", house)
        at, suppress = _moment(body, "at"), _flag(body, "suppress")
        return _ordered(store, house, operate.forget(now_ms(), one, at=at, suppress=suppress, **_why(body)))

    @api.post("/dead/<number>/retry")
    def retry(number: str) -> Response:
        body = _body()
        one = int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else 0
        with store.reading() as tx:
            status = tx.execute(outbox.select().where(outbox.c.id == one)).first()
        if status is None or status.status != "dead":
            return said(404, "no dead delivery has this id; GET /api/dead lists them")
        return _ordered(store, house, operate.retry_dead(now_ms(), ids=[one], **_why(body)))

    api.register_error_handler(TooMany, lambda error: said(503, str(error)))
    api.register_error_handler(TooLarge, lambda error: said(413, str(error)))


def _ordered(store: Store, house: House, order: Received) -> Response:
    """What an order would do, if that is asked; else it is stored, and done by whoever stitches."""
    only("preview")
    asked = request.args.get("preview", "0")
    if asked not in ("0", "1"):
        raise BadOrder("preview: expected 1, to see what it would do, or nothing")
    is_link = orjson.loads(order.body)["type"] == "link"
    found = preview(store, order, house, now_ms()) if asked == "1" or is_link else None
    if found is not None and asked == "1":
        return told(found)
    if found is not None and found["refused"]:
        why = "this link would be refused, so it is not made; preview=1 says more"
        return told({"message": why, "in_words": found["pair"]["in_words"]}, 409)
    with store.writing() as tx:
        inbox.store(tx, [order])
    return told({"act": order.message_id, "see": f"/api/messages/{order.message_id}"}, 202)


def _ends(store: Store, house: House, link_id: str, body: Mapping[str, Json]) -> tuple[Identifier, Identifier] | None:
    """The ends of a link: as they are told, if the id is theirs; else they are looked for."""
    if "left" in body or "right" in body:
        pair = orders.pair(_identifier(body, "left", house), _identifier(body, "right", house))
        strong, weak = sorted(pair, key=house.rules.strength)
        if link_id not in {house.keys.link_id(strong, weak, kind) for kind in Kind.ORDER}:
            raise BadOrder("left, right: these are not the ends of the link with this id")
        return strong, weak
    with store.reading() as tx:
        return ends_of(tx, house, link_id)


# -- what was posted ------------------------------------------------------------------------------------------------


def _body(*known: str) -> dict[str, Json]:
    """The JSON object that was posted, with nothing unknown in it."""
    text = request.get_data()
    if len(text) > MOST_BYTES:
        raise TooLarge(f"the body is too large: expected at most {MOST_BYTES // 1024} KB")
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadOrder('the body is not JSON; expected an object such as {"reason": "…"}') from None
    if not isinstance(body, dict):
        raise BadOrder('the body: expected a JSON object such as {"reason": "…"}')
    expected = ("reason", "operator", *known)
    if strange := sorted(set(body) - set(expected)):
        raise BadOrder(f"'{strange[0][:40]}' is not a key here; expected only {', '.join(expected)}")
    return body


def _why(body: Mapping[str, Json]) -> dict[str, Any]:
    reason, operator = body.get("reason", ""), body.get("operator", OPERATOR)
    if not isinstance(reason, str) or not isinstance(operator, str):
        raise BadOrder("reason, operator: expected texts that say why and who, for the log")
    return orders.why(reason, operator)


def _identifier(body: Mapping[str, Json], name: str, house: House) -> Identifier:
    given = body.get(name)
    expected: Callable[[], BadOrder] = lambda: BadOrder(  # noqa: E731 - one sentence, said in two places
        f'{name}: expected {{"type": …, "value": …}}' if name != "it" else "type, value: expected two texts"
    )
    if not isinstance(given, dict) or set(given) != {"type", "value"}:
        raise expected()
    if not all(isinstance(one, str) for one in given.values()):
        raise expected()
    return orders.identifier(house.rules, given["type"], given["value"])


def _moment(body: Mapping[str, Json], name: str) -> Milliseconds | None:
    given = body.get(name)
    return None if given is None else orders.moment(name, given)


def _flag(body: Mapping[str, Json], name: str) -> bool:
    given = body.get(name, False)
    if not isinstance(given, bool):
        raise BadOrder(f"{name}: expected true or false")
    return given
