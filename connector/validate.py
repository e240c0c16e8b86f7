"""Stage 1 of T2: what a stored element means. ``Stored`` in, ``Message`` out, or ``InvalidMessage`` with reasons.

A Segment call is read as it is; a vendor's payload is mapped to a Segment track call first. An email event is not
another kind of thing: it is a track call named by Segment's Email spec, with an ``Email`` part that says whom the mail
was sent to. What a message teaches depends on the message alone, never on what is known when it arrives.
Next stage: ``identity``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from connector import evidence, landings, mapped, schema, urls
from connector.errors import InvalidMessage, MappingError
from connector.evidence import Links, alias, chosen, distinct, first_of, recipient_of, site_identifiers, star
from connector.identifiers import is_email, is_hash_shaped
from connector.keys import Keys
from connector.mapping import Mappings, Source
from connector.messages import YEAR_2000, Email, Identifier, Json, Kind, Message, Milliseconds, Stored, iso, parse_time

SEGMENT_SHAPED = ("segment", "tracking_api", "import")  # sources whose elements are Segment calls already


@dataclass(frozen=True, slots=True)
class Reader:
    """What reading a message needs to know: the mappings, our own names, and which vendors count by their webhook.

    own_channel: vendors that tell us themselves; their events in Segment's stream are evidence only. own_integration:
    our name in ``context.integration``. since: when the reading of a vendor's API began, None if it has not.
    """

    mappings: Mappings
    keys: Keys
    own_channel: frozenset[str] = frozenset()
    own_integration: str = ""
    since: Mapping[str, Milliseconds | None] = field(default_factory=dict)

    def counts_itself(self, vendor: str, at: Milliseconds) -> bool:
        """Does an event of this vendor count by its own channel? Not what happened before that was read."""
        began = self.since.get(vendor, 0)
        return vendor in self.own_channel and began is not None and at >= began


def read(stored: Stored, reader: Reader) -> Message:
    """The message in a stored element. Raises: InvalidMessage with reasons for a person."""
    body = schema.read_body(stored)
    if stored.source in SEGMENT_SHAPED:
        call = schema.check(body)
        if call["type"] in ("delete", "alias") and not stored.authenticated:
            raise InvalidMessage(
                [
                    f"{call['type']} is obeyed only where every element of the request is authenticated: send it alone,"
                    " or set SEGMENT_WEBHOOK_TOKENS and give Segment the token"
                ]
            )
        return _segment_message(stored, call, reader)
    source = reader.mappings.sources.get(stored.source)
    if source is None:
        raise InvalidMessage(
            [f"there is no mapping for the source '{stored.source}'; add mappings/sources/{stored.source}.toml"]
        )
    try:
        return _vendor_message(stored, body, source, reader)
    except MappingError as error:
        raise InvalidMessage(error.mistakes) from None


def is_echo(message: Message, reader: Reader) -> bool:
    """Is this an event of ours, or of another connector, coming back?"""
    integration = message.context.get("integration")
    name = integration.get("name") if isinstance(integration, dict) else None
    return message.message_id.startswith(reader.keys.prefix) or (name is not None and name == reader.own_integration)


def _segment_message(stored: Stored, call: Mapping[str, Json], reader: Reader) -> Message:
    source = reader.mappings.sources["segment"]
    event = call.get("event")
    platform = _platform(call, source, reader)
    if call["type"] == "track" and (event in source.names or platform):
        return _segment_email(stored, call, source, reader)
    rules = reader.mappings.rules
    notes: list[str] = []
    at = _event_time(call, stored.received_at, notes)
    identifiers = site_identifiers(call, rules, notes, platform)
    links = star(identifiers, Kind.VENDOR if platform else Kind.DECLARED, rules)
    if call["type"] == "alias":
        identifiers, links = alias(call, rules)
    elif call["type"] == "delete":
        return _message(stored, call, at, notes, identifiers=identifiers, links=(), carried=())
    carried = () if platform else evidence.people(identifiers, rules)
    declared = call["type"] == "identify" and carried
    browser = next((one for one in identifiers if one.type == "anonymous_id"), None)
    named = any(one != browser for one in carried)
    landed = browser is not None and not platform
    clicks = landings.landed(call, rules, reader.keys, notes, named=named) if landed else ()
    told = urls.stripped_call(call, rules)
    return _message(
        stored,
        told,
        at,
        notes,
        identifiers=distinct(*identifiers, *(one.identifier for one in clicks)) if clicks else identifiers,
        links=landings.joined(links, browser, clicks, rules) if browser and clicks else links,
        carried=carried,
        event=told.get("event") or told.get("name"),
        landings=tuple((one.token, one.identifier, browser) for one in clicks if one.kind == Kind.CLICKED and browser),
        lookups=landings.unresolved(clicks, rules),
        choices=chosen(call, rules) if rules.required or rules.opt_out else (),
        trait_owner=min(carried, key=rules.strength) if declared else None,
    )


def _segment_email(stored: Stored, call: Mapping[str, Json], source: Source, reader: Reader) -> Message:
    """An email event in Segment's own form: from a library, or from one of Segment's email sources."""
    rules = reader.mappings.rules
    notes: list[str] = []
    at = _event_time(call, stored.received_at, notes)
    vendor = _vendor(call, source, reader)
    user = call.get("userId")
    vendor_user = None if is_email(user) else rules.identify(f"{vendor}_user_id", user)
    if user and not vendor_user and not is_email(user):
        notes.append("the userId names nobody (blocked value) and was not used")
    anonymous = None if is_email(call.get("anonymousId")) else rules.identify("anonymous_id", call.get("anonymousId"))
    recipient, blocked = recipient_of(call, source, rules)
    if recipient is None and anonymous and is_hash_shaped(anonymous.value):
        recipient = anonymous
    known = reader.mappings.sources.get(vendor)
    name = source.name_of(call["event"], call)
    email = Email(
        vendor=vendor,
        recipient=recipient,
        vendor_user=vendor_user,
        ignored=_not_counted(stored, vendor, at, blocked, reader) if name else mapped.UNLISTED,
        forward=known.forward if known else "all",
    )
    opened = call["event"] in source.machine_opens
    properties = mapped.flagged(call.get("properties") or {}, name or "", opened=opened)
    vouched = known is not None and known.user_id == "segment" and vendor_user is not None
    carried = distinct(rules.identify("user_id", vendor_user.value) if vouched and vendor_user else None)
    identifiers = distinct(recipient, vendor_user, anonymous)
    if name and not identifiers and not blocked:
        raise InvalidMessage(["the event names nobody: it carries no address, and its ids are values that many share"])
    return _message(
        stored,
        urls.stripped_call({**call, "event": name or call["event"], "properties": properties}, rules),
        at,
        notes,
        identifiers=identifiers,
        links=star(identifiers, Kind.VENDOR, rules),
        carried=carried,
        email=email,
        anonymous_id=anonymous.value if anonymous else None,
        user_id=vendor_user.value if vendor_user else None,
    )


def _vendor_message(stored: Stored, payload: Mapping[str, Json], source: Source, reader: Reader) -> Message:
    """A vendor's own webhook element, mapped to a Segment track call and judged as one."""
    rules = reader.mappings.rules
    known = mapped.to_call(payload, source)
    notes: list[str] = []
    at = _event_time(known.call, stored.received_at, notes)
    if known.several:
        unknown = Email(source.provider, ignored=known.ignored, forward=source.forward)
        return _message(stored, known.call, at, notes, identifiers=(), links=(), carried=(), email=unknown)
    recipient, blocked = recipient_of(payload, source, rules)
    profile = first_of(payload, source, "profile_id", f"{source.provider}_profile_id", rules)
    user = first_of(payload, source, "user_id", f"{source.provider}_user_id", rules)
    own_email = first_of(payload, source, "email", "email", rules) or recipient
    if known.named and not (recipient or profile or user or blocked):
        raise InvalidMessage(
            [f"the event names no recipient; look at [identifiers] in mappings/sources/{source.provider}.toml"]
        )
    email = Email(
        vendor=source.provider,
        recipient=recipient,
        vendor_profile=profile,
        vendor_user=user,
        ignored=known.ignored or _not_counted(stored, source.provider, at, blocked, reader),
        forward=source.forward,
    )
    carried = distinct(rules.identify("user_id", user.value) if user and source.user_id == "segment" else None)
    further = distinct(*evidence.further(payload, source, rules))
    tokens = tuple(one for one in further if rules.is_token(one.type))  # of the profile, and so of nobody else
    person = distinct(own_email, profile, user, *(one for one in further if one not in tokens))
    if recipient and own_email != recipient:
        notes.append("mailed to another address than the profile's own: the two were not linked")
    return _message(
        stored,
        urls.stripped_call(known.call, rules),
        at,
        notes,
        identifiers=distinct(recipient, *person, *tokens),
        links=(*star(person, Kind.VENDOR, rules), *((profile, one, Kind.VENDOR) for one in tokens if profile)),
        carried=carried,
        lookups=((profile, profile.value),) if profile and own_email is None else (),
        email=email,
    )


