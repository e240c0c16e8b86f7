"""What ``mappings/identity.toml`` says: the types of identifiers with rank, limits and paths, and what guards a link.

``rules_file`` reads and checks it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from connector.identifiers import CONTROL, MAX_VALUE, NORMALISERS
from connector.messages import DAY, MINUTE, SECOND, Identifier, Milliseconds

WHERE: Final = "identity.toml"
VENDOR: Final = "vendor"
"""The section that stands for every ``<vendor>_profile_id`` and ``<vendor>_user_id``."""

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")
HUB_LIMIT: Final = 20
SWEEP_LINKS: Final = 3
SWEEP_WITHIN: Final = "1s"
OPT_OUT: Final = "opt_out"
"""The category under which an opt-out flag is remembered."""


@dataclass(frozen=True, slots=True)
class Type:
    """One type of identifier. rank: 1 is the strongest. limit: how many of it one person may have, None for any.

    blocked: what names nobody, of all types and of this one.
    hub_limit: how many stronger identifiers one of it may be linked to before it names nobody.
    device: it names a browser, as a first-party cookie does, and never joins people; its hub_limit counts anonymousIds.
    external_ids: what it is called in ``context.externalIds``, beside its own name.
    token: it opens somebody's profile at an email platform, so only its keyed hash is kept; a browser that has it
    landed from a mail, and no more.
    """

    name: str
    rank: int
    limit: int | None = None
    paths: tuple[str, ...] = ()
    normalise: str = "trim"
    hub_limit: int = HUB_LIMIT
    blocked: tuple[re.Pattern[str], ...] = ()
    external_ids: tuple[str, ...] = ()
    token: bool = False
    device: bool = False


@dataclass(frozen=True, slots=True)
class Landing:
    """A parameter of a page's URL that names somebody: ``clicked`` (a vendor's link token) or ``hinted``, …

    decode: how its value is wrapped, ``base64`` or nothing.
    """

    parameter: str
    type: str
    kind: str
    decode: str = ""


@dataclass(frozen=True, slots=True)
class Cookie:
    """An email platform's cookie that a site hands over: at which paths of a call, as which type of token, and how an
    address in it counts (``hinted`` or ``declared``).
    """

    paths: tuple[str, ...]
    type: str
    email: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The file, compiled. required and opt_out say without whose consent nothing is kept.

    alone_ms: no other browser may have carried a link's token that long before. machine_ms: how near a machine's
    click spoils a landing. sweep_links: so many different links of one mail, clicked within sweep_ms, were clicked by a
    scanner; 0 for no such rule. fingerprint: of everything by which people are resolved, so that a change is noticed.
    """

    types: Mapping[str, Type]
    vendor: Type
    role_addresses: frozenset[str]
    own_prefix: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
    landings: tuple[Landing, ...] = ()
    cookies: tuple[Cookie, ...] = ()
    required: frozenset[str] = frozenset()
    opt_out: tuple[str, ...] = ()
    alone_ms: Milliseconds = 7 * DAY
    machine_ms: Milliseconds = MINUTE
    sweep_links: int = SWEEP_LINKS
    sweep_ms: Milliseconds = SECOND
    fingerprint: str = ""

    @property
    def tokens(self) -> tuple[Type, ...]:
        """The types whose values open somebody's profile."""
        return tuple(one for one in self.types.values() if one.token)

    @property
    def parameters(self) -> frozenset[str]:
        """The parameters of a URL that name somebody."""
        return frozenset(one.parameter for one in self.landings)

    @property
    def secret_paths(self) -> tuple[str, ...]:
        """Where a site hands over cookies and tokens, which are passed on to nobody."""
        cookies = tuple(path for one in self.cookies for path in one.paths)
        return (*cookies, *(path for one in self.tokens for path in one.paths))

    def is_token(self, name: str) -> bool:
        """Is this a type whose values open somebody's profile?"""
        return name in self.types and self.types[name].token

    def type_of(self, name: str) -> Type:
        """The type of this name; a vendor's ids share one."""
        return self.types.get(name, self.vendor)

    def rank(self, type_name: str) -> int:
        return self.type_of(type_name).rank

    def strength(self, identifier: Identifier) -> tuple[int, str, str]:
        """Sorts the strongest first: rank, then type, then value."""
        return (self.rank(identifier.type), identifier.type, identifier.value)

    @property
    def devices(self) -> tuple[str, ...]:
        """The types that name browsers, beside the anonymousId; the strongest first."""
        return tuple(name for name, one in self.types.items() if one.device)

    def is_device(self, type_name: str) -> bool:
        """Does it name a browser by a first-party id of its own?"""
        return self.type_of(type_name).device

    def is_hub(self, type_name: str, degree: int) -> bool:
        """Is an identifier with links to so many stronger ones nobody's? For a device that is ``devices``' question."""
        known = self.type_of(type_name)
        return degree > known.hub_limit and not known.device

    def is_blocked(self, type_name: str, value: str) -> bool:
        """Junk that many people share: ``null``, ``undefined``, ``guest``, zeros …, also in quotes."""
        bare = value.strip().strip("\"'`").strip()
        for pattern in self.type_of(type_name).blocked:  # noqa: SIM110 - a generator costs three times a loop here
            if pattern.fullmatch(bare):
                return True
        return False

    def identify(self, type_name: str, raw: object) -> Identifier | None:
        """The identifier a raw value stands for, None if it identifies nobody."""
        if not isinstance(raw, str) or len(raw) > MAX_VALUE:
            return None
        value = NORMALISERS[self.type_of(type_name).normalise](raw)
        if not value or CONTROL.search(value) or self.is_blocked(type_name, value):
            return None
        if type_name == "anonymous_id" and self.own_prefix and value.startswith(self.own_prefix):
            return None  # our own opaque ids coming back name no browser
        return Identifier(type_name, value)

    def is_role(self, identifier: Identifier) -> bool:
        """``info@``, ``support@`` …: an address that several people read never names a browser."""
        return identifier.type == "email" and identifier.value.partition("@")[0] in self.role_addresses

    def is_type(self, name: str) -> bool:
        """Is there such a type of identifier?"""
        vendors = name.endswith(("_profile_id", "_user_id")) and NAME.fullmatch(name) is not None
        return name in self.types or vendors

    def external_type(self, name: object) -> Type | None:
        """The type that ``context.externalIds`` calls so, if it is listed; a browser is none of them."""
        for one in self.types.values():
            if one.name != "anonymous_id" and (name == one.name or name in one.external_ids):
                return one
        return None
