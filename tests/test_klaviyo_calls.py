"""Segment's calls as Klaviyo's: which metric, which properties, whose, and nothing that Klaviyo would refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from connector.house import House
from connector.klaviyo.calls import Draft, Who, accepted, address, call_of, compose, deletion, unaddressed
from connector.klaviyo.mapping import KlaviyoMapping
from connector.klaviyo.wanted import denied, is_switched_off, refusal
from connector.messages import Email, Identifier, Message
from tests.klaviyo_models import in_bulk, strays
from tests.streams import house

AT = 1_790_000_000_123
TIME = "2026-09-21T14:13:20.123Z"
JANE = Who("jane@shop.test", "+15005550006", "jane-1")

MONOPOLY = {
    "product_id": "507f1f77bcf86cd799439011",
    "sku": "45790-32",
    "name": "Monopoly: 3rd Edition",
    "price": 19,
    "quantity": 1,
    "category": "Games",
    "brand": "Hasbro",
    "variant": "200 pieces",
    "url": "https://shop.test/monopoly",
    "image_url": "https://shop.test/monopoly.jpg",
}
UNO = {"product_id": "505bd76785ebb509fc183733", "sku": "46493-32", "name": "Uno", "price": 2.5, "quantity": 3}
MONOPOLY_ITEM = {
    "ProductID": "507f1f77bcf86cd799439011",
    "SKU": "45790-32",
    "ProductName": "Monopoly: 3rd Edition",
    "Quantity": 1,
    "ItemPrice": 19,
    "ProductURL": "https://shop.test/monopoly",
    "ImageURL": "https://shop.test/monopoly.jpg",
    "Categories": ["Games"],
    "Brand": "Hasbro",
    "variant": "200 pieces",
    "RowTotal": 19,
}
UNO_ITEM = {
    "ProductID": "505bd76785ebb509fc183733",
    "SKU": "46493-32",
    "ProductName": "Uno",
    "Quantity": 3,
    "ItemPrice": 2.5,
    "RowTotal": 7.5,
}
BOTH = {
    "Items": [MONOPOLY_ITEM, UNO_ITEM],
    "ItemNames": ["Monopoly: 3rd Edition", "Uno"],
    "Categories": ["Games"],
    "Brands": ["Hasbro"],
}


def mapping(*lines: tuple[str, str]) -> KlaviyoMapping:
    """The shipped one, with other keys in the place of some."""
    files = (("destinations/klaviyo.toml", "\n".join(f"{key} = {value}" for key, value in lines)),) if lines else ()
    known: House = house(files=files)
    return known.mappings.klaviyo


def composed(call: dict[str, Any], *lines: tuple[str, str], message_id: str = "m1") -> list[Draft]:
    return compose(call, AT, message_id, mapping(*lines))


def track(event: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": event, "properties": properties, **more}


def event_body(metric: str, properties: dict[str, Any], unique_id: str = "m1", **more: Any) -> dict[str, Any]:
    return {
        "call": "event",
        "data": {
            "type": "event",
            "attributes": {
                "metric": {"data": {"type": "metric", "attributes": {"name": metric}}},
                "properties": properties,
                **more,
                "time": TIME,
                "unique_id": unique_id,
            },
        },
    }


def profile_body(**attributes: Any) -> dict[str, Any]:
    return {"call": "profile", "data": {"type": "profile", "attributes": attributes}}


# -- the shop -----------------------------------------------------------------------------------------------------


class TestShop:
    """Every event of https://segment.com/docs/connections/spec/ecommerce/v2/."""

    def test_a_product_viewed_is_a_viewed_product(self) -> None:
        call = track("Product Viewed", {**MONOPOLY, "compare_at_price": 25, "currency": "USD"})
        (draft,) = composed(call)
        assert draft.body == event_body(
            "Viewed Product",
            {
                "ProductName": "Monopoly: 3rd Edition",
                "ProductID": "507f1f77bcf86cd799439011",
                "SKU": "45790-32",
                "Categories": ["Games"],
                "ImageURL": "https://shop.test/monopoly.jpg",
                "URL": "https://shop.test/monopoly",
                "Brand": "Hasbro",
                "Price": 19,
                "CompareAtPrice": 25,
                "quantity": 1,
                "variant": "200 pieces",
                "currency": "USD",
            },
        )

    def test_a_product_without_a_url_was_viewed_on_its_page(self) -> None:
        context = {"page": {"url": "https://shop.test/uno"}}
        (draft,) = composed(track("Product Viewed", {"name": "Uno"}, context=context))
        assert draft.body == event_body("Viewed Product", {"ProductName": "Uno", "URL": "https://shop.test/uno"})

    @pytest.mark.parametrize("event", ["Product Added", "Added Product", "Wishlist Product Added to Cart"])
    def test_a_product_added_is_added_to_the_cart_and_worth_its_row(self, event: str) -> None:
        (draft,) = composed(track(event, {**UNO, "category": "Games", "cart_id": "c1", "currency": "usd"}))
        assert draft.body == event_body(
            "Added to Cart",
            {
                "Items": [{**UNO_ITEM, "Categories": ["Games"], "cart_id": "c1"}],
                "ItemNames": ["Uno"],
                "Categories": ["Games"],
                "AddedItemProductName": "Uno",
                "AddedItemProductID": "505bd76785ebb509fc183733",
                "AddedItemSKU": "46493-32",
                "AddedItemCategories": ["Games"],
                "AddedItemPrice": 2.5,
                "AddedItemQuantity": 3,
                "cart_id": "c1",
                "currency": "usd",
            },
            value=7.5,
            value_currency="USD",
        )

    def test_a_checkout_started_is_a_started_checkout(self) -> None:
        call = track(
            "Checkout Started",
            {
                "order_id": "o1",
                "affiliation": "Google Store",
                "value": 30,
                "revenue": 25,
                "shipping": 3,
                "tax": 2,
                "discount": 2.5,
                "coupon": "hasbros",
                "currency": "EUR",
                "products": [MONOPOLY, UNO],
            },
            context={"page": {"url": "https://shop.test/checkout/1"}},
        )
        (draft,) = composed(call)
        assert draft.body == event_body(
            "Started Checkout",
            {
                **BOTH,
                "OrderId": "o1",
                "CheckoutURL": "https://shop.test/checkout/1",
                "DiscountCode": "hasbros",
                "DiscountValue": 2.5,
                "affiliation": "Google Store",
                "value": 30,
                "revenue": 25,
                "shipping": 3,
                "tax": 2,
                "currency": "EUR",
            },
            value=30,
            value_currency="EUR",
        )

    @pytest.mark.parametrize("event", ["Order Completed", "Completed Order"])
    def test_an_order_completed_is_a_placed_order_and_an_ordered_product_each(self, event: str) -> None:
        call = track(
            event,
            {
                "order_id": "o1",
                "total": 27.5,
                "revenue": 25.0,
                "coupon": "hasbros",
                "discount": 2.5,
                "currency": "USD",
                "products": [MONOPOLY, UNO],
            },
        )
        order, *products = composed(call)
        assert order.body == event_body(
            "Placed Order",
            {
                **BOTH,
                "OrderId": "o1",
                "DiscountCode": "hasbros",
                "DiscountValue": 2.5,
                "total": 27.5,
                "revenue": 25.0,
                "currency": "USD",
            },
            value=27.5,
            value_currency="USD",
        )
        assert [one.body for one in products] == [
            event_body(
                "Ordered Product",
                {"OrderId": "o1", "ProductBrand": "Hasbro", **MONOPOLY_ITEM},
                "m1/0",
                value=19,
                value_currency="USD",
            ),
            event_body("Ordered Product", {"OrderId": "o1", **UNO_ITEM}, "m1/1", value=7.5, value_currency="USD"),
        ]
        assert [(one.key, one.kind) for one in (order, *products)] == [("", "event"), ("/0", "event"), ("/1", "event")]

    @pytest.mark.parametrize(
        ("event", "metric"), [("Order Refunded", "Refunded Order"), ("Order Cancelled", "Cancelled Order")]
    )
    def test_what_becomes_of_an_order(self, event: str, metric: str) -> None:
        (draft,) = composed(
            track(event, {"order_id": "o1", "total": 30, "currency": "USD", "products": [UNO], "reason": "too small"})
        )
        assert draft.body == event_body(
            metric,
            {
                "Items": [UNO_ITEM],
                "ItemNames": ["Uno"],
                "OrderId": "o1",
                "Reason": "too small",
                "total": 30,
                "currency": "USD",
            },
            value=30,
            value_currency="USD",
        )

    @pytest.mark.parametrize(
        ("event", "metric", "properties"),
        [
            ("Product List Viewed", "Viewed Collection", {"list_id": "l1", "category": "Deals", "products": [UNO]}),
            ("Products Searched", "Submitted Search", {"query": "blue roses"}),
        ],
    )
    def test_what_klaviyo_has_a_name_for_and_no_shape(self, event: str, metric: str, properties: Any) -> None:
        assert [one.body for one in composed(track(event, properties))] == [event_body(metric, properties)]

    @pytest.mark.parametrize(
        ("event", "properties"),
        [
            ("Product List Filtered", {"list_id": "l1", "filters": [{"type": "price", "value": "under-25"}]}),
            ("Promotion Viewed", {"promotion_id": "promo_1", "creative": "top_banner_2", "position": "top"}),
            ("Promotion Clicked", {"promotion_id": "promo_1", "name": "75% store-wide shoe sale"}),
            ("Product Clicked", MONOPOLY),
            ("Product Removed", {"cart_id": "c1", **UNO}),
            ("Cart Viewed", {"cart_id": "c1", "products": [MONOPOLY, UNO]}),
            ("Checkout Step Viewed", {"checkout_id": "x1", "step": 2, "shipping_method": "Fedex"}),
            ("Checkout Step Completed", {"checkout_id": "x1", "step": 2, "payment_method": "Visa"}),
            ("Payment Info Entered", {"checkout_id": "x1", "order_id": "o1"}),
            ("Coupon Entered", {"order_id": "o1", "cart_id": "c1", "coupon_id": "may_deals"}),
            ("Coupon Applied", {"order_id": "o1", "coupon_id": "may_deals", "discount": 23.32}),
            ("Coupon Denied", {"order_id": "o1", "coupon": "may_deals", "reason": "Coupon expired"}),
            ("Coupon Removed", {"order_id": "o1", "coupon_id": "may_deals", "discount": 23.32}),
            ("Product Added to Wishlist", {"wishlist_id": "w1", "wishlist_name": "Loved", **UNO}),
            ("Product Removed from Wishlist", {"wishlist_id": "w1", **UNO}),
            ("Product Shared", {"share_via": "email", "share_message": "Look", **UNO}),
            ("Cart Shared", {"share_via": "email", "cart_id": "c1", "products": [{"product_id": "p1"}]}),
            ("Product Reviewed", {"product_id": "p1", "review_id": "r1", "review_body": "I love it", "rating": "5"}),
        ],
    )
    def test_everything_else_leaves_under_its_own_name(self, event: str, properties: dict[str, Any]) -> None:
        assert [one.body for one in composed(track(event, properties))] == [event_body(event, properties)]

    def test_an_order_that_is_updated_keeps_its_worth(self) -> None:
        properties = {"order_id": "o1", "total": 30, "revenue": 25.0, "currency": "USD", "products": [UNO]}
        assert [one.body for one in composed(track("Order Updated", properties))] == [
            event_body("Order Updated", properties, value=25.0, value_currency="USD")
        ]


