"""The six claims about Segment and Klaviyo, each as it is today and as it is with the connector.

A customer asked Klaviyo's support how identity works between the two, and was told six things.

Source: https://community.segment.com/t/m2w7nv/integration-klaviyo-behavior
"""

from __future__ import annotations

from pathlib import Path

from connector.messages import DAY, iso
from connector.store import Store
from tests import klaviyo_today as today
from tests.klaviyo_story import Kept, Story, Told, as_today, kept, mailed, site, track, with_connector
from tests.klaviyo_town import BACKFILL, Town

JANE, TOM = "jane@mail.example", "tom@mail.example"
MAILS = [
    mailed("Received Email", "10:30:00", JANE),
    mailed("Opened Email", "10:41:00", JANE),
    mailed("Clicked Email", "10:42:00", JANE),
]
AT_KLAVIYO = ["Received Email", "Opened Email", "Clicked Email"]
AT_SEGMENT = ["Email Delivered", "Email Opened", "Email Link Clicked"]


def test_1_a_visitor_who_leaves_an_address_while_anonymous_is_one_visitor(store: Store, tmp_path: Path) -> None:
    """Claim 1: who submits an email is recorded in Klaviyo without the anonymous id."""
    story: Story = [
        site("page", "10:00:00", "B1", name="Home"),
        track("Product Viewed", "10:01:00", "B1"),
        site("identify", "10:05:00", "B1", email=JANE),
        track("Product Viewed", "10:06:00", "B1"),
        *MAILS,
        track("Product Added", "10:44:00", "B1"),
    ]
    on_the_site = ["page", "Product Viewed", "identify", "Product Viewed"]
    assert as_today(story) == Told(
        klaviyo=[(None, None, ["Product Viewed", "Product Viewed", "Product Added"]), (None, JANE, AT_KLAVIYO)],
        segment=[
            *kept(None, "B1", *on_the_site),
            *kept(None, JANE, *AT_SEGMENT),
            *kept(None, "B1", "Product Added"),
        ],
        journeys=[[*on_the_site, "Product Added"], AT_SEGMENT],
    )
    assert with_connector(story, store, tmp_path) == Told(
        klaviyo=[(None, JANE, ["Viewed Product", *AT_KLAVIYO, "Added to Cart"])],
        segment=kept(None, "B1", *on_the_site, *AT_SEGMENT, "Product Added"),
        journeys=[[*on_the_site, *AT_SEGMENT, "Product Added"]],
    )


def test_2_the_id_that_identify_gives_becomes_the_external_id_of_the_one_profile(store: Store, tmp_path: Path) -> None:
    """Claim 2: events sent with an id made by identify() store the event and keep that id as External ID."""
    story: Story = [
        site("identify", "10:00:00", "B1", "u1", email=JANE),
        track("Product Viewed", "10:01:00", "B1", "u1"),
        track("Order Completed", "10:02:00", "B1", "u1", properties={"total": 20}),
    ]
    assert as_today(story).klaviyo == [(None, JANE, []), ("u1", None, ["Product Viewed", "Order Completed"])]
    assert with_connector(story, store, tmp_path).klaviyo == [("u1", JANE, ["Viewed Product", "Placed Order"])]


def test_3_an_event_with_an_address_is_recorded_on_the_profile_with_the_id_too(store: Store, tmp_path: Path) -> None:
    """Claim 3: any event that contains an email is recorded on an email-based profile."""
    story: Story = [
        site("identify", "10:00:00", "B1", "u1", email=JANE),
        track("Product Viewed", "10:01:00", "B1", "u1"),
        track("Order Completed", "10:02:00", "B1", "u1", email=JANE, properties={"total": 20}),
        track("Invoice Sent", "10:03:00", None, "u1"),
        track("Newsletter Requested", "10:04:00", "B9", email=TOM),
    ]
    assert as_today(story, today.classic).klaviyo == [
        (None, JANE, ["Order Completed"]),
        (None, TOM, ["Newsletter Requested"]),
    ]
    assert with_connector(story, store, tmp_path).klaviyo == [
        ("u1", JANE, ["Viewed Product", "Placed Order", "Invoice Sent"]),
        (None, TOM, ["Newsletter Requested"]),
    ]


