"""The commands that read and change a store, run as their users run them, on both databases."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from connector import bootstrap, bulk, config, inbox, migrate, queue
from connector.cli import main
from connector.keys import Keys
from connector.messages import DAY, HOUR, Milliseconds, Received, iso, now_ms
from connector.store import Store, open_store
from connector.tables import facts
from connector.worker import stitch_once
from tests.commands import Command

SECRET = "a secret of the tests"
T0 = now_ms() - DAY

Run = Callable[..., Result]


def call(message_id: str, at: Milliseconds = T0, **more: Any) -> Received:
    body = {"messageId": message_id, "timestamp": iso(at), **more}
    return Received("segment", message_id, json.dumps(body), now_ms())


def email_event(message_id: str, address: str, at: Milliseconds = T0, event: str = "Email Opened") -> Received:
    context = {"integration": {"name": "Klaviyo"}, "traits": {"email": address}}
    return call(message_id, at, type="track", event=event, anonymousId=address, context=context)


def feed(store: Store, *received: Received) -> None:
    """Store these and stitch them, as the doors and the worker do."""
    house = bootstrap.open_house(config.read())
    with store.writing() as tx:
        inbox.store(tx, received)
    while stitch_once(store, house, now_ms()):
        pass


def bury(store: Store, reason: str = "HTTP 400") -> None:
    with store.writing() as tx:
        claimed = queue.claim(tx, "segment", limit=10, now=now_ms() + HOUR, claimer="test", for_ms=1)
        queue.settle(tx, "segment", [queue.dead(claimed, "refused", reason)], claimer="test", now=now_ms())


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working folder of our own, with a secret in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_SECRET", SECRET)


@pytest.fixture
def run() -> Run:
    """Run a command line; nothing but an exit leaves it."""

    def invoke(line: str, status: int = 0, input: bytes | None = None) -> Result:  # noqa: A002 - click's name
        result = CliRunner().invoke(main, shlex.split(line), input=input)
        assert isinstance(result.exception, SystemExit | type(None)), result.exception
        assert result.exit_code == status, result.output
        return result

    return invoke


@pytest.fixture
def known(store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with Jane (stitched), a stranger (held), and a call that is none (quarantined)."""
    monkeypatch.setenv("DATABASE_URL", store_url)
    feed(
        store,
        call("m1", type="identify", anonymousId="browser-1", traits={"email": "jane@x.test"}),
        email_event("m2", "jane@x.test", T0 + HOUR),
        email_event("m3", "stranger@x.test", T0 + HOUR, "Email Delivered"),
        call("m4", type="track", userId=7, event="Bought"),
    )
    return store


def test_help_lists_every_command_and_each_has_an_example(run: Run) -> None:
    listed = run("--help").stdout
    names = [
        "demo", "serve", "migrate", "web", "worker", "check", "log", "explain", "profile", "held", "dead", "export",
        "import", "link", "unlink", "forget", "retry", "rebuild", "mappings", "klaviyo",
    ]  # fmt: skip
    assert sorted(main.commands) == sorted(names)
    for name in names:
        assert f"\n  {name} " in listed
        assert re.search(rf"Examples?:\n  .*connector {name}\b", run(f"{name} --help").stdout), name


def test_log_shows_the_newest_last_with_addresses_masked(run: Run, known: Store) -> None:
    result = run("log")
    head, *lines = result.stdout.splitlines()
    assert head.startswith("AT (UTC)             OUTCOME        SOURCE")
    assert [line.split()[2] for line in lines] == ["learned", "stitched", "held", "quarantined"]
    assert "j•••@x.test" in lines[1]
    assert "anonymous_id=browser-1" in lines[1]
    assert "jane@x.test" not in result.output
    assert "jane@x.test" in run("log --show-emails").stdout


def test_log_filters_and_limits(run: Run, known: Store) -> None:
    def ids(line: str) -> list[str]:
        return [one["message_id"] for one in json.loads(run(f"log --json {line}").stdout)["entries"]]

    assert ids("") == ["m4", "m3", "m2", "m1"]
    assert ids("-n 2") == ["m4", "m3"]
    assert ids("--outcome held") == ["m3"]
    assert ids("--event 'Email Opened'") == ["m2"]
    assert ids("--source klaviyo") == []
    assert ids("-q JANE@x.test") == ["m2", "m1"]
    assert run("log --outcome expired").stdout == "nothing matches yet\n"