class TestWorth:
    @pytest.mark.parametrize(
        ("properties", "value"),
        [
            ({"total": "27.50"}, 27.5),
            ({"total": "$27.50", "revenue": 25}, 25),
            ({"total": True, "products": [UNO]}, 7.5),
            ({"total": None, "products": [{"price": 0.1, "quantity": 3}, {"price": "0.2"}]}, 0.5),
            ({"total": 0, "products": [UNO]}, 0),
            ({"products": [{"price": 0.1, "quantity": 3}]}, 0.3),
            ({"products": [UNO, {"name": "a present"}]}, None),
            ({"products": [{"price": 1e308, "quantity": 1e308}]}, None),
            ({}, None),
        ],
    )
    def test_an_order_is_worth_what_it_says_else_its_rows(self, properties: dict[str, Any], value: float) -> None:
        attributes = composed(track("Order Completed", properties))[0].body["data"]["attributes"]
        assert attributes.get("value") == value

    @pytest.mark.parametrize(
        ("properties", "code"),
        [
            ({"currency": " usd ", "revenue": 1}, "USD"),
            ({"currency": "US Dollar", "revenue": 1}, None),
            ({"currency": 840, "revenue": 1}, None),
            ({"currency": "USD"}, None),
        ],
    )
    def test_a_currency_is_a_code_beside_a_value(self, properties: dict[str, Any], code: str | None) -> None:
        (draft,) = composed(track("Ordered by Phone", properties))
        assert draft.body["data"]["attributes"].get("value_currency") == code

    def test_names_categories_and_brands_are_told_once(self) -> None:
        products = [
            {"name": "Uno", "category": ["Games", "Cards"], "brand": "Mattel"},
            {"name": "Uno", "category": "Games", "brand": 7},
        ]
        properties = composed(track("Order Completed", {"products": products}))[0].body["data"]["attributes"][
            "properties"
        ]
        assert {name: properties[name] for name in ("ItemNames", "Categories", "Brands")} == {
            "ItemNames": ["Uno"],
            "Categories": ["Games", "Cards"],
            "Brands": ["Mattel"],
        }

    def test_a_site_that_speaks_klaviyo_s_words_already_is_understood(self) -> None:
        said = {
            "ProductName": "Uno",
            "SKU": "46493-32",
            "Categories": ["Games"],
            "ImageURL": "https://shop.test/uno.jpg",
        }
        assert [one.body for one in composed(track("Viewed Product", said))] == [event_body("Viewed Product", said)]
        items = [{"ProductID": "p1", "Quantity": 2, "ItemPrice": 5, "RowTotal": 9}]
        (draft,) = composed(track("Placed Order", {"Items": items, "$value": 9, "$event_id": "o1"}))
        assert draft.body == event_body("Placed Order", {"Items": items}, value=9)
        (draft,) = composed(track("Order Refunded", {"products": [*items, {"ItemPrice": 5}], "OrderId": "o1"}))
        items.append({"ItemPrice": 5, "RowTotal": 5})
        assert draft.body == event_body("Refunded Order", {"Items": items, "OrderId": "o1"}, value=14)

    def test_a_field_wins_over_a_property_of_its_name(self) -> None:
        (draft,) = composed(track("Product Viewed", {"name": "Uno", "ProductName": "Monopoly", "sku": "", "SKU": "1"}))
        assert draft.body == event_body("Viewed Product", {"ProductName": "Uno", "SKU": "1"})

    def test_products_that_are_none_are_passed_over(self) -> None:
        drafts = composed(track("Order Completed", {"total": 1, "products": ["sku-1", None, UNO]}))
        assert [one.key for one in drafts] == ["", "/0"]
        assert drafts[0].body["data"]["attributes"]["properties"]["Items"] == [UNO_ITEM]

    def test_an_order_has_at_most_a_thousand_products(self) -> None:
        drafts = composed(track("Order Completed", {"products": [{"sku": str(one)} for one in range(1_001)]}))
        assert (len(drafts), drafts[-1].key) == (1_001, "/999")
        assert drafts[0].notes == ("only the first 1,000 of 1,001 products leave",)


