"""Rubbish for the doors: payloads that a platform might send, with anything in the place of anything.

What a platform's payload looks like is read from its mapping, so a new mapping is fuzzed without another line here.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import tomllib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from connector import resources
from connector.messages import TRACKING_TYPES
from connector.sources import segment, tracking
from tests import signers
from tests.signers import Signed
from tests.test_receive import sha1

WRITE_KEY: Final = "write-key"

HUGE: Final = "a huge number"
"""Stands for one of more digits than Python reads, or writes."""

words = st.sampled_from(
    ["jane@x.test", "Jane <jane@x.test>", "U1", "", " ", "null", "2026-09-01T10:00:00Z", "1700000000", "-1", "true",
     "http://x.test/?utm_email=jane@x.test", "a" * 300, "\x00", "\ud83d", "é\u202e", "{{x}}", "<a@b.c>"]
)  # fmt: skip
numbers = st.sampled_from([0, -1, 1.5, 1_700_000_000, 1e21, 1e308, 10**20, HUGE, float("nan"), float("inf")])
scalars = st.one_of(words, numbers, st.none(), st.booleans(), st.text(max_size=8))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)


TIMES: Final = ("2026-09-01T10:00:00Z", "2026-09-01 10:00:00+00:00", 1_788_260_400, "1788260400", 1_788_260_400_123)
PEOPLE: Final = ("jane@x.test", "JANE@X.test", "tom@x.test", "info@x.test", "Kim <kim@x.test>")
NAMES: Final = ("U1", "U2", "U9", "b1", "b2", "b3", "M1", "jane@x.test", "d41d8cd98f00b204e9800998ecf8427e", 7)


def fitting(path: str) -> st.SearchStrategy[Any]:
    """What might really stand at this place, going by its name."""
    name = path.rpartition(".")[2].lower()
    if re.search("mail|recipient|addressee", name):
        return st.sampled_from(PEOPLE)
    if re.search("event_?id|external_id|message-?id|^id$", name):
        return st.uuids().map(str)
    return st.sampled_from(TIMES if re.search("time|date|stamp|_at$|^at$|^ts", name) else NAMES)


@dataclass(frozen=True, slots=True)
class Payload:
    """What a mapping reads. words: what may have happened, each with what else has to stand where for it to count."""

    paths: tuple[str, ...]
    word_at: tuple[str, ...]
    words: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]
    elements: str


def payload(provider: str) -> Payload:
    """As the shipped mapping of a platform has it."""
    table = tomllib.loads((resources.shipped_mappings() / "sources" / f"{provider}.toml").read_text())
    told = sorted({one for part in ("identifiers", "fields") for one in texts(table.get(part, {}))})
    spots = list(texts(table["event"].get("path", "event")))
    forms = [found for one in spots if (found := re.findall(r"\{\{\s*([^}]+?)\s*\}\}", one))]
    names = table["event"].get("names", {"": ""})
    return Payload(
        tuple(one for one in told if re.fullmatch(r"[\w$@ -]+(\.[\w$@ -]+)*", one)),
        tuple(forms[0] if forms else spots[:1]),
        tuple((word, tuple(conditions(spec))) for word, spec in names.items()),
        table.get("door", {}).get("elements", "data" if provider == "klaviyo" else ""),
    )


def conditions(spec: Any) -> Iterator[tuple[str, Any]]:
    for one in spec if isinstance(spec, list) else [spec]:
        for path, value in one.get("when", {}).items() if isinstance(one, dict) else ():
            yield path, value[0] if isinstance(value, list) else value


def texts(spec: Any) -> Iterator[str]:
    """All texts of a spec of the mapping language."""
    if isinstance(spec, str):
        yield spec
    for one in spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list) else ():
        yield from texts(one)


def put(target: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for step in above:
        inner = target.setdefault(step, {})
        if not isinstance(inner, dict):
            return
        target = inner
    target[last] = value


@st.composite
def events(draw: st.DrawFn, shape: Payload) -> dict[str, Any]:
    """An event that this platform might send, then some of it spoiled."""
    found: dict[str, Any] = {}
    left_out = draw(st.sets(st.sampled_from(shape.paths), max_size=4))
    for path in shape.paths:
        if path not in left_out:
            put(found, path, draw(fitting(path)))
    word, beside = draw(st.sampled_from(shape.words))
    parts = word.split("/", len(shape.word_at) - 1)
    for path, part in (*zip_longest(shape.word_at, parts), *beside):
        put(found, path, part)
    spoiled = draw(st.lists(st.sampled_from([*shape.paths, *shape.word_at]), max_size=2))
    for path in spoiled:
        put(found, path, draw(values))
    return found


CALL: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "type": st.sampled_from(["track"] * 6 + ["identify"] * 4 + [*TRACKING_TYPES, "delete", "Track ", "purchase"]),
    "event": st.sampled_from(
        ["Email Opened", "Email Link Clicked", "Unsubscribed", "Email Bounced", "Order Completed"]
    ),
    **{name: st.sampled_from(NAMES[:-1]) for name in ("anonymousId", "userId", "previousId", "groupId")},
    **{name: st.sampled_from(TIMES) for name in ("timestamp", "sentAt", "receivedAt")},
    **{name: st.fixed_dictionaries({"email": st.sampled_from(PEOPLE)}) for name in ("traits", "properties")},
    "messageId": st.uuids().map(str),
    "context": st.fixed_dictionaries(
        {},
        optional={
            "integration": st.fixed_dictionaries({"name": st.sampled_from(["Klaviyo", "Iterable", "", 3])}),
            "traits": st.fixed_dictionaries({"email": st.sampled_from(PEOPLE)}),
            "page": st.fixed_dictionaries({"url": st.sampled_from(["http://x.test/?utm_email=jane@x.test&_kx=t", ""])}),
            "externalIds": st.lists(values, max_size=2),
            "consent": values,
        },
    ),
}


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    """A Segment call, then some of it spoiled."""
    left_out = draw(st.sets(st.sampled_from([name for name in CALL if name not in ("type", "event")]), max_size=5))
    found = {name: draw(one) for name, one in CALL.items() if name not in left_out}
    if found["type"] == "delete":  # whoever is forgotten stays so, and the rest of the run would be about nobody
        found = {"type": "delete", "userId": "U9"}
    for name in draw(st.lists(st.sampled_from([*CALL, "integrations", "channel", "writeKey"]), max_size=1)):
        found[name] = draw(values)
    return found


SAMPLES: Final = Path(__file__).parent / "samples"


@st.composite
def samples(draw: st.DrawFn, documents: Sequence[str]) -> Any:
    """A payload as the platform documents it, with anything in some places of it; of a form its text."""
    text = draw(st.sampled_from(documents))
    try:
        value = json.loads(text)
    except ValueError:
        return text
    places = [place for place in found_in(value) if place]
    for place in draw(st.lists(st.sampled_from(places), max_size=3)) if places else ():
        *above, last = place
        inner = value
        for step in above:
            inner = inner[step] if _holds(inner, step) else None
        if _holds(inner, last):
            inner[last] = draw(values)
    return value


def found_in(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value, as the steps that lead to it."""
    yield at
    steps: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in steps:
        yield from found_in(value[step], (*at, step))