def test_explain_tells_a_message_and_a_person_and_fails_for_nobody(run: Run, known: Store) -> None:
    assert json.loads(run("explain m2 --json").stdout)["decision"]["anonymous_id"] == "browser-1"
    person = run("explain jane@x.test")
    assert "browser-1" in person.stdout
    assert "jane@x.test" not in person.stdout
    assert json.loads(run("explain browser-1 --json").stdout)["what"] == "profile"
    assert run("explain nobody", 1).stdout.startswith("Nothing is known under this value")


def test_profile_by_identifier_and_by_id(run: Run, known: Store) -> None:
    told = json.loads(run("profile email Jane@X.test --json").stdout)
    assert told["browsers"] == [{"anonymous_id": "browser-1", "from": None, "until": None}]
    assert json.loads(run(f"profile {told['profile_id']} --json").stdout) == told
    assert re.search(r"\n  browser-1    always +-\n", run("profile email jane@x.test").stdout)
    assert "nobody is known by that" in run("profile email who@x.test", 1).stderr
    assert "type: expected one of user_id, email" in run("profile mail jane@x.test", 2).stderr


def test_held_says_what_it_waits_for(run: Run, known: Store) -> None:
    (row,) = json.loads(run("held --json").stdout)
    assert row["message_id"] == "m3"
    assert row["waits_for"] == [{"type": "email", "value": "stranger@x.test"}]
    assert "email s•••@x.test" in run("held").stdout


