"""The certificates that Amazon SNS signs with, fetched from where its messages say, if that is Amazon.

An attacker who knows a topic's name can make us look for certificates that do not exist: so failures are remembered,
there is a bound on how many there may be, and only one request is under way at a time. Certificates that are known
cost nothing and wait for nobody.

Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html (read 2026-11-24); the names in
the certificates are those of ``sns-message-manager`` in https://github.com/aws/aws-sdk-java-v2
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from connector.errors import Unreachable, VerificationError
from connector.messages import MINUTE, SECOND, Milliseconds, now_ms

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_BYTES: Final = 64 * 1024
MAX_KNOWN: Final = 32
MAX_FAILURES: Final = 10
"""Within a minute; after that nothing new is fetched until the minute has passed."""

TIMEOUT_SECONDS: Final = 3.0
"""To connect, for each part of the answer, for all of it, and for a thread that waits for another's."""

FORGET_FAILURE_MS: Final = 30 * SECOND

# Two letters begin a region. "s3-us-west-2" is none: anybody can own a bucket that is called sns.
_URL: Final = re.compile(
    r"https://sns\.[a-z]{2}(?:-[a-z]{2,12}){1,2}-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?(?::443)?"
    r"/SimpleNotificationService-[0-9A-Za-z]{1,64}\.pem",
    re.ASCII,
)
_NAME: Final = re.compile(r"sns(?:[.-][a-z0-9-]{1,40}){0,2}\.amazonaws\.com(?:\.cn)?", re.ASCII)

NOT_AMAZON: Final = "SigningCertURL is not a certificate of Amazon SNS: the message does not come from there"
NOT_SNS: Final = "the certificate that SigningCertURL names was not made out to Amazon SNS"
NOT_VALID: Final = "the certificate that SigningCertURL names has expired or is not valid yet: check this host's clock"
UNREACHABLE: Final = "the certificate of Amazon SNS cannot be fetched ({}); allow https to sns.<region>.amazonaws.com"


@dataclass(frozen=True, slots=True)
class _Known:
    pem: bytes
    begins: Milliseconds
    ends: Milliseconds


class Certificates:
    """Gives a certificate by its URL. Threads share one."""

    def __init__(self, now: Callable[[], Milliseconds] = now_ms, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._now = now
        self._timeout = timeout_seconds
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._failures: deque[tuple[Milliseconds, str]] = deque(maxlen=MAX_FAILURES)
        self._table = threading.Lock()
        self._fetching = threading.Lock()

    def __call__(self, url: str) -> bytes:
        """The certificate (PEM).

        Raises: VerificationError if the URL or the certificate is not Amazon's, or its time is not now;
        Unreachable if it cannot be had at the moment.
        """
        if not _URL.fullmatch(url):
            raise VerificationError(NOT_AMAZON)
        known = self._remembered(url) or self._fetched(url)
        if not known.begins <= self._now() <= known.ends:
            raise VerificationError(NOT_VALID)
        return known.pem

    def _remembered(self, url: str) -> _Known | None:
        with self._table:
            known = self._known.get(url)
            if known is not None:
                self._known.move_to_end(url)
            return known

    def _fetched(self, url: str) -> _Known:
        """Ask Amazon, unless another thread has meanwhile, or asking has failed too often."""
        if not self._fetching.acquire(timeout=self._timeout):
            raise Unreachable(UNREACHABLE.format("another request is waiting for it"))
        try:
            known = self._remembered(url)
            if known is None:
                self._check_patience(url)
                known = self._asked(url)
            return known
        finally:
            self._fetching.release()

    def _check_patience(self, url: str) -> None:
        now = self._now()
        if any(failed == url and now - at < FORGET_FAILURE_MS for at, failed in self._failures):
            raise Unreachable(UNREACHABLE.format("it could not be a moment ago"))
        if len(self._failures) == MAX_FAILURES and now - self._failures[0][0] < MINUTE:
            raise Unreachable(UNREACHABLE.format("too many could not be in the last minute"))

    def _asked(self, url: str) -> _Known:
        try:
            known = _read(_download(url, self._timeout))
        except (Unreachable, VerificationError):
            self._failures.append((self._now(), url))
            raise
        with self._table:
            self._known[url] = known
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return known


def _download(url: str, timeout_seconds: float) -> bytes:
    """The body of a 200. Neither proxies nor certificate authorities of the environment are asked, as in ``exchange``.

    Raises: Unreachable.
    """
    import requests  # only who receives from Amazon needs it in a web process

    ends = time.monotonic() + timeout_seconds
    body = b""
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Accept-Encoding"] = "identity"
            with session.get(url, timeout=timeout_seconds, allow_redirects=False, stream=True) as response:
                if response.status_code != 200:
                    raise Unreachable(UNREACHABLE.format(f"HTTP {response.status_code}"))
                for chunk in response.iter_content(8192):
                    body += chunk
                    if len(body) > MAX_BYTES or time.monotonic() > ends:
                        raise Unreachable(UNREACHABLE.format("the answer is too long"))
    except requests.RequestException as error:
        raise Unreachable(UNREACHABLE.format(type(error).__name__)) from error
    return body


def _read(pem: bytes) -> _Known:
    """Raises: Unreachable if this is no certificate; VerificationError if it is somebody else's."""
    from cryptography.x509 import load_pem_x509_certificate

    try:
        certificate = load_pem_x509_certificate(pem)
        names = _names(certificate)
    except ValueError as error:
        raise Unreachable(UNREACHABLE.format("the answer is not a certificate")) from error
    if not any(_NAME.fullmatch(name) for name in names):
        raise VerificationError(NOT_SNS)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return _Known(pem, int(begins.timestamp() * 1000), int(ends.timestamp() * 1000))


def _names(certificate: Certificate) -> list[str]:
    """Whom it was made out to: the common name and the alternative DNS names."""
    from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName
    from cryptography.x509.oid import NameOID

    names = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        alternatives = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return names
    return names + alternatives.get_values_for_type(DNSName)