# -- pages and names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "metric"), [("page", "Viewed Page"), ("screen", "Viewed Screen")])
@pytest.mark.parametrize(
    "named", [{"event": "Home"}, {"name": "Home"}, {"properties": {"name": "Home", "url": "https://shop.test/"}}]
)
def test_all_pages_are_one_metric(kind: str, metric: str, named: dict[str, Any]) -> None:
    call = {"type": kind, "properties": {"url": "https://shop.test/"}, **named}
    assert [one.body for one in composed(call)] == [event_body(metric, {"name": "Home", "url": "https://shop.test/"})]


@pytest.mark.parametrize("kind", ["group", "alias", "delete", "video", None])
def test_what_klaviyo_has_nothing_for_is_no_call(kind: str | None) -> None:
    assert composed({"type": kind, "traits": {"name": "Acme"}}) == []


def test_a_long_name_is_cut_to_what_klaviyo_takes() -> None:
    (draft,) = composed(track("é" * 200, {}))
    assert draft.body == event_body("é" * 127, {})


def test_an_event_without_a_name_does_not_leave() -> None:
    assert composed(track("  ", {"a": 1})) == []


@pytest.mark.parametrize(
    ("message_id", "unique_id"),
    [
        ("a" * 255, "a" * 255),
        ("a" * 256, "02d7160d77e18c6447be80c2e355c7ed4388545271702c50253b0914c65ce5fe"),
        ("m\x00", "187355b101e4d1f66c7948f93d109b63e1e0e5ec14eba8043e6428aff3a3e4ca"),
    ],
)
def test_a_message_id_that_is_too_long_leaves_as_its_digest(message_id: str, unique_id: str) -> None:
    (draft,) = composed(track("Ordered", {}), message_id=message_id)
    assert draft.body["data"]["attributes"]["unique_id"] == unique_id


