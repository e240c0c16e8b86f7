"""The account itself, its tracking parameters, its webhooks; and the consent endpoints, which only take note.

Source: https://developers.klaviyo.com/en/reference/get_accounts, …/update_tracking_setting, …/create_webhook
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from connector.demo.klaviyo_standin.account import Account, Call, Reply, Webhook, topic_of
from connector.demo.klaviyo_standin.history import KLAVIYO
from connector.demo.klaviyo_standin.problems import Mistake, Problem, invalid, missing
from connector.demo.klaviyo_standin.schemas import TRACKING_PATCH, WEBHOOK_CREATE, WEBHOOK_PATCH
from connector.messages import iso

SYSTEM_METRICS: Final = (
    "Received Email",
    "Opened Email",
    "Clicked Email",
    "Bounced Email",
    "Dropped Email",
    "Marked Email as Spam",
    "Unsubscribed from Email Marketing",
    "Unsubscribed from List",
    "Subscribed to List",
    "Subscribed to Email Marketing",
    "Updated Email Preferences",
    "Skipped Send",
    "Merged Profile",
)
OTHER_TOPICS: Final = ("event:klaviyo.clicked_email_to_unsubscribe",)
_BOTH: Final = ("email_subject", "link_alt_text", "message_type", "profile_external_id", "profile_id")
DYNAMIC: Final = {
    "flow": (*_BOTH, "flow_id", "flow_name", "message_name", "message_name_id"),
    "campaign": (
        *(*_BOTH, "campaign_id", "campaign_name", "campaign_name_id", "campaign_name_send_day"),
        *("group_id", "group_name", "group_name_id"),
    ),
}
"""The dynamic values of a parameter in the mails of a flow, and of a campaign."""

NAME: Final = re.compile(r"[A-Za-z0-9_-]+")


def accounts(account: Account, call: Call) -> Reply:
    """GET /api/accounts: the one that the key belongs to."""
    address = dict.fromkeys(("address1", "address2", "city", "region", "country", "zip"))
    attributes = {
        "test_account": True,
        "contact_information": {
            "default_sender_name": "A shop",
            "default_sender_email": "shop@example.com",
            "website_url": "https://shop.example",
            "organization_name": "A shop",
            "street_address": address,
        },
        "industry": None,
        "timezone": "UTC",
        "preferred_currency": "USD",
        "public_api_key": account.id,
        "locale": "en-US",
    }
    link = {"self": f"{call.base}/api/accounts/{account.id}/"}
    data = [{"type": "account", "id": account.id, "attributes": attributes, "links": link}]
    return Reply(200, {"data": data, "links": _page(call)})


def tracking(account: Account, call: Call) -> Reply:
    """GET /api/tracking-settings, of which there is one, and …/{account id}."""
    if not call.names:
        return Reply(200, {"data": [_tracking(account, call)], "links": _page(call)})
    _own(account, call.names[0])
    return Reply(200, {"data": _tracking(account, call), "links": {"self": f"{call.base}{call.path}"}})


def change_tracking(account: Account, call: Call) -> Reply:
    """PATCH /api/tracking-settings/{account id}."""
    data = TRACKING_PATCH.read(call.document)
    _own(account, call.names[0])
    if data["id"] != account.id:
        raise invalid("The id of the body is not the one of the path.", "/data/id")
    attributes = data["attributes"]
    for index, parameter in enumerate(attributes.get("custom_parameters") or []):
        pointer = f"/data/attributes/custom_parameters/{index}"
        if not NAME.fullmatch(parameter["name"]):
            raise invalid("Not a valid name of a parameter.", f"{pointer}/name")
        for kind in ("flow", "campaign"):
            value = parameter.get(kind)
            if value is not None and value["type"] not in ("dynamic", "static"):
                raise invalid("The type is dynamic or static.", f"{pointer}/{kind}/type")
            if value is not None and value["type"] == "dynamic" and value["value"] not in DYNAMIC[kind]:
                raise invalid(f"'{value['value']}' is not a valid dynamic value.", f"{pointer}/{kind}/value")
    account.tracking |= attributes
    return Reply(200, {"data": _tracking(account, call), "links": {"self": f"{call.base}{call.path}"}})


def topics(account: Account, call: Call) -> Reply:
    """GET /api/webhook-topics: the system's, and one for every metric."""
    data = [
        {"type": "webhook-topic", "id": one, "links": {"self": f"{call.base}/api/webhook-topics/{one}/"}}
        for one in known_topics(account)
    ]
    return Reply(200, {"data": data, "links": _page(call)})


def known_topics(account: Account) -> list[str]:
    """The topics of this account; its own metrics are among them."""
    named = [topic_of(name, KLAVIYO) for name in SYSTEM_METRICS]
    used = [topic_of(metric.name, metric.service) for metric in account.history.metrics.values()]
    return list(dict.fromkeys([*named, *OTHER_TOPICS, *used]))