def test_4_events_from_klaviyo_carry_the_right_id(store: Store, tmp_path: Path) -> None:
    """Claim 4: the events that Klaviyo sends to Segment carry the External ID, so that they can be matched."""
    story: Story = [
        site("identify", "10:00:00", "B1", "u1", email=JANE),
        track("Product Viewed", "10:01:00", "B1", "u1"),
        *MAILS,
    ]
    assert as_today(story).segment[2:] == kept(None, JANE, *AT_SEGMENT)
    by_segments_source: list[Kept] = []

    def ask_the_source(town: Town) -> None:
        calls = today.source(town.klaviyo.events)
        by_segments_source.extend((one["event"], one.get("userId"), one.get("anonymousId")) for one in calls)

    told = with_connector(story, store, tmp_path, source_too=True, later=ask_the_source)
    assert told.segment[2:] == kept("u1", "B1", *AT_SEGMENT), "each once, though two channels told of it"
    assert by_segments_source == kept("u1", None, *AT_SEGMENT), "even Segment's own source finds the External ID now"


def test_5_a_profile_without_external_id_makes_no_orphans(store: Store, tmp_path: Path) -> None:
    """Claim 5: a profile without External ID uses the email as id: orphaned profiles that hold email events only."""
    story: Story = [
        mailed("Received Email", "09:30:00", TOM),  # on a list, and never on the site
        mailed("Opened Email", "09:31:00", TOM),
        site("identify", "10:05:00", "B1", email=JANE),
        *MAILS,
        site("page", "10:43:00", "B1", name="Home"),
    ]
    of_tom = AT_SEGMENT[:2]
    before = as_today(story)
    assert before.segment == [
        *kept(None, TOM, *of_tom),
        *kept(None, "B1", "identify"),
        *kept(None, JANE, *AT_SEGMENT),
        *kept(None, "B1", "page"),
    ]
    assert before.journeys == [of_tom, ["identify", "page"], AT_SEGMENT]
    states = {}
    assert with_connector(story, store, tmp_path, later=lambda town: states.update(town.states())) == Told(
        klaviyo=[(None, TOM, AT_KLAVIYO[:2]), (None, JANE, [*AT_KLAVIYO, "Viewed Page"])],
        segment=kept(None, "B1", "identify", *AT_SEGMENT, "page"),
        journeys=[["identify", *AT_SEGMENT, "page"]],
    )
    assert states["segment", "held"] == len(of_tom), "Tom's wait for him, and are nobody's profile meanwhile"


def test_6_what_happened_before_the_account_joins_its_history(store: Store, tmp_path: Path) -> None:
    """Claim 6: events without an External ID can never be associated with a profile later."""
    story: Story = [
        mailed("Received Email", "09:30:00", JANE),
        mailed("Opened Email", "09:31:00", JANE),
        track("Product Viewed", "10:00:00", "B1"),
        track("Product Added", "10:01:00", "B1"),
        site("identify", "11:00:00", "B1", "u1", email=JANE),
        track("Order Completed", "11:05:00", "B1", "u1", properties={"total": 20}),
    ]
    of_mails, anonymous, known = AT_SEGMENT[:2], ["Product Viewed", "Product Added"], ["identify", "Order Completed"]
    site_only = [*kept(None, "B1", *anonymous), *kept("u1", "B1", *known)]
    assert as_today(story) == Told(
        klaviyo=[
            (None, JANE, AT_KLAVIYO[:2]),
            ("u1", None, [*anonymous, "Order Completed"]),  # the order names both ids, which merges them
        ],
        segment=[*kept(None, JANE, *of_mails), *site_only],
        journeys=[of_mails, [*anonymous, *known]],
    )
    assert with_connector(story, store, tmp_path, mapping=BACKFILL) == Told(
        klaviyo=[("u1", JANE, [*AT_KLAVIYO[:2], "Viewed Product", "Added to Cart", "Placed Order"])],
        segment=[*kept("u1", "B1", *of_mails), *site_only],
        journeys=[[*of_mails, *anonymous, *known]],
    )


def test_6_even_what_had_left_before_anybody_was_known_is_joined(sqlite_store: Store, tmp_path: Path) -> None:
    """The same where the account comes days later, when the email events have left under an id of their own."""

    def signs_up(town: Town) -> None:
        town.clock.passes(4 * DAY)
        town.finishes()
        call = site("identify", "11:00:00", "B1", "u1", email=JANE)
        town.segment_sends([{**call, "timestamp": iso(town.clock())}])
        town.finishes()

    story: Story = [mailed("Received Email", "09:30:00", JANE), mailed("Opened Email", "09:31:00", JANE)]
    told = with_connector(story, sqlite_store, tmp_path, later=signs_up)
    opaque = told.segment[0][2]
    assert told == Told(
        klaviyo=[("u1", JANE, AT_KLAVIYO[:2])],
        segment=[*kept(None, opaque, *AT_SEGMENT[:2]), *kept("u1", opaque, "identify")],
        journeys=[[*AT_SEGMENT[:2], "identify"]],
    )
    assert opaque is not None
    assert JANE not in opaque