# -- profiles -----------------------------------------------------------------------------------------------------


class TestProfile:
    def test_the_reserved_traits_are_klaviyo_s_fields_and_the_rest_are_properties(self) -> None:
        traits = {
            "email": "jane@shop.test",
            "phone": "+15005550006",
            "id": "jane-1",
            "firstName": "Jane",
            "lastName": "Doe",
            "name": "Jane Doe",
            "title": "VP",
            "company": {"name": "Initech", "industry": "Technology"},
            "avatar": "https://shop.test/jane.png",
            "address": {
                "street": "6th St",
                "city": "San Francisco",
                "state": "CA",
                "postalCode": 94103,
                "country": "USA",
            },
            "plan": "pro",
            "logins": 5,
            "pets": [{"kind": "cat"}],
        }
        context = {"locale": "en_US", "timezone": "America/Los_Angeles", "ip": "203.0.113.9"}
        (draft,) = composed({"type": "identify", "traits": traits, "context": context})
        assert (draft.key, draft.kind, draft.notes) == ("", "profile", ())
        assert draft.body == profile_body(
            first_name="Jane",
            last_name="Doe",
            organization="Initech",
            title="VP",
            image="https://shop.test/jane.png",
            locale="en-US",
            location={
                "address1": "6th St",
                "city": "San Francisco",
                "region": "CA",
                "zip": "94103",
                "country": "USA",
                "timezone": "America/Los_Angeles",
            },
            properties={
                "name": "Jane Doe",
                "company": {"name": "Initech", "industry": "Technology"},
                "plan": "pro",
                "logins": 5,
                "pets": [{"kind": "cat"}],
            },
        )

    def test_null_clears_a_field_and_absence_leaves_it(self) -> None:
        traits = {"firstName": None, "address": {"city": None}, "plan": None, "email": None, "phone": None}
        (draft,) = composed({"type": "identify", "traits": traits})
        assert draft.body == profile_body(first_name=None, location={"city": None}, properties={"plan": None})

    def test_a_value_in_another_place_wins_over_null(self) -> None:
        (draft,) = composed({"type": "identify", "traits": {"firstName": None, "first_name": "Jane"}})
        assert draft.body == profile_body(first_name="Jane")

    def test_secrets_identifiers_and_klaviyo_s_own_words_never_leave(self) -> None:
        traits = {
            "Password": "hunter2",
            "api-key": "k",
            "$consent": ["email"],
            "$email": "jane@shop.test",
            "Phone Number": "123",
            "anonymousId": "A1",
            "user_id": "jane-1",
            "card": {"last4": "4242", "cardNumber": "4242424242424242", "CVV": "123"},
        }
        (draft,) = composed({"type": "identify", "anonymousId": "A1", "userId": "jane-1", "traits": traits})
        assert draft.body == profile_body(properties={"card": {"last4": "4242"}})

    @pytest.mark.parametrize(
        ("traits", "field"),
        [
            ({"firstName": {"given": "Jane"}}, None),
            ({"firstName": True}, "first_name"),
            ({"firstName": "J" * 1_001}, "first_name"),
            ({"avatar": "data:image/png;base64,AAAA"}, "image"),
            ({"locale": "English (US)"}, "locale"),
            ({"latitude": 91}, "location.latitude"),
            ({"longitude": "west"}, "location.longitude"),
            ({"timezone": "Pacific Time (US & Canada)"}, "location.timezone"),
        ],
    )
    def test_what_does_not_fit_its_field_is_left_out(self, traits: dict[str, Any], field: str | None) -> None:
        (draft,) = composed({"type": "identify", "traits": traits})
        note = f"{field} is left out: what the call says is nothing that Klaviyo takes there"
        assert (draft.body, draft.notes) == (profile_body(), (note,) if field else ())

    def test_an_address_in_one_line_and_numbers_as_text(self) -> None:
        traits = {"address": "6th St, San Francisco", "latitude": "37.7749", "lastName": 7}
        (draft,) = composed({"type": "identify", "traits": traits})
        assert draft.body == profile_body(
            last_name="7", location={"address1": "6th St, San Francisco", "latitude": 37.7749}
        )

    def test_properties_that_would_make_a_profile_too_large_stay_here(self) -> None:
        traits = {"essay": "x" * 90_000, "plan": "pro", "diary": "y" * 79_000, "novel": "z" * 79_000}
        (draft,) = composed({"type": "identify", "traits": traits})
        assert draft.body == profile_body(properties={"plan": "pro", "diary": "y" * 79_000})
        assert draft.notes == ("2 properties are too large for a profile and do not leave",)

    def test_an_identify_without_traits_is_a_profile_still(self) -> None:
        assert [one.body for one in composed({"type": "identify"})] == [profile_body()]


