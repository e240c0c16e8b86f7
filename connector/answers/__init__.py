"""Everything that answers questions about what was decided. Reads only; every answer is made of plain JSON values.

    stats     the numbers, and the orphan rate         log_page  the log, newest first
    message   one message: decision, evidence, sent    held · dead · quarantined  what needs somebody
    profile   one person, as the links say now         export_…  everything, sorted, the same in any order
    explain   any of it, in sentences                  check     is this installation in order?
    explain_pair  what joins two, or keeps them apart  hubs      what names nobody
    what_if   the same history under other rules       digest    one number for all of it

Doors begin the transaction (``store.reading()``) and hand it in.
"""

from connector.answers.apart import hubs
from connector.answers.check import Finding, check
from connector.answers.explain import explain
from connector.answers.export import digest, export_links, export_log, export_profiles
from connector.answers.listing import dead, held, log_page, quarantined
from connector.answers.message import message
from connector.answers.pair import explain_pair
from connector.answers.profile import profile, profile_by_id
from connector.answers.stats import stats
from connector.answers.whatif import what_if

__all__ = [
    "Finding",
    "check",
    "dead",
    "digest",
    "explain",
    "explain_pair",
    "export_links",
    "export_log",
    "export_profiles",
    "held",
    "hubs",
    "log_page",
    "message",
    "profile",
    "profile_by_id",
    "quarantined",
    "stats",
    "what_if",
]
