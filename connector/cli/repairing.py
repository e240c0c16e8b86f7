"""``connector link`` and ``connector unlink``: identity repaired by hand, and every repair undone exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from connector.cli.frame import Moment, emails_option, json_option, order_options

if TYPE_CHECKING:
    from connector.cli.opening import Desk
    from connector.messages import Identifier, Received

CORRECT = "Send what was sent with other ids once more, with the right ones."


@click.command()
@click.argument("ends", nargs=4, metavar="TYPE VALUE TYPE VALUE")
@click.option("--correct", is_flag=True, help=CORRECT)
@order_options
@json_option
@emails_option
def link(ends: tuple[str, ...], correct: bool, show_emails: bool, **manner: Any) -> None:
    """Say that two identifiers are one person's, or that a browser is a person's from now on.

    It shows first what would change, and asks. A link that would make one person of two userIds, or break another
    limit, is refused with the reason.

    \b
    Examples:
      connector link email jane@example.com user_id 1042 --reason "she called us"
      connector link user_id 1042 anonymous_id 7f3a9c52 --reason support --dry-run
    """
    from connector import operate, orders
    from connector.cli import ordering
    from connector.messages import now_ms

    how = _manner(show_emails, manner)

    def build(desk: Desk) -> Received:
        left, right = _pair(desk, ends)
        orders.require_joinable(desk.house.rules, left, right)
        return operate.link(now_ms(), left, right, correct=correct, **how.why())

    back = f"`connector unlink {ends[0]} … {ends[2]} …` takes it back."
    ordering.give(build, how, ordering.tell_repair, lambda _: [back])


@click.command()
@click.argument("ends", nargs=-1, metavar="[TYPE VALUE TYPE VALUE]")
@click.option(
    "--message", metavar="SOURCE/ID", help="Everything that this message proved; its messageId alone will do."
)
@click.option("--identifier", nargs=2, metavar="TYPE VALUE", help="Everything that this identifier proved.")
@click.option("--undo", metavar="ID", help="Restore exactly what an earlier unlink took back; ID is what it printed.")
@click.option("--until", type=Moment(), metavar="TIME", help="What is seen after this time (ISO 8601) counts again.")
@click.option("--correct", is_flag=True, help=CORRECT)
@order_options
@json_option
@emails_option
def unlink(
    ends: tuple[str, ...],
    message: str | None,
    identifier: tuple[str, str] | None,
    undo: str | None,
    until: int | None,
    correct: bool,
    show_emails: bool,
    **manner: Any,
) -> None:
    """Take back a link, what one message proved, or all that one identifier proved; or --undo that.

    Nothing is deleted: what was taken back does not count any more, past and future, and people are told apart anew.
    It shows first what would change, and asks. What was sent stays as sent, unless --correct.

    \b
    Examples:
      connector unlink email jane@example.com user_id 1042 --reason "typed at the shop"
      connector unlink --message segment/ajs-next-17900 --reason "a test" --dry-run
      connector unlink --identifier anonymous_id kiosk-1 --until 2026-09-01T12:00:00Z --reason kiosk
      connector unlink --undo unlink-2f1c… --reason "it was right"
    """
    from connector.cli import ordering

    if sum(map(bool, (ends, message, identifier, undo))) != 1 or len(ends) not in (0, 4):
        raise click.UsageError("say what: TYPE VALUE TYPE VALUE, or one of --message, --identifier and --undo")
    if until is not None and (message or undo):
        raise click.UsageError("--until goes with a link or with --identifier")
    how = _manner(show_emails, manner)
    told = {"correct": correct, **how.why()}

    def build(desk: Desk) -> Received:
        return _taken_back(desk, ends, message, identifier, undo, until, told)

    def after(act: str) -> Sequence[str]:
        return () if undo else [f"`connector unlink --undo {act} --reason …` restores it exactly."]

    ordering.give(build, how, ordering.tell_repair, after)


def _taken_back(
    desk: Desk,
    ends: tuple[str, ...],
    message: str | None,
    identifier: tuple[str, str] | None,
    undo: str | None,
    until: int | None,
    told: dict[str, Any],
) -> Received:
    """The order that an ``unlink`` gives.

    Raises: BadOrder if what it names is not there.
    """
    from connector import operate, orders
    from connector.messages import now_ms

    if undo or message:
        with desk.store.reading() as tx:
            if undo:
                orders.require_undoable(tx, undo)
                return operate.restore(now_ms(), undo, **told)
            return operate.unlink(now_ms(), message=orders.message_key(tx, message or ""), **told)
    if identifier:
        one = orders.identifier(desk.house.rules, *identifier)
        return operate.unlink(now_ms(), identifier=one, until=until, **told)
    left, right = _pair(desk, ends)
    return operate.unlink(now_ms(), left=left, right=right, until=until, **told)


def _pair(desk: Desk, ends: Sequence[str]) -> tuple[Identifier, Identifier]:
    from connector import orders

    rules = desk.house.rules
    return orders.pair(orders.identifier(rules, *ends[:2]), orders.identifier(rules, *ends[2:]))


def _manner(show_emails: bool, options: dict[str, Any]) -> Any:
    from connector.cli import show
    from connector.cli.ordering import Manner

    return Manner(**options, words=show.Words(show_emails=show_emails))
