"""A file of ``mappings/sources/``, compiled: how an email platform's payload becomes a Segment track call.

    [door]         how its requests are read: signature, form, where the elements are, what tells repeats apart
    [event]        the platform's words for what happened, and Segment's names for them
    [identifiers]  whom the mail was sent to
    [fields]       what else of it leaves
    [poll]         how its API is read, if it is

The language of the values is ``language``'s; what a table may hold is checked here, every key of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from connector import poll_mapping, source_checks
from connector.bodies import MAX_BODY_BYTES
from connector.errors import MappingError
from connector.language import UNDEFINED, Value, alternatives
from connector.language.javascript import to_string
from connector.messages import EMAIL_EVENTS, Json
from connector.poll_mapping import Poll
from connector.toml_section import Section

CHANNELS: Final = ("auto", "segment", "vendor")

SIGNATURES: Final = ("own", "secret", "hmac", "standard-webhooks")
"""own: the module of the platform's name. secret: none; a secret path, Basic or a token instead. hmac: of the body."""

HASHES: Final = ("sha256", "sha1", "sha512")
ENCODINGS: Final = ("hex", "base64")

KEYS: Final = frozenset(
    {"name", "secrets", "settings", "integrations", "channel", "user_id", "forward", "email_platforms", "projects"}
    | {"door", "event", "identifiers", "fields", "poll"}
)
DOOR_KEYS: Final = frozenset(
    {"signature", "signed_by", "max_bytes", "form", "elements", "beside", "headers", "dedupe", "strip", "answers"}
    | {"probes", "hmac"}
)
HMAC_KEYS: Final = frozenset({"header", "hash", "encoding", "prefix"})
EVENT_KEYS: Final = frozenset({"path", "names", "machine_opens", "absent", "because"})
ROOTS: Final = ("timestamp", "properties", "context")
IDENTIFIERS: Final = ("recipient", "email", "profile_id", "user_id")


@dataclass(frozen=True, slots=True)
class Condition:
    """A path of the payload and the values of it that are meant."""

    path: str
    value: Value
    allowed: tuple[str, ...]

    def holds(self, payload: Json) -> bool:
        value = self.value(payload)
        return value is not UNDEFINED and value is not None and to_string(value) in self.allowed

    def __str__(self) -> str:
        return f"{self.path} is {' or '.join(self.allowed)}"


@dataclass(frozen=True, slots=True)
class Named:
    """A name of Segment's Email spec, and the conditions under which a platform's word stands for it."""

    name: str
    conditions: tuple[Condition, ...] = ()

    def holds(self, payload: Json) -> bool:
        return all(one.holds(payload) for one in self.conditions)


