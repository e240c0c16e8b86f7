"""A stand-in for Klaviyo on loopback: its API with its unpleasant parts, and Klaviyo as an email platform.

Written from Klaviyo's documentation and not from our own code, so that the two can disagree in a test. It answers 202
and does the work later, refuses a stray field, throttles in two windows, merges profiles by its own rank, and drops a
repeated event in silence. ``KlaviyoStandIn`` is all that one needs; ``answer``, ``hang`` and ``reset`` are faults.

Source: https://developers.klaviyo.com/en/reference/api_overview, revision 2026-10-15
"""

from connector.demo.klaviyo_standin.account import Dropped
from connector.demo.klaviyo_standin.faults import Fault, answer, hang, reset
from connector.demo.klaviyo_standin.history import Event, Metric
from connector.demo.klaviyo_standin.people import Profile
from connector.demo.klaviyo_standin.server import KEY, KlaviyoStandIn

__all__ = ["KEY", "Dropped", "Event", "Fault", "KlaviyoStandIn", "Metric", "Profile", "answer", "hang", "reset"]
