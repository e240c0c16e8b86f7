"""The description of the HTTP surface: it is valid, it is whole, and every real answer is as it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient

from connector import app as doors
from connector import inspector, operate, queue
from connector.house import House
from connector.inspector.openapi import document
from connector.messages import HOUR, Identifier
from connector.sources import tracking
from connector.store import Store
from connector.tables import heartbeats
from tests.test_receive import sha1
from tests.told import NOW, call, configured, feed, house, identify, opened, page

BEARER = {"Authorization": "Bearer the-token"}
WHY = {"reason": "she called us"}
WRITE_KEY = {"Authorization": "Basic d3JpdGUta2V5Og=="}  # write-key, as a user name without a password

ACME = """
name = "Acme Mail"
secrets = "ACME_WEBHOOK_SECRETS"
[door]
signature = "secret"
probes = ["GET"]
answers = { 400 = 406 }
[event]
path = ["event"]
[event.names]
open = "Email Opened"
[identifiers]
recipient = ["email"]
"""
"""A platform that exists in a folder of MAPPINGS only."""

Case = tuple[str, str, int, Any]
"""The path as it is described, the method, the status, and the body that was answered."""


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "mappings" / "sources").mkdir(parents=True)
    (tmp_path / "mappings" / "sources" / "acme.toml").write_text(ACME)
    return {
        "MAPPINGS": str(tmp_path / "mappings"),
        "ACME_WEBHOOK_SECRETS": "acme-secret",
        "SOURCE_WRITE_KEYS": "write-key",
    }


@pytest.fixture
def built(settings: dict[str, str]) -> House:
    return house(**settings)


@pytest.fixture
def app(sqlite_store: Store, settings: dict[str, str], built: House) -> Iterator[Flask]:
    config = configured(**settings)
    app = doors.create_app(config, sqlite_store, blueprints=inspector.blueprints(config, sqlite_store, built))
    yield app
    doors.close(app)


@pytest.fixture
def described(app: Flask) -> dict[str, Any]:
    """The description as it is served."""
    answer = app.test_client().get("/api/openapi.json", headers=BEARER)
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    told: dict[str, Any] = orjson.loads(answer.data)
    return told


def within(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in it, itself first."""
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from within(one)


# -- is it a description? -------------------------------------------------------------------------------------------