def webhooks(account: Account, call: Call) -> Reply:
    """GET /api/webhooks and …/{id}. The URL is masked, the secret never told."""
    if call.names:
        return _webhook_reply(200, call, _webhook(account, call.names[0]))
    data = [_webhook_document(call, one) for one in account.webhooks.values()]
    return Reply(200, {"data": data, "links": _page(call)})


def create_webhook(account: Account, call: Call) -> Reply:
    """POST /api/webhooks: 201."""
    data = WEBHOOK_CREATE.read(call.document)
    attributes = data["attributes"]
    now = account.clock()
    made = Webhook(
        id=account.name(32).lower(),
        name=attributes["name"],
        description=attributes.get("description"),
        endpoint_url=attributes["endpoint_url"],
        secret_key=attributes["secret_key"],
        topics=_chosen_topics(account, data["relationships"]),
        created=now,
        updated=now,
    )
    account.webhooks[made.id] = made
    return _webhook_reply(201, call, made)


def change_webhook(account: Account, call: Call) -> Reply:
    """PATCH /api/webhooks/{id}, the only way to enable one. What happened while it was off is never sent."""
    data = WEBHOOK_PATCH.read(call.document)
    webhook = _webhook(account, call.names[0])
    if data["id"] != webhook.id:
        raise invalid("The id of the body is not the one of the path.", "/data/id")
    if "relationships" in data:
        webhook.topics = _chosen_topics(account, data["relationships"])
    for name, value in data["attributes"].items():
        setattr(webhook, name, value)
    if data["attributes"].get("enabled"):
        webhook.failing_since = None
    webhook.updated = account.clock()
    return _webhook_reply(200, call, webhook)


def delete_webhook(account: Account, call: Call) -> Reply:
    """DELETE /api/webhooks/{id}: 204."""
    del account.webhooks[_webhook(account, call.names[0]).id]
    return Reply(204)


def consent(account: Account, call: Call) -> Reply:
    """The subscription and suppression jobs: 202. That they were asked for is noted, nothing else happens."""
    account.consents.append((call.path.removeprefix("/api/"), call.document))
    return Reply(202)


def _own(account: Account, key: str) -> None:
    if key != account.id:
        raise missing("tracking-setting", key)


def _tracking(account: Account, call: Call) -> dict[str, Any]:
    source = {"flow": {"type": "static", "value": "Klaviyo"}, "campaign": {"type": "static", "value": "Klaviyo"}}
    medium = {"flow": {"type": "dynamic", "value": "message_type"}, "campaign": {"type": "static", "value": "email"}}
    attributes = {
        "auto_add_parameters": False,
        "utm_source": source,
        "utm_medium": medium,
        **dict.fromkeys(("utm_campaign", "utm_id", "utm_term")),
        "custom_parameters": [],
        **account.tracking,
    }
    link = {"self": f"{call.base}/api/tracking-settings/{account.id}/"}
    return {"type": "tracking-setting", "id": account.id, "attributes": attributes, "links": link}


def _chosen_topics(account: Account, relationships: Mapping[str, Any]) -> list[str]:
    chosen = [one["id"] for one in relationships["webhook-topics"]["data"]]
    known = set(known_topics(account))
    pointer = "/data/relationships/webhook-topics/data"
    mistakes = [
        Mistake(f"'{one}' is not a valid webhook topic.", f"{pointer}/{index}/id")
        for index, one in enumerate(chosen)
        if one not in known
    ]
    if mistakes:
        raise Problem(400, mistakes)
    return chosen


def _webhook(account: Account, key: str) -> Webhook:
    found = account.webhooks.get(key)
    if found is None:
        raise missing("webhook", key)
    return found


def _webhook_document(call: Call, webhook: Webhook) -> dict[str, Any]:
    chosen = [{"type": "webhook-topic", "id": one} for one in webhook.topics]
    return {
        "type": "webhook",
        "id": webhook.id,
        "attributes": {
            "name": webhook.name,
            "description": webhook.description,
            "endpoint_url": f"https://{urlsplit(webhook.endpoint_url).netloc}/*****",
            "enabled": webhook.enabled,
            "created_at": f"{iso(webhook.created)[:19]}+00:00",
            "updated_at": f"{iso(webhook.updated)[:19]}+00:00",
        },
        "relationships": {"webhook-topics": {"data": chosen}},
        "links": {"self": f"{call.base}/api/webhooks/{webhook.id}/"},
    }


def _webhook_reply(status: int, call: Call, webhook: Webhook) -> Reply:
    link = {"self": f"{call.base}{call.path}"}
    return Reply(status, {"data": _webhook_document(call, webhook), "links": link})


def _page(call: Call) -> dict[str, str | None]:
    return {"self": f"{call.base}{call.path}", "next": None, "prev": None}
