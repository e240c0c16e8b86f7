"""``connector klaviyo tracking``: the parameter by which a click in a mail says whose mail it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from connector.cli.frame import hinted, json_option

if TYPE_CHECKING:
    from connector.klaviyo.tracking import Settings
    from connector.rules import Landing

READ: Final = "tracking-settings:read"
WRITE: Final = "tracking-settings:write"
AUTOMATIC: Final = "auto_add_parameters"
VALUES: Final = ("profile_id", "profile_external_id")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def tracking(context: click.Context, as_json: bool) -> None:
    """Show what Klaviyo adds to the links of mails, and which of it identity.toml reads.

    \b
    Examples:
      connector klaviyo tracking
      connector klaviyo tracking set
      connector klaviyo tracking set --value profile_external_id --parameter kl_xid
    """
    if context.invoked_subcommand is not None:
        return
    from connector.cli import klaviyo_client, show
    from connector.klaviyo import tracking as klaviyo

    config = klaviyo_client.settings()
    landings = klaviyo_client.mappings(config).rules.landings
    with klaviyo_client.connected(config) as client, klaviyo_client.plainly(READ):
        settings = klaviyo.read(client)
    if as_json:
        show.as_json(_json(settings, landings))
    else:
        _tell(settings, landings)


@tracking.command("set")
@click.option(
    "--parameter", metavar="NAME", help="Its name in the URL; by default kl_pid, or kl_xid for an external id."
)
@click.option("--value", type=click.Choice(VALUES), default=VALUES[0], show_default=True, help="What it carries.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def set_(parameter: str | None, value: str, yes: bool, as_json: bool) -> None:
    """Have Klaviyo add the addressee's id to every link of its mails, beside the parameters it has.

    profile_id is Klaviyo's id of the profile, profile_external_id your own; neither is an address. Everybody to whom a
    mail is forwarded has it too: see [clicked] in identity.toml for what guards against that.

    \b
    Examples:
      connector klaviyo tracking set
      connector klaviyo tracking set --value profile_external_id --parameter kl_xid
    """
    from connector.cli import klaviyo_client, show
    from connector.klaviyo import tracking as klaviyo

    config = klaviyo_client.settings()
    landings = klaviyo_client.mappings(config).rules.landings
    name = parameter or klaviyo.VALUES[value][0]
    if mistake := klaviyo.mistaken(klaviyo.reading(landings, name), value):
        raise click.UsageError(f"--parameter: {mistake}")
    with klaviyo_client.connected(config) as client:
        with klaviyo_client.plainly(READ):
            now = klaviyo.read(client)
        then = _with(now, name, value)
        changed = then != now
        if changed and not _agreed(now, name, value, yes=yes):
            raise SystemExit(1)
        if changed:
            with klaviyo_client.plainly(READ):
                then = _with(klaviyo.read(client), name, value)  # while we asked, somebody may have added another
            with klaviyo_client.plainly(WRITE, "connector klaviyo tracking"):
                then = klaviyo.save(client, then)
    if as_json:
        show.as_json({**_json(then, landings), "changed": changed})
        return
    click.echo(f"Klaviyo {'now adds' if changed else 'adds'} {name} = {value} to the links of campaigns and flows.")
    _tell_landing(landings, name, value)


def _with(settings: Settings, name: str, value: str) -> Settings:
    from connector.klaviyo import tracking as klaviyo

    try:
        return klaviyo.with_parameter(settings, name, value)
    except klaviyo.Unfit as error:
        raise click.UsageError(str(error)) from None


def _agreed(now: Settings, name: str, value: str, *, yes: bool) -> bool:
    click.echo(f"{name} = {value} will be added to every link of campaigns and flows.", err=True)
    if not now.automatic:
        click.echo(
            f"Klaviyo adds no parameters to links now ({AUTOMATIC} is off). This switches it on, and with it Klaviyo's"
            " own utm_… parameters.",
            err=True,
        )
    others = ", ".join(str(one["name"]) for one in now.custom if one["name"] != name)
    click.echo(f"The others stay as they are{f': {others}' if others else ''}.", err=True)
    if yes or click.confirm("Do this?", err=True):
        return True
    click.echo("Nothing was changed.", err=True)
    return False


def _tell(settings: Settings, landings: tuple[Landing, ...]) -> None:
    from connector.cli import show

    words = show.Words(show_emails=False)
    words.say(f"Klaviyo adds parameters to links: {'yes' if settings.automatic else f'no ({AUTOMATIC} is off)'}")
    told = _json(settings, landings)["parameters"]
    if told:
        words.table(
            ("parameter", "carries", "read as"), [(one["name"], one["carries"], one["read_as"]) for one in told]
        )
    for value in VALUES:
        for name in settings.carries(value):
            _tell_landing(landings, name, value)
    if not any(settings.carries(value) for value in VALUES):
        words.say(hinted("No parameter says whose mail was clicked: `connector klaviyo tracking set` adds one."))


def _tell_landing(landings: tuple[Landing, ...], name: str, value: str) -> None:
    from connector.klaviyo import tracking as klaviyo

    found = klaviyo.reading(landings, name)
    if mistake := klaviyo.mistaken(found, value):
        click.echo(f"{mistake}.")
        return
    if found is not None:
        click.echo(f"identity.toml reads {name}: as {found.type}, {found.kind}.")
        return
    click.echo(f"identity.toml does not read {name} yet. Add to it, and restart the connector:")
    click.echo("\n".join(f"  {line}" for line in klaviyo.entry(name, value).splitlines()))


def _json(settings: Settings, landings: tuple[Landing, ...]) -> dict[str, Any]:
    from connector.klaviyo import tracking as klaviyo

    read_as = {one.parameter: f"{one.type} ({one.kind})" for one in landings}
    parameters = [*settings.own.items(), *((one["name"], one) for one in settings.custom)]
    return {
        "account": settings.account,
        AUTOMATIC: settings.automatic,
        "parameters": [
            {"name": name, "carries": klaviyo.shown(one), "read_as": read_as.get(name)} for name, one in parameters
        ],
    }
