"""Segment email identity connector: email events land on the right visitor.

The way of one message through the house, in three transactions::

    T1  receive → verify → split → inbox          commit, then 200
    T2  validate → identity → stitch → outbox     a batch in one transaction: read ``pipeline`` first
    T3  claim → send → settle                     ``deliver``, which sends; only ``certificates`` asks outside too

``messages`` has the words, ``tables`` the tables. ``mapping`` reads the files in ``mappings/``: ``language`` is what is
written in them, ``source_mapping`` an email platform's file; ``sources.declared`` makes the platform's door of it and
``verify`` knows who is calling, ``mapped`` makes Segment calls of its payloads, ``trial`` shows all of it step by step.

Who is one person is a pure function of append-only evidence (``resolve``); ``graph`` asks it, ``inspector`` shows the
answers. ``sweeps`` flags the clicks of scanners.

Evidence can be taken back: ``standing`` says what counts, ``components`` follows what that joins or parts, ``derive``
makes all of it anew from the record, ``scratch`` does so at another time or under other rules. Operators ``repair`` and
``forget`` by messages of their own (``operate``).
"""

__version__ = "0.1.0"