@dataclass(frozen=True, slots=True)
class Hmac:
    """A signature that is the HMAC of the body: in which header, by which hash, written how, behind which prefix."""

    header: str
    hash: str
    encoding: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Door:
    """How a platform's requests are read.

    signature: one of SIGNATURES. signed_by: the headers it is in, for the description of the interface.
    max_bytes: of a body, decompressed; small where it has to be read before its sender is known. form: bodies are
    form-encoded. elements: the member that holds the array of events, empty if the body is the event or the array.
    beside: other members that are kept with each event. headers: those kept with each event, under ``_headers``.
    dedupe: what tells events apart, None for a digest. strip: paths that are never stored. answers: other statuses than
    ours, by ours. probes: by which the platform tries the door, before it knows a secret: methods, or "empty" for a
    request without events.
    """

    signature: str = "own"
    hmac: Hmac | None = None
    signed_by: tuple[str, ...] = ()
    max_bytes: int = MAX_BODY_BYTES
    form: bool = False
    elements: str = ""
    beside: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    dedupe: Value | None = None
    strip: tuple[tuple[str, ...], ...] = ()
    answers: Mapping[int, int] = field(default_factory=dict)
    probes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """One file of ``mappings/sources/``.

    secrets and settings: the variables that open the door, all of them needed. names: the platform's words → what they
    stand for. machine_opens: words that mean "opened by a machine". absent: why the platform has no word for one of
    Segment's names. because: what is to be said of a word that stands for none. identifiers: recipient, email,
    profile_id, user_id; each a list of values to try until one identifies. also: further types → values that name the
    same person, each of them. ambiguous: does the payload leave open which of several addressees it is about? projects
    and platforms (of segment.toml): Segment projectId → provider; names of further email platforms. poll: how its API
    is read, None if it is not.
    """

    provider: str
    name: str
    secrets: str
    settings: tuple[str, ...]
    integrations: tuple[str, ...]
    channel: str
    user_id: str
    forward: str
    door: Door
    event: Value
    names: Mapping[str, tuple[Named, ...]]
    machine_opens: frozenset[str]
    absent: Mapping[str, str]
    because: Mapping[str, str]
    fields: Mapping[str, Value]
    identifiers: Mapping[str, tuple[Value, ...]]
    also: Mapping[str, tuple[Value, ...]]
    ambiguous: Value | None
    projects: Mapping[str, str]
    platforms: frozenset[str]
    poll: Poll | None

    @property
    def variables(self) -> tuple[str, ...]:
        """Everything in the environment that this source reads."""
        return tuple(filter(None, (self.secrets, *self.settings)))

    def name_of(self, word: Json, payload: Json) -> str | None:
        """Segment's name for what the platform calls so, None if it has none or a condition does not hold."""
        known = self.names.get(word, ()) if isinstance(word, str) else ()
        return next((one.name for one in known if one.holds(payload)), None)

    def conditions_of(self, word: Json) -> str:
        """When a word that is listed stands for something, in words; empty if it is not listed."""
        known = self.names.get(word, ()) if isinstance(word, str) else ()
        return ", or where ".join(" and ".join(map(str, one.conditions)) for one in known)


def read(where: str, table: Mapping[str, Any]) -> Source:
    """The source that a file describes.

    Raises: MappingError, all mistakes of the file together.
    """
    file = Section(where, table, [])
    event, identifiers, fields = (file.section(name) for name in ("event", "identifiers", "fields"))
    file.check_keys(KEYS)
    event.check_keys(EVENT_KEYS)
    identifiers.check_keys([*IDENTIFIERS, "ambiguous", "also"])
    also = identifiers.section("also", "[identifiers.also]")
    known = identifiers.table
    source = Source(
        provider=Path(where).stem,
        name=file.text("name", Path(where).stem),
        secrets=file.text("secrets"),
        settings=file.texts("settings"),
        integrations=file.texts("integrations"),
        channel=file.choice("channel", CHANNELS, "auto"),
        user_id=file.choice("user_id", ("vendor", "segment"), "vendor"),
        forward=file.choice("forward", ("all", "repaired"), "all"),
        door=_door(file.section("door")),
        event=event.looked_up("path", event.table.get("path", ["event"])),
        names=dict(_names(event.section("names", "[event.names]"))),
        machine_opens=frozenset(event.texts("machine_opens")),
        absent=source_checks.absent(event.section("absent", "[event.absent]")),
        because=source_checks.because(event.section("because", "[event.because]")),
        fields=_fields(fields),
        identifiers=dict(_tried(identifiers, IDENTIFIERS)),
        also=dict(_tried(also, also.table)),
        ambiguous=identifiers.looked_up("ambiguous", known["ambiguous"]) if "ambiguous" in known else None,
        projects={str(key): str(value) for key, value in file.section("projects").table.items()},
        platforms=frozenset(one.lower() for one in file.texts("email_platforms")),
        poll=poll_mapping.read(file.section("poll")) if "poll" in file.table else None,
    )
    source_checks.together(file, named=source.names, identifiers=source.identifiers, headers=source.door.headers)
    if file.mistakes:
        raise MappingError(*dict.fromkeys(file.mistakes))
    return source


def _names(names: Section) -> Iterator[tuple[str, tuple[Named, ...]]]:
    for word, spec in names.table.items():
        yield word, tuple(_named(names, word, one) for one in (spec if isinstance(spec, list) else [spec]))