def test_the_description_is_valid_openapi(described: dict[str, Any]) -> None:
    assert described["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(described).validate()
    for schema in described["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_reference_leads_somewhere_and_every_name_is_used(described: dict[str, Any]) -> None:
    used = {one["$ref"] for one in within(described) if "$ref" in one}
    named = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in described["components"][kind]
    }
    assert used == named
    asked = {name for one in within(described["paths"]) for way in one.get("security", ()) for name in way}
    assert asked == set(described["components"]["securitySchemes"])


def test_every_operation_has_a_name_of_its_own_and_every_parameter_of_its_path(described: dict[str, Any]) -> None:
    names = [one["operationId"] for one in within(described["paths"]) if "operationId" in one]
    assert sorted(names) == sorted(set(names))
    for path, item in described["paths"].items():
        for operation in (one for one in item.values() if isinstance(one, dict)):
            given = [*item.get("parameters", ()), *operation.get("parameters", ())]
            assert {one["name"] for one in given if one["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path)), path


def test_only_who_has_a_token_is_told(app: Flask) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert app.test_client().get("/api/openapi.json", headers=headers).status_code == 401
    answer = app.test_client().get("/api/openapi.json?x=1", headers=BEARER)
    assert (answer.status_code, answer.json) == (400, {"message": "'x' is not a parameter here; this takes none"})


# -- is it whole? ---------------------------------------------------------------------------------------------------

DOORS = {"/webhooks/{name}", "/webhooks/{name}/{secret}", "/v1/{name}"}
"""Rules that many paths of the description stand for; below they are asked one by one."""

UNSAID = {"/api/", "/api/{path}"}
"""What answers 404 to everything else under /api."""


def operations(described: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {
        (method.upper(), path) for path, item in described["paths"].items() for method in item if method != "parameters"
    }


def test_every_route_is_described_and_every_description_is_a_route(app: Flask, described: dict[str, Any]) -> None:
    routed = {
        (method, template)
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("pages.")  # for people
        for template in [re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)]
        if template not in DOORS | UNSAID
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    told = {(method, path) for method, path in operations(described) if not path.startswith(("/webhooks/", "/v1/"))}
    assert told == routed


def test_every_door_takes_the_methods_that_are_described_and_no_others(
    app: Flask, described: dict[str, Any], built: House
) -> None:
    told = operations(described)
    paths = {f"/webhooks/{name}" for name in built.mappings.sources} | {f"/v1/{name}" for name in tracking.CALLS}
    assert {path for _, path in told if path.startswith(("/webhooks/", "/v1/"))} - paths == {
        path for path in described["paths"] if path.endswith("/{secret}")
    }
    client = app.test_client()
    answered = {
        (method, path)
        for path in paths
        for method in (*doors.METHODS, "HEAD")
        if client.open(path, method=method).status_code not in (404, 405)
    }
    assert answered == {(method, path) for method, path in told if path in paths}
    for method, path in sorted(told):
        if path.endswith("/{secret}"):
            asked = client.open(path.replace("{secret}", "acme-secret"), method=method, data=b'{"event": "x"}')
            assert asked.status_code == (200 if "/acme/" in path else 403), path


def test_a_platform_of_ones_own_is_described_as_its_mapping_says(described: dict[str, Any]) -> None:
    assert list(described["paths"]["/webhooks/acme"]) == ["post", "get"]
    post = described["paths"]["/webhooks/acme"]["post"]
    assert post["summary"] == "email events of Acme Mail; needs ACME_WEBHOOK_SECRETS"
    two = described["paths"]["/webhooks/mandrill"]["post"]["summary"]
    assert two.endswith("; needs MANDRILL_WEBHOOK_KEYS and MANDRILL_WEBHOOK_URLS")
    assert sorted(post["responses"]) == ["200", "401", "403", "406", "413", "500", "503"]
    assert post["security"] == [{"shared_secret": []}, {"shared_secret_as_password": []}]
    klaviyo = described["paths"]["/webhooks/klaviyo"]["post"]
    assert klaviyo["security"] == [{"Klaviyo-Signature": [], "Klaviyo-Timestamp": []}]
    assert "/webhooks/klaviyo/{secret}" not in described["paths"]


def bounds(schema: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """What is just within a schema, and what is just outside of it."""
    if "enum" in schema:
        return schema["enum"], ["nonsense", "2", "-1"]
    if schema["type"] == "integer":
        return [schema["minimum"], schema["maximum"]], [schema["minimum"] - 1, schema["maximum"] + 1, "1.5", "x"]
    if "anyOf" in schema:  # a time
        return ["2026-09-01", "2026-09-01T10:00:00Z", "2026-09-01T10:00:00.5+02:00"], ["soon", "1969-12-31", "7"]
    return [], []


def test_the_bounds_of_every_parameter_are_those_that_are_described(app: Flask, described: dict[str, Any]) -> None:
    given = {"type": "user_id", "value": "U1", "left": "U1", "right": "U2"}
    tried = 0
    for path, item in described["paths"].items():
        if not path.startswith("/api/") or "get" not in item:
            continue
        asked = [one for one in item["get"]["parameters"] if one["in"] == "query"]
        needed = {one["name"]: given[one["name"]] for one in asked if one["required"]}

        def status(path: str = re.sub(r"{\w+}", "0", path), **query: Any) -> int:
            return app.test_client().get(path, query_string=query, headers=BEARER).status_code

        assert status(**needed, unheard_of="1") == 400, path
        for name in needed:
            assert status(**{one: value for one, value in needed.items() if one != name}) == 400, (path, name)
        for one in asked:
            within_it, outside = bounds(one["schema"])
            for value in within_it:
                assert status(**needed, **{one["name"]: value}) in (200, 404), (path, one["name"], value)
            for value in outside:
                assert status(**needed, **{one["name"]: value}) == 400, (path, one["name"], value)
            tried += len(outside)
    assert tried > 40


def test_the_keys_of_every_order_are_those_that_are_described(
    app: Flask, sqlite_store: Store, built: House, described: dict[str, Any]
) -> None:
    story(sqlite_store, built)
    ask = Asked(app.test_client())
    u5, b2 = {"type": "user_id", "value": "U5"}, {"type": "anonymous_id", "value": "b2"}
    link = ask("/api/profiles", query="?type=user_id&value=U5")["links"][0]
    (dead,) = ask("/api/dead")["entries"]
    ends = {"left": link["left"], "right": link["right"]}
    who = {"operator": "kim", **WHY}
    orders: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "/api/links": ({"left": u5, "right": b2, "correct": True, **who}, {}),
        "/api/links/{link_id}/revoke": (
            {**ends, "until": "2026-09-30", "correct": False, **who},
            {"link_id": link["link_id"]},
        ),
        "/api/profiles/forget": ({**u5, "at": "2026-09-30T10:00:00Z", "suppress": True, **who}, {}),
        "/api/dead/{number}/retry": (who, {"number": dead["id"]}),
    }
    assert orders.keys() == {path for path, item in described["paths"].items() if "orders" in str(item.get("post"))}
    for path, (body, more) in orders.items():
        content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        schema = described["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
        assert set(body) == set(schema["properties"]), path
        ask.post(path, 200, body, "?preview=1", **more)
        for value in ("2", "yes"):
            ask.post(path, 400, body, f"?preview={value}", **more)
        ask.post(path, 400, {**body, "unheard_of": 1}, **more)
        for name in set(body) - {"left", "right"} | set(schema["required"]):
            without = {one: value for one, value in body.items() if one != name}
            ask.post(path, 400 if name in schema["required"] else 200, without, "?preview=1", **more)
        for name in schema["properties"]:
            ask.post(path, 400, {**body, name: 7}, **more)


# -- is it true? ----------------------------------------------------------------------------------------------------


def story(store: Store, built: House) -> None:
    """People, browsers that changed hands, hubs, refusals, and events of every kind."""
    feed(store, built, [identify(f"h{n}", "08:00:00", user_id=f"H{n}", email="shared@x.test") for n in range(25)])
    feed(
        store,
        built,
        [
            identify("i0", "09:00:00", "b1", user_id="U9"),
            identify("i1", "10:00:00", "b1", user_id="U1", email="jane@x.test", plan="pro"),
            identify("i2", "10:10:00", "b3", user_id="U1", email="jane@x.test"),
            identify("i3", "11:00:00", "b2", user_id="U2", email="tom@x.test"),
            identify("i4", "11:30:00", user_id="U2", email="jane@x.test"),
            identify("i5", "11:40:00", "b5", email="ann@x.test"),
            page("p1", "10:30:00", "b4"),
            opened("e1", "12:00:00", "jane@x.test"),
            opened("e2", "12:00:00", "tom@x.test"),
            opened("e3", "12:00:00", "kim@x.test"),
            opened("e4", "12:00:00", "ann@x.test"),
            opened("e5", "12:00:00", "shared@x.test", context={"integration": {"name": "Nobody"}}),
            call("bad", "9:00", type="track", userId=3),
        ],
    )
    feed(
        store,
        built,
        [
            identify("i6", "13:00:00", "b5", user_id="U5", email="ann@x.test"),
            opened("e6", "13:30:00", "ann@x.test"),
        ],
    )
    tom, account = Identifier("email", "tom@x.test"), Identifier("user_id", "U2")
    feed(store, built, [operate.unlink(NOW, left=account, right=tom, reason="typed at the shop")])
    with store.writing() as tx:
        claimed = queue.claim(tx, "segment", limit=1, now=NOW + HOUR, claimer="test", for_ms=1)
        queue.settle(tx, "segment", [queue.dead(claimed, "refused", "HTTP 400")], claimer="test", now=NOW)


class Asked:
    """A client that remembers what was asked and answered."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        self.cases: list[Case] = []

    def __call__(
        self, template: str, status: int = 200, *, method: str = "GET", query: str = "", body: Any = b"", **more: Any
    ) -> Any:
        headers = more.pop("headers", BEARER)
        path = template.format_map(more)
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        answer = self.client.open(path + query, method=method, data=data, headers=headers)
        assert answer.status_code == status, (path, answer.text)
        told = orjson.loads(answer.data) if answer.mimetype == "application/json" else answer.text
        self.cases.append((template, method.lower(), status, told))
        return told

    def post(self, template: str, status: int, body: Any, query: str = "", **more: Any) -> Any:
        return self(template, status, method="POST", query=query, body=body, **more)


def questions(ask: Asked) -> None:
    for path in ("/api/openapi.json", "/api/stats", "/api/log", "/api/hubs", "/api/held", "/api/dead"):
        ask(path)
    ask("/api/quarantined", query="?limit=1")
    ask("/api/log", 400, query="?limit=0")
    for message in ("e1", "e2", "e3", "e4", "e5", "i1", "i4", "p1", "bad", "segment/e1"):
        ask("/api/messages/{message_id}", message_id=message)
    ask("/api/messages/{message_id}", query="?as_of=2026-09-01T12:30:00Z", message_id="e1")
    ask("/api/messages/{message_id}", 404, message_id="nothing")
    for kind, value in (("user_id", "U1"), ("email", "shared@x.test"), ("anonymous_id", "b4"), ("email", "tom@x.test")):
        person = ask("/api/profiles", query=f"?type={kind}&value={value}")
        if person["profile_id"]:
            ask("/api/profiles/{profile_id}", profile_id=person["profile_id"])
    ask("/api/profiles", query="?type=user_id&value=U1&as_of=2026-09-02")
    ask("/api/profiles", 404, query="?type=user_id&value=U77")
    pairs = ("U1:jane@x.test", "U1:U2", "U2:tom@x.test", "b1:U2", "H1:shared@x.test", "H1:H2", "b4:U1", "x:y")
    for left, right in (pair.split(":") for pair in pairs):
        ask("/api/explain", query=f"?left={left}&right={right}")
    ask("/api/explain", query="?left=b1&right=U1&as_of=2026-09-01T09:30:00Z")


def orders(ask: Asked) -> None:
    u1, u2, b2 = (
        {"type": kind, "value": value} for kind, value in (("user_id", "U1"), ("user_id", "U2"), ("anonymous_id", "b2"))
    )
    ask.post("/api/links", 200, {"left": u1, "right": b2, **WHY}, "?preview=1")
    told = ask.post("/api/links", 202, {"left": u1, "right": b2, **WHY})
    ask("/api/messages/{message_id}", message_id=told["act"])
    ask.post("/api/links", 409, {"left": u1, "right": u2, **WHY})
    ask.post("/api/links", 400, b"{")
    ask.post("/api/links", 413, {"left": u1, "right": b2, "reason": "x" * (1 << 17)})
    links = ask("/api/profiles", query="?type=user_id&value=U5")["links"]
    (link_id,) = [one["link_id"] for one in links if one["right"]["type"] == "email"]
    ask.post("/api/links/{link_id}/revoke", 200, {"correct": True, **WHY}, "?preview=1", link_id=link_id)
    ask.post("/api/links/{link_id}/revoke", 202, WHY, link_id=link_id)
    ask.post("/api/links/{link_id}/revoke", 404, WHY, link_id="none")
    ask.post("/api/profiles/forget", 200, {**u1, **WHY}, "?preview=1")
    ask.post("/api/profiles/forget", 202, {**u1, "suppress": True, **WHY})
    (dead,) = ask("/api/dead")["entries"]
    ask.post("/api/dead/{number}/retry", 200, WHY, "?preview=1", number=dead["id"])
    ask.post("/api/dead/{number}/retry", 202, WHY, number=dead["id"])
    ask.post("/api/dead/{number}/retry", 404, WHY, number=10**30)


def others(ask: Asked, store: Store) -> None:
    """The doors, what watches the process, and who may not look."""
    one = b'{"type": "page", "anonymousId": "b9"}'
    signed = {"X-Signature": sha1(one, "shared")}
    ask.post("/webhooks/segment", 200, one, headers=signed)
    ask.post("/webhooks/segment", 401, one, headers={})
    ask.post("/webhooks/segment", 400, b"{", headers={"X-Signature": sha1(b"{", "shared")})
    ask.post("/webhooks/klaviyo", 403, one, headers={})
    ask.post("/webhooks/acme/{secret}", 200, one, headers={}, secret="acme-secret")
    ask("/webhooks/acme")
    ask.post("/v1/page", 200, one, headers=WRITE_KEY)
    ask.post("/v1/b", 200, {"batch": [{"type": "page", "anonymousId": "b9"}]}, headers=WRITE_KEY)
    ask("/v1/page", 204, method="OPTIONS")
    ask("/healthz")
    ask("/metrics")
    ask("/readyz", 503)
    with store.writing() as tx:
        tx.execute(heartbeats.insert().values(name="w", pid=1, seen_at=1 << 50))
    ask("/readyz")
    for path, headers in (("/api/stats", {}), ("/api/openapi.json", {"Authorization": "Bearer wrong"})):
        ask(path, 401, headers=headers)


@pytest.fixture
def cases(app: Flask, sqlite_store: Store, built: House) -> list[Case]:
    """Real answers of a store in which much has happened."""
    story(sqlite_store, built)
    ask = Asked(app.test_client())
    questions(ask)
    orders(ask)
    others(ask, sqlite_store)
    return ask.cases


def closed(described: dict[str, Any]) -> dict[str, Any]:
    """The description under which an object has no property that is not described. What is published leaves room."""
    strict: dict[str, Any] = orjson.loads(orjson.dumps(described))
    for one in within(strict):
        if "properties" in one and one.get("type") == "object":
            one.setdefault("additionalProperties", False)
    return strict


def wrong(described: dict[str, Any], case: Case) -> list[str]:
    """What in an answer is not as the description has it."""
    template, method, status, told = case
    responses = described["paths"][template][method]["responses"]
    response = responses.get(str(status))
    if response is None:
        return [f"{method} {template}: {status} is not described"]
    if "$ref" in response:
        response = described["components"]["responses"][response["$ref"].rpartition("/")[2]]
    if "content" not in response:
        return [] if told == "" else [f"{method} {template}: it has a body"]
    (content,) = response["content"].values()
    schema = {**content["schema"], "components": described["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    return [
        f"{method} {template} {'/'.join(map(str, e.instance_path))}: {e.message[:200]}"
        for e in validator.iter_errors(told)
    ]


def test_real_answers_are_as_described_and_say_nothing_else(described: dict[str, Any], cases: list[Case]) -> None:
    strict = closed(described)
    assert [sentence for case in cases for sentence in wrong(strict, case)] == []


def test_every_operation_and_every_shape_is_met_by_a_real_answer(described: dict[str, Any], cases: list[Case]) -> None:
    asked = {(method.upper(), template) for template, method, *_ in cases}
    inspected = {one for one in operations(described) if one[1].startswith("/api/")}
    assert inspected - asked == set()
    schemas = described["components"]["schemas"]
    posted = {"NamedIdentifier", "LinkOrder", "RevokeOrder", "ForgetOrder", "RetryOrder", "SegmentCall"}
    for name in schemas.keys() - posted:
        without = {**described, "components": {**described["components"], "schemas": {**schemas, name: False}}}
        assert any(wrong(without, case) for case in cases), f"no real answer has the shape {name}"


def test_the_description_names_the_doors_of_the_house_it_is_for(built: House) -> None:
    alone = document({"segment": built.mappings.sources["segment"]})
    assert [path for path in alone["paths"] if path.startswith("/webhooks/")] == ["/webhooks/segment"]
