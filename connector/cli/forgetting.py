"""``connector forget``: a person is erased, as they may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from connector.cli.frame import Moment, emails_option, json_option, order_options

if TYPE_CHECKING:
    from connector.cli.opening import Desk
    from connector.cli.show import Words
    from connector.messages import Received

SHOWN: Final = 30
NOT_TOUCHED: Final = (
    "Not touched: what Segment, Klaviyo, your warehouse and other destinations already have, and your backups of this"
    " database. Ask each of them; in Segment that is a user deletion under Privacy."
)


@click.command()
@click.argument("type_name", metavar="TYPE")
@click.argument("value")
@click.option("--at", type=Moment(), metavar="TIME", help="Forget up to this time (ISO 8601); by default up to now.")
@click.option("--suppress", is_flag=True, help="Never take in anything of these identifiers again.")
@order_options
@json_option
@emails_option
def forget(
    type_name: str, value: str, at: int | None, suppress: bool, show_emails: bool, as_json: bool, **options: Any
) -> None:
    """Erase a person: identifiers, links, stored messages, what is held of them, and what the log says.

    It shows first how much that is, and asks, because it cannot be undone. Keyed hashes of the identifiers stay, so
    that whatever arrives late from before that time is dropped. What happens afterwards starts a new profile without
    history, unless --suppress. Of what others own too (a shared browser), only this person's part goes.

    \b
    Examples:
      connector forget email jane@example.com --reason "request 4711" --dry-run
      connector forget user_id 1042 --suppress --reason "request 4712"
    """
    from connector import operate, orders
    from connector.cli import ordering, show
    from connector.messages import now_ms

    how = ordering.Manner(**options, as_json=as_json, words=show.Words(show_emails=show_emails))

    def build(desk: Desk) -> Received:
        one = orders.identifier(desk.house.rules, type_name, value)
        return operate.forget(now_ms(), one, at=at, suppress=suppress, **how.why())

    ordering.give(build, how, _tell)


def _tell(told: dict[str, Any], words: Words) -> None:
    for one in told["unknown"]:
        words.say(f"{one['type']} {one['value']} was never seen: there is nothing to erase.", fg="yellow")
        words.say("Going on still leaves its mark, so that what arrives late from before that time is dropped.")
    erased = told["erased"]
    words.say("This cannot be undone. It erases:", bold=True)
    words.say(f"  {_n(erased['identifiers'], 'identifier')}, with all links, traits and consents")
    for one in told["gone"][:SHOWN]:
        words.say(f"    {one['type']} {one['value']}")
    if len(told["gone"]) > SHOWN:
        words.say(f"    … and {len(told['gone']) - SHOWN} more (--json lists them)")
    words.say(f"  {_n(erased['messages'], 'stored message')}: bodies, and what the log says of them")
    words.say(f"  {_n(erased['deliveries'], 'delivery', 'deliveries')} that did not leave, and will not")
    words.say(NOT_TOUCHED, dim=True)


def _n(n: int, one: str, more: str = "") -> str:
    return f"{n:,} {one if n == 1 else more or one + 's'}"