# -- whose --------------------------------------------------------------------------------------------------------


class TestAddressing:
    def test_a_profile_and_an_event_carry_all_that_evidence_joined(self) -> None:
        (profile,) = composed({"type": "identify", "traits": {"firstName": "Jane"}})
        (event,) = composed(track("Ordered", {"a": 1}))
        named = {"email": "jane@shop.test", "phone_number": "+15005550006", "external_id": "jane-1"}
        assert json.loads(address(profile.body, JANE, backfill=True)) == profile_body(**named, first_name="Jane")
        whose: Any = {"profile": {"data": {"type": "profile", "attributes": named}}}
        assert json.loads(address(event.body, JANE, backfill=False)) == event_body("Ordered", {"a": 1}, **whose)
        assert json.loads(address(event.body, JANE, backfill=True)) == event_body(
            "Ordered", {"a": 1}, **whose, backfill=True
        )

    def test_an_addressed_body_can_be_made_somebody_else_s(self) -> None:
        call = {"type": "identify", "traits": {"firstName": "Jane", "plan": None}}
        for draft in (*composed(call), *composed(track("Order Completed", {"products": [UNO]}))):
            assert unaddressed(json.loads(address(draft.body, JANE, backfill=True))) == draft.body

    @pytest.mark.parametrize(
        ("who", "taken"),
        [
            (JANE, JANE),
            (Who("jane", "5005550006", "j" * 256), Who()),
            (Who("jane@shop.test", "0015005550006", "j" * 255), Who("jane@shop.test", "+15005550006", "j" * 255)),
            (Who("", "+1 (500) 555-0006", " "), Who(None, "+15005550006", None)),
            (Who(None, "+01234567", "jane\x00"), Who()),
            (Who(), Who()),
        ],
    )
    def test_what_klaviyo_would_refuse_names_nobody(self, who: Who, taken: Who) -> None:
        assert accepted(who) == taken

    @pytest.mark.parametrize("who", [Who(), Who(None, None, "jane-1"), Who("jane", "5005550006", "jane-1")])
    def test_a_profile_needs_an_address_or_a_number(self, who: Who) -> None:
        (draft,) = composed({"type": "identify", "traits": {}})
        with pytest.raises(ValueError, match="a profile needs an address or a phone number"):
            address(draft.body, who, backfill=False)

    def test_an_event_needs_somebody(self) -> None:
        (draft,) = composed(track("Ordered", {}))
        with pytest.raises(ValueError, match="an event needs an identifier"):
            address(draft.body, Who(None, "5005550006", None), backfill=False)

    def test_every_body_is_one_that_klaviyo_s_models_know(self) -> None:
        identify = {"type": "identify", "traits": {"firstName": None, "address": {"city": "X"}, "plan": "pro"}}
        order = track("Order Completed", {"order_id": "o1", "total": 1, "currency": "USD", "products": [MONOPOLY]})
        drafts = [*composed(identify), *composed(order), *composed({"type": "page", "name": "Home"})]
        bodies = [json.loads(address(one.body, JANE, backfill=True)) for one in drafts]
        assert [(one["call"], strays(one["call"], one["data"])) for one in bodies] == [
            ("profile", []),
            ("event", []),
            ("event", []),
            ("event", []),
        ]
        assert strays("events", in_bulk([one["data"] for one in bodies[1:]])) == []

    def test_the_models_tell_a_stray_field(self) -> None:
        body = json.loads(address(composed({"type": "identify", "traits": {}})[0].body, JANE, backfill=False))
        body["data"]["attributes"]["anonymous_id"] = "A1"
        assert strays("profile", body["data"]) == ["/data/attributes/anonymous_id"]


