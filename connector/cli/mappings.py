"""``connector mappings``: for whoever edits the files in ``mappings/``, or writes one for another email platform."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connector.cli.checking import MARKS
from connector.cli.filters import eval_, match
from connector.cli.frame import emails_option, hinted, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connector.house import House

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def mappings() -> None:
    """Check, try and write the files in mappings/.

    \b
    Examples:
      connector mappings check
      connector mappings try klaviyo payload.json
      connector mappings new acme
    """


@mappings.command()
@click.argument("folder", type=FOLDER, required=False)
@json_option
def check(folder: Path | None, as_json: bool) -> None:
    """Read all files, those of FOLDER (or of MAPPINGS) first; status 1 if one cannot be used.

    All mistakes of all files are told at once, each with its file, key, what was expected and what was found. What is
    allowed and would surprise is told as a warning.

    \b
    Examples:
      connector mappings check
      connector mappings check my-mappings
    """
    from connector.answers.mappings import check as examine
    from connector.cli import show

    findings = examine(folder or _configured_folder())
    broken = any(one.level == "error" for one in findings)
    if as_json:
        show.as_json({"ok": not broken, "findings": [{"level": one.level, "what": one.what} for one in findings]})
    else:
        for one in findings:
            mark, color = MARKS[one.level]
            click.echo(f"{click.style(mark, fg=color, bold=True)} {hinted(one.what)}")
    if broken:
        raise SystemExit(1)


@mappings.command("try")
@click.argument("source")
@click.argument("payload", type=click.File("rb"))
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header field of the request."
)
@click.option("--mappings", "folder", type=FOLDER, help="A folder that overrides the shipped one; by default MAPPINGS.")
@click.option("--against", type=FOLDER, help="A second folder: show what would be different with it.")
@json_option
@emails_option
def try_(
    source: str,
    payload: Any,
    headers: Sequence[str],
    folder: Path | None,
    against: Path | None,
    as_json: bool,
    show_emails: bool,
) -> None:
    """What would be stored of PAYLOAD (a file, or - for standard input), understood of it, and sent.

    PAYLOAD is the body of a request as the platform sends it to /webhooks/SOURCE; signatures are not looked at, nothing
    is stored, and no database is needed. With --against, only what a second folder of mappings would change.

    \b
    Examples:
      connector mappings try klaviyo delivery.json
      connector mappings try resend event.json -H 'svix-id: msg_1' --against my-mappings
    """
    from connector import trial
    from connector.cli import show
    from connector.masking import mask
    from connector.messages import now_ms

    named = dict(_header(one) for one in headers)
    request, now = trial.Request(source, payload.read(), named), now_ms()
    first = trial.run(request, _house(folder or _configured_folder()), now)
    if against is not None:
        lines = list(trial.difference(first, trial.run(request, _house(against), now)))
        for line in lines or ["no difference"]:
            click.secho(line if show_emails else mask(line), fg={"+": "green", "-": "red"}.get(line[:1]))
    elif as_json:
        show.as_json(first)
    else:
        for line in trial.story(first):
            click.echo(line if show_emails else mask(line))


@mappings.command()
@click.argument("provider")
@click.option(
    "--mappings",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to; by default MAPPINGS, else ./mappings.",
)
@click.option(
    "--samples",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where its samples go; by default ./tests/samples, else ./samples.",
)
def new(provider: str, folder: Path | None, samples: Path | None) -> None:
    """Write a commented mapping for PROVIDER, and a first sample of its events, for you to change.

    Nothing that is there is overwritten, and a platform that has a shipped mapping is refused: copy that file. The
    mapping works as it is: with ACME_WEBHOOK_SECRETS set, and events like the sample, /webhooks/acme is open.

    \b
    Examples:
      connector mappings new acme
      connector mappings new acme --mappings my-mappings
    """
    from connector import skeleton
    from connector.messages import iso, now_ms
    from connector.resources import shipped_mappings

    folder = folder or _configured_folder() or Path("mappings")
    samples = samples or (Path("tests/samples") if Path("tests/samples").is_dir() else Path("samples"))
    for path in skeleton.write(provider, folder, samples, today=iso(now_ms())[:10]):
        click.echo(f"made {path}")
    known = folder.resolve() in (_configured_folder(), shipped_mappings().resolve())
    sample = samples / provider / "delivered" / "body.json"
    click.echo(hinted(f"next: `connector mappings try {provider} {sample}{'' if known else f' --mappings {folder}'}`"))
    if not known:
        click.echo(f"then put MAPPINGS={folder} into .env: the connector does not read this folder yet")


mappings.add_command(eval_)
mappings.add_command(match)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"expected 'NAME: VALUE', found '{name}'", param_hint="--header")
    return name.strip().lower(), value.strip()


def _configured_folder() -> Path | None:
    """The folder of MAPPINGS, whatever else is configured."""
    import os

    from connector.cli import env_file

    text = os.environ.get("MAPPINGS", "").strip() or (env_file.values().get("MAPPINGS") or "").strip()
    if text and not Path(text).is_dir():
        click.echo(f"MAPPINGS: there is no folder '{text}'", err=True)
        sys.exit(1)
    return Path(text).resolve() if text else None


def _house(folder: Path | None) -> House:
    """A house for trying: without a secret of its own there is one that keys nothing which leaves."""
    from dataclasses import replace

    from connector import bootstrap
    from connector.cli import env_file, opening

    config = opening.settings() if env_file.has_secret() else env_file.without_secret()
    return bootstrap.open_house(replace(config, mappings=folder))