def test_dead_letters_are_listed_and_retried_more_than_once(run: Run, known: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr("connector.cli.operating.PATIENCE_SECONDS", 0.0)
    assert run("dead").stdout == "no delivery is dead\n"
    for _ in range(2):
        bury(known)
        (row,) = json.loads(run("dead --json").stdout)
        assert (row["message_id"], row["why"]) == ("m2", "HTTP 400")
        assert "m2" in run("dead").stdout
        said = run(f"retry --dead {row['id']} --reason repaired").stdout
        if known.sqlite:
            assert said.splitlines() == [
                "1 dead letter is pending again; reason given: repaired",
                "Nothing serves this database now; deliveries leave when `connector serve` runs.",
            ]
        feed(known)  # on PostgreSQL a worker acts on it
        assert json.loads(run("dead --json").stdout) == []
        (entry,) = json.loads(run("log --source operator -n 1 --json").stdout)["entries"]
        assert entry["reason"] == "1 dead letter is pending again; reason given: repaired"


def test_an_order_that_nobody_carries_out_yet_says_so(run: Run, known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.cli.operating.PATIENCE_SECONDS", 0.0)
    if known.sqlite:
        from connector.lock import StoreLock

        lock = StoreLock(config.read().database_url)
        lock.acquire()
    assert run("retry --quarantined").stdout.startswith("Ordered; the process that serves this database acts on it.")
    with known.reading() as tx:
        assert inbox.waiting(tx) == 1
    if known.sqlite:
        lock.release()
        assert run("retry --quarantined --source segment").stdout.startswith("1 quarantined message is tried again")


@pytest.mark.parametrize(
    "line",
    [
        "retry",
        "retry --dead --quarantined",
        "retry --dead seven",
        "retry --dead --source segment",
        "export people",
        "profile a b c",
        "log --limit 0",
        "log --outcome foo",
        "import",
        "explain",
        "no-such-command",
    ],
)
def test_a_wrong_command_line_ends_with_status_2(run: Run, line: str) -> None:
    assert "Error:" in run(line, 2).stderr


def test_a_retry_of_what_is_not_there_says_so_and_orders_nothing(run: Run, known: Store) -> None:
    assert "no dead delivery has the id 98, 99; `connector dead` lists" in run("retry --dead 99 98", 1).stderr
    assert "no quarantined message has the id m2;" in run("retry --quarantined m4 m2", 1).stderr
    assert (
        "no quarantined message of klaviyo has the id m4;" in run("retry --quarantined --source klaviyo m4", 1).stderr
    )
    assert json.loads(run("log --source operator --json").stdout)["entries"] == []
    with known.reading() as tx:
        assert inbox.waiting(tx) == 0


def test_a_retry_that_it_carries_out_itself_tells_what_failed_again(
    run: Run, sqlite_store: Store, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    feed(
        sqlite_store, call("m1", type="track", userId=7, event="Bought"), call("m2", type="track", userId=8, event="x")
    )
    said = run("retry --quarantined m1").stdout.splitlines()
    assert said[:2] == [
        "1 quarantined message is tried again",
        "1 of them failed again: see `connector log --outcome quarantined`",
    ]


def test_an_unknown_outcome_is_answered_with_those_there_are(run: Run, known: Store) -> None:
    assert "'passed', 'stitched', 'stitched_late', 'held'" in run("log --outcome foo", 2).stderr


def test_names_in_the_env_file_that_seem_misspelt_are_told(run: Run, known: Store, tmp_path: Path) -> None:
    lines = ["HOLD_EMIAL=1h", "segment_write_key=k", "SEGMENT_SHARED_SECRET=s", "DATABASE=x", "POSTGRES_PASSWORD=p"]
    (tmp_path / ".env").write_text("\n".join([*lines, "ITERABLE_WEBHOOK_SECRETS=x", "INSPECTOR_TOKENS=t"]))
    found = json.loads(run("check --json").stdout)["findings"]
    assert [one["what"] for one in found if ".env" in one["what"]] == [
        "HOLD_EMIAL in .env is not a setting; did you mean HOLD_EMAIL?",
        "segment_write_key in .env is not a setting; did you mean SEGMENT_WRITE_KEY?",
        "SEGMENT_SHARED_SECRET in .env is not a setting; did you mean SEGMENT_SHARED_SECRETS?",
        "DATABASE in .env is not a setting; did you mean DATABASE_URL?",
    ]


def test_a_database_that_nobody_serves_in_a_folder_one_may_not_write_says_what_is_needed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is root here becomes nobody for a moment, because root may write everywhere."""
    folder = Path(tempfile.mkdtemp(prefix="connector-"))
    monkeypatch.chdir(folder)
    run("migrate")
    run("log")  # imports everything while all of it may be read
    for suffix in ("-wal", "-shm"):
        (folder / f"connector.db{suffix}").unlink(missing_ok=True)
    (folder / "connector.db").chmod(0o644)
    folder.chmod(0o555)
    with contextlib.ExitStack() as after:
        after.callback(shutil.rmtree, folder)
        after.callback(folder.chmod, 0o755)
        if os.geteuid() == 0:
            after.callback(os.setresuid, 0, 0, 0)
            os.setresuid(65534, 65534, 0)
        said = run("log", 1).stderr
    assert said.startswith(
        f"Error: DATABASE_URL: '{folder}/connector.db' cannot be read: while nobody serves it, SQLite"
    )
    assert f"write permission on {folder}" in said


def test_hints_name_the_command_as_it_was_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from connector.cli.frame import hinted

    script = tmp_path / ".venv" / "bin" / "connector"
    for called, told in (
        (".venv/bin/connector", ".venv/bin/connector"),
        (str(script), ".venv/bin/connector"),
        ("/opt/connector/bin/connector", "/opt/connector/bin/connector"),
        ("/usr/lib/python3/pytest/__main__.py", "connector"),
    ):
        monkeypatch.setattr(sys, "argv", [called])
        assert hinted("run `connector check` or `other`") == f"run `{told} check` or `other`"
    script.parent.mkdir(parents=True)
    script.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", str(script.parent))
    assert hinted("`connector check`") == "`connector check`"


def test_export_is_sorted_json_lines_and_the_same_twice(run: Run, known: Store) -> None:
    for what, n in (("profiles", 2), ("links", 1), ("log", 4)):
        lines = run(f"export {what}").stdout.splitlines()
        assert len(lines) == n
        assert [json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")) for line in lines] == lines
        assert run(f"export {what}").stdout.splitlines() == lines
    profiles = [json.loads(line)["profile_id"] for line in run("export profiles").stdout.splitlines()]
    assert profiles == sorted(profiles)


def test_reading_says_on_stderr_which_store_and_never_the_password(run: Run, known: Store) -> None:
    for line in ("log", "held", "dead", "export links", "explain m1", "check"):
        stderr = run(line, 0).stderr
        assert re.match(r"reading \S+ (on .+ )?\((SQLite|PostgreSQL)\)\n", stderr), line
    url = config.read().database_url
    assert known.sqlite or (password := sa.make_url(url).password) is None or password not in run("log").output


def test_reading_is_read_only(run: Run, known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reading command is given cannot be written to, even by a mistake of ours."""
    from connector.cli import opening
    from connector.errors import ConnectorError

    refused = pytest.raises((ConnectorError, sa.exc.DBAPIError))
    with opening.reading(quiet=True) as desk, refused, desk.store.writing() as tx:
        bulk.insert_rows(tx, facts, ("name", "value"), [("a", "b")])


@pytest.mark.parametrize("line", ["log", "held", "dead", "explain x", "export log", "profile email a@x.test"])
def test_reading_never_makes_a_database(run: Run, tmp_path: Path, line: str) -> None:
    result = run(line, 1)
    assert f"there is no database '{tmp_path}/connector.db'" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_check_without_a_database_says_so_and_makes_none(run: Run, tmp_path: Path) -> None:
    found = json.loads(run("check --json", 1).stdout)
    assert found["ok"] is False
    assert "there is no database yet" in [one["what"] for one in found["findings"]]
    assert list(tmp_path.iterdir()) == []


def test_check_marks_and_passes(run: Run, known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENT_WRITE_KEY", "k")
    text = run("check").stdout
    assert "✓ deliveries leave for https://api.segment.io/v1\n" in text
    assert "! /webhooks/segment is closed\n  to open it, set SEGMENT_SHARED_SECRETS\n" in text


def test_all_mistakes_of_the_environment_are_told_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "http")
    monkeypatch.setenv("HOLD_EMAIL", "soon")
    monkeypatch.setenv("CONNECTOR_SECRET", "short")
    for line in ("serve", "web", "worker", "migrate", "log", "import x", "retry --dead"):
        stderr = run(line, 1).stderr
        assert [mistake.split(":")[1].strip() for mistake in stderr.splitlines()] == [
            "PORT", "CONNECTOR_SECRET", "HOLD_EMAIL",
        ], line  # fmt: skip
    found = json.loads(run("check --json", 1).stdout)["findings"]
    assert [one["what"].split(":")[0] for one in found] == ["PORT", "CONNECTOR_SECRET", "HOLD_EMAIL"]


def test_nothing_configured_says_where_to_begin(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CONNECTOR_SECRET")
    for line in ("log", "explain x", "retry --dead", "import x"):
        assert run(line, 1).stderr == (
            "Error: there is neither a .env here nor a setting in the environment: run this in the folder where"
            " `connector serve` runs; the first `connector serve` makes a .env\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_mapping_is_told_by_every_command(
    run: Run, known: Store, monkeypatch: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "identity.toml").write_text("this is not TOML")
    monkeypatch.setenv("MAPPINGS", "mine")
    for line in ("log", "serve", "retry --dead"):
        assert "identity.toml: this is not TOML" in run(line, 1).stderr


def test_migrate_makes_the_database_and_remembers_the_secret(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    assert run("migrate").stdout == f"{tmp_path}/connector.db (SQLite): now at revision {migrate.head()}\n"
    assert run("migrate").stdout == f"{tmp_path}/connector.db (SQLite): nothing to do\n"
    store = open_store("sqlite:///connector.db")
    with store.reading() as tx:
        rows = [tuple(row) for row in tx.execute(sa.select(facts.c.name, facts.c.value))]
    store.dispose()
    assert sorted(rows) == [
        ("identity_rules", bootstrap.open_house(config.read()).rules.fingerprint),
        ("secret_fingerprint", Keys(SECRET).fingerprint),
    ]
    monkeypatch.setenv("CONNECTOR_SECRET", "another secret of the tests")
    for line in ("migrate", "serve", "log", "retry --dead", "import x"):
        assert "is not the one this database was made with" in run(line, 1).stderr, line


def test_migrate_and_serve_refuse_sqlite_where_the_disk_is_emptied(run: Run, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("DYNO", "release.1")
    for line in ("migrate", "serve"):
        assert "heroku addons:create heroku-postgresql" in run(line, 1).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["web", "worker"])
def test_web_and_worker_refuse_sqlite(run: Run, name: str, tmp_path: Path) -> None:
    assert f"connector {name} needs PostgreSQL" in run(name, 1).stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unmigrated_database_is_not_read(run: Run, monkeypatch: Any, tmp_path: Path) -> None:
    open_store("sqlite:///connector.db").engine.connect().close()
    assert "run `connector migrate`" in run("log", 1).stderr


def test_a_store_that_does_not_answer_is_one_line(run: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hidden@127.0.0.1:1/none")
    result = run("log", 1)
    assert result.stderr.startswith("Error: the store did not answer")
    assert "hidden" not in result.output


def test_follow_tells_what_comes_and_what_changes_and_ends_cleanly(known: Store, tmp_path: Path) -> None:
    settings = {name: os.environ[name] for name in ("DATABASE_URL", "CONNECTOR_SECRET")}
    following = Command(tmp_path, "log --follow --json -n 1", **settings)
    try:
        following.says('"m4"')
        feed(known, call("m5", type="identify", anonymousId="browser-2", traits={"email": "stranger@x.test"}))
        following.says('"m5"')
        assert following.end(signal.SIGINT) == 0
    finally:
        following.process.kill()
        following.ended()
    source, *entries = following.output.splitlines()
    assert source.startswith("reading ")
    told = [json.loads(entry) for entry in entries]
    assert [(one["message_id"], one["outcome"]) for one in told] == [
        ("m4", "quarantined"),
        ("m3", "stitched_late"),
        ("m5", "learned"),
    ]
