"""The stream of messages that every figure is taken with: people with two browsers, an email and mostly a userId."""

from __future__ import annotations

import random
from collections.abc import Iterator

import orjson

from connector.messages import DAY, Json, iso

NOW = 1_790_000_000_000
PEOPLE = 20_000


def calls(n: int, seed: int = 1) -> Iterator[dict[str, Json]]:
    """n Segment calls of about 700 bytes: 20 % email events by address, 20 % identifies, the rest page views."""
    rng = random.Random(seed)
    context = {
        "library": {"name": "analytics.js", "version": "next-1.84.3"},
        "page": {"path": "/p/1", "url": "https://shop.test/p/1", "title": "A thing that one might buy", "search": ""},
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0",
        "locale": "en-US",
    }
    for number in range(n):
        person = rng.randrange(PEOPLE)
        email, browser = f"person{person}@shop.test", f"browser-{person}-{rng.randrange(2)}"
        call: dict[str, Json] = {
            "messageId": f"bench-{seed}-{number}",
            "timestamp": iso(NOW - rng.randrange(30 * DAY)),
            "context": context,
        }
        dice = rng.random()
        if dice < 0.2:
            call |= {"type": "track", "event": "Email Opened", "anonymousId": email}
            call["context"] = {"integration": {"name": "Klaviyo"}, "traits": {"email": email}}
            call["properties"] = {"campaign_id": "c1", "campaign_name": "Autumn", "email_subject": "Things to buy"}
        elif dice < 0.3:
            call |= {"type": "identify", "anonymousId": browser, "userId": None, "traits": {"email": email}}
        elif dice < 0.4:
            call |= {"type": "identify", "anonymousId": browser, "userId": f"user-{person}", "traits": {"email": email}}
        else:
            known = f"user-{person}" if dice < 0.7 else None
            call |= {"type": "page", "anonymousId": browser, "userId": known, "properties": {"sku": "x" * 200}}
        yield call


def bodies(n: int, seed: int = 1) -> list[bytes]:
    return [orjson.dumps(call) for call in calls(n, seed)]
