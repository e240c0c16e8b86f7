"""``connector klaviyo``: what an operator does with Klaviyo's own settings."""

from __future__ import annotations

import click

from connector.cli.checking import MARKS
from connector.cli.frame import json_option
from connector.cli.klaviyo_polling import poll
from connector.cli.klaviyo_tracking import tracking
from connector.cli.klaviyo_webhooks import webhooks


@click.group()
def klaviyo() -> None:
    """See to the connector's side of a Klaviyo account: the key, webhooks, tracking parameters, reading events.

    \b
    Examples:
      connector klaviyo rights
      connector klaviyo poll
      connector klaviyo webhooks
      connector klaviyo tracking
    """


for one in (poll, tracking, webhooks):
    klaviyo.add_command(one)


@klaviyo.command()
@json_option
def rights(as_json: bool) -> None:
    """What KLAVIYO_API_KEY may do; status 1 if it cannot do what the settings ask for.

    Reading is tried by reading. Writing is tried only where DESTINATIONS names klaviyo (erasing: where KLAVIYO_DELETE=1
    too), by documents that Klaviyo has to refuse, so that nothing is written.

    \b
    Examples:
      connector klaviyo rights
      connector klaviyo rights --json
    """
    from dataclasses import asdict

    from connector.answers import check_klaviyo
    from connector.cli import klaviyo_client, show

    config = klaviyo_client.settings()
    with klaviyo_client.connected(config) as client:
        found = check_klaviyo.look(config, client)
    broken = any(check_klaviyo.level(one) == "error" for one in found)
    if as_json:
        show.as_json({"ok": not broken, "rights": [asdict(one) for one in found]})
    else:
        for one in found:
            mark, color = MARKS[check_klaviyo.level(one)]
            click.echo(f"{click.style(mark, fg=color, bold=True)} {one.what} ({one.scope}): {one.state}")
            if one.said:
                click.echo(f"  {click.style(one.said, dim=True)}")
    if broken:
        raise SystemExit(1)
