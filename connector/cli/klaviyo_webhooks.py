"""``connector klaviyo webhooks``: the system webhook by which Klaviyo tells of mail events as they happen."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from connector.cli.frame import hinted, json_option

if TYPE_CHECKING:
    from connector.klaviyo.webhooks import Webhook

READ: Final = "webhooks:read"
WRITE: Final = "webhooks:write"
LIST: Final = "connector klaviyo webhooks list"
REFILLED: Final = (
    "Klaviyo sends nothing again of the time in between: polling reads it, by itself where `connector serve` runs, or"
    " now: `connector klaviyo poll`"
)
SWITCHED_OFF: Final = (
    "is switched off; Klaviyo does that after 48 hours of errors. `connector klaviyo webhooks enable {}` switches it on"
    " again"
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(invoke_without_command=True)
@click.pass_context
def webhooks(context: click.Context) -> None:
    """List, make, switch on or off, and delete Klaviyo's system webhooks. Without a command: list.

    They bring events sooner than polling, which works without them. Klaviyo allows them to accounts with Advanced KDP.

    \b
    Examples:
      connector klaviyo webhooks
      connector klaviyo webhooks create --url https://connector.example.com/webhooks/klaviyo
      connector klaviyo webhooks enable 01HF7AYTK76RHR4F17G6DGTRGF
    """
    if context.invoked_subcommand is None:
        context.invoke(list_)


@webhooks.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All webhooks of the account: whether they are enabled, and what about. Klaviyo shows a URL in part only.

    \b
    Example:
      connector klaviyo webhooks list
    """
    from connector.cli import klaviyo_client, show
    from connector.klaviyo import webhooks as klaviyo

    with klaviyo_client.connected(klaviyo_client.settings()) as client, klaviyo_client.plainly(READ):
        found = klaviyo.listed(client)
    if as_json:
        show.as_json({"webhooks": [_json(one) for one in found]})
        return
    words = show.Words(show_emails=False)
    if not found:
        words.say("There is no webhook in this account.")
        return
    names = ("id", "name", "state", "to", "changed (utc)", "topics")
    words.table(names, [(*_row(one), show.short_time(one.updated_at), ", ".join(one.topics)) for one in found])
    for one in found:
        if one.ours and not one.enabled:
            words.say(hinted(f"{one.id} {SWITCHED_OFF.format(one.id)}."), fg="yellow")


@webhooks.command()
@click.option("--url", required=True, help="The public https URL of this connector's door, …/webhooks/klaviyo.")
@click.option("--new-secret", is_flag=True, help="Sign with a fresh secret, though one is set.")
@json_option
def create(url: str, new_secret: bool, as_json: bool) -> None:
    """Have Klaviyo send its email events to this connector.

    It is about those topics of the account that mappings/sources/klaviyo.toml reads. The secret is the first one of
    KLAVIYO_WEBHOOK_SECRETS; if none is set one is made, and shown once, here.

    \b
    Example:
      connector klaviyo webhooks create --url https://connector.example.com/webhooks/klaviyo
    """
    from connector.cli import klaviyo_client, show
    from connector.klaviyo import webhooks as klaviyo

    config = klaviyo_client.settings()
    source = klaviyo_client.mappings(config).sources["klaviyo"]
    known = config.secrets_of(source.secrets)
    try:
        endpoint = klaviyo.endpoint(url)
    except klaviyo.Unfit as error:
        raise click.UsageError(str(error)) from None
    fresh = klaviyo.fresh_secret() if new_secret or not known else None
    secret = fresh or klaviyo.usable_secret(known[0], source.secrets)
    with klaviyo_client.connected(config) as client:
        with klaviyo_client.plainly(READ):
            about, absent = klaviyo.offered(client, source)
            klaviyo.require_none(client, endpoint)
        if not as_json:
            _tell_secret(source.secrets, fresh, known)  # before it is used: whatever happens then, it is known
        with klaviyo_client.plainly(WRITE, LIST):
            made = klaviyo.create(client, endpoint, secret, about)
    if as_json:
        show.as_json({**_json(made), "absent_topics": absent, "new_secret": fresh, "variable": source.secrets})
    else:
        _tell_made(made, absent)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@json_option
