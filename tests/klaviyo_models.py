"""Klaviyo's own models, asked about our bodies: a key that they do not know at our revision is a hard 400 there.

They drop unknown keys without a word, so what is asked is whether every key and value of a body survives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from openapi_client.models.data_privacy_create_deletion_job_query import DataPrivacyCreateDeletionJobQuery
from openapi_client.models.event_create_query_v2 import EventCreateQueryV2
from openapi_client.models.events_bulk_create_job import EventsBulkCreateJob
from openapi_client.models.profile_upsert_query import ProfileUpsertQuery

from connector.messages import parse_time

MODELS: Final = {
    "profile": ProfileUpsertQuery,
    "event": EventCreateQueryV2,
    "deletion": DataPrivacyCreateDeletionJobQuery,
    "events": EventsBulkCreateJob,
}


def strays(call: str, data: Any) -> list[str]:
    """JSON pointers into ``{"data": data}`` to what Klaviyo's model of this call does not know.

    Raises: pydantic's ValidationError for what the model refuses.
    """
    read: Any = MODELS[call].from_dict({"data": data})  # type: ignore[attr-defined] # generated, without a common base
    return list(_lost({"data": data}, read.to_dict(), ""))


def in_bulk(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Single events as one bulk request has them, each with its own profile."""
    entries = []
    for one in events:
        attributes = dict(one["attributes"])
        profile = attributes.pop("profile")
        event = {"type": "event", "attributes": attributes}
        entries.append({"type": "event-bulk-create", "attributes": {"profile": profile, "events": {"data": [event]}}})
    return {"type": "event-bulk-create-job", "attributes": {"events-bulk-create": {"data": entries}}}


def _lost(ours: Any, theirs: Any, pointer: str) -> Iterator[str]:
    if isinstance(ours, dict):
        for name, value in ours.items():
            if not isinstance(theirs, dict) or name not in theirs:
                yield f"{pointer}/{name}"
            elif name == "time" and not isinstance(theirs[name], str):
                if theirs[name].timestamp() * 1000 != parse_time(value):
                    yield f"{pointer}/{name}"
            else:
                yield from _lost(value, theirs[name], f"{pointer}/{name}")
    elif isinstance(ours, list):
        if not isinstance(theirs, list) or len(theirs) != len(ours):
            yield pointer
            return
        for at, value in enumerate(ours):
            yield from _lost(value, theirs[at], f"{pointer}/{at}")
    elif ours != theirs:
        yield pointer
