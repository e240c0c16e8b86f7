"""Which browsers landed from a mail, and may be taken for its addressee's: the guards of ``clicked`` links.

A click proves who was mailed, not who reads: mails are forwarded, and scanners open every link. So a landing counts
only if no machine clicked at that moment (one that its platform flagged, or one of a sweep: ``sweeps``) and no other
browser had carried the token shortly before.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from connector.messages import Milliseconds
from connector.rules import Rules

LANDINGS: Final = """
    select l.browser_id, min(l.at) from links k join landings l on l.browser_id = k.b_id and l.profile_id = k.a_id
    where k.a_id = :profile and k.kind = 'clicked' and k.stands and not k.apart
    and not exists (select 1 from landings e where e.token = l.token and e.browser_id = l.browser_id and e.at < l.at)
    and not exists (select 1 from machine_clicks m where m.identifier_id = :profile
                    and m.at between l.at - :machine and l.at + :machine)
    and not exists (select 1 from clicks c where c.profile_id = :profile and c.swept
                    and c.at between l.at - :machine and l.at + :machine)
    and not exists (select 1 from landings o where o.token = l.token and o.browser_id <> l.browser_id
                    and o.at >= l.at - :alone and o.at < l.at)
    group by l.browser_id order by l.browser_id limit 200"""


def landed(tx: sa.Connection, profile: int, rules: Rules) -> dict[int, Milliseconds]:
    """The browsers with a landing from a mail to this vendor profile that nothing speaks against, and the first such.

    Whether a browser was ever identified as somebody else is for the graph to say.
    """
    given = {"profile": profile, "machine": rules.machine_ms, "alone": rules.alone_ms}
    return {row[0]: row[1] for row in tx.execute(sa.text(LANDINGS), given)}
