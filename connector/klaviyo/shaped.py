"""Objects of Klaviyo's, filled as a ``mapping.Shape`` says: fields, the rest of another object, products and events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from connector.errors import MappingError
from connector.klaviyo.fields import amount, currency
from connector.klaviyo.limits import fitting, folded, number, text
from connector.klaviyo.mapping import Candidates, Each, Event, KlaviyoMapping, Shape
from connector.language import UNDEFINED
from connector.messages import Json

LISTS: Final = frozenset({"Categories", "AddedItemCategories", "ItemNames", "Brands"})
"""Properties that Klaviyo's own integrations fill with lists, also where there is one thing only.

Source: https://developers.klaviyo.com/en/docs/guide_to_integrating_a_platform_without_a_pre_built_klaviyo_integration
"""

MOST_ITEMS: Final = 1_000
"""Products of a call that are looked at."""

LONGEST_METRIC: Final = 127
"""Characters. Source: https://developers.klaviyo.com/en/reference/create_event (must be less than 128)"""

COLLECTED: Final = (("ItemNames", "ProductName"), ("Categories", "Categories"), ("Brands", "Brand"))
"""What an event says of all its products together: its own property, and theirs."""

CENTS: Final = 4
"""Decimals of a sum: prices are decimal, floats are not."""


def pick(
    values: Candidates, payload: Mapping[str, Json], fit: Callable[[Json], Json], notes: list[str], name: str
) -> Json:
    """The first value that fits; None if there is none but one was null, UNDEFINED if nothing was there at all.

    Args: name is what a note calls it if something was there and did not fit.
    """
    found: Json = UNDEFINED
    unfit = False
    for value_of in values:
        try:
            value = value_of(payload)
        except MappingError as error:
            notes += error.mistakes
            continue
        if value is None:
            found = None
        elif value is not UNDEFINED and value != "":
            if (fits := fit(value)) is not UNDEFINED:
                return fits
            unfit = unfit or not isinstance(value, dict | list)
    if unfit:
        notes.append(f"{name} is left out: what the call says is nothing that Klaviyo takes there")
    return found


def filled(fields: Mapping[str, Candidates], payload: Mapping[str, Json], notes: list[str]) -> dict[str, Json]:
    """The fields that have a value, lists where Klaviyo has lists."""
    made: dict[str, Json] = {}
    for name, values in fields.items():
        value = pick(values, payload, _anything, notes, name)
        if value is not None and value is not UNDEFINED:
            made[name] = [value] if name in LISTS and not isinstance(value, list) else value
    return made


def rest(
    shape: Shape,
    payload: Mapping[str, Json],
    never: frozenset[str],
    notes: list[str],
    taken: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """The members of another object that no field took. Names with a ``$`` are Klaviyo's own words, and stay here.

    Args: taken are the fields that are filled, if a member called like another field is the field itself: some sites
    speak Klaviyo's words already.
    """
    found = pick(shape.rest, payload, _an_object, notes, "rest")
    if not isinstance(found, dict):
        return {}
    own = {} if taken is None else shape.fields
    return {
        name: value
        for name, value in found.items()
        if name[:1] != "$"
        and name not in (taken or ())
        and ((plain := folded(name)) not in shape.without or name in own)
        and plain not in never
    }


# -- what fits ----------------------------------------------------------------------------------------------------


def _anything(value: Json) -> Json:
    return value


def _an_object(value: Json) -> Json:
    return value if isinstance(value, dict) else UNDEFINED


def _several(value: Json) -> Json:
    return value if isinstance(value, dict | list) else UNDEFINED


def _amount(value: Json) -> Json:
    found = amount(value)
    return UNDEFINED if found is None else found


def _code(value: Json) -> Json:
    return currency(value) or UNDEFINED


def _name(value: Json) -> Json:
    """A metric's name: text, shortened to what Klaviyo takes."""
    name = text(value).strip()[:LONGEST_METRIC].rstrip() if isinstance(value, str) else ""
    return name or UNDEFINED


# -- events -------------------------------------------------------------------------------------------------------


def events(
    event: Event, payload: Mapping[str, Json], mapping: KlaviyoMapping, notes: list[str]
) -> Iterator[dict[str, Any]]:
    """The attributes of the event that a call is, then of one for each product where the mapping wants that.

    ``metric``, ``properties``, and where there is one ``value`` with its ``value_currency``. Nothing without a name.
    """
    metric = pick(event.metric, payload, _name, notes, "metric")
    if not isinstance(metric, str):
        notes.append("the event has no name that Klaviyo could know it by: it does not leave")
        return
    products = list(_products(event, payload, notes))
    items = [_item(one, payload, mapping, notes) for one in products]
    code = pick(event.currency, payload, _code, notes, "currency")
    properties = _about(items) | filled(event.shape.fields, payload, notes)
    properties |= rest(event.shape, payload, mapping.never, notes, properties)
    yield _attributes(metric, fitting(properties, mapping.never, notes), _value(event, payload, items, notes), code)
    if event.each is not None:
        for product, item in zip(products, items, strict=True):
            yield from _each(event.each, {**payload, "product": product}, item, code, mapping, notes)


def _attributes(metric: str, properties: dict[str, Json], value: Json, code: Json) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metric": {"data": {"type": "metric", "attributes": {"name": metric}}},
        "properties": properties,
    }
    if value is not None:
        made["value"] = value
        if code:
            made["value_currency"] = code
    return made


