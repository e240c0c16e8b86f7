"""``connector rebuild``: everything that is derived, made anew from the record; or tried with another identity.toml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from connector.cli.frame import emails_option, hinted, json_option

if TYPE_CHECKING:
    from connector.cli.show import Words

SHOWN: Final = 10
"""Examples of a kind that are printed; --json has up to fifty."""


@click.command()
@click.option(
    "--what-if",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Change nothing: say what this identity.toml would do to the history there is.",
)
@json_option
@emails_option
def rebuild(what_if: Path | None, as_json: bool, show_emails: bool) -> None:
    """Derive profiles, links and hubs anew from the record, and prove that nothing changes by it.

    On SQLite it refuses while the database is served; on PostgreSQL stitching waits meanwhile. The status is 1 if
    something came out otherwise than it was. With --what-if it only reads, and shows what another identity.toml would
    change: profiles merged or split, and email events with another visitor.

    \b
    Examples:
      connector rebuild
      connector rebuild --what-if identity-new.toml
      connector rebuild --what-if identity-new.toml --json
    """
    from connector.cli import show

    if what_if is not None:
        told = _imagine(what_if)
        if as_json:
            show.as_json(told)
        else:
            _tell(told, show.Words(show_emails=show_emails))
        return
    before, after = _rebuild(quiet=as_json)
    if as_json:
        show.as_json({"before": before, "after": after, "identical": before == after})
    elif before == after:
        click.echo("identical: all profiles and links came out as they were")
    else:
        click.echo(hinted("different: what was derived was wrong and is right now. Please report this."))
    if before != after:
        raise SystemExit(1)


def _rebuild(*, quiet: bool) -> tuple[str, str]:
    from connector import answers, derive, identity
    from connector.cli import opening, progress

    def digest(when: str, tx: Any) -> str:
        found = answers.digest(tx, desk.house)
        if not quiet:
            click.echo(f"{when}  {found}")
        return found

    with opening.exclusive() as desk, desk.store.writing() as tx:
        identity.take_lease(tx)
        before = digest("before", tx)
        with progress.steps(desk.store) as told:
            derive.rebuild(tx, desk.house.rules, desk.house.keys, told)
        return before, digest("after ", tx)


def _imagine(file: Path) -> dict[str, Any]:
    from connector import answers, bootstrap
    from connector.cli import opening, progress

    other = bootstrap.open_house(opening.settings(), file)
    with opening.reading() as desk, progress.steps(desk.store) as told, desk.store.reading() as tx:
        return answers.what_if(tx, desk.house, other, told)


def _tell(told: dict[str, Any], words: Words) -> None:
    profiles, events = told["profiles"], told["email_events"]
    words.say(f"Nothing was changed: {told['how']}.", dim=True)
    words.say(f"Profiles: {profiles['before']} before, {profiles['after']} after", bold=True)
    words.say(f"  {profiles['merged']} would be merged from several, {profiles['split']} would be split")
    for kind, title in (("merges", "Merged"), ("splits", "Split")):
        for one in profiles[kind][:SHOWN]:
            named = ", ".join(f"{each['type']} {each['value']}" for each in one["identifiers"])
            words.say(f"  {title}: {named} ({len(one['profiles'])} profiles)")
    changed = sum(events[kind] for kind in ("gained", "lost", "moved"))
    words.say(f"Email events whose visitor would change: {changed}", bold=True)
    words.say(f"  {events['gained']} would gain one, {events['lost']} lose theirs, {events['moved']} have another")
    rows = [
        (one["what"], _visitor(one["before"]), _visitor(one["after"]), one["message"]) for one in events["examples"]
    ]
    if rows:
        words.table(("what", "from", "to", "message"), rows[:SHOWN], "  ")


def _visitor(ids: dict[str, Any]) -> str:
    named = (("userId", ids["user_id"]), ("anonymousId", ids["anonymous_id"]))
    return " + ".join(f"{name} {value}" for name, value in named if value) or "nobody"
