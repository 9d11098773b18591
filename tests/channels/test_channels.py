"""Each channel against a real receiver."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import socket
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.channels.receivers import SECRET, mail_server, only, webhook
from tidegate.channels.opening import open_channels
from tidegate.channels.smtp import SmtpChannel
from tidegate.channels.webhook import WebhookChannel
from tidegate.core.alert_rules import Level
from tidegate.errors import SettingError
from tidegate.ports import Channel, ChannelFailed, Message

# An older Python's module that Apprise asks for.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning"),
]

AT = datetime(2026, 1, 31, 8, tzinfo=UTC)
MESSAGE = Message(
    "7-1-20260131080000",
    "Tidegate, severe: Memory\nin use of nödë-1 is 96.2 %.",
    "Memory in use of nödë-1 is 96.2 %, above 95 %.\n\nFind out who uses it.",
    Level.SEVERE,
    AT,
    {"event": "raised", "level": "severe", "value": 96.2, "text": "nödë-1"},
)
DOCS = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text("utf-8")


def opened(url: str) -> Channel:
    return open_channels({"ops": url})["ops"]


def test_a_webhook_gets_one_signed_call():
    with webhook() as hook:
        opened(hook.url).send(MESSAGE)
        called = hook.next()
        assert hook.calls.empty()
    assert called.path == "/hooks/tide?x=1"
    assert json.loads(called.body) == {"id": MESSAGE.id, **MESSAGE.facts}
    stamp = called.headers["x-tidegate-timestamp"]
    signed = hmac.new(SECRET.encode(), stamp.encode() + b"." + called.body, hashlib.sha256).hexdigest()
    assert called.headers["x-tidegate-signature"] == f"sha256={signed}"
    assert called.headers["x-tidegate-id"] == MESSAGE.id
    assert SECRET not in str(called)
    assert "authorization" not in called.headers


def test_the_check_of_a_webhook_in_the_docs_takes_ours_and_no_other():
    (example,) = re.findall(r"```python\n(import hashlib.*?)```", DOCS, re.DOTALL)
    known: dict[str, object] = {}
    exec(example, known)
    verify = known["verify"]
    assert callable(verify)
    with webhook() as hook:
        channel = WebhookChannel("ops", urlsplit(hook.url), now=lambda: 1_769_846_400.0)
        channel.send(MESSAGE)
        called = hook.next()
    assert verify(SECRET, called.headers, called.body, now=1_769_846_410.0)
    assert not verify("another secret", called.headers, called.body, now=1_769_846_410.0)
    assert not verify(SECRET, called.headers, called.body + b" ", now=1_769_846_410.0)
    assert not verify(SECRET, called.headers, called.body, now=1_769_846_400.0 + 301)
    forged = {**called.headers, "x-tidegate-timestamp": "1769846401"}
    assert not verify(SECRET, forged, called.body, now=1_769_846_410.0)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_from_300_on_is_a_failure(status):
    with webhook() as hook:
        hook.statuses.append(status)
        with pytest.raises(ChannelFailed, match=f"status {status}") as failed:
            opened(hook.url).send(MESSAGE)
        assert hook.next().path == "/hooks/tide?x=1"
        assert hook.calls.empty()  # a redirect is not followed
    assert "hooks" not in str(failed.value)


def test_mail_comes_whole_with_an_id_of_its_own():
    with mail_server() as box:
        opened(box.url()).send(MESSAGE)
        mail = box.next()
        assert box.mails.empty()
    assert mail["Subject"] == "Tidegate, severe: Memory in use of nödë-1 is 96.2 %."
    assert (mail["From"], mail["To"]) == ("tide@example.org", "ops@example.org, night@example.org")
    assert mail["Message-ID"] == f"<{MESSAGE.id}@tidegate>"
    assert mail.get_content().splitlines() == MESSAGE.text.splitlines()
    assert box.receivers == [["ops@example.org", "night@example.org"]]


def test_a_mail_server_that_wants_a_login_gets_it_and_a_refusal_shows_no_password():
    options = {"auth_require_tls": False, "auth_required": True, "authenticator": only("tide", "w@ve")}
    with mail_server(**options) as box:
        opened(box.url("tide:w%40ve@")).send(MESSAGE)
        assert box.next()["From"] == "tide@example.org"
        with pytest.raises(ChannelFailed, match="535") as failed:
            opened(box.url("tide:wrong-one@")).send(MESSAGE)
    assert "wrong-one" not in str(failed.value)


def test_a_mail_that_is_refused_is_a_failure():
    with mail_server() as box:
        box.refusal = "554 no thanks"
        with pytest.raises(ChannelFailed, match="554 no thanks"):
            opened(box.url()).send(MESSAGE)


def test_a_mail_that_some_are_refused_comes_again_to_these_alone():
    with mail_server() as box:
        box.refused = {"night@example.org"}
        channel = opened(box.url())
        with pytest.raises(ChannelFailed, match=r"1 of 2 receivers: night@example\.org with 550"):
            channel.send(MESSAGE)
        with pytest.raises(ChannelFailed, match="all receivers with 550"):
            channel.send(MESSAGE)
        box.refused = set()
        channel.send(MESSAGE)
        assert box.receivers == [["ops@example.org"], ["night@example.org"]]


def test_mail_to_another_machine_wants_tls():
    with mail_server() as box:
        channel = SmtpChannel("ops", urlsplit(box.url()))
        channel._needs_tls = True  # as for a host that is not this one
        with pytest.raises(ChannelFailed, match="STARTTLS"):
            channel.send(MESSAGE)
        assert box.mails.empty()


def test_who_is_not_there_is_a_failure():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for url in (f"http://:{'x' * 16}@127.0.0.1:{port}/a", f"smtp://127.0.0.1:{port}?from=a@b.c&to=d@e.f"):
        with pytest.raises(ChannelFailed, match="refused"):
            opened(url).send(MESSAGE)


@pytest.mark.parametrize("scheme", ["smtp", "http"])
def test_a_peer_that_says_nothing_is_cut_off(scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        channel: Channel
        if scheme == "http":
            channel = WebhookChannel("ops", urlsplit(f"http://:{'x' * 16}@127.0.0.1:{port}/"), limit_s=0.2)
        else:
            channel = SmtpChannel(
                "ops", urlsplit(f"smtp://127.0.0.1:{port}?from=a@b.c&to=d@e.f"), limit_s=0.2
            )
        with pytest.raises(ChannelFailed):
            channel.send(MESSAGE)


def test_apprise_speaks_to_the_rest():
    with webhook() as hook:
        channel = opened(f"json://127.0.0.1:{hook.port}/a-secret-path")
        channel.send(MESSAGE)
        called = hook.next()
        assert hook.calls.empty()
        body = json.loads(called.body)
        assert body["message"] == MESSAGE.text
        assert body["type"] == "failure"
        assert "secret" not in channel.address
        hook.statuses.append(500)
        with pytest.raises(ChannelFailed, match="JSON"):
            channel.send(MESSAGE)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://host/path", "secret"),
        ("https://:short-one@host/path", "secret"),
        ("smtp://host?to=a@b.c", "'from'"),
        ("smtp://host?from=a@b.c", "'to'"),
        ("smtp://?from=a@b.c&to=a@b.c", "no host"),
        ("nonsense://token-of-mine", "Apprise"),
        ("token-of-mine", "Apprise"),
        ("smtp://host:token-of-mine?from=a@b.c&to=a@b.c", "cannot be used"),
    ],
)
def test_urls_that_cannot_be_used_are_refused_without_being_shown(url, words, caplog):
    with pytest.raises(SettingError, match=words) as refused:
        opened(url)
    shown = str(refused.value) + caplog.text
    for secret in ("short-one", "token-of-mine"):
        assert secret not in shown


def test_names_are_plain():
    with pytest.raises(SettingError, match="name"):
        open_channels({"Ops Team": "smtp://h?from=a@b.c&to=a@b.c"})


def test_addresses_show_no_secret():
    for url in (
        f"https://:{'s3cret' * 4}@h.example/T0K3N/x",
        "smtps://user:s3cret@m.example?from=a@b.c&to=d@e.f",
    ):
        address = opened(url).address
        assert "s3cret" not in address
        assert "T0K3N" not in address