def _message(
    stored: Stored,
    call: Mapping[str, Json],
    at: Milliseconds,
    notes: list[str],
    *,
    identifiers: tuple[Identifier, ...],
    links: Links,
    carried: tuple[Identifier, ...],
    email: Email | None = None,
    event: str | None = None,
    user_id: str | None = None,
    anonymous_id: str | None = None,
    landings: tuple[tuple[str, Identifier, Identifier], ...] = (),
    lookups: tuple[tuple[Identifier, str], ...] = (),
    choices: tuple[tuple[str, bool], ...] = (),
    trait_owner: Identifier | None = None,
) -> Message:
    return Message(
        inbox_id=stored.id,
        source=stored.source,
        message_id=stored.message_id,
        type=call["type"],
        at=at,
        received_at=stored.received_at,
        authenticated=stored.authenticated,
        timed=email is None or at == parse_time(call.get("timestamp")),
        event=event or call.get("event"),
        user_id=user_id or _carried_value(carried, "user_id"),
        anonymous_id=anonymous_id or _carried_value(carried, "anonymous_id"),
        properties=call.get("properties") or {},
        traits=call.get("traits") or {},
        context=call.get("context") or {},
        integrations=call.get("integrations") or {},
        identifiers=identifiers,
        links=links,
        carried=carried,
        email=email,
        landings=landings,
        lookups=lookups,
        choices=choices,
        trait_owner=trait_owner,
        notes=tuple(notes),
    )


