"""``connector klaviyo`` and what ``connector check`` says of Klaviyo, against a stand-in that keeps the contract."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from click.testing import CliRunner, Result

from connector import bulk, mapping, resources
from connector.answers import Finding, check_klaviyo
from connector.cli import klaviyo_client, main
from connector.cli.klaviyo_polling import Bars
from connector.demo.klaviyo_standin import KlaviyoStandIn, answer, hang
from connector.demo.loopback import Answer, Asked, LoopbackServer
from connector.klaviyo import rights, tracking, webhooks
from connector.klaviyo.api import LIMITS, Tier
from connector.klaviyo.polled import Step
from connector.klaviyo.rights import Right
from connector.klaviyo.tracking import Settings
from connector.klaviyo.webhooks import Webhook
from connector.messages import HOUR, MINUTE, iso, now_ms
from connector.poll_mapping import Poll
from connector.store import Store
from connector.tables import facts, polls
from tests.running import Connector
from tests.told import NOW, configured, feed, house, opened

MAPPINGS = mapping.load(resources.shipped_mappings())
SOURCE = MAPPINGS.sources["klaviyo"]
KEY = "pk_0123456789abcdef0123456789abcdef01"
DENIED = {"errors": [{"id": "1", "status": 403, "code": "permission_denied", "title": "Denied", "detail": "No."}]}
UNKNOWN_KEY = {"errors": [{"id": "1", "status": 401, "code": "authentication_failed", "title": "No", "detail": "No."}]}
INVALID = {"errors": [{"id": "1", "status": 400, "code": "invalid", "title": "Invalid", "detail": "Not valid."}]}

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_SECRET", "a secret of the tests")
    monkeypatch.setenv("KLAVIYO_API_KEY", KEY)


@pytest.fixture
def run() -> Run:
    """Run ``connector …``; nothing but an exit leaves it, and the key is never said."""

    def invoke(line: str, status: int = 0, typed: str | None = None) -> Result:
        result = CliRunner().invoke(main, shlex.split(line), input=typed)
        assert isinstance(result.exception, SystemExit | type(None)), result.exception
        assert result.exit_code == status, result.output
        assert KEY not in result.output
        return result

    return invoke


class Scripted:
    """A Klaviyo that answers as told, by method and path, and everything else with an empty list."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, Answer] = {}
        self.server = LoopbackServer(self._respond)

    def says(self, where: str, status: int, document: Any = None, **headers: str) -> None:
        self.answers[where] = Answer(status, headers, json.dumps(document).encode() if document is not None else b"")

    @property
    def paths(self) -> list[str]:
        return [f"{one.method} {one.path.partition('?')[0]}" for one in self.asked]

    def _respond(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        found = self.answers.get(f"{asked.method} {asked.path.partition('?')[0]}", self.answers.get("*"))
        return found or Answer(200, {}, b'{"data": [], "links": {"next": null}}')


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setitem(LIMITS, Tier.ACCOUNT, ((1_000, 1.0),))
    one = Scripted()
    one.server.start()
    monkeypatch.setenv("KLAVIYO_API_URL", one.server.url)
    yield one
    one.server.stop()


# -- what the key may do --------------------------------------------------------------------------------------------

READS = [
    Right("read metrics", "metrics:read", "yes"),
    Right("read events", "events:read", "yes"),
    Right("read profiles", "profiles:read", "yes"),
    Right("read the account", "accounts:read", "yes"),
    Right("read tracking settings", "tracking-settings:read", "yes"),
    Right("read webhooks", "webhooks:read", "yes"),
]


def test_rights_are_found_out_by_reading_and_no_address_is_asked_for(run: Run, scripted: Scripted) -> None:
    told = json.loads(run("klaviyo rights --json").stdout)
    assert told == {
        "ok": True,
        "rights": [
            {"what": one.what, "scope": one.scope, "state": "yes", "said": "", "tried": "read"} for one in READS
        ],
    }
    assert [f"{one.method} {unquote(one.path)}" for one in scripted.asked] == [
        "GET /api/metrics?fields[metric]=name",
        "GET /api/events?page[size]=1&fields[event]=uuid",
        "GET /api/profiles?page[size]=1&fields[profile]=created",
        "GET /api/accounts?fields[account]=public_api_key",
        "GET /api/tracking-settings",
        "GET /api/webhooks",
    ]


def test_what_the_key_may_not_is_said_with_the_scope_it_lacks(run: Run, scripted: Scripted) -> None:
    scripted.says("GET /api/metrics", 403, DENIED)
    scripted.says("GET /api/webhooks", 403, DENIED)
    lacking = (
        "set KLAVIYO_API_KEY to a key with the scope metrics:read (Klaviyo: Settings, API keys; scopes cannot be added"
        " later)"
    )
    assert run("klaviyo rights", status=1).stdout.splitlines() == [
        "✗ read metrics (metrics:read): no",
        f"  {lacking}",
        "✓ read events (events:read): yes",
        "✓ read profiles (profiles:read): yes",
        "✓ read the account (accounts:read): yes",
        "✓ read tracking settings (tracking-settings:read): yes",
        "· read webhooks (webhooks:read): no",
        f"  {rights.NO_WEBHOOKS}",
    ]


def test_a_key_that_klaviyo_does_not_know_is_asked_about_once(run: Run, scripted: Scripted) -> None:
    scripted.says("*", 401, UNKNOWN_KEY)
    assert run("klaviyo rights", status=1).stdout.splitlines() == [
        "✗ read metrics (metrics:read): no",
        f"  {rights.NO_KEY}",
    ]
    assert len(scripted.asked) == 1


def test_writing_is_tried_only_where_it_is_configured_and_only_with_what_must_be_refused(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATIONS", "segment,klaviyo")
    monkeypatch.setenv("KLAVIYO_DELETE", "1")
    scripted.says("POST /api/profile-import", 400, INVALID)
    scripted.says("POST /api/events", 403, DENIED)
    scripted.says("POST /api/data-privacy-deletion-jobs", 400, INVALID)
    told = json.loads(run("klaviyo rights --json", status=1).stdout)["rights"][len(READS) :]
    assert [(one["scope"], one["state"], one["tried"]) for one in told] == [
        ("profiles:write", "yes", "refused"),
        ("events:write", "no", "refused"),
        ("data-privacy:write", "yes", "refused"),
    ]
    sent = [json.loads(one.body) for one in scripted.asked if one.method == "POST"]
    assert sent == [
        {"data": {"type": kind, "attributes": {"connector_check": True}}}
        for kind in ("profile", "event", "data-privacy-deletion-job")
    ]


def test_an_answer_that_says_nothing_of_the_right_leaves_it_open(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATIONS", "segment,klaviyo")
    scripted.says("POST /api/profile-import", 404, {"errors": []})
    scripted.says("POST /api/events", 400, INVALID)
    told = json.loads(run("klaviyo rights --json").stdout)["rights"][len(READS) :]
    assert [(one["scope"], one["state"], one["said"]) for one in told] == [
        ("profiles:write", "unknown", "Klaviyo answered HTTP 404: is KLAVIYO_API_URL right?"),
        ("events:write", "yes", ""),
    ]


def test_a_klaviyo_that_does_not_answer_leaves_it_open(run: Run, scripted: Scripted) -> None:
    scripted.says("GET /api/events", 429, {"errors": []}, **{"Retry-After": "60"})
    told = json.loads(run("klaviyo rights --json").stdout)["rights"]
    assert [(one["scope"], one["state"], one["said"]) for one in told] == [
        ("metrics:read", "yes", ""),
        ("events:read", "unknown", "Klaviyo answered HTTP 429"),
    ]


def test_without_a_key_the_commands_say_where_to_get_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KLAVIYO_API_KEY")
    monkeypatch.delenv("CONNECTOR_SECRET")
    for line in ("rights", "webhooks", "tracking", "tracking set --yes", "webhooks delete X --yes"):
        assert run(f"klaviyo {line}", status=1).stderr == (
            "Error: KLAVIYO_API_KEY: it is not set. Make a private key in Klaviyo (Settings, API keys) and put it into"
            " .env; README lists the scopes to tick\n"
        )


def test_a_key_that_can_be_none_is_told_before_anybody_is_asked(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLAVIYO_API_KEY", "pk_0123\u2026")
    wrong = "KLAVIYO_API_KEY: this cannot be a key: it has spaces or typographic characters. Copy it once more"
    assert run("klaviyo rights", status=1).stderr == f"Error: {wrong}\n"
    assert scripted.asked == []


def test_what_may_be_and_what_not_becomes_findings() -> None:
    found = [
        Right("read metrics", "metrics:read", "yes"),
        Right("write profiles", "profiles:write", "yes", "", "refused"),
        Right("read events", "events:read", "no", "do this"),
        Right("read profiles", "profiles:read", "no", "do that"),
        Right("read webhooks", "webhooks:read", "no", rights.NO_WEBHOOKS),
        Right("write events", "events:write", "unknown", "HTTP 500", "refused"),
    ]
    assert list(check_klaviyo.told(found)) == [
        Finding(
            "ok", "Klaviyo's key may read metrics, write profiles (writing was tried with what Klaviyo has to refuse)"
        ),
        Finding("error", "Klaviyo's key may not read events: without it no email event is read", "do this"),
        Finding(
            "warn", "Klaviyo's key may not read profiles: without it nobody knows whose a link's token is", "do that"
        ),
        Finding("off", "Klaviyo's key may not read webhooks", rights.NO_WEBHOOKS),
        Finding(
            "warn",
            "whether Klaviyo's key may write events is not known (HTTP 500)",
            "run `connector check` again later; what waits for Klaviyo is not lost",
        ),
    ]
    assert list(check_klaviyo.told([Right("read metrics", "metrics:read", "no", rights.NO_KEY)])) == [
        Finding("error", "Klaviyo does not know the key of KLAVIYO_API_KEY", rights.NO_KEY)
    ]


# -- what settings and store say ------------------------------------------------------------------------------------

SEGMENTS_OWN = "see that every destination named Klaviyo is switched off in Segment (Connections, Destinations)"


POLLED = replace(
    MAPPINGS,
    sources={**MAPPINGS.sources, "klaviyo": replace(SOURCE, poll=Poll(True, MINUTE, 0, 0, 0, False, {}))},
)


def checked(store: Store | None = None, at: int = NOW, **settings: str) -> list[Finding]:
    return list(check_klaviyo.check(configured(**settings), POLLED, store, at))


def note(store: Store, name: str, **told: Any) -> None:
    with store.writing() as tx:
        bulk.insert_rows(tx, facts, ("name", "value"), [(name, json.dumps(told))])


def test_nothing_is_said_where_klaviyo_is_not_in_use(store: Store) -> None:
    assert checked(store) == []
    assert checked(None) == []


def test_writing_to_klaviyo_warns_of_segments_own_destination() -> None:
    assert checked(DESTINATIONS="segment,klaviyo", KLAVIYO_API_KEY=KEY) == [
        Finding(
            "warn",
            "deliveries leave for https://a.klaviyo.com; if Segment's own Klaviyo destination is on, everything is"
            " written twice, by two rules",
            SEGMENTS_OWN,
        )
    ]


def test_writing_without_a_key_is_an_error_and_a_key_alone_reads() -> None:
    assert checked(DESTINATIONS="segment,klaviyo") == [
        Finding(
            "error",
            "DESTINATIONS names klaviyo, and KLAVIYO_API_KEY is not set: what is for Klaviyo waits",
            "set KLAVIYO_API_KEY to a private key of Klaviyo's, or take klaviyo out of DESTINATIONS",
        )
    ]
    assert checked(KLAVIYO_API_KEY=KEY) == [
        Finding("ok", "Klaviyo is read only: DESTINATIONS does not name klaviyo, so nothing is written to it")
    ]


def test_erasing_in_klaviyo_needs_writing_to_it() -> None:
    unused = Finding(
        "warn",
        "KLAVIYO_DELETE=1 does nothing: nothing is written to Klaviyo",
        "set DESTINATIONS=segment,klaviyo and KLAVIYO_API_KEY, or remove it; erase in Klaviyo by hand until then",
    )
    assert unused in checked(KLAVIYO_DELETE="1", KLAVIYO_API_KEY=KEY)
    assert unused not in checked(KLAVIYO_DELETE="1", KLAVIYO_API_KEY=KEY, DESTINATIONS="segment,klaviyo")


def test_polling_that_has_not_begun_works_fails_or_stopped_is_told_apart(store: Store) -> None:
    def told(at: int = NOW) -> list[Finding]:
        return checked(store, at, KLAVIYO_API_KEY=KEY)[1:]

    run_it = "start `connector serve` or `connector worker`"
    assert told() == [Finding("warn", "polling Klaviyo's events has not begun", run_it)]
    note(store, "klaviyo.poll", at=NOW, ok=True, said="12 new events of 7 metrics")
    last = f"the last time was {iso(NOW)}, 12 new events of 7 metrics"
    works = Finding("ok", f"polling Klaviyo's events works: {last}")
    assert told(NOW + MINUTE) == [works]
    assert told(NOW + HOUR) == [Finding("warn", f"polling Klaviyo's events stopped: {last}", "see that a worker runs")]
    note(store, "klaviyo.lookups", at=NOW, ok=False, said="HTTP 403")
    assert told(NOW + MINUTE) == [
        works,
        Finding(
            "warn",
            f"asking Klaviyo whose a link's token is failed: the last time was {iso(NOW)}, HTTP 403",
            "it is tried again by itself; see what the key may do",
        ),
    ]


def test_readings_under_way_are_counted(store: Store) -> None:
    note(store, "klaviyo.poll", at=NOW, ok=True, said="")
    columns = ("source", "metric_id", "name", "began_at", "watermark", "swept_at", "task")
    rows = [("klaviyo", f"M{n}", "Opened Email", NOW, NOW, NOW, "{}" if n < 2 else None) for n in range(3)]
    with store.writing() as tx:
        bulk.insert_rows(tx, polls, columns, rows)
    assert checked(store, KLAVIYO_API_KEY=KEY)[1:] == [
        Finding("ok", f"polling Klaviyo's events works: the last time was {iso(NOW)}"),
        Finding("ok", "2 of 3 metrics of Klaviyo's are being read, and go on where they were"),
    ]


def test_link_tokens_without_a_key_are_told_only_where_klaviyos_events_come(store: Store) -> None:
    unresolved = Finding(
        "off",
        "link tokens of Klaviyo's mails cannot be resolved: only Klaviyo knows whose they are",
        "set KLAVIYO_API_KEY, a private key that may read profiles",
    )
    assert checked(store) == []
    assert checked(store, KLAVIYO_WEBHOOK_SECRETS="s") == [unresolved]
    feed(store, house(), [opened("o1", "11:00:00", "jane@x.test")])
    assert checked(store) == [unresolved]


def test_a_webhook_that_brings_nothing_is_found() -> None:
    def told(*found: Webhook, **settings: str) -> list[Finding]:
        return list(check_klaviyo.switched_off(found, configured(**settings), MAPPINGS))

    def one(name: str, enabled: bool, topic: str = "event:klaviyo.opened_email") -> Webhook:
        return Webhook("01W", name, "https://connector.example.com/*****", enabled, "2026-09-01T10:00:00", (topic,))

    ours, opened_door = webhooks.NAME, {"KLAVIYO_WEBHOOK_SECRETS": "a secret long enough"}
    assert told(one(ours, True), **opened_door) == []
    switched_off = Finding(
        "warn",
        "Klaviyo's webhook 01W to https://connector.example.com/***** is switched off, last changed at"
        " 2026-09-01T10:00:00; polling reads what it misses",
        "if it is this connector's: `connector klaviyo webhooks enable 01W`",
    )
    assert told(one(ours, False), **opened_door) == [switched_off]
    assert told(one("made by hand", False), **opened_door) == [switched_off]
    assert told(one("made by hand", False)) == []
    assert told(one("about texts", False, "event:klaviyo.sent_sms"), **opened_door) == []
    assert told(one(ours, True)) == [
        Finding(
            "warn",
            "Klaviyo's webhook 01W sends to a closed door, and will be switched off after 48 hours",
            "set KLAVIYO_WEBHOOK_SECRETS to its secret; if that is lost, delete the webhook and make another"
            " (`connector klaviyo webhooks delete 01W`)",
        )
    ]


# -- what can be asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://connector.example.com/webhooks/klaviyo",
        "connector.example.com/webhooks/klaviyo",
        "https://connector.example.com",
        "https://connector.example.com/webhooks/segment",
        "https://user:password@connector.example.com/webhooks/klaviyo",
        "https://connector.example.com/webhooks/klaviyo?token=x",
        "https:///webhooks/klaviyo",
        "https://[::1/webhooks/klaviyo",
    ],
)
def test_a_url_that_klaviyo_cannot_post_our_events_to_is_a_usage_error(run: Run, url: str) -> None:
    assert "--url" in run(f"klaviyo webhooks create --url {url}", status=2).stderr


@pytest.mark.parametrize("name", ["utm_profile", "UTM_x", "kl pid", "", "_kx", "1a", "a" * 41, "kl&pid", "k=1"])
def test_a_parameter_that_is_no_name_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(tracking.Unfit, match="expected a name such as kl_pid"):
        tracking.with_parameter(Settings("A", True, {}, ()), name, "profile_id")


# -- webhooks -------------------------------------------------------------------------------------------------------

URL = "https://connector.example.com/webhooks/klaviyo"
TOPICS = [
    "event:klaviyo.bounced_email",
    "event:klaviyo.clicked_email",
    "event:klaviyo.marked_email_as_spam",
    "event:klaviyo.opened_email",
    "event:klaviyo.received_email",
    "event:klaviyo.unsubscribed_from_email_marketing",
]


@pytest.fixture
def klaviyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[KlaviyoStandIn]:
    """An account with Advanced KDP, whose clock stands still. It counts no requests, so neither do we wait for it."""
    monkeypatch.setitem(LIMITS, Tier.ACCOUNT, ((1_000, 1.0),))
    with KlaviyoStandIn(KEY, advanced=True, limits=False, clock=lambda: NOW) as one:
        monkeypatch.setenv("KLAVIYO_API_URL", one.url)
        yield one


def only(klaviyo: KlaviyoStandIn) -> Any:
    (one,) = klaviyo.account.webhooks.values()
    return one


def test_create_makes_a_secret_and_says_once_where_to_put_it(run: Run, klaviyo: KlaviyoStandIn) -> None:
    done = run(f"klaviyo webhooks create --url {URL}")
    one = only(klaviyo)
    assert len(one.secret_key) == 40
    absent = [topic for topic in webhooks.wanted(SOURCE) if topic not in one.topics]
    assert done.stdout.splitlines() == [
        "Put this line into .env, and restart the connector:",
        f"  KLAVIYO_WEBHOOK_SECRETS={one.secret_key}",
        "It is not shown again. Klaviyo repeats for 48 hours what the connector does not take meanwhile.",
        f"made the webhook {one.id} to https://connector.example.com/*****, about {len(one.topics)} topics:",
        *(f"  {topic}" for topic in one.topics),
        f"not in this account, so not asked for: {', '.join(absent)}",
    ]
    assert (one.name, one.endpoint_url, one.enabled) == ("Email identity connector", URL, True)
    assert set(TOPICS) <= set(one.topics)
    assert "event:klaviyo.unsubscribed" in absent
    assert done.stderr == ""


def test_create_asks_the_account_for_its_topics_and_takes_those_of_the_mapping(
    run: Run, klaviyo: KlaviyoStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not those of its own metrics, though they are called alike; and of a changed mapping what that names."""
    klaviyo.mail("jane@x.test", "Unsubscribed", NOW)
    klaviyo.mail("jane@x.test", "Opened Email", NOW, service="api")
    run(f"klaviyo webhooks create --url {URL}")
    assert "event:klaviyo.unsubscribed" in only(klaviyo).topics
    assert "event:api.opened_email" not in only(klaviyo).topics
    (tmp_path / "mine" / "sources").mkdir(parents=True)
    (tmp_path / "mine" / "sources" / "klaviyo.toml").write_text(
        'secrets = "KLAVIYO_WEBHOOK_SECRETS"\n[event.names]\n"event:klaviyo.received_email/x" = "Email Delivered"\n'
        '"event:klaviyo.nothing" = "Email Opened"\n[identifiers]\nrecipient = ["to"]\n[poll]\nenabled = true\n'
        '[poll.metrics]\n"Clicked Email" = "event:klaviyo.clicked_email"\n'
    )
    monkeypatch.setenv("MAPPINGS", str(tmp_path / "mine"))
    told = json.loads(run("klaviyo webhooks create --url https://other.example.com/webhooks/klaviyo --json").stdout)
    assert (told["topics"], told["absent_topics"]) == (
        ["event:klaviyo.clicked_email", "event:klaviyo.received_email"],
        ["event:klaviyo.nothing"],
    )


def test_create_signs_with_the_secret_that_is_set(
    run: Run, klaviyo: KlaviyoStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLAVIYO_WEBHOOK_SECRETS", "the first of the secrets, an older one of the secrets")
    done = run(f"klaviyo webhooks create --url {URL}")
    assert only(klaviyo).secret_key == "the first of the secrets"
    assert done.stdout.startswith("Signed with the first secret of KLAVIYO_WEBHOOK_SECRETS, which is set already.\n")
    assert "of the secrets" not in done.output


def test_create_can_make_another_secret_beside_those_that_are_set(
    run: Run, klaviyo: KlaviyoStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLAVIYO_WEBHOOK_SECRETS", "too short")
    refused = run(f"klaviyo webhooks create --url {URL}", status=1)
    assert refused.stderr == (
        "Error: Klaviyo wants at least 16 characters of a webhook's secret, and the first one of"
        " KLAVIYO_WEBHOOK_SECRETS has 9; set another, or let --new-secret make one\n"
    )
    assert klaviyo.account.webhooks == {}
    done = run(f"klaviyo webhooks create --url {URL} --new-secret")
    assert done.stdout.splitlines()[:2] == [
        "Add this secret to KLAVIYO_WEBHOOK_SECRETS in .env, behind a comma, and restart the connector:",
        f"  {only(klaviyo).secret_key}",
    ]
    assert "too short" not in done.output


def test_create_in_json_tells_the_secret_too(run: Run, klaviyo: KlaviyoStandIn) -> None:
    told = json.loads(run(f"klaviyo webhooks create --url {URL} --json").stdout)
    one = only(klaviyo)
    assert told == {
        "id": one.id,
        "name": "Email identity connector",
        "endpoint_url": "https://connector.example.com/*****",
        "enabled": True,
        "updated_at": "2026-09-10T00:00:00+00:00",
        "topics": one.topics,
        "ours": True,
        "absent_topics": [topic for topic in webhooks.wanted(SOURCE) if topic not in one.topics],
        "new_secret": one.secret_key,
        "variable": "KLAVIYO_WEBHOOK_SECRETS",
    }


def test_create_makes_no_second_one_to_the_same_host(run: Run, klaviyo: KlaviyoStandIn) -> None:
    run(f"klaviyo webhooks create --url {URL}")
    one = only(klaviyo)
    done = run(f"klaviyo webhooks create --url {URL}", status=1)
    assert done.output == (
        f"Error: there is a webhook to connector.example.com already, {one.id}, enabled: keep it, or delete it first"
        f" (`connector klaviyo webhooks delete {one.id}`)\n"
    )
    run("klaviyo webhooks create --url https://staging.example.com/webhooks/klaviyo")
    assert len(klaviyo.account.webhooks) == 2


def test_a_lost_answer_leaves_the_secret_known_and_says_where_to_look(run: Run, klaviyo: KlaviyoStandIn) -> None:
    none_yet, lost = answer(200, body=b'{"data": []}'), answer(502, stored=True)
    klaviyo.script(none_yet, lost, path="/api/webhooks")
    done = run(f"klaviyo webhooks create --url {URL}", status=1)
    assert f"KLAVIYO_WEBHOOK_SECRETS={only(klaviyo).secret_key}" in done.stdout
    assert done.stderr == (
        "Error: Klaviyo answered HTTP 502: error: scripted …; it may have been done: `connector klaviyo webhooks list`"
        " shows that; try again later\n"
    )


def test_without_advanced_kdp_webhooks_are_refused_in_plain_words(run: Run, klaviyo: KlaviyoStandIn) -> None:
    klaviyo.advanced = False
    for line in ("", "list", f"create --url {URL}", "enable X", "disable X", "delete X --yes"):
        assert run(f"klaviyo webhooks {line}", status=1).output == (
            "Error: webhooks need an account with Advanced KDP, or an OAuth app, and a key with their scopes; polling"
            " works without\n"
        )


def test_the_list_shows_topics_and_what_klaviyo_switched_off(run: Run, klaviyo: KlaviyoStandIn) -> None:
    assert run("klaviyo webhooks").stdout == "There is no webhook in this account.\n"
    run(f"klaviyo webhooks create --url {URL}")
    one = only(klaviyo)
    one.enabled, one.topics = False, ["event:klaviyo.opened_email", "event:klaviyo.clicked_email"]
    head, row, hint = run("klaviyo webhooks").stdout.splitlines()
    assert head.split("  ")[0] == "ID"
    assert row == (
        f"{one.id}  Email identity connector  disabled  https://connector.example.com/*****  2026-09-10 00:00:00 "
        " event:klaviyo.clicked_email, event:klaviyo.opened_email"
    )
    assert hint == (
        f"{one.id} is switched off; Klaviyo does that after 48 hours of errors. `connector klaviyo webhooks enable"
        f" {one.id}` switches it on again."
    )
    assert json.loads(run("klaviyo webhooks list --json").stdout) == {
        "webhooks": [
            {
                "id": one.id,
                "name": "Email identity connector",
                "endpoint_url": "https://connector.example.com/*****",
                "enabled": False,
                "updated_at": "2026-09-10T00:00:00+00:00",
                "topics": ["event:klaviyo.clicked_email", "event:klaviyo.opened_email"],
                "ours": True,
            }
        ]
    }


def test_enable_switches_on_again_and_says_that_polling_fills_the_gap(run: Run, klaviyo: KlaviyoStandIn) -> None:
    run(f"klaviyo webhooks create --url {URL}")
    one = only(klaviyo)
    one.enabled = False
    assert run(f"klaviyo webhooks enable {one.id}").stdout == (
        f"{one.id} to https://connector.example.com/***** is enabled\n"
        "Klaviyo sends nothing again of the time in between: polling reads it, by itself where `connector serve` runs,"
        " or now: `connector klaviyo poll`.\n"
    )
    assert one.enabled
    assert run(f"klaviyo webhooks disable {one.id}").stdout == (
        f"{one.id} to https://connector.example.com/***** is disabled\nPolling goes on.\n"
    )
    assert not one.enabled
    assert json.loads(run(f"klaviyo webhooks enable {one.id} --json").stdout)["enabled"] is True


def test_delete_asks_first(run: Run, klaviyo: KlaviyoStandIn) -> None:
    run(f"klaviyo webhooks create --url {URL}")
    one = only(klaviyo)
    declined = run(f"klaviyo webhooks delete {one.id}", status=1, typed="n\n")
    assert declined.stderr == (
        "Delete the webhook 'Email identity connector' to https://connector.example.com/*****? [y/N]: n\n"
        "Nothing was changed.\n"
    )
    assert run(f"klaviyo webhooks delete {one.id}", status=1, typed="").stderr.endswith("Aborted!\n")
    one.name = "made by hand"
    assert "made by hand' to https://connector.example.com/*****, which this command did not make?" in (
        run(f"klaviyo webhooks delete {one.id}", status=1, typed="n\n").stderr
    )
    assert klaviyo.account.webhooks
    assert run(f"klaviyo webhooks delete {one.id}", typed="y\n").stdout == f"deleted {one.id}; polling goes on\n"
    assert klaviyo.account.webhooks == {}
    assert run(f"klaviyo webhooks delete {one.id} --yes", status=1).stderr == (
        "Error: Klaviyo has no webhook of this id; `connector klaviyo webhooks list` shows those there are\n"
    )


def test_delete_with_yes_does_not_ask(run: Run, klaviyo: KlaviyoStandIn) -> None:
    run(f"klaviyo webhooks create --url {URL}")
    one = only(klaviyo)
    assert json.loads(run(f"klaviyo webhooks delete {one.id} --yes --json").stdout) == {"deleted": one.id}
    assert klaviyo.account.webhooks == {}


# -- tracking parameters --------------------------------------------------------------------------------------------

STATIC = {"type": "static", "value": "mail"}
PROFILE_ID = {"type": "dynamic", "value": "profile_id"}
THEIRS = {"name": "ref", "flow": STATIC, "campaign": STATIC}
READ_AS_PROFILE = "identity.toml reads kl_pid: as klaviyo_profile_id, clicked.\n"


def parameters(klaviyo: KlaviyoStandIn) -> Any:
    return klaviyo.account.tracking["custom_parameters"]


def test_tracking_shows_what_klaviyo_adds_and_which_of_it_is_read(run: Run, klaviyo: KlaviyoStandIn) -> None:
    klaviyo.account.tracking = {"custom_parameters": [THEIRS]}
    assert run("klaviyo tracking").stdout == (
        "Klaviyo adds parameters to links: no (auto_add_parameters is off)\n"
        "PARAMETER   CARRIES                        READ AS\n"
        'utm_source  "Klaviyo"                      -\n'
        'utm_medium  "email" (flows: message_type)  -\n'
        'ref         "mail"                         -\n'
        "No parameter says whose mail was clicked: `connector klaviyo tracking set` adds one.\n"
    )
    klaviyo.account.tracking = {
        "auto_add_parameters": True,
        "custom_parameters": [{"name": "kl_pid", "flow": None, "campaign": PROFILE_ID}],
    }
    assert json.loads(run("klaviyo tracking --json").stdout) == {
        "account": "DeMo01",
        "auto_add_parameters": True,
        "parameters": [
            {"name": "utm_source", "carries": '"Klaviyo"', "read_as": None},
            {"name": "utm_medium", "carries": '"email" (flows: message_type)', "read_as": None},
            {"name": "kl_pid", "carries": "profile_id (flows: nothing)", "read_as": "klaviyo_profile_id (clicked)"},
        ],
    }


def test_set_adds_the_parameter_without_losing_another(run: Run, klaviyo: KlaviyoStandIn) -> None:
    klaviyo.account.tracking = {"auto_add_parameters": True, "custom_parameters": [THEIRS]}
    done = run("klaviyo tracking set", typed="y\n")
    assert done.stderr == (
        "kl_pid = profile_id will be added to every link of campaigns and flows.\n"
        "The others stay as they are: ref.\n"
        "Do this? [y/N]: y\n"
    )
    assert (
        done.stdout == f"Klaviyo now adds kl_pid = profile_id to the links of campaigns and flows.\n{READ_AS_PROFILE}"
    )
    assert parameters(klaviyo) == [THEIRS, {"name": "kl_pid", "flow": PROFILE_ID, "campaign": PROFILE_ID}]
    jane = klaviyo.mail("jane@x.test", "Received Email", NOW).profile
    assert jane is not None
    assert f"kl_pid={jane.id}" in klaviyo.link(jane, "https://shop.example/new", source="flow")


def test_set_says_that_it_switches_parameters_on_at_all(run: Run, klaviyo: KlaviyoStandIn) -> None:
    done = run("klaviyo tracking set", status=1, typed="n\n")
    assert done.stderr == (
        "kl_pid = profile_id will be added to every link of campaigns and flows.\n"
        "Klaviyo adds no parameters to links now (auto_add_parameters is off). This switches it on, and with it"
        " Klaviyo's own utm_… parameters.\n"
        "The others stay as they are.\n"
        "Do this? [y/N]: n\n"
        "Nothing was changed.\n"
    )
    assert klaviyo.account.tracking == {}
    assert json.loads(run("klaviyo tracking set --yes --json").stdout) == {
        "account": "DeMo01",
        "auto_add_parameters": True,
        "parameters": [
            {"name": "utm_source", "carries": '"Klaviyo"', "read_as": None},
            {"name": "utm_medium", "carries": '"email" (flows: message_type)', "read_as": None},
            {"name": "kl_pid", "carries": "profile_id", "read_as": "klaviyo_profile_id (clicked)"},
        ],
        "changed": True,
    }


def test_set_twice_changes_nothing_and_does_not_ask(run: Run, klaviyo: KlaviyoStandIn) -> None:
    run("klaviyo tracking set --yes")
    done = run("klaviyo tracking set")
    assert done.stdout == f"Klaviyo adds kl_pid = profile_id to the links of campaigns and flows.\n{READ_AS_PROFILE}"
    parameters(klaviyo).append(THEIRS)
    run("klaviyo tracking set")
    assert len(klaviyo.asked("PATCH /api/tracking-settings/DeMo01")) == 1


def test_set_completes_what_is_there_in_part_and_leaves_another_value_alone(run: Run, klaviyo: KlaviyoStandIn) -> None:
    klaviyo.account.tracking = {"custom_parameters": [{"name": "kl_pid", "campaign": PROFILE_ID}, THEIRS]}
    run("klaviyo tracking set --yes")
    assert parameters(klaviyo) == [THEIRS, {"name": "kl_pid", "flow": PROFILE_ID, "campaign": PROFILE_ID}]
    assert "Klaviyo has a parameter 'ref' with another value already" in (
        run("klaviyo tracking set --parameter ref --yes", status=2).stderr
    )


def test_a_parameter_that_identity_toml_does_not_read_comes_with_what_to_add(
    run: Run, klaviyo: KlaviyoStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = run("klaviyo tracking set --value profile_external_id --parameter shop_customer --yes")
    entry = '[[landings]]\nparameter = "shop_customer"\ntype = "klaviyo_user_id"\nkind = "clicked"'
    assert done.stdout == (
        "Klaviyo now adds shop_customer = profile_external_id to the links of campaigns and flows.\n"
        "identity.toml does not read shop_customer yet. Add to it, and restart the connector:\n"
        + "".join(f"  {line}\n" for line in entry.splitlines())
    )
    (tmp_path / "mine").mkdir()
    shipped = (resources.shipped_mappings() / "identity.toml").read_text(encoding="utf-8")
    (tmp_path / "mine" / "identity.toml").write_text(shipped.replace("[clicked]", f"{entry}\n\n[clicked]", 1))
    monkeypatch.setenv("MAPPINGS", str(tmp_path / "mine"))
    assert run("klaviyo tracking").stdout.splitlines()[-1] == (
        "identity.toml reads shop_customer: as klaviyo_user_id, clicked."
    )


def test_a_parameter_that_identity_toml_reads_as_something_else_is_refused(run: Run, klaviyo: KlaviyoStandIn) -> None:
    assert run("klaviyo tracking set --value profile_external_id --parameter kl_pid", status=2).stderr.endswith(
        "Error: --parameter: identity.toml reads kl_pid as klaviyo_profile_id, which profile_external_id is not; use"
        " another name, such as kl_xid, or change that entry of [[landings]] first\n"
    )
    assert klaviyo.requests == []
    by_hand = {"name": "kl_pid", "flow": None, "campaign": {"type": "dynamic", "value": "profile_external_id"}}
    klaviyo.account.tracking = {"auto_add_parameters": True, "custom_parameters": [by_hand]}
    assert run("klaviyo tracking").stdout.splitlines()[-2:] == [
        "kl_pid      profile_external_id (flows: nothing)  klaviyo_profile_id (clicked)",
        "identity.toml reads kl_pid as klaviyo_profile_id, which profile_external_id is not; use another name, such as"
        " kl_xid, or change that entry of [[landings]] first.",
    ]


def test_a_change_that_klaviyo_put_off_was_not_made(run: Run, klaviyo: KlaviyoStandIn) -> None:
    klaviyo.script(answer(429, retry_after=60), path="/api/tracking-settings/DeMo01")
    assert run("klaviyo tracking set --yes", status=1).stderr.splitlines()[-1] == (
        "Error: Klaviyo answered HTTP 429: throttled: scripted …; try again in 60 seconds"
    )
    assert klaviyo.account.tracking == {}


def test_what_the_key_may_not_is_said_when_it_is_tried(run: Run, klaviyo: KlaviyoStandIn) -> None:
    klaviyo.scopes[KEY] = {"tracking-settings:read", "webhooks:read"}
    assert run("klaviyo tracking set --yes", status=1).stderr.splitlines()[-1] == (
        "Error: set KLAVIYO_API_KEY to a key with the scope tracking-settings:write (Klaviyo: Settings, API keys;"
        " scopes cannot be added later)"
    )
    klaviyo.scopes[KEY] = set()
    assert run("klaviyo tracking", status=1).stderr == (
        "Error: set KLAVIYO_API_KEY to a key with the scope tracking-settings:read (Klaviyo: Settings, API keys; scopes"
        " cannot be added later)\n"
    )


def test_what_somebody_adds_while_we_ask_is_not_lost(
    run: Run, klaviyo: KlaviyoStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agree(*_words: object, **_more: object) -> bool:
        klaviyo.account.tracking = {"custom_parameters": [THEIRS]}
        return True

    monkeypatch.setattr("click.confirm", agree)
    run("klaviyo tracking set")
    assert parameters(klaviyo) == [THEIRS, {"name": "kl_pid", "flow": PROFILE_ID, "campaign": PROFILE_ID}]


# -- the whole check ------------------------------------------------------------------------------------------------


def test_check_tells_what_the_key_may_and_which_webhook_is_off(
    run: Run, klaviyo: KlaviyoStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATIONS", "segment,klaviyo")
    monkeypatch.setenv("KLAVIYO_WEBHOOK_SECRETS", "a secret that is long enough")
    run("migrate")
    run(f"klaviyo webhooks create --url {URL}")
    only(klaviyo).enabled = False
    found = [one for one in json.loads(run("check --json").stdout)["findings"] if "laviyo" in one["what"]]
    assert [(one["level"], one["what"]) for one in found[-4:]] == [
        (
            "warn",
            f"deliveries leave for {klaviyo.url}; if Segment's own Klaviyo destination is on, everything is written"
            " twice, by two rules",
        ),
        ("warn", "polling Klaviyo's events has not begun"),
        (
            "ok",
            "Klaviyo's key may read metrics, read events, read profiles, read the account, read tracking settings,"
            " read webhooks, write profiles, write events (writing was tried with what Klaviyo has to refuse)",
        ),
        (
            "warn",
            f"Klaviyo's webhook {only(klaviyo).id} to https://connector.example.com/***** is switched off, last changed"
            " at 2026-09-10T00:00:00+00:00; polling reads what it misses",
        ),
    ]
    assert (klaviyo.profiles, klaviyo.events) == ([], [])
    assert "a secret that is long enough" not in str(found)


def test_check_offline_asks_nobody(run: Run, klaviyo: KlaviyoStandIn) -> None:
    run("migrate")
    found = json.loads(run("check --offline --json").stdout)["findings"]
    assert klaviyo.requests == []
    assert found[-2:] == [
        {
            "level": "ok",
            "what": "Klaviyo is read only: DESTINATIONS does not name klaviyo, so nothing is written to it",
            "do": "",
        },
        {
            "level": "warn",
            "what": "polling Klaviyo's events has not begun",
            "do": "start `connector serve` or `connector worker`",
        },
    ]


def test_check_does_not_wait_long_for_klaviyo(
    run: Run, klaviyo: KlaviyoStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(klaviyo_client, "CHECKED_SECONDS", 0.05)
    klaviyo.script(hang(), hang())
    run("migrate")
    assert json.loads(run("check --json").stdout)["findings"][-1] == {
        "level": "warn",
        "what": "whether Klaviyo's key may read metrics is not known (Klaviyo: no answer in 0.05 s: may have arrived)",
        "do": "run `connector check` again later; what waits for Klaviyo is not lost",
    }
    assert len(klaviyo.requests) == 2


def test_check_is_an_error_if_events_cannot_be_read(run: Run, klaviyo: KlaviyoStandIn) -> None:
    klaviyo.scopes[KEY] = {"metrics:read", "profiles:read"}
    klaviyo.advanced = False
    run("migrate")
    lines = run("check", status=1).stdout.splitlines()
    lacking = (
        "  set KLAVIYO_API_KEY to a key with the scope {} (Klaviyo: Settings, API keys; scopes cannot be added later)"
    )
    assert lines[-9:] == [
        "✓ Klaviyo's key may read metrics, read profiles",
        "✗ Klaviyo's key may not read events: without it no email event is read",
        lacking.format("events:read"),
        "· Klaviyo's key may not read the account",
        lacking.format("accounts:read"),
        "· Klaviyo's key may not read tracking settings",
        lacking.format("tracking-settings:read"),
        "· Klaviyo's key may not read webhooks",
        f"  {rights.NO_WEBHOOKS}",
    ]


# -- reading in the foreground --------------------------------------------------------------------------------------

T0 = now_ms() - HOUR


@pytest.fixture
def mailed(monkeypatch: pytest.MonkeyPatch) -> Iterator[KlaviyoStandIn]:
    """An account that mailed Jane an hour ago, and she opened it twice."""
    with KlaviyoStandIn(KEY, limits=False) as one:
        monkeypatch.setenv("KLAVIYO_API_URL", one.url)
        one.mail("jane@x.test", "Received Email", T0)
        for n in range(2):
            one.mail("jane@x.test", "Opened Email", T0 + (n + 1) * MINUTE)
        yield one


def test_poll_reads_everything_once_and_says_how_much(
    run: Run, mailed: KlaviyoStandIn, store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", store_url)
    told = json.loads(run("klaviyo poll --json").stdout)
    assert told == {"metrics": 2, "pages": 4, "events": 3, "stored": 4, "stitched": store.sqlite}
    again = json.loads(run("klaviyo poll --json").stdout)
    assert (again["metrics"], again["stored"]) == (2, 0)


def test_poll_stitches_where_nobody_serves_and_check_knows_of_it(run: Run, mailed: KlaviyoStandIn) -> None:
    """What happened before the first reading is evidence: Segment may have it by its own source."""
    run("migrate")
    assert run("klaviyo poll").stdout == "2 metrics, 3 events read, 4 new messages.\n"
    entries = [json.loads(line) for line in run("export log").stdout.splitlines()]
    assert sorted((one["event"] or "", one["outcome"]) for one in entries) == [
        ("Email Delivered", "ignored"),
        ("Email Opened", "ignored"),
        ("Email Opened", "ignored"),
        ("profile", "ignored"),
    ]
    told = [one["what"] for one in json.loads(run("check --offline --json").stdout)["findings"]]
    assert told[-1].startswith("polling Klaviyo's events works: the last time was 20")
    assert told[-1].endswith("Z, 2 metrics, 3 events read, 4 new messages")


def test_poll_says_what_the_key_lacks(run: Run, mailed: KlaviyoStandIn) -> None:
    mailed.scopes[KEY] = {"metrics:read"}
    run("migrate")
    assert run("klaviyo poll", status=1).stderr == (
        "Error: the key may not read events: make one with the scopes metrics:read, events:read and profiles:read"
        " (Klaviyo: Settings, API keys), and set KLAVIYO_API_KEY to it\n"
    )


def test_poll_needs_a_database(run: Run, mailed: KlaviyoStandIn, tmp_path: Path) -> None:
    assert run("klaviyo poll", status=1).stderr == (
        f"Error: DATABASE_URL: there is no database '{tmp_path}/connector.db'; run this in the folder where `connector"
        " serve` runs, or set DATABASE_URL\n"
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_reading_has_a_bar_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    bars = Bars()
    for metric, share in (("Opened Email", 0.5), ("Opened Email", 0.8), ("Clicked Email", 1.0)):
        bars(Step(metric, "history", 10, 10, share))
    bars.close()
    drawn = [line.rpartition("\r")[2] for line in plain(terminal).rstrip("\n").split("\n")]
    assert [(line.partition("  ")[0], line.rpartition(" ")[2]) for line in drawn] == [
        ("Opened Email, history", "80%"),
        ("Clicked Email, history", "100%"),
    ]


def plain(terminal: Terminal) -> str:
    return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", terminal.getvalue())


# -- by Klaviyo's own library, and on the wire ----------------------------------------------------------------------


def dropped(body: Any, model: Any, where: str = "") -> list[str]:
    """Where a body holds what Klaviyo's own model of it does not know."""
    return list(_lost(body, model.from_dict(body).to_dict(), where))


def _lost(body: Any, kept: Any, where: str) -> Iterator[str]:
    if isinstance(body, dict):
        for name, value in body.items():
            if not isinstance(kept, dict) or name not in kept:
                yield f"{where}/{name}"
            else:
                yield from _lost(value, kept[name], f"{where}/{name}")
    elif isinstance(body, list):
        for index, value in enumerate(body):
            yield from _lost(value, kept[index], f"{where}/{index}")
    elif body != kept:
        yield where


def test_every_body_is_one_that_klaviyos_own_library_knows(run: Run, klaviyo: KlaviyoStandIn) -> None:
    from openapi_client.models.tracking_setting_partial_update_query import TrackingSettingPartialUpdateQuery
    from openapi_client.models.webhook_create_query import WebhookCreateQuery
    from openapi_client.models.webhook_partial_update_query import WebhookPartialUpdateQuery

    run(f"klaviyo webhooks create --url {URL}")
    one = only(klaviyo)
    run(f"klaviyo webhooks disable {one.id}")
    run("klaviyo tracking set --yes")
    (made,) = klaviyo.asked("POST /api/webhooks")
    (switched,) = klaviyo.asked(f"PATCH /api/webhooks/{one.id}")
    (tracked,) = klaviyo.asked("PATCH /api/tracking-settings/DeMo01")
    assert switched == {"data": {"type": "webhook", "id": one.id, "attributes": {"enabled": False}}}
    assert tracked["data"]["attributes"] == {
        "auto_add_parameters": True,
        "custom_parameters": [{"name": "kl_pid", "flow": PROFILE_ID, "campaign": PROFILE_ID}],
    }
    assert dropped(made, WebhookCreateQuery) == []
    assert dropped(switched, WebhookPartialUpdateQuery) == []
    assert dropped(tracked, TrackingSettingPartialUpdateQuery) == []
    stray = {"data": {**made["data"], "attributes": {**made["data"]["attributes"], "enabled": True}}}
    assert dropped(stray, WebhookCreateQuery) == ["/data/attributes/enabled"]


@pytest.mark.slow
def test_what_create_says_to_set_opens_the_door_for_what_klaviyo_then_sends(
    run: Run, klaviyo: KlaviyoStandIn, tmp_path: Path
) -> None:
    shown = run(f"klaviyo webhooks create --url {URL}").stdout
    name, _, secret = shown.splitlines()[1].strip().partition("=")
    klaviyo.mail("jane@x.test", "Opened Email", NOW)
    with Connector(tmp_path, "http://127.0.0.1:9", **{name: secret}) as connector:
        klaviyo.reach = connector.url
        assert klaviyo.deliver() == [200]
