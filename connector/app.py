"""The web application: the only place where the doors are wired to the house.

``create_app`` gives a Flask application whose views adapt requests for ``receive.ingest``; other doors (the
inspector) come as blueprints. ``close`` ends what it started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import orjson
from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from connector import metrics
from connector.config import Config
from connector.errors import StoreUnavailable, log_failure
from connector.group_commit import GroupCommit
from connector.messages import Milliseconds, now_ms
from connector.receive import MAX_BODY_BYTES, Answer, Reception, ingest, said
from connector.refusals import Refusals
from connector.sources import Incoming
from connector.store import Store

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CHUNK: Final = 256 * 1024
DRAIN_BYTES: Final = 64 * 1024 * 1024
"""How much of a body that is too large we still read, so that its sender hears the 413 and no broken pipe."""

EXTENSION: Final = "connector"


class Doors:
    """What an application started, and how to end it: last requests to disk, last refusals counted."""

    def __init__(self, config: Config, store: Store, now: Callable[[], Milliseconds] = now_ms) -> None:
        self.store = store
        self.commits = GroupCommit(store)
        self.refusals = Refusals(store)
        self.reception = Reception(config.secrets_of, self.commits.submit, self.refusals.note, now)

    def close(self) -> None:
        self.commits.stop()
        self.refusals.stop()


def create_app(
    config: Config,
    store: Store,
    *,
    blueprints: Iterable[Blueprint] = (),
    now: Callable[[], Milliseconds] = now_ms,
) -> Flask:
    """The application of one process. ``close(app)`` when it has answered its last request."""
    app = Flask("connector", static_folder=None)
    doors = app.extensions[EXTENSION] = Doors(config, store, now)
    _receive(app, doors.reception)
    _observe(app, store, now)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(StoreUnavailable, _unavailable)
    app.register_error_handler(Exception, _failed)
    return app


def close(app: Flask) -> None:
    """End the threads of an application and write what they hold."""
    app.extensions[EXTENSION].close()


def _receive(app: Flask, reception: Reception) -> None:
    def receive(name: str) -> Response:
        return _response(ingest(_incoming(), reception))

    # Every method, because ``ingest`` knows which ones a door takes and says so in JSON.
    for rule in ("/webhooks/<name>", "/v1/<name>"):
        app.add_url_rule(rule, rule, receive, methods=METHODS, provide_automatic_options=False)


def _observe(app: Flask, store: Store, now: Callable[[], Milliseconds]) -> None:
    @app.get("/healthz")
    def healthz() -> Response:
        return _json(200, {"status": "alive"})

    @app.get("/readyz")
    def readyz() -> Response:
        try:
            with store.reading() as tx:
                reasons = metrics.not_ready(tx, now())
        except StoreUnavailable:
            reasons = ["the database does not answer"]
        return _json(503, {"status": "not ready", "reasons": reasons}) if reasons else _json(200, {"status": "ready"})

    @app.get("/metrics")
    def prometheus() -> Response:
        with store.reading() as tx:
            text = metrics.exposition(tx, now())
        return Response(text, content_type=metrics.CONTENT_TYPE)


def _incoming() -> Incoming:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Incoming(request.method, request.path, headers, _body(), request.args.get("token"))


def _body() -> bytes:
    """The body, or just more than the bound of it: neither Content-Length nor the sender is believed."""
    parts: list[bytes] = []
    size = 0
    while size <= MAX_BODY_BYTES and (part := request.stream.read(CHUNK)):
        parts.append(part)
        size += len(part)
    while MAX_BODY_BYTES < size <= DRAIN_BYTES and (part := request.stream.read(CHUNK)):
        size += len(part)
    return b"".join(parts)


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))


def _json(status: int, value: object) -> Response:
    return Response(orjson.dumps(value), status, content_type="application/json")


def _refused(error: HTTPException) -> Response:
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    return _response(said(error.code or 500, error.description or error.name, headers))


def _unavailable(_: StoreUnavailable) -> Response:
    return _response(said(503, "the database does not answer; try again", {"Retry-After": "5"}))


def _failed(error: Exception) -> Response:
    log_failure("serve", error)
    return _response(said(500, "the connector made a mistake; it is in its log"))