def _carried_value(carried: tuple[Identifier, ...], type_name: str) -> str | None:
    return next((one.value for one in carried if one.type == type_name), None)


def _event_time(call: Mapping[str, Json], received_at: Milliseconds, notes: list[str]) -> Milliseconds:
    """``timestamp``, never later than the sender's receipt or ours; the receipt where the clock is unusable."""
    sender = parse_time(call.get("receivedAt"))
    ceiling = received_at if sender is None or sender < YEAR_2000 else min(sender, received_at)
    original = call.get("timestamp")
    at = parse_time(original)
    if at is None or at < YEAR_2000:
        if original is not None:
            notes.append("the timestamp is unreadable or before 2000: the time of receipt counts")
        return ceiling
    if at > ceiling:
        notes.append(f"the timestamp {iso(at)} is after its receipt: {iso(ceiling)} counts")
        return ceiling
    return at


def _vendor(call: Mapping[str, Json], source: Source, reader: Reader) -> str:
    """Which email platform an event in Segment's form is from: its integration's name, else its Segment source."""
    name = _integration(call)
    return reader.mappings.vendor_of(name) if name else source.projects.get(str(call.get("projectId")), "email")


def _platform(call: Mapping[str, Json], source: Source, reader: Reader) -> str | None:
    """The email platform whose Segment source made this call, None for the site's and server's own calls."""
    name = _integration(call)
    if name and (name.lower() in reader.mappings.vendors or name.lower() in source.platforms):
        return reader.mappings.vendor_of(name)
    return source.projects.get(str(call.get("projectId")))


def _integration(call: Mapping[str, Json]) -> str | None:
    integration = (call.get("context") or {}).get("integration")
    name = integration.get("name") if isinstance(integration, dict) else None
    return (name.strip() or None) if isinstance(name, str) else None


def _not_counted(stored: Stored, vendor: str, at: Milliseconds, blocked: bool, reader: Reader) -> str | None:
    if stored.source == "import":
        return "imported history is evidence only"
    if blocked:
        return "the recipient is a blocked address"
    if stored.source in SEGMENT_SHAPED and reader.counts_itself(vendor, at):
        return f"{vendor} counts by its own webhook or API; this copy from Segment's source is evidence only"
    known = reader.mappings.sources.get(vendor)
    if stored.source == vendor and known is not None and known.channel == "segment":
        return f"{vendor} counts by Segment's source for it (channel in its mapping); this copy is evidence only"
    return None
