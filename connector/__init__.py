"""Segment email identity connector: email events land on the right visitor, customers are one profile in Klaviyo.

The way of one message through the house, in three transactions::

    T1  receive → verify → split → inbox          commit, then 200
    T2  validate → identity → stitch → outbox     a batch in one transaction: read ``pipeline`` first
    T3  claim → send → settle                     ``deliver``, to Segment and Klaviyo: ``destinations``

``messages`` has the words, ``tables`` the tables. ``mapping`` reads the files in ``mappings/``: ``language`` is what is
written in them, ``source_mapping`` an email platform's file, ``destination_mapping`` what leaves; ``sources.declared``
makes the platform's door of it and ``verify`` knows who is calling, ``mapped`` makes Segment calls of its payloads,
``trial`` shows all of it step by step.

Who is one person is a pure function of append-only evidence (``resolve``); ``graph`` asks it, ``inspector`` shows the
answers. ``sweeps`` flags the clicks of scanners. ``landings`` reads whom a page names beside its visitor, by tokens and
cookies, and ``clicks`` says what that is worth; ``devices`` recognises who returns by a browser's first-party ids.

Klaviyo, both ways: ``klaviyo.poll`` reads its events and ``klaviyo.resolver`` asks whose a token is; both write to the
inbox, and their answers go the way of every message. ``activity`` sends the site's calls to it: ``whose`` they are,
whether these agree (``permission``), what is news of a profile (``mirror``), what waits until somebody is known
(``backfill``). Outwards goes ``exchange`` alone, and ``certificates``; never inside a transaction.

Evidence can be taken back: ``standing`` says what counts, ``components`` follows what that joins or parts, ``derive``
makes all of it anew from the record, ``scratch`` does so at another time or under other rules. Operators ``repair`` and
``forget`` by messages of their own (``operate``).
"""

__version__ = "0.1.0"