def enable(webhook_id: str, as_json: bool) -> None:
    """Switch a webhook on again that Klaviyo, or somebody, switched off.

    \b
    Example:
      connector klaviyo webhooks enable 01HF7AYTK76RHR4F17G6DGTRGF
    """
    _switch(webhook_id, on=True, as_json=as_json)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@json_option
def disable(webhook_id: str, as_json: bool) -> None:
    """Switch a webhook off; it can be switched on again.

    \b
    Example:
      connector klaviyo webhooks disable 01HF7AYTK76RHR4F17G6DGTRGF
    """
    _switch(webhook_id, on=False, as_json=as_json)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@yes_option
@json_option
def delete(webhook_id: str, yes: bool, as_json: bool) -> None:
    """Remove a webhook from Klaviyo, after asking.

    \b
    Example:
      connector klaviyo webhooks delete 01HF7AYTK76RHR4F17G6DGTRGF
    """
    from connector.cli import klaviyo_client, show
    from connector.klaviyo import webhooks as klaviyo

    with klaviyo_client.connected(klaviyo_client.settings()) as client:
        with klaviyo_client.plainly(READ):
            one = klaviyo.found(client, webhook_id)
        whose = "" if one.ours else ", which this command did not make"
        if not yes and not click.confirm(f"Delete the webhook '{one.name}' to {one.endpoint_url}{whose}?", err=True):
            click.echo("Nothing was changed.", err=True)
            raise SystemExit(1)
        with klaviyo_client.plainly(WRITE, LIST):
            klaviyo.delete(client, webhook_id)
    if as_json:
        show.as_json({"deleted": one.id})
    else:
        click.echo(f"deleted {one.id}; polling goes on")


def _switch(webhook_id: str, *, on: bool, as_json: bool) -> None:
    from connector.cli import klaviyo_client, show
    from connector.klaviyo import webhooks as klaviyo

    with klaviyo_client.connected(klaviyo_client.settings()) as client, klaviyo_client.plainly(WRITE, LIST):
        one = klaviyo.switch(client, webhook_id, on=on)
    if as_json:
        show.as_json(_json(one))
        return
    click.echo(f"{one.id} to {one.endpoint_url} is {_state(one)}")
    click.echo(hinted(f"{REFILLED}.") if one.enabled else "Polling goes on.")


def _tell_secret(variable: str, fresh: str | None, known: tuple[str, ...]) -> None:
    if fresh is None:
        click.echo(f"Signed with the first secret of {variable}, which is set already.")
        return
    if known:
        click.echo(f"Add this secret to {variable} in .env, behind a comma, and restart the connector:")
        click.echo(f"  {fresh}")
    else:
        click.echo("Put this line into .env, and restart the connector:")
        click.echo(f"  {variable}={fresh}")
    click.echo("It is not shown again. Klaviyo repeats for 48 hours what the connector does not take meanwhile.")


def _tell_made(made: Webhook, absent: list[str]) -> None:
    click.echo(f"made the webhook {made.id} to {made.endpoint_url}, about {len(made.topics)} topics:")
    for one in made.topics:
        click.echo(f"  {one}")
    if absent:
        click.echo(f"not in this account, so not asked for: {', '.join(absent)}")


def _row(one: Webhook) -> tuple[str, str, str, str]:
    return one.id, one.name, _state(one), one.endpoint_url


def _state(one: Webhook) -> str:
    return "enabled" if one.enabled else "disabled"


def _json(one: Webhook) -> dict[str, Any]:
    return {**asdict(one), "topics": list(one.topics), "ours": one.ours}
