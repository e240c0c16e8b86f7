"""The web application: the only place where the doors are wired to the house.

``create_app`` gives a Flask application whose views adapt requests for ``receive.ingest``; other doors (the
inspector) come as blueprints. ``close`` ends what it started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Final

import orjson
from flask import Blueprint, Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import PathConverter
from werkzeug.wsgi import get_input_stream

from connector import bootstrap, metrics
from connector.bodies import Bodies, Crowded
from connector.certificates import Certificates
from connector.config import Config
from connector.errors import StoreUnavailable, log_failure
from connector.group_commit import GroupCommit
from connector.mapping import Mappings
from connector.messages import Milliseconds, now_ms
from connector.receive import Answer, Reception, crowded, ingest, said
from connector.refusals import Refusals
from connector.sources import Incoming, declared
from connector.store import Store

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
BODILESS: Final = ("GET", "HEAD", "OPTIONS")
"""Whatever body these bring is never looked at."""

EXTENSION: Final = "connector"


class Rest(PathConverter):
    """Whatever a path goes on with, line ends and slashes too: a wrong secret is a wrong secret."""

    regex = r"[\s\S]+"
    part_isolating = False  # it may span slashes, which werkzeug would tell by one in the pattern


class Doors:
    """What an application started, and how to end it: last requests to disk, last refusals counted."""

    def __init__(
        self, config: Config, store: Store, mappings: Mappings, now: Callable[[], Milliseconds] = now_ms
    ) -> None:
        self.store = store
        self.bodies = Bodies()
        self.commits = GroupCommit(store)
        self.refusals = Refusals(store)
        self.reception = Reception(
            config.secrets_of,
            self.commits.submit,
            self.refusals.note,
            now,
            declared.doors(mappings.sources),
            Certificates(),
        )

    def close(self) -> None:
        self.commits.stop()
        self.refusals.stop()


def create_app(
    config: Config,
    store: Store,
    *,
    mappings: Mappings | None = None,
    blueprints: Iterable[Blueprint] = (),
    now: Callable[[], Milliseconds] = now_ms,
) -> Flask:
    """The application of one process. ``close(app)`` when it has answered its last request.

    Args: mappings, if they are open already.

    Raises: MappingError, all mistakes of all mappings together.
    """
    app = Flask("connector", static_folder=None)
    app.url_map.converters["rest"] = Rest
    doors = app.extensions[EXTENSION] = Doors(config, store, mappings or bootstrap.open_mappings(config), now)
    app.before_request(lambda: _take_body(doors))
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
    def receive(name: str, secret: str = "") -> Response:
        return _response(ingest(_incoming(), reception))

    # Every method, because ``ingest`` knows which ones a door takes and says so in JSON.
    for rule in ("/webhooks/<name>", "/webhooks/<name>/<rest:secret>", "/v1/<name>"):
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


def _take_body(doors: Doors) -> Response | None:
    """Read the body of whatever route, so that none waits for a sender outside the places that are for it."""
    g.body = b""
    if request.endpoint is None or request.method in BODILESS:
        return None
    try:
        g.body = doors.bodies.read(get_input_stream(request.environ))
    except Crowded:
        return _response(crowded(request.path, doors.reception))
    request.environ |= {"wsgi.input": BytesIO(g.body), "wsgi.input_terminated": True}
    return None


def _incoming() -> Incoming:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Incoming(request.method, request.path, headers, g.body, request.args.get("token"))


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