@pytest.mark.parametrize(
    ("known", "profile"),
    [
        ({"profile_id": "01H", "email": "jane@shop.test"}, {"type": "profile", "id": "01H", "attributes": {}}),
        (
            {"email": "jane@shop.test", "phone": "+15005550006", "external_id": "jane-1"},
            {"type": "profile", "attributes": {"email": "jane@shop.test"}},
        ),
        ({"phone": "+15005550006"}, {"type": "profile", "attributes": {"phone_number": "+15005550006"}}),
        ({"external_id": "jane-1"}, {"type": "profile", "attributes": {"external_id": "jane-1"}}),
    ],
)
def test_a_deletion_names_one_identifier(known: dict[str, str], profile: dict[str, Any]) -> None:
    data = {"type": "data-privacy-deletion-job", "attributes": {"profile": {"data": profile}}}
    assert json.loads(deletion(**known)) == {"call": "deletion", "data": data}
    by_external_id = ["/data/attributes/profile/data/attributes/external_id"]  # which is looked up before it is sent
    assert strays("deletion", data) == (by_external_id if set(known) == {"external_id"} else [])


def test_a_deletion_of_nobody_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="a deletion needs an identifier"):
        deletion(phone="555")


# -- what must not leave ------------------------------------------------------------------------------------------