def _value(event: Event, payload: Mapping[str, Json], items: Sequence[Mapping[str, Json]], notes: list[str]) -> Json:
    """What the mapping finds, else what all products cost together, if each says it."""
    if event.value is None:
        return None
    found = pick(event.value, payload, _amount, notes, "value")
    if found is not UNDEFINED and found is not None:
        return found
    totals = [amount(one.get("RowTotal")) for one in items]
    known = [one for one in totals if one is not None]
    return _money(sum(known)) if known and len(known) == len(totals) else None


def _each(
    each: Each,
    payload: Mapping[str, Json],
    item: Mapping[str, Json],
    code: Json,
    mapping: KlaviyoMapping,
    notes: list[str],
) -> Iterator[dict[str, Any]]:
    metric = pick(each.metric, payload, _name, notes, "metric")
    if isinstance(metric, str):
        properties = fitting({**filled(each.fields, payload, notes), **item}, mapping.never, notes)
        yield _attributes(metric, properties, amount(item.get("RowTotal")), code)


# -- products -----------------------------------------------------------------------------------------------------


def _products(event: Event, payload: Mapping[str, Json], notes: list[str]) -> Iterator[dict[str, Json]]:
    """The products of a call; one object is a list of one."""
    found = pick(event.items, payload, _several, notes, "items")
    products = [found] if isinstance(found, dict) else found if isinstance(found, list) else []
    if len(products) > MOST_ITEMS:
        notes.append(f"only the first {MOST_ITEMS:,} of {len(products):,} products leave")
    for one in products[:MOST_ITEMS]:
        if isinstance(one, dict):
            yield one


def _item(
    product: Mapping[str, Json], payload: Mapping[str, Json], mapping: KlaviyoMapping, notes: list[str]
) -> dict[str, Json]:
    """A product in Klaviyo's words, with what its row costs."""
    inner = {**payload, "product": product}
    item = filled(mapping.item.fields, inner, notes)
    item |= rest(mapping.item, inner, mapping.never, notes, item)
    price, quantity = amount(item.get("ItemPrice")), amount(item.get("Quantity", 1))
    if price is not None and quantity is not None and (total := _money(price * quantity)) is not None:
        item.setdefault("RowTotal", total)
    return item


def _money(sum_of: float) -> float | None:
    return number(round(sum_of, CENTS))


def _about(items: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """What an event says of its products: all of them, and their names, categories and brands, each once."""
    if not items:
        return {}
    made: dict[str, Json] = {"Items": list(items)}
    for name, member in COLLECTED:
        found = [one.get(member) for one in items]
        flat = [text for one in found for text in (one if isinstance(one, list) else [one])]
        distinct = list(dict.fromkeys(one for one in flat if isinstance(one, str) and one))
        if distinct:
            made[name] = distinct
    return made