def _named(names: Section, word: str, spec: Json) -> Named:
    key = f'"{word}"'
    name = spec.get("name") if isinstance(spec, dict) else spec
    if name not in EMAIL_EVENTS:
        names.wrong(key, f"one of Segment's {', '.join(EMAIL_EVENTS)}", name)
    if not isinstance(spec, dict):
        return Named(str(name))
    when = spec.get("when", {})
    if set(spec) - {"name", "when"} or not isinstance(when, dict):
        names.wrong(key, 'a name, or { name = "…", when = { "path" = "value" } }', spec)
        return Named(str(name))
    return Named(str(name), tuple(_condition(names, f'{key} when "{path}"', path, said) for path, said in when.items()))


def _condition(names: Section, key: str, path: str, said: Json) -> Condition:
    allowed = said if isinstance(said, list) else [said]
    if not allowed or not all(isinstance(one, str | int | float) for one in allowed):
        names.wrong(key, "a value or a list of values", said)
    return Condition(path, names.value(key, [path]), tuple(map(to_string, allowed)))


def _fields(fields: Section) -> dict[str, Value]:
    """The values of dotted keys; a plain table inside is the same as keys with dots."""
    found = dict(_dotted(fields.table))
    for key in found:
        root = key.partition(".")[0]
        if root not in ROOTS or (root == key and root != "timestamp"):
            fields.wrong(f'"{key}"', "timestamp, properties.<name> or context.<name>", found[key])
        if any(other != key and other.startswith(f"{key}.") for other in found):
            fields.wrong(f'"{key}"', f"either this or single fields below it, such as {key}.<name>", "both")
    return {key: fields.value(f'"{key}"', spec) for key, spec in found.items()}


def _dotted(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Json]]:
    for key, spec in table.items():
        if isinstance(spec, dict) and spec and not any(name[:1] == "@" for name in spec):
            yield from _dotted(spec, f"{before}{key}.")
        else:
            yield f"{before}{key}", spec


def _tried(identifiers: Section, keys: Iterable[str]) -> Iterator[tuple[str, tuple[Value, ...]]]:
    for key in keys:
        if key in identifiers.table:
            identifiers.check_looked_up(f'"{key}"', identifiers.table[key])
            try:
                yield key, alternatives(identifiers.table[key], identifiers.place(f'"{key}"'))
            except MappingError as error:
                identifiers.mistakes += error.mistakes


def _hmac(hmac: Section) -> Hmac:
    hmac.check_keys(HMAC_KEYS)
    header = hmac.text("header")
    if not header:
        hmac.wrong("header", "the name of the header that holds the signature", header)
    return Hmac(
        header, hmac.choice("hash", HASHES, "sha256"), hmac.choice("encoding", ENCODINGS, "hex"), hmac.text("prefix")
    )


def _door(door: Section) -> Door:
    door.check_keys(DOOR_KEYS)
    answers = door.section("answers", "[door.answers]").table
    if not all(str(ours).isdecimal() and type(theirs) is int for ours, theirs in answers.items()):
        door.wrong("answers", "statuses, such as 400 = 406", answers)
        answers = {}
    signature = door.choice("signature", SIGNATURES, "own")
    hmac = _hmac(door.section("hmac", "[door.hmac]")) if signature == "hmac" else None
    return Door(
        signature=signature,
        hmac=hmac,
        signed_by=(hmac.header,) if hmac else door.texts("signed_by"),
        max_bytes=door.whole("max_bytes", MAX_BODY_BYTES),
        form=door.flag("form"),
        elements=door.text("elements"),
        beside=door.texts("beside"),
        headers=tuple(name.lower() for name in door.texts("headers")),
        dedupe=door.looked_up("dedupe", door.table["dedupe"]) if "dedupe" in door.table else None,
        strip=tuple(tuple(path.split(".")) for path in door.texts("strip")),
        answers={int(ours): theirs for ours, theirs in answers.items()},
        probes=door.texts("probes"),
    )
