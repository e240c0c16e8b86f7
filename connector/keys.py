"""Everything keyed by CONNECTOR_SECRET: names that only this tenant can make, and that say nothing by themselves.

Segment deduplicates messageIds across all of its customers, so ours carry the tenant; the prefix is also how we
recognise our own events when they come back.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from connector.messages import Identifier


@dataclass(frozen=True, slots=True)
class Keys:
    """The tenant's keyed hashes. 32 hexadecimal digits each."""

    secret: str = field(repr=False)
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", f"conn-{self._hash('tenant')[:8]}-")

    @property
    def fingerprint(self) -> str:
        """What the store remembers of the secret, so that another one is refused."""
        return self._hash("fingerprint")

    def outgoing_id(self, key: str, destination: str) -> str:
        """The messageId under which a message leaves: the same at every attempt, ≤ 100 characters."""
        return self.prefix + self._hash("outgoing", destination, key)

    def opaque_id(self, addressee: Identifier) -> str:
        """The anonymousId of an addressee whom nobody has identified: stable, and not the address in another form."""
        return self.prefix + "anon-" + self._hash("opaque", *addressee)

    def profile_id(self, earliest: Identifier) -> str:
        """The id of the person whose earliest-seen identifier this is."""
        return self._hash("profile", *earliest)[:24]

    def tombstone(self, identifier: Identifier) -> str:
        """What is left of an identifier that was forgotten: enough to know it again, and no way back."""
        return self._hash("tombstone", *identifier)

    def token(self, token: str) -> str:
        """A link token of an email platform, which opens the profile of whoever has it, as it may be stored."""
        return self._hash("token", token)

    def delivery(self, source: str, vendor: str, addressee: Identifier, mail: str) -> str:
        """One mail to one person, by which the clicks on its links are held together."""
        return self._hash("delivery", source, vendor, *addressee, mail)

    def hyperlink(self, link: str) -> str:
        """A link in a mail, which may name its reader, as it may be stored."""
        return self._hash("hyperlink", link)

    def digest(self, value: bytes) -> str:
        """Of what a value was, to be compared with what it is; short, for a difference that is missed once in a
        million is told on the next day."""
        return hmac.new(self.secret.encode(), value, hashlib.sha256).hexdigest()[:8]

    def record(self, text: str) -> str:
        """What an email platform says of a person, as it may be named: the same for as long as it says the same."""
        return self._hash("record", text)

    def link_id(self, stronger: Identifier, weaker: Identifier, kind: str) -> str:
        return self._hash("link", *stronger, *weaker, kind)[:24]

    def _hash(self, *parts: str) -> str:
        text = "\x1f".join(parts).encode(errors="surrogatepass")
        return hmac.new(self.secret.encode(), text, hashlib.sha256).hexdigest()[:32]
