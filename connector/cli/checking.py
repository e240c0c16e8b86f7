"""``connector check``: is everything there that the main job needs, and does it flow?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from connector.cli.frame import hinted, json_option
from connector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKS: Final = {"ok": ("✓", "green"), "off": ("·", None), "warn": ("!", "yellow"), "error": ("✗", "red")}


@click.command()
@click.option("--offline", is_flag=True, help="Do not ask Klaviyo what the key may do.")
@json_option
def check(offline: bool, as_json: bool) -> None:
    """Look at configuration, database, keys, sources and deliveries; status 1 if something is broken.

    \b
    Examples:
      connector check
      connector check --offline
    """
    from connector.cli import show

    found = list(_findings(offline=offline))
    broken = any(one["level"] == "error" for one in found)
    if as_json:
        show.as_json({"ok": not broken, "findings": found})
    else:
        for one in found:
            mark, color = MARKS[one["level"]]
            click.echo(f"{click.style(mark, fg=color, bold=True)} {hinted(one['what'])}")
            if one["do"]:
                click.echo(f"  {click.style(hinted(one['do']), dim=True)}")
    if broken:
        raise SystemExit(1)


def _findings(*, offline: bool) -> Iterator[dict[str, Any]]:
    from dataclasses import asdict

    from connector import answers
    from connector.cli import env_file, klaviyo_client, opening
    from connector.messages import now_ms
    from connector.store import open_store

    try:
        config = opening.settings()
    except ConfigError as error:
        yield from ({"level": "error", "what": mistake, "do": ""} for mistake in error.mistakes)
        yield from _misspelt(env_file.misspelt())
        return
    there = opening.exists(config)
    click.echo(f"reading {opening.shown(config)}" if there else f"there is no {opening.shown(config)} yet", err=True)
    store = open_store(config.database_url, read_only=True) if there else None
    try:
        for finding in answers.check(config, store, now_ms()):
            yield asdict(finding)
        for finding in klaviyo_client.findings(config, store, offline=offline):
            yield asdict(finding)
        yield from _misspelt(env_file.misspelt(env_file.named_by_mappings(config)))
    finally:
        if store:
            store.dispose()


def _misspelt(sentences: list[str]) -> Iterator[dict[str, Any]]:
    for sentence in sentences:
        yield {"level": "warn", "what": sentence, "do": "rename it in .env, or remove it"}
