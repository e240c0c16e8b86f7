"""The sentences of ``explain``: what one would say about a message, or about a person, to somebody who asks."""

from __future__ import annotations

from connector.answers import parts
from connector.messages import Json, Outcome

# -- messages -----------------------------------------------------------------------------------------------------


def message_in_words(known: dict[str, Json]) -> list[str]:
    """A message as ``answers.message`` tells it: what came, what was decided and why, what left, what is known now."""
    told, decision = known["message"], known["decision"]
    what = told["event"] or told["type"] or "element"
    by = f" by {told['vendor']}" if told["vendor"] else ""
    at = told["at"] or "an unknown time"
    words = [f"{what}{by}, of {at}, received from {told['source']} at {told['received_at']}."]
    if not told["authenticated"]:
        words.append("Nothing proves who sent it: only the first element of its request was signed.")
    if told["identifiers"]:
        words.append("It carried " + _named(told["identifiers"]) + ".")
    words += [f"Noted on the way in: {note}." for note in told["notes"]]
    words.append(f"Outcome {decision['outcome']}: {decision['reason']}.")
    words += _chosen(decision)
    words += _considered(known["considered"])
    words += _taught(known)
    words += _sent(known)
    words += _since(known)
    words += [_refused(link) for link in known["refused"]]
    return dated(known, words)


def dated(told: dict[str, Json], words: list[str]) -> list[str]:
    """The sentences, the first of which says so if they are about the past."""
    return [f"As of {told['as_of']}: {words[0]}", *words[1:]] if told.get("as_of") and words else words


def _chosen(decision: dict[str, Json]) -> list[str]:
    ids = [f"{name} {decision[name]}" for name in ("user_id", "anonymous_id") if decision[name]]
    if not ids or decision["outcome"] == Outcome.LEARNED:
        return []
    words = ["The visitor: " + " with ".join(ids) + "."]
    return words + ["Because " + parts.link_in_words(link) for link in decision["evidence"]]


def _considered(browsers: list[dict[str, Json]]) -> list[str]:
    """By which rule one of several browsers was chosen; of a single one there is nothing to say."""
    if len(browsers) < 2:
        return []
    return [
        f"Browser {one['anonymous_id']}, seen with {_named([one['seen_with']])} at {one['seen_at']}:"
        f" {'chosen, because it is ' if one['chosen'] else 'not chosen: '}{one['why']}."
        for one in browsers
    ]


def _taught(known: dict[str, Json]) -> list[str]:
    """What a message showed that is no email event; of those it is rather told what they stand on."""
    if known["decision"]["outcome"] != Outcome.LEARNED:
        return []
    return ["It showed " + parts.link_in_words(link) for link in known["taught"]]


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
    if visitor is None:
        return []
    ids = [f"{name} {visitor[name]}" for name in ("user_id", "anonymous_id") if visitor[name]] or ["nobody"]
    named = f"{' with '.join(ids)} ({visitor['reason']})"
    if known.get("as_of"):
        return [f"By the evidence up to {known['as_of']} its visitor is {named}."]
    if known["since_then"] is None:
        return []
    left = any(one["status"] == "delivered" for one in known["deliveries"])
    difference = {"enriched": "More is known now", "reattributed": "The evidence names somebody else now"}
    when, then = ("it left", "What left stays as it was sent") if left else ("it was decided", "It leaves as decided")
    return [f"{difference[known['since_then']]} than when {when}: {named}. {then}."]


def _refused(link: dict[str, Json]) -> str:
    return f"Refused: {parts.link_in_words(link)[:-1]}; {link['because']}."


def _named(pairs: list[dict[str, Json]]) -> str:
    return ", ".join(f"{one['type']} {one['value']}" for one in pairs)


# -- profiles -----------------------------------------------------------------------------------------------------


def profile_in_words(person: dict[str, Json]) -> list[str]:
    """A person as ``answers.profile`` tells them; or a browser that is nobody's, or what names nobody."""
    if person.get("hub"):
        hub = person["hub"]
        words = [f"{hub['type']} {hub['value']} names nobody: {hub['because']}."]
        words.append(f"What would make it somebody's again: {hub['released_by']}.")
    elif person.get("device"):
        one = person["identifiers"][0]
        words = [f"{one['type']} {one['value']} names a browser, and nobody's: {person['device']}."]
    elif person["profile_id"] is None:
        one = person["identifiers"][0]
        words = [f"{one['type']} {one['value']} is a browser nobody was identified on: an anonymous visitor."]
    else:
        words = [f"A person, profile {person['profile_id']}: {_named(person['identifiers'])}."]
    words += [_browser(one) for one in person["browsers"]]
    words += [_earlier(one) for one in person.get("earlier_owners", ())]
    words += ["Known from " + parts.link_in_words(link) for link in person["links"]]
    words += [_refused(link) for link in person["refused"]]
    if person["traits"]:
        words.append("Told of them: " + ", ".join(f"{name} {value}" for name, value in person["traits"].items()) + ".")
    if "truncated" in person:
        words.append(person["truncated"] + ".")
    return dated(person, words)


def _browser(span: dict[str, Json]) -> str:
    since = f"from {span['from']}" if span["from"] else "from its beginning"
    until = f"until {span['until']}" if span["until"] else "until now"
    return f"Theirs {since} {until}: browser {span['anonymous_id']}."


def _earlier(owner: dict[str, Json]) -> str:
    known_as = owner["known_as"]
    return (
        f"Before that: profile {owner['profile_id']} ({known_as['type']} {known_as['value']}), until {owner['until']}."
    )