def _holds(value: Any, step: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, dict) and step in value


@st.composite
def bodies(draw: st.DrawFn, provider: str) -> bytes:
    """What somebody might post who knows the platform well, or not at all."""
    shape = payload("segment" if provider == tracking.NAME else provider)
    one = calls() if provider in (segment.NAME, tracking.NAME) else events(shape)
    member = "batch" if provider == tracking.NAME else shape.elements
    value = draw(st.lists(one, max_size=4) if member else st.one_of(one, one, st.lists(one, max_size=4)))
    if member:
        value = {member: value, "meta": draw(st.one_of(st.just({"klaviyo_webhook_id": "W1"}), values))}
    documented = [one.read_text() for one in sorted((SAMPLES / provider).glob("*/body.*"))]
    if draw(st.booleans()) and documented:
        value = draw(samples(documented))
    if draw(st.integers(0, 9)) == 0:
        value = draw(values)
    return draw(spoiled(value.encode("utf-8", "replace") if isinstance(value, str) else written(value)))


@st.composite
def spoiled(draw: st.DrawFn, text: bytes) -> bytes:
    """The text as it is, mostly; else something that is no JSON, or hardly any."""
    match draw(st.sampled_from(["as it is"] * 14 + ["cut", "doubled", "deep", "bytes", "utf-16", "form"])):
        case "cut":
            return text[: draw(st.integers(0, len(text)))]
        case "doubled":
            at = draw(st.integers(0, len(text)))
            return text[:at] + draw(st.sampled_from([b'"', b"{", b"]", b"\\", b"\x00", b"\xff", text])) + text[at:]
        case "deep":
            deep, deeper = (
                open_ * n + b"1" + close * n for open_, close, n in ((b'{"a":', b"}", 150), (b"[", b"]", 3_000))
            )
            return text.replace(b'"U1"', deep).replace(b'"tom@x.test"', deeper)
        case "bytes":
            return draw(st.binary(max_size=64))
        case "utf-16":
            return text.decode().encode("utf-16")
        case "form":
            return b"mandrill_events=" + text + b"&timestamp=1&token=%00&signature=%ff&event=opened"
    return text


