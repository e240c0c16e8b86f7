"""The README is kept true: every route, variable and command is in it, and what it tells people to run, runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from connector import config, mapping, resources
from connector.cli import main
from connector.cli.env_file import shipped_variables
from connector.sources import tracking
from tests.commands import Command, free_port, get, wait_for

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shell(name: str, language: str = "sh") -> str:
    """What stands between two markers; the two commands are run by ``.ci/run`` too."""
    found = re.search(rf"<!-- {name}:begin -->\s*```{language}\n(.+?)\n```\s*<!-- {name}:end -->", README, re.DOTALL)
    assert found, f"the README has no {language} between the markers {name}:begin and {name}:end"
    return found[1]


def test_every_setting_is_documented_with_its_default() -> None:
    settings = README[README.index("## Settings") : README.index("## Deploy")]
    known = {*config.DEFAULTS, *shipped_variables()}
    assert {name for name in known if f"`{name}`" not in settings} == set()
    assert {value for value in config.DEFAULTS.values() if value and f"`{value}`" not in settings} == set()
    shouted = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)[`=]", README))
    assert shouted - known == set(), "the README names a variable that nobody reads"


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
    told = re.sub(r"<\w+>", "<", README)
    api = {re.sub(r"<(?:\w+:)?(\w+)>", "<", rule) for rule in rules if rule.startswith("/api")}
    assert {rule for rule in api - {"/api/<"} if rule not in told} == set()
    assert "`GET /`" in README and "/" in rules
    assert {f"/v1/{name}" for name in tracking.CALLS if len(name) > 1 and f"/v1/{name}" not in README} == set()
    for route in ("/webhooks/segment", "/healthz", "/readyz", "/metrics"):
        assert route in README
    for name, source in mapping.load(resources.shipped_mappings()).sources.items():
        if name != "segment":
            assert f"| `/webhooks/{name}` | `{source.secrets}`" in README, f"the table of platforms lacks {name}"
    store.dispose()


def test_the_two_commands_are_what_they_should_be() -> None:
    assert shell("start").endswith(".venv/bin/connector serve")
    assert shell("tests").endswith(".venv/bin/pytest")


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Served]:
    """What the reader has after the first command: a connector that runs, and its ``.env``."""
    port = free_port()
    command = Command(tmp_path, "serve", HOST="127.0.0.1", PORT=str(port))
    wait_for(lambda: get(port, "/readyz")[0] == 200)
    env = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines() if "=" in line)
    yield Served(tmp_path, port, env)
    command.end()


@dataclass(frozen=True)
class Served:
    folder: Path
    port: int
    env: Mapping[str, str]

    def run(self, *command: str) -> str:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def outcomes(self) -> dict[str, str]:
        told = json.loads(get(self.port, "/api/log", self.env["INSPECTOR_TOKENS"])[1])
        return {one["event"] or one["type"]: one["outcome"] for one in told["entries"]}


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("curl")), reason="the example needs openssl and curl")
def test_the_example_without_segment_does_what_it_says(serving: Served) -> None:
    example = shell("try").replace(":8080", f":{serving.port}")
    send, _, explain = example.rpartition("\n")
    assert explain == "connector explain try-2"
    serving.run("bash", "-euc", send)
    wait_for(lambda: serving.outcomes() == {"identify": "learned", "Email Opened": "stitched"})
    told = serving.run(sys.executable, "-m", "connector.cli", *explain.split()[1:])
    assert "The visitor: anonymous_id browser-1.\n" in told


@pytest.mark.slow
def test_the_example_of_a_segment_library_arrives(serving: Served) -> None:
    code = shell("library", "python").replace(":8080", f":{serving.port}")
    serving.run(sys.executable, "-c", code.replace("<a key of SOURCE_WRITE_KEYS>", serving.env["SOURCE_WRITE_KEYS"]))
    wait_for(lambda: serving.outcomes() == {"Email Delivered": "held"})


def test_the_sample_of_an_import_is_learned_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_SECRET", "a secret of the tests")
    Path("identities.csv").write_text(shell("import", "csv") + "\n")
    done = CliRunner().invoke(main, ["import", "identities.csv"])
    assert done.stdout == "identities.csv: 2 records: 2 new\n"
    exported = CliRunner().invoke(main, ["export", "profiles"]).stdout.splitlines()
    assert [len(json.loads(one)["browsers"]) for one in exported] == [1, 1]


def test_what_the_readme_says_to_type_for_a_repair_can_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against an empty store all of it is answered in words, with no complaint about the command line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_SECRET", "a secret of the tests")
    assert CliRunner().invoke(main, ["migrate"]).exit_code == 0
    section = README[README.index("## Repair identity") : README.index("## Routes")]
    typed = re.findall(r"^connector (.+)$", "\n".join(re.findall(r"```sh\n(.+?)```", section, re.DOTALL)), re.MULTILINE)
    assert len(typed) == 8
    for line in typed:
        done = CliRunner().invoke(main, [*shlex.split(line, comments=True), *([] if "explain" in line else ["--yes"])])
        assert done.exit_code in (0, 1), done.output


def test_what_the_readme_says_to_type_for_klaviyo_can_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key each of them asks for one, with no complaint about the command line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_SECRET", "a secret of the tests")
    typed = re.findall(
        r"^(klaviyo .+)$", "\n".join(re.findall(r"^connector (.+)$", README, re.MULTILINE)), re.MULTILINE
    )
    assert len(typed) == 6
    for line in typed:
        done = CliRunner().invoke(main, shlex.split(line, comments=True))
        assert (done.exit_code, "KLAVIYO_API_KEY" in done.stderr) == (1, True), done.output


def test_every_command_for_klaviyo_is_documented() -> None:
    from connector.cli.klaviyo import klaviyo

    assert {name for name in klaviyo.commands if f"`connector klaviyo {name}" not in README} == set()


def test_the_table_of_calls_says_what_the_shipped_mapping_makes_of_them() -> None:
    section = README[README.index("### What Klaviyo is told") : README.index("### What is read of Klaviyo")]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ")]
    told: dict[str, str] = {}
    for calls, metrics in rows:
        told |= zip(re.findall(r"[*`]([\w ]+)[*`]", calls), re.findall(r"\*([\w ]+)\*", metrics), strict=False)
    text = (resources.shipped_mappings() / "destinations" / "klaviyo.toml").read_text(encoding="utf-8")
    made = {}
    for event in tomllib.loads(text)["events"]:
        if isinstance(event["metric"], str):
            first = re.search(r'event = "([^"]+)"|type = "(page|screen)"', event["subscribe"])
            assert first
            made[first[1] or first[2]] = event["metric"]
    assert told == made


def test_every_link_within_the_readme_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    anchors = slugs | set(re.findall(r'<a id="([^"]+)"', README))
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) - anchors == set()


@pytest.mark.slow
def test_the_documented_commands_answer_help() -> None:
    assert isinstance(main, click.Group)
    for name in main.list_commands(click.Context(main)):
        asked = subprocess.run(
            [sys.executable, "-m", "connector.cli", name, "--help"], capture_output=True, text=True, check=False
        )
        assert asked.returncode == 0, asked.stderr
        assert "xample" in asked.stdout, f"connector {name} --help shows no example"
