"""The same answers told in sentences, for whatever a person may paste: a messageId, an address, an id."""

from __future__ import annotations

import sqlalchemy as sa

from connector.answers import browsers, parts
from connector.answers.message import message
from connector.answers.profile import profile, profile_by_id
from connector.graph import NODE_COLUMNS, Graph, node
from connector.house import House
from connector.identifiers import NORMALISERS
from connector.messages import Identifier, Json, Outcome
from connector.resolve import Node
from connector.tables import identifiers


def explain(tx: sa.Connection, house: House, text: str) -> dict[str, Json]:
    """``{"what":"message"|"profile"|"unknown", "in_words":[…], …}``: a message or a profile, and sentences about it.

    Args: text is a messageId (incoming or outgoing), a profile id, or the value of any identifier.
    """
    text = text.strip()
    known = message(tx, house, text)
    if known is not None:
        return {"what": "message", **known, "in_words": message_in_words(tx, house, known)}
    person = _profile(tx, house, text)
    if person is not None:
        return {"what": "profile", **person, "in_words": profile_in_words(person)}
    return {"what": "unknown", "in_words": _unknown(house, text)}


def _profile(tx: sa.Connection, house: House, text: str) -> dict[str, Json] | None:
    """The profile of the strongest identifier with this value; of a browser, with those it belonged to before."""
    values = {text, NORMALISERS["email"](text), NORMALISERS["phone"](text)} - {""}
    rows = tx.execute(
        sa.select(*(identifiers.c[name] for name in NODE_COLUMNS)).where(identifiers.c.value.in_(sorted(values)))
    )
    for one in sorted(map(node, rows), key=lambda one: house.rules.strength(one.identifier)):
        person = profile(tx, house, *one.identifier)
        if person is not None:
            earlier = _earlier_owners(tx, house, one) if one.browser else []
            return {**person, "earlier_owners": earlier} if earlier else person
    return profile_by_id(tx, house, text)


def _earlier_owners(tx: sa.Connection, house: House, browser: Node) -> list[dict[str, Json]]:
    graph = Graph(tx, house.rules)
    found = []
    for person, until in browsers.earlier_owners(graph, browser.id):
        known_as = min((graph.nodes[one].identifier for one in graph.members(person)), key=house.rules.strength)
        found.append(
            {
                "profile_id": graph.profile_id(person, house.keys),
                "known_as": parts.pair(known_as),
                "until": parts.moment(until),
            }
        )
    return found


def _unknown(house: House, text: str) -> list[str]:
    if text.startswith(house.keys.prefix):
        return [
            "This id was made by this connector, but no message is known under it.",
            "If it is an anonymousId, it stands for an addressee whom nobody had identified in time: look for the"
            " event's messageId, or for the outcome 'expired' in the log.",
        ]
    return [
        "Nothing is known under this value: no message, no identifier, no profile.",
        "If it was sent a moment ago it may still be on its way; if a value such as null or guest, it names nobody.",
    ]


# -- messages -----------------------------------------------------------------------------------------------------


def message_in_words(tx: sa.Connection, house: House, known: dict[str, Json]) -> list[str]:
    told, decision = known["message"], known["decision"]
    what = told["event"] or told["type"] or "element"
    by = f" by {told['vendor']}" if told["vendor"] else ""
    at = told["at"] or "an unknown time"
    words = [f"{what}{by}, of {at}, received from {told['source']} at {told['received_at']}."]
    if not told["authenticated"]:
        words.append("Nothing proves who sent it: only the first element of its request was signed.")
    if told["identifiers"]:
        words.append("It carried " + _named(told["identifiers"]) + ".")
    words += [f"Repaired on the way in: {note}." for note in told["notes"]]
    words.append(f"Outcome {decision['outcome']}: {decision['reason']}.")
    words += _chosen(decision)
    words += _sent(known)
    words += _since(known)
    words += _refusals(tx, house, told["identifiers"])
    return words


def _chosen(decision: dict[str, Json]) -> list[str]:
    ids = [f"{name} {decision[name]}" for name in ("user_id", "anonymous_id") if decision[name]]
    if not ids or decision["outcome"] == Outcome.LEARNED:
        return []
    words = ["The visitor: " + " with ".join(ids) + "."]
    return words + ["Because " + parts.link_in_words(link) for link in decision["evidence"]]


def _sent(known: dict[str, Json]) -> list[str]:
    words = []
    for one in known["deliveries"]:
        last = one["attempts"][-1] if one["attempts"] else None
        tries = f" {_tries(len(one['attempts']))} at {last['at']}: {last['detail']}" if last else ""
        words.append(f"To {one['destination']}, as {one['message_id']}: {one['status']}{tries}.")
    held = known.get("held")
    if held:
        words.append(f"It waits for {_named(held['waits_for'])}, until {held['expires_at']} at the latest.")
        words.append(f"What would release it: {held['released_by']}.")
    return words


def _tries(n: int) -> str:
    return "after one attempt," if n == 1 else f"after {n} attempts, the last"


def _since(known: dict[str, Json]) -> list[str]:
    visitor = known["visitor"]
    if visitor is None or known["since_then"] is None:
        return []
    ids = [f"{name} {visitor[name]}" for name in ("user_id", "anonymous_id") if visitor[name]] or ["nobody"]
    left = any(one["status"] == "delivered" for one in known["deliveries"])
    difference = {"enriched": "More is known now", "reattributed": "The evidence names somebody else now"}
    when, then = ("it left", "What left stays as it was sent") if left else ("it was decided", "It leaves as decided")
    named = f"{' with '.join(ids)} ({visitor['reason']})"
    return [f"{difference[known['since_then']]} than when {when}: {named}. {then}."]


def _refusals(tx: sa.Connection, house: House, named: list[dict[str, Json]]) -> list[str]:
    """What was refused around the person a message speaks of."""
    carried = [Identifier(**one) for one in named if one["type"] != "anonymous_id"]
    person = profile(tx, house, *min(carried, key=house.rules.strength)) if carried else None
    return [_refused(link) for link in person["refused"]] if person else []


def _refused(link: dict[str, Json]) -> str:
    return f"Refused: {parts.link_in_words(link)[:-1]}; {link['because']}."


def _named(pairs: list[dict[str, Json]]) -> str:
    return ", ".join(f"{one['type']} {one['value']}" for one in pairs)


# -- profiles -----------------------------------------------------------------------------------------------------


def profile_in_words(person: dict[str, Json]) -> list[str]:
    if person["profile_id"] is None:
        one = person["identifiers"][0]
        words = [f"{one['type']} {one['value']} is a browser nobody was identified on: an anonymous visitor."]
    else:
        words = [f"A person, profile {person['profile_id']}: {_named(person['identifiers'])}."]
    words += [_browser(one) for one in person["browsers"]]
    words += [_earlier(one) for one in person.get("earlier_owners", ())]
    words += ["Known from " + parts.link_in_words(link) for link in person["links"]]
    words += [_refused(link) for link in person["refused"]]
    if "truncated" in person:
        words.append(person["truncated"] + ".")
    return words


def _browser(span: dict[str, Json]) -> str:
    since = f"from {span['from']}" if span["from"] else "from its beginning"
    until = f"until {span['until']}" if span["until"] else "until now"
    return f"Theirs {since} {until}: browser {span['anonymous_id']}."


def _earlier(owner: dict[str, Json]) -> str:
    known_as = owner["known_as"]
    return (
        f"Before that: profile {owner['profile_id']} ({known_as['type']} {known_as['value']}), until {owner['until']}."
    )