def written(value: Any) -> bytes:
    """As JSON, or nearly: what is no number in JSON is written as JavaScript has it."""
    return json.dumps(value).replace(f'"{HUGE}"', "1" + "0" * 5_000).encode()


def signed(provider: str, body: bytes) -> Signed:
    """Signed as the platform signs, as far as that can be: some take only what they can read themselves."""
    if provider == tracking.NAME:
        pair = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
        call = tuple(tracking.CALLS)[zlib.crc32(body) % len(tracking.CALLS)]
        call = tracking.BATCH if body.startswith(b'{"batch"') else call
        return Signed({"authorization": f"Basic {pair}"}, f"/v1/{call}", body)
    try:
        return signers.SIGNERS[provider](body)
    except (ValueError, RecursionError):
        proof = {"x-signature": sha1(body, signers.SEGMENT)} if provider == segment.NAME else {}
        return Signed(proof, f"/webhooks/{provider}", body)


encodings = st.sampled_from([""] * 8 + ["gzip", "deflate", "br", "gzip-cut", "gzip-lie"])


def encoded(sent: Signed, how: str) -> tuple[bytes, dict[str, str]]:
    """The body under a Content-Encoding, which is true or not. It is signed as it was before."""
    match how:
        case "gzip":
            return gzip.compress(sent.body), {"content-encoding": "gzip"}
        case "deflate":
            return zlib.compress(sent.body), {"content-encoding": "deflate"}
        case "gzip-cut":
            return gzip.compress(sent.body)[:-5], {"content-encoding": "gzip"}
        case "gzip-lie" | "br":
            return sent.body, {"content-encoding": how.partition("-")[0]}
    return sent.body, {}


secrets = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="./"), max_size=20)
"""What somebody may put in the place of a secret in the path, if anything."""

SHOWN: Final = (
    "Authorization", "Content-Type", "Content-Encoding", "X-Signature", "Klaviyo-Signature", "Klaviyo-Timestamp",
    "Klaviyo-Webhook-Id", "X-CIO-Signature", "X-CIO-Timestamp", "X-Twilio-Email-Event-Webhook-Signature",
    "X-Twilio-Email-Event-Webhook-Timestamp", "X-Mandrill-Signature", "svix-id", "svix-timestamp", "svix-signature",
    "webhook-id", "webhook-timestamp", "webhook-signature", "x-amz-sns-message-type", "X-Forwarded-For",
)  # fmt: skip
"""Headers that some door reads."""


@st.composite
def headers(draw: st.DrawFn, provider: str) -> list[tuple[str, str]]:
    """What a stranger may put into these headers: anything, once or twice, or what was overheard."""
    anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\x00"), max_size=40)
    true = signed(provider, b'{"a": 1}').headers
    signatures = [value for name, value in true.items() if name != "authorization"]
    overheard = st.sampled_from([*signatures, "Basic Og==", "Bearer ", "v1,", "0" * 64])
    found = draw(st.lists(st.tuples(st.sampled_from(SHOWN), st.one_of(anything, overheard)), max_size=6))
    return [*found, *found[:1]]
