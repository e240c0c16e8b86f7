"""``connector retry``: what was given up or set aside is tried again, by whoever serves the store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from connector.cli.frame import hinted
from connector.errors import ConnectorError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from connector.cli.opening import Desk
    from connector.messages import Received
    from connector.store import Store

PATIENCE_SECONDS: Final = 5.0
"""How long a command waits for a serving process to report, before it says where to look."""

ORDERED: Final = "Ordered; the process that serves this database acts on it. See `connector log --source operator`."
NOBODY_SERVES: Final = "Nothing serves this database now; deliveries leave when `connector serve` runs."


@click.command()
@click.option("--dead", is_flag=True, help="Deliveries that were given up: all, or those of these ids.")
@click.option("--quarantined", is_flag=True, help="Messages that could not be read: all, or those of these messageIds.")
@click.option("--source", help="With --quarantined: only from this source.")
@click.option("--reason", default="", help="Why, for the log.")
@click.argument("ids", nargs=-1)
def retry(dead: bool, quarantined: bool, source: str | None, reason: str, ids: tuple[str, ...]) -> None:
    """Try again what was given up (--dead) or could not be read (--quarantined).

    \b
    Examples:
      connector retry --dead
      connector retry --dead 17 18 --reason "write key repaired"
      connector retry --quarantined --source klaviyo
    """
    from connector import operate
    from connector.messages import now_ms

    if dead == quarantined:
        raise click.UsageError("say what to try again: --dead or --quarantined")
    if dead and source:
        raise click.UsageError("--source goes with --quarantined")
    if dead:
        if wrong := [one for one in ids if not one.isdecimal()]:
            raise click.UsageError(f"'{wrong[0]}' is not an id that `connector dead` lists")
        order = operate.retry_dead(now_ms(), ids=[int(one) for one in ids], reason=reason)
        chosen = _dead(ids)
    else:
        order = operate.retry_quarantined(now_ms(), source=source, ids=ids, reason=reason)
        chosen = _quarantined(source, ids)
    _give(order, chosen, ids)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an order is about. of: each by the name that was typed for it. left: what to say of those still there."""

    of: sa.Select[tuple[Any, int]]
    unknown: str
    left: str | None = None


def _dead(ids: tuple[str, ...]) -> Chosen:
    import sqlalchemy as sa

    from connector.tables import outbox

    found = sa.select(outbox.c.id, outbox.c.id).where(outbox.c.status == "dead")
    found = found.where(outbox.c.id.in_([int(one) for one in ids])) if ids else found
    return Chosen(found, "no dead delivery has the id {}; `connector dead` lists them")


def _quarantined(source: str | None, ids: tuple[str, ...]) -> Chosen:
    import sqlalchemy as sa

    from connector.messages import Outcome
    from connector.tables import messages

    found = sa.select(messages.c.message_id, messages.c.id).where(messages.c.outcome == Outcome.QUARANTINED)
    found = found.where(messages.c.source == source) if source else found
    found = found.where(messages.c.message_id.in_(ids)) if ids else found
    where = f" of {source}" if source else ""
    return Chosen(
        found,
        f"no quarantined message{where} has the id {{}}; `connector log --outcome quarantined --json` lists them",
        "failed again: see `connector log --outcome quarantined`",
    )


def _give(order: Received, chosen: Chosen, ids: tuple[str, ...]) -> None:
    """Store an operator's order, have it done, and say what came of it.

    Raises: ConnectorError, with nothing done, if an id is not among those it could be about.
    """
    from connector.cli import opening

    with opening.changing() as desk:
        before = _found(desk.store, chosen)
        unknown = sorted(set(ids) - {str(name) for name, _ in before})
        if unknown:
            raise ConnectorError(chosen.unknown.format(", ".join(unknown)))
        came = carry_out(desk, order)
        if came is None:
            click.echo(hinted(ORDERED))
            return
        click.echo(came)
        if desk.alone:
            again = len(before & _found(desk.store, chosen)) if chosen.left else 0
            if again:
                click.echo(hinted(f"{again} of them {chosen.left}"))
            click.echo(hinted(NOBODY_SERVES))


def _found(store: Store, chosen: Chosen) -> set[tuple[Any, int]]:
    with store.reading() as tx:
        return {(name, number) for name, number in tx.execute(chosen.of)}


def carry_out(desk: Desk, order: Received) -> str | None:
    """Store an order and have it done; what the log says of it, None if nobody acted on it in time."""
    from connector import inbox

    with desk.store.writing() as tx:
        inbox.store(tx, [order])
    desk.learn()
    return _outcome(desk.store, order.message_id, 0 if desk.alone else PATIENCE_SECONDS)


def _outcome(store: Store, message_id: str, patience_seconds: float) -> str | None:
    """What the log says about an order, None if nobody acted on it in time."""
    import sqlalchemy as sa

    from connector.operate import SOURCE
    from connector.tables import messages

    said = sa.select(messages.c.reason).where(messages.c.message_id == message_id, messages.c.source == SOURCE)
    deadline = time.monotonic() + patience_seconds
    while True:
        with store.reading() as tx:
            reason: str | None = tx.execute(said).scalar()
        if reason is not None or time.monotonic() > deadline:
            return reason
        time.sleep(0.1)
