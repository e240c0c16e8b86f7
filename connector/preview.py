"""What an order would do, found out by doing it in a transaction that never ends.

Nothing is kept of it: not the order, not its effect. Used by the commands and by the JSON interface before they store
an order in the inbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
import sqlalchemy as sa

from connector import answers, counters, held, identity, inbox, operate, scratch
from connector.answers import parts
from connector.effect import Effect
from connector.graph import Graph
from connector.house import House
from connector.messages import Identifier, Json, Milliseconds, Outcome, Received
from connector.resolve import Node
from connector.store import Store


class _Undone(Exception):
    """Ends the transaction without keeping anything of it."""


def preview(store: Store, order: Received, house: House, now: Milliseconds) -> dict[str, Json]:
    """``{"said","profiles":{"before","after"},"events":[…],"released","erased","gone","unknown","refused","pair"}``.

    events are those that leave, or left, with other ids than before: ``what`` is ``addressed_anew`` (not sent yet),
    ``held_again``, ``reattributed`` (sent already; it stays as sent) or ``corrected`` (sent once more). released is how
    many held events leave by it. erased counts what a ``forget`` erases, gone lists the identifiers among that. unknown
    are the identifiers it names that were never seen. Of a link by hand, refused says that it would join nobody, and
    pair is ``answers.explain_pair`` of its two ends; else null.
    """
    told: dict[str, Json] = {}
    said = orjson.loads(order.body)
    try:
        with store.writing() as tx:
            identity.take_lease(tx)
            unknown = _unknown(tx, said, house)
            around = _around(tx, said, house)
            effect = _perform(tx, order, said, house, now)
            pair = _pair(tx, said, house)
            told = {
                **effect.told(),
                "gone": _gone(tx, around),
                "released": _release(tx, effect, house, now),
                "unknown": unknown,
                "refused": pair is not None and not pair["joined"],
                "pair": pair,
            }
            raise _Undone
    except _Undone:
        return told


def _around(tx: sa.Connection, said: Mapping[str, Json], house: House) -> list[Node]:
    """Whom a ``forget`` may erase, the strongest first."""
    if said["type"] != "forget":
        return []
    named = Identifier(*said["identifier"])
    known = Graph(tx, house.rules).find([named]).get(named)
    ids = scratch.around(tx, [known.id], int(said["until"]), house.rules) if known else set()
    return sorted(parts.nodes(tx, ids).values(), key=lambda one: house.rules.strength(one.identifier))


def _gone(tx: sa.Connection, around: Sequence[Node]) -> list[dict[str, Json]]:
    left = parts.nodes(tx, [one.id for one in around])
    return [parts.pair(one.identifier) for one in around if one.id not in left]


def _perform(tx: sa.Connection, order: Received, said: dict[str, Json], house: House, now: Milliseconds) -> Effect:
    inbox.store(tx, [order])
    stored = inbox.find(tx, order.source, order.message_id)
    assert stored is not None, "it was stored a moment ago"  # noqa: S101 - an invariant of the inbox
    return operate.perform(tx, stored, said, house, now)


def _release(tx: sa.Connection, effect: Effect, house: House, now: Milliseconds) -> int:
    """Let go what follows, as ``pipeline`` does, and count the held events that left by it."""
    name = f"email.{Outcome.STITCHED_LATE}"
    before = counters.read(tx).get(name, 0)
    recorded = identity.Recorded({}, set(effect.changed), set(), set())
    held.release(tx, recorded, Graph(tx, house.rules), house, now)
    return counters.read(tx).get(name, 0) - before


def _unknown(tx: sa.Connection, said: Mapping[str, Json], house: House) -> list[dict[str, Json]]:
    named = [Identifier(*said[name]) for name in ("left", "right", "identifier") if said.get(name)]
    known = Graph(tx, house.rules).find(named)
    return [parts.pair(one) for one in named if one not in known]


def _pair(tx: sa.Connection, said: Mapping[str, Json], house: House) -> dict[str, Json] | None:
    if said["type"] != "link":
        return None
    return answers.explain_pair(tx, house, _typed(said["left"]), _typed(said["right"]))


def _typed(pair: Sequence[str]) -> str:
    return f"{pair[0]}:{pair[1]}"