CARRIED = (Identifier("anonymous_id", "A1"),)
MESSAGE = Message(1, "segment", "m1", "track", AT, AT, event="Ordered", identifiers=CARRIED, carried=CARRIED)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({}, None),
            ({"type": "alias"}, "Klaviyo knows nothing like alias"),
            ({"source": "import"}, "imported history is evidence only"),
            ({"carried": ()}, "no call of the site's own, or one that names nobody"),
            ({"integrations": {"Klaviyo": False}}, "its integrations switch Klaviyo off"),
            ({"context": {"consent": {"categoryPreferences": {"Ads": False}}}}, "its visitor has refused Ads"),
        ],
    )
    def test_a_message_is_refused_with_a_reason(self, changes: dict[str, Any], why: str | None) -> None:
        assert refusal(replace(MESSAGE, **changes), mapping(("consent", '["Marketing", "Ads"]'))) == why

    def test_email_events_never_go_back(self) -> None:
        message = replace(MESSAGE, event="Email Opened", email=Email("klaviyo"))
        assert refusal(message, mapping()) == "an email event: Klaviyo counts its own"

    @pytest.mark.parametrize(
        ("integrations", "off"),
        [
            ({}, False),
            ({"All": True}, False),
            ({"All": False}, True),
            ({"all": False}, True),
            ({"All": False, "Klaviyo": True}, False),
            ({"All": False, "Klaviyo (Actions)": {"listId": "x"}}, False),
            ({"All": False, "Mixpanel": True}, True),
            ({"Klaviyo": False}, True),
            ({"klaviyo (actions)": False}, True),
            ({"Klaviyo": True, "Klaviyo (Actions)": False}, True),
            ({"Mixpanel": False}, False),
            ({"Klaviyo": None, "All": False}, True),
        ],
    )
    def test_integrations_that_switch_klaviyo_off(self, integrations: dict[str, Any], off: bool) -> None:
        assert is_switched_off(integrations, mapping().integrations) is off

    @pytest.mark.parametrize(
        ("context", "category"),
        [
            ({}, None),
            ({"consent": {"categoryPreferences": {"Marketing": True}}}, None),
            ({"consent": {"categoryPreferences": {"Marketing": False}}}, "Marketing"),
            ({"consent": {"categoryPreferences": {"Functional": False}}}, None),
            ({"consent": "no"}, None),
        ],
    )
    def test_a_call_that_refuses_a_category(self, context: dict[str, Any], category: str | None) -> None:
        assert denied(context, ["Marketing"]) == category

    def test_a_message_is_composed_without_its_ids(self) -> None:
        message = replace(MESSAGE, anonymous_id="A1", user_id="jane-1", properties={"a": 1})
        assert compose(call_of(message), message.at, message.message_id, mapping())[0].body == event_body(
            "Ordered", {"a": 1}
        )
