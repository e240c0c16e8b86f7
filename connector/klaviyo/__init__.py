"""Klaviyo, by its real contract: what is asked of its API, and what its answers mean.

    wire       revision, headers, limits and errors, of every request; api: for those who ask and wait for the answer

    calls      Klaviyo's calls made of Segment's, as ``mapping`` compiled them (``shaped``, ``fields``, ``limits``)
    wanted     which calls of the site must not go there at all
    fit        what Klaviyo would refuse; answers, conflict: what its answers mean, 409 above all
    deletions  who is forgotten here, deleted there

    poll       reads events, page by page (``pages``, ``readings``, ``stored``, ``polled``)
    records    what the API says of a profile, as evidence
    lookups    whose tokens and ids are not known yet; resolver: asks; cookie: what ``__kla_id`` says

    rights, webhooks, tracking    for an operator

Neither makes a decision about anybody: that is ``connector.activity``'s, and the pipeline's. ``destinations.klaviyo``
sends what leaves. There is one constant for the revision, ``wire.REVISION``.

Source: https://developers.klaviyo.com/en/reference/api_overview
"""
