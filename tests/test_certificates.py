"""Amazon's certificates: fetched from Amazon alone, once, and never more often than is good."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
import responses

from connector import certificates
from connector.certificates import Certificates
from connector.errors import ConnectorError, Unreachable, VerificationError
from connector.messages import DAY, SECOND, Milliseconds, now_ms
from tests import amazon, published

URL = amazon.CERTIFICATE_URL


class Clock:
    """The time of day, to be moved by hand."""

    def __init__(self) -> None:
        self.at: Milliseconds = now_ms()

    def __call__(self) -> Milliseconds:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def numbered(number: int) -> str:
    return f"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{number}.pem"


def refusal(known: Certificates, url: str = URL) -> tuple[type[ConnectorError], str]:
    with pytest.raises(ConnectorError) as caught:
        known(url)
    assert url not in str(caught.value)
    return type(caught.value), str(caught.value)


def unreachable(why: str) -> tuple[type[ConnectorError], str]:
    return (
        Unreachable,
        f"the certificate of Amazon SNS cannot be fetched ({why}); allow https to sns.<region>.amazonaws.com",
    )


# -- from whom ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://sns.us-gov-west-1.amazonaws.com:443/SimpleNotificationService-0.pem",
        "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        published.AMAZON_2022[0]["SigningCertURL"],
        published.AMAZON_2015["SigningCertURL"],
    ],
)
def test_a_certificate_comes_from_the_url_once(url: str, host: responses.RequestsMock) -> None:
    host.get(url, body=amazon.made_out())
    known = Certificates()
    assert [known(url), known(url)] == [amazon.made_out()] * 2
    assert len(host.calls) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "é",
        URL.replace("https", "http"),
        URL.replace("https", "HTTPS"),
        URL + "\n",
        " " + URL,
        URL + "?x=1",
        URL + "#x",
        URL.replace(".pem", ".pem/../x.pem"),
        URL.replace(".pem", ".key"),
        URL.replace("/Simple", "/x/Simple"),
        URL.replace("/Simple", "//Simple"),
        URL.replace("/Simple", "/%53imple"),
        URL.replace("//sns", "//x@sns"),
        URL.replace("//sns", "//x:y@sns"),
        URL.replace(".com/", ".com:8443/"),
        URL.replace(".com/", ".com.evil.example/"),
        URL.replace(".com/", ".com.cn.evil.example/"),
        URL.replace(".com/", ".com\\@evil.example/"),
        URL.replace("sns.eu-west-1.amazonaws.com", "evil.example"),
        URL.replace("sns.eu-west-1", "evil"),
        URL.replace("sns.eu-west-1", "sns.eu-west-1.evil"),
        URL.replace("sns.eu-west-1", "sns.s3"),
        URL.replace("sns.eu-west-1", "sns.s3-us-west-2"),
        URL.replace("sns.eu-west-1", "sns.s3.eu-west-1"),
        URL.replace("eu-west-1", "eu-west-\uff11"),
    ],
)
def test_nobody_else_is_called(url: str, host: responses.RequestsMock) -> None:
    told = "SigningCertURL is not a certificate of Amazon SNS: the message does not come from there"
    assert refusal(Certificates(), url or "\0") == (VerificationError, told)
    assert not host.calls


@pytest.mark.parametrize(
    "name",
    ["sns.eu-west-1.amazonaws.com", "sns-signing.af-south-1.amazonaws.com", "sns-cn-north-1.amazonaws.com.cn"],
)
def test_the_names_that_amazon_has_for_itself_are_known(name: str, host: responses.RequestsMock) -> None:
    host.get(URL, body=amazon.made_out(name))
    host.get(numbered(1), body=amazon.made_out("example.com", name))
    assert Certificates()(URL) == amazon.made_out(name)
    assert Certificates()(numbered(1)) == amazon.made_out("example.com", name)


@pytest.mark.parametrize("name", ["s3.amazonaws.com", "snsx.amazonaws.com", "sns.amazonaws.com.evil.example", "sns"])
def test_a_certificate_of_somebody_else_is_refused(name: str, host: responses.RequestsMock) -> None:
    host.get(URL, body=amazon.made_out(name))
    told = "the certificate that SigningCertURL names was not made out to Amazon SNS"
    known = Certificates()
    assert refusal(known) == (VerificationError, told)
    assert refusal(known) == unreachable("it could not be a moment ago")
    assert len(host.calls) == 1


NOT_VALID = "the certificate that SigningCertURL names has expired or is not valid yet: check this host's clock"


def test_a_certificate_that_has_expired_or_not_begun_is_refused(host: responses.RequestsMock) -> None:
    host.get(URL, body=amazon.made_out(ends_in=timedelta(seconds=-1)))
    host.get(numbered(1), body=amazon.made_out(begins_in=timedelta(hours=1)))
    host.get(numbered(2), body=published.AMAZON_2022_CERTIFICATE)
    for url in (URL, numbered(1), numbered(2)):
        assert refusal(Certificates(), url) == (VerificationError, NOT_VALID)


def test_a_known_certificate_expires(host: responses.RequestsMock, clock: Clock) -> None:
    host.get(URL, body=amazon.made_out())
    known = Certificates(clock)
    assert known(URL) == amazon.made_out()
    clock.at += 91 * DAY
    assert refusal(known) == (VerificationError, NOT_VALID)
    assert len(host.calls) == 1


# -- when it does not come ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"status": 404, "body": "x"}, "HTTP 404"),
        ({"status": 503}, "HTTP 503"),
        ({"status": 302, "headers": {"Location": numbered(1)}}, "HTTP 302"),
        ({"body": requests.ConnectTimeout("secret")}, "ConnectTimeout"),
        ({"body": requests.ReadTimeout("secret")}, "ReadTimeout"),
        ({"body": requests.exceptions.SSLError("secret")}, "SSLError"),
        ({"body": requests.exceptions.ChunkedEncodingError("secret")}, "ChunkedEncodingError"),
        ({"body": b""}, "the answer is not a certificate"),
        ({"body": b"<html>"}, "the answer is not a certificate"),
        ({"body": b" " * (64 * 1024 + 1)}, "the answer is too long"),
    ],
)
def test_without_a_certificate_the_sender_is_asked_to_come_again(
    answer: dict[str, Any], why: str, host: responses.RequestsMock
) -> None:
    host.get(URL, **answer)
    host.get(numbered(1), body=amazon.made_out())
    assert refusal(Certificates()) == unreachable(why)
    assert len(host.calls) == 1


def test_a_failure_is_remembered_for_half_a_minute(host: responses.RequestsMock, clock: Clock) -> None:
    host.get(URL, status=503)
    known = Certificates(clock)
    assert refusal(known) == unreachable("HTTP 503")
    clock.at += 30 * SECOND - 1
    assert refusal(known) == unreachable("it could not be a moment ago")
    assert len(host.calls) == 1
    host.replace(responses.GET, URL, body=amazon.made_out())
    clock.at += 1
    assert known(URL) == amazon.made_out()


def test_certificates_that_do_not_exist_are_asked_for_ten_times_a_minute(
    host: responses.RequestsMock, clock: Clock
) -> None:
    host.get(URL, body=amazon.made_out())
    for number in range(99):
        host.get(numbered(number), status=403)
    host.get(numbered(100), body=amazon.made_out())
    known = Certificates(clock)
    known(URL)
    told = [refusal(known, numbered(number)) for number in range(99)]
    assert told == [unreachable("HTTP 403")] * 10 + [unreachable("too many could not be in the last minute")] * 89
    assert known(URL) == amazon.made_out()
    clock.at += 60 * SECOND
    assert known(numbered(100)) == amazon.made_out()


def test_no_more_certificates_are_kept_than_there_may_be(host: responses.RequestsMock) -> None:
    known = Certificates()
    for number in range(certificates.MAX_KNOWN + 1):
        host.get(numbered(number), body=amazon.made_out())
        assert known(numbered(0)) == known(numbered(number)) == amazon.made_out()
    assert len(host.calls) == certificates.MAX_KNOWN + 1
    known(numbered(1))  # the one that was not asked for longest has gone
    assert len(host.calls) == certificates.MAX_KNOWN + 2


def test_many_who_want_the_same_certificate_wait_for_one(host: responses.RequestsMock) -> None:
    everybody, second = threading.Barrier(8), threading.Event()

    def answered(_request: object) -> tuple[int, dict[str, str], bytes]:
        if calls:
            second.set()
        calls.append(1)
        second.wait(0.2)  # long enough for a second call, if there were one
        return 200, {}, amazon.made_out()

    def asked(_number: int) -> bytes:
        everybody.wait(10)
        return known(URL)

    calls: list[int] = []
    host.add_callback(responses.GET, URL, answered)
    known = Certificates()
    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(asked, range(8))] == [amazon.made_out()] * 8
    assert calls == [1]


def test_nobody_waits_for_longer_than_an_answer_may_take(host: responses.RequestsMock) -> None:
    called, answer = threading.Event(), threading.Event()

    def answered(_request: object) -> tuple[int, dict[str, str], bytes]:
        called.set()
        answer.wait(10)
        return 200, {}, amazon.made_out()

    host.add_callback(responses.GET, URL, answered)
    known = Certificates(timeout_seconds=0.05)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(known, URL)
        assert called.wait(10)
        told = refusal(known, numbered(1))
        answer.set()
        assert told == unreachable("another request is waiting for it")
        assert isinstance(first.exception(10), Unreachable)  # its answer came too late


def test_the_environment_says_nothing_about_how_to_reach_amazon(
    host: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    host.get(URL, body=amazon.made_out())
    Certificates()(URL)
    told: dict[str, Any] = host.calls[0].request.req_kwargs  # type: ignore[attr-defined] # added by responses
    assert {name: told[name] for name in ("proxies", "verify", "timeout")} == {
        "proxies": {},
        "verify": True,
        "timeout": 3.0,
    }
