"""The pages for people: an overview with the latest decisions, one message, one profile. No script, no other host.

Addresses are masked wherever a page shows text; the JSON interface shows them whole.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import orjson
from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from connector import answers, verify
from connector.answers.message import name_of
from connector.elements import dumps
from connector.house import House
from connector.inspector.access import COOKIE, SESSION_SECONDS, VARIABLE, WINDOW_SECONDS, Access
from connector.inspector.api import OUTCOMES, BadParameter, number, refuse_nul
from connector.masking import mask
from connector.messages import Json
from connector.store import Store

TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\.\d{3}Z")

SHOWN: Final = 50
MAX_TOKEN: Final = 4_096


def blueprint(store: Store, house: House, access: Access) -> Blueprint:
    """The pages and the sign-in form."""
    pages = Blueprint("pages", __name__, template_folder="templates")
    pages.add_app_template_filter(mask, "mask")
    pages.add_app_template_filter(clock, "clock")
    pages.add_app_template_filter(sentence, "sentence")
    pages.add_app_template_filter(percent, "percent")
    pages.add_app_template_filter(pretty, "pretty")
    pages.before_request(lambda: _form_unless_signed_in(access))
    pages.before_request(refuse_nul)
    pages.after_request(_guarded)
    pages.register_error_handler(BadParameter, lambda error: _said(400, "That was not understood", str(error)))
    _sign_in_and_out(pages, access)
    _read(pages, store, house)
    return pages


def _read(pages: Blueprint, store: Store, house: House) -> None:
    @pages.get("/")
    def overview() -> str | Response:
        outcome = request.args.get("outcome") or None
        if outcome is not None and outcome not in OUTCOMES:
            raise BadParameter(f"outcome: expected one of {', '.join(OUTCOMES)}")
        q = request.args.get("q", "").strip() or None
        before = number("before", None, 1 << 62)
        with store.reading() as tx:
            stats = answers.stats(tx)
            log = answers.log_page(tx, outcome=outcome, q=q, before=before, limit=SHOWN)
        return render_template(
            "overview.html", stats=stats, log=log, outcome=outcome, q=q, before=before, outcomes=OUTCOMES
        )

    @pages.get("/decisions/<int:inbox_id>")
    def decision(inbox_id: int) -> str | Response:
        """A message by its number: what our own pages link to, because a messageId may hold an address."""
        with store.reading() as tx:
            name = name_of(tx, min(inbox_id, 1 << 62))
        return message(name or "")

    @pages.get("/messages/<path:message_id>")
    def message(message_id: str) -> str | Response:
        with store.reading() as tx:
            found = answers.explain(tx, house, message_id)
        if found["what"] != "message":
            return _said(404, "No such message", "No message is known by this messageId, incoming or outgoing.")
        return render_template("message.html", known=found)

    @pages.get("/profiles/<profile_id>")
    def profile(profile_id: str) -> str | Response:
        with store.reading() as tx:
            found = answers.profile_by_id(tx, house, profile_id)
        if found is None:
            return _said(404, "No such profile", "There is no profile with this id.")
        return render_template("profile.html", person=found)


# -- who may look -------------------------------------------------------------------------------------------------


def _sign_in_and_out(pages: Blueprint, access: Access) -> None:
    @pages.post("/sign-in")
    def sign_in() -> AnyResponse:
        given = request.form.get("token", "").strip()[:MAX_TOKEN]
        match access.by_token(given, request.remote_addr or ""):
            case "welcome":
                response = redirect(url_for("pages.overview"), 303)
                response.set_cookie(
                    COOKIE,
                    access.cookie(given),
                    max_age=SESSION_SECONDS,
                    httponly=True,
                    samesite="Strict",
                    secure=_is_https(),
                )
                return response
            case "slow down":
                response = _form(429, "Too many wrong tokens. Wait a minute and try again.")
                response.headers["Retry-After"] = str(int(WINDOW_SECONDS))
                return response
            case _:
                return _form(401, "That is none of the inspector's tokens.")

    @pages.post("/sign-out")
    def sign_out() -> AnyResponse:
        response = redirect(url_for("pages.overview"), 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=_is_https())
        return response


def _form_unless_signed_in(access: Access) -> Response | None:
    g.nonce = secrets.token_urlsafe(16)
    if access.closed:
        return _said(403, "The inspector is closed", f"To open it, set {VARIABLE} and restart the connector.")
    if request.endpoint == "pages.sign_in" or access.by_cookie(request.cookies.get(COOKIE)):
        return None
    given = verify.bearer(request.headers.get("Authorization"))
    if given and access.by_token(given, request.remote_addr or "") == "welcome":
        return None
    return _form(401, None)


def _form(status: int, problem: str | None) -> Response:
    answer = Response(render_template("sign_in.html", problem=problem), status)
    answer.headers["WWW-Authenticate"] = 'Bearer realm="connector"'
    return answer


def _said(status: int, title: str, text: str) -> Response:
    return Response(render_template("said.html", title=title, text=text), status)


def _is_https() -> bool:
    """Also behind a platform's router, which ends TLS and says so. Who lies here hurts only their own cookie."""
    return request.is_secure or request.headers.get("X-Forwarded-Proto", "") == "https"


def _guarded(response: Any) -> Any:
    """Nothing from elsewhere, nothing kept, nobody around us in a frame."""
    style = f" style-src 'nonce-{g.nonce}';" if "nonce" in g else ""  # a request refused earlier has no page
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none';{style} img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


# -- how things look ----------------------------------------------------------------------------------------------


def sentence(text: object) -> str:
    """A sentence of ours: masked, its times as ``clock`` shows them."""
    return TIME.sub(r"\1 \2", mask(text))


def clock(at: str | None) -> str:
    """``2026-09-01T10:05:00.000Z`` → ``2026-09-01 10:05:00``, for the eye."""
    return "" if at is None else at[:19].replace("T", " ")


def percent(share: float | None) -> str:
    """A share in whole percent; of few, or nearly none or all, with a decimal."""
    if share is None:
        return "none yet"
    value = 100 * share
    return f"{value:.0f} %" if value in (0, 100) or 1 <= value <= 99 else f"{value:.1f} %"


def pretty(value: Json) -> str:
    """A body for reading: indented if it is JSON, as it came if it is not or is nested too deeply for that."""
    try:
        parsed = orjson.loads(value) if isinstance(value, str) else value
        return orjson.dumps(parsed, option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, TypeError):  # it reads 1,024 levels and writes 254
        return value if isinstance(value, str) else dumps(value)
