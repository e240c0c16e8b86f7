"""The README is kept true: every route, variable and command is in it, and what it tells people to run, runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from connector import config
from connector.cli import main
from connector.sources import tracking

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shell(name: str) -> str:
    """The command between two markers, which ``.ci/run`` runs too."""
    found = re.search(rf"<!-- {name}:begin -->\s*```sh\n(.+?)\n```\s*<!-- {name}:end -->", README, re.DOTALL)
    assert found, f"the README has no command between the markers {name}:begin and {name}:end"
    return found[1]


def test_every_setting_is_documented_with_its_default() -> None:
    settings = README[README.index("## Settings") : README.index("## Deploy")]
    assert {name for name in config.DEFAULTS if f"`{name}`" not in settings} == set()
    assert {value for value in config.DEFAULTS.values() if value and f"`{value}`" not in settings} == set()
    shouted = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)[`=]", README))
    assert shouted - set(config.DEFAULTS) == set(), "the README names a variable that nobody reads"


def test_every_command_is_documented_and_every_documented_command_exists() -> None:
    assert isinstance(main, click.Group)
    known = set(main.list_commands(click.Context(main)))
    told = set(re.findall(r"connector ([a-z]+)\b", "\n".join(re.findall(r"`[^`\n]+`|```sh.*?```", README, re.DOTALL))))
    assert known - told == set(), "not in the README"
    assert told - known == set(), "in the README, but no command"


def test_every_route_is_documented(tmp_path: Path) -> None:
    from connector.app import create_app
    from connector.bootstrap import open_house
    from connector.inspector import blueprints
    from connector.store import open_store

    settings = config.read(
        {"CONNECTOR_SECRET": "0" * 32, "DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}, tmp_path / "no"
    )
    store = open_store(settings.database_url)
    app = create_app(settings, store, blueprints=blueprints(settings, store, open_house(settings)))
    rules = {str(rule) for rule in app.url_map.iter_rules()}
    api = {re.sub(r"<(?:\w+:)?(\w+)>", "<", rule) for rule in rules if rule.startswith("/api")}
    assert {rule for rule in api if rule.rstrip("<") not in README} == set()
    assert "`GET /`" in README and "/" in rules
    assert {f"/v1/{name}" for name in tracking.CALLS if len(name) > 1 and f"/v1/{name}" not in README} == set()
    for route in ("/webhooks/segment", "/webhooks/klaviyo", "/webhooks/customerio", "/healthz", "/readyz", "/metrics"):
        assert route in README
    store.dispose()


def test_the_two_commands_are_what_they_should_be() -> None:
    assert shell("start").endswith(".venv/bin/connector serve")
    assert shell("tests").endswith(".venv/bin/pytest")


@pytest.mark.slow
def test_the_documented_commands_answer_help() -> None:
    assert isinstance(main, click.Group)
    for name in main.list_commands(click.Context(main)):
        asked = subprocess.run(
            [sys.executable, "-m", "connector.cli", name, "--help"], capture_output=True, text=True, check=False
        )
        assert asked.returncode == 0, asked.stderr
        assert "xample" in asked.stdout, f"connector {name} --help shows no example"
