"""Each channel against a real server: what is sent, and what each answer leads to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerts.channels import Target
from alerts.html import as_html
from alerts.message import Explained, Message, compose, from_json, subject_of, with_chart
from alerts.notify import email, slack, webhook
from alerts.notify.http import checked_address
from alerts.outcome import Delivery, Refused, Retired, TryLater
from monitor.settings.receivers import AppriseChannel, EmailChannel, SlackChannel, WebhookChannel
from tests.alerts.scripted import alert, at
from tests.tools.told import HttpReceiver, http_receiver, mail_server

HOSTILE = "<script>alert(1)</script>\r\nBcc: all@example.com <!channel> \u2028 &"
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(100)).decode()
ALLOW = ["127.0.0.1/32"]


def message(count: int = 1, **more: Any) -> Message:
    firing = [alert(node=f"n{index}", **more) for index in range(count)]
    explained = {
        firing[0].fingerprint: Explained(slices=["node n0: bad"], changes=["deploy 1.4 3 min before it began"])
    }
    return compose(firing=firing, resolved=[], explained=explained, dashboard_url="https://dash.example", now=at(120))


def delivery(**more: Any) -> Delivery:
    values: dict[str, Any] = {"key": "k1", "thread": "thread 1", "subject": "[page] slow · node n0", "at": at(120)}
    return Delivery(**{**values, **more})


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with http_receiver() as running:
        yield running


def mail_channel(server: Any, **more: Any) -> EmailChannel:
    values = {"host": "localhost", "port": server.port, "ca_file": server.ca_file, "from": "alerts@example.com"}
    return EmailChannel(**{**values, "to": ["a@example.com", "b@example.com"], **more})


# --- mail


def test_a_mail_by_starttls_with_login(tmp_path: Path) -> None:
    with mail_server(tmp_path, password="p4ss") as server:
        channel = mail_channel(server, user="alerts", password="p4ss")
        told = with_chart(message(), PICTURE, "a chart")
        assert email.send(channel, told, delivery()) == ""
        assert email.send(channel, message(), delivery(key="k2", possibly_repeated=True)) == ""
        assert server.in_tls == [True, True]
        first, second = server.mails
        assert first["Subject"] == "[page] slow · node n0"
        assert first["Message-ID"] == "<k1@example.com>"
        assert first["References"] == second["In-Reply-To"] == first["In-Reply-To"]
        assert first["List-Id"] == "Inference Monitor alerts <alerts.inference-monitor.example.com>"
        assert first["Auto-Submitted"] == "auto-generated"
        assert first["Importance"] == "high"
        assert [part.get_content_type() for part in first.walk()] == [
            "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
        ]  # fmt: skip
        text, html = (first.get_body((kind,)).get_content() for kind in ("plain", "html"))  # type: ignore[union-attr]
        for what in (
            "slow is slow",
            "above 0.5 s for 1m",
            "900 ms (95 %: 800 to 1,000)",
            "latency.ttft.p95 over 5 min, n = 1,234",
            "node n0: bad",
            "deploy 1.4 3 min before",
        ):
            assert what in text.replace("\n", " "), what
        picture = next(part for part in first.walk() if part.get_content_type() == "image/png")
        assert f'src="cid:{picture["Content-ID"][1:-1]}"' in html
        assert picture.get_content() == base64.b64decode(PICTURE)
        assert "Possibly repeated" in second.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        with pytest.raises(Refused, match="535"):
            email.send(mail_channel(server, user="alerts", password="wrong"), told, delivery())


def test_a_mail_by_tls_from_the_first_byte(tmp_path: Path) -> None:
    with mail_server(tmp_path, security="tls") as server:
        assert email.send(mail_channel(server, security="tls"), message(), delivery()) == ""
        assert len(server.mails) == 1


def test_no_mail_without_tls_or_to_a_stranger(tmp_path: Path) -> None:
    with mail_server(tmp_path / "plain", security="plain") as server:
        with pytest.raises(Refused, match="offers no STARTTLS"):
            email.send(mail_channel(server), message(), delivery())
        assert server.mails == []
        assert email.send(mail_channel(server, security="plain"), message(), delivery()) == ""  # if it is said
    with mail_server(tmp_path / "other", name="other.example") as server:
        with pytest.raises(Refused, match="certificate of localhost is not trusted"):
            email.send(mail_channel(server), message(), delivery())
        with pytest.raises(Refused, match="certificate of localhost is not trusted"):
            email.send(mail_channel(server, ca_file=None), message(), delivery())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(TryLater, match="does not answer"):
            email.send(
                EmailChannel(
                    **{
                        "host": "127.0.0.1",
                        "port": silent.getsockname()[1],
                        "from": "a@b.c",
                        "to": "d@e.f",
                        "timeout_s": 0.3,
                    }
                ),
                message(),
                delivery(),
            )


def test_recipients_that_are_refused(tmp_path: Path) -> None:
    with mail_server(tmp_path) as server:
        channel = mail_channel(server)
        server.refuse = {"b@example.com": "550 5.1.1 no such user"}
        assert email.send(channel, message(), delivery()) == "b@example.com refused: 550 5.1.1 no such user"
        assert server.recipients == [["a@example.com"]]
        server.refuse["a@example.com"] = "550 gone"
        with pytest.raises(Refused, match=r"a@example\.com refused: 550 gone; b@example"):
            email.send(channel, message(), delivery())
        server.refuse["a@example.com"] = "451 later"
        with pytest.raises(TryLater, match="451 later"):
            email.send(channel, message(), delivery())
        server.refuse = {}
        for answer, kind in (("451 full", TryLater), ("554 spam", Refused)):
            server.answer = answer
            with pytest.raises(kind, match=answer):
                email.send(channel, message(), delivery())


def test_nothing_of_others_reaches_a_header_or_is_html(tmp_path: Path) -> None:
    told = compose(firing=[alert(HOSTILE, node=HOSTILE)], resolved=[], explained={}, dashboard_url="", now=at(0))
    with mail_server(tmp_path) as server:
        subject = subject_of([alert(HOSTILE, node=HOSTILE)], "page")
        email.send(mail_channel(server), told, delivery(subject=subject))
        mail = server.mails[0]
        assert mail["Bcc"] is None
        assert "\n" not in mail["Subject"]
        assert "Bcc: all@example.com" in mail["Subject"]  # as a text within it
        assert server.recipients == [["a@example.com", "b@example.com"]]
    html = as_html(told)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    link = compose(firing=[alert()], resolved=[], explained={}, dashboard_url="", now=at(0)).as_json()
    link["alerts"][0]["runbook"] = "javascript:alert(1)"
    assert "javascript:" not in as_html(from_json(link))


# --- Slack


def test_slack_takes_it(receiver: HttpReceiver) -> None:
    channel = SlackChannel(url=receiver.url, allow=ALLOW)
    assert slack.send(channel, message(), delivery(possibly_repeated=True)) == ""
    body = receiver.taken[0].json
    assert body["text"] == "🔴 *slow · node n0*"
    assert body["attachments"][0]["color"] == "#D9483B"
    text = json.dumps(body, ensure_ascii=False)
    for what in (
        "slow is slow",
        "node n0: bad",
        "deploy 1.4",
        "https://dash.example/latency?range=custom",
        "Possibly repeated",
    ):
        assert what in text


def test_slack_within_its_limits() -> None:
    firing = [alert("r" * 300, node=f"{index}{'n' * 500}", region="<!channel>" * 50) for index in range(100)]
    explained = {one.fingerprint: Explained(slices=["s" * 5000] * 4, changes=["<!here>" * 900] * 5) for one in firing}
    told = compose(
        firing=firing,
        resolved=[],
        explained=explained,
        dashboard_url="https://d.example/" + "p" * 2000,
        now=at(0),
        footer="f" * 3000,
    )
    body = slack.payload(told, delivery())
    text = json.dumps(body, ensure_ascii=False)
    assert len(text) < 13_000
    assert re.search(r"… and 9\d more", text)
    assert "<!" not in text
    for block in slack.blocks_of(body):
        assert len(block.get("text", {}).get("text", "")) <= 3000
        assert len(block.get("fields", [])) <= 10
        assert all(len(each["text"]) <= 2000 for each in block.get("fields", []))
        assert len(block.get("elements", [])) <= 10
    assert len(slack.blocks_of(body)) <= 50


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((404, "no_service", {}), Retired, "no_service"),
        ((410, "channel_is_archived", {}), Retired, "channel_is_archived"),
        ((400, "invalid_payload", {}), Refused, "it answers 400"),
        ((403, "action_prohibited", {}), Refused, "it answers 403"),
        ((429, "", {"Retry-After": "33"}), TryLater, "it answers 429"),
        ((500, "", {}), TryLater, "it answers 500"),
        ((200, "<html>login</html>", {}), TryLater, "something else"),
        ((302, "", {"Location": "http://169.254.169.254/"}), Refused, "a redirect, which is not followed"),
        ((0, "", {}), TryLater, "broke"),
    ],
)
def test_what_slack_answers(receiver: HttpReceiver, answer: Any, kind: type[Exception], said: str) -> None:
    receiver.answer = lambda posted: answer
    with pytest.raises(kind, match=said) as caught:
        slack.send(SlackChannel(url=receiver.url, allow=ALLOW), message(), delivery())
    assert "secret-part" not in str(caught.value)
    if isinstance(caught.value, TryLater):
        assert caught.value.retry_after_s == (33.0 if answer[0] == 429 else None)
        assert caught.value.doubtful == (answer[0] == 0)
    assert len(receiver.posted) == 1


# --- signed webhooks


def test_a_signature_that_verifies(receiver: HttpReceiver) -> None:
    for secret, key in (
        ("plain key", b"plain key"),
        ("whsec_" + base64.b64encode(b"0123456789").decode(), b"0123456789"),
    ):
        webhook.send(WebhookChannel(url=receiver.url, secret=secret, allow=ALLOW), message(2), delivery())
        posted = receiver.taken[-1]
        signed = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert posted.headers["webhook-signature"] == f"v1,{expected}"
        assert posted.headers["webhook-timestamp"] == str(int(at(120).timestamp()))
        assert posted.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert (posted.json["id"], posted.json["status"], posted.json["total"]) == ("k1", "firing", 2)
        assert posted.json["alerts"][0]["value"] == 0.9
    webhook.send(WebhookChannel(url=receiver.url, allow=ALLOW), message(), delivery())
    assert "webhook-signature" not in receiver.taken[-1].headers


def test_the_page_on_alerts_verifies_it_as_well(receiver: HttpReceiver) -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    snippet = re.search(r"```python\n(.*?def verify.*?)```", page, re.DOTALL)
    assert snippet is not None
    names: dict[str, Any] = {}
    exec(snippet[1], names)
    webhook.send(WebhookChannel(url=receiver.url, secret="key", allow=ALLOW), message(), delivery())
    posted = receiver.taken[-1]
    now = at(120).timestamp()
    assert names["verify"](b"key", posted.headers, posted.body, now=now)
    assert not names["verify"](b"other", posted.headers, posted.body, now=now)
    assert not names["verify"](b"key", posted.headers, posted.body + b" ", now=now)
    assert not names["verify"](b"key", posted.headers, posted.body, now=now + 301)  # replayed later


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::", "2130706433", "0x7f.1", "017700000001",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    with pytest.raises((Refused, TryLater), match=r"no public address|cannot be resolved"):
        checked_address(host, 80, [])


def test_addresses_that_are_allowed() -> None:
    assert str(checked_address("127.0.0.1", 80, ALLOW)) == "127.0.0.1"
    assert str(checked_address("1.1.1.1", 443, [])) == "1.1.1.1"
    with pytest.raises(Refused, match=r"10\.2\.0\.1, which is no public address"):
        checked_address("10.2.0.1", 80, ["10.1.0.0/16"])


def test_a_webhook_to_this_machine_is_refused(receiver: HttpReceiver) -> None:
    for kind, channel in (("webhook", WebhookChannel(url=receiver.url)), ("slack", SlackChannel(url=receiver.url))):
        with pytest.raises(Refused, match="add it to `allow`"):
            Target(receiver="a", kind=kind, channel=channel).send(message(), delivery())
    assert receiver.posted == []


# --- Apprise


def test_any_other_channel_through_apprise(receiver: HttpReceiver) -> None:
    address = f"json://127.0.0.1:{receiver.port}/secret-part"
    target = Target(receiver="a", kind="apprise", channel=AppriseChannel(urls=[address]))
    target.send(message(), delivery())
    assert receiver.taken[0].json["title"] == "PAGE: [page] slow · node n0"
    assert "node n0: bad" in receiver.taken[0].json["message"]
    receiver.answer = lambda posted: (500, "", {})
    with pytest.raises(TryLater, match="could not deliver"):
        target.send(message(), delivery())
    odd = Target(receiver="a", kind="apprise", channel=AppriseChannel(urls=["secret-part"]))
    with pytest.raises(Refused, match="address 1 of `urls`"):
        odd.send(message(), delivery())


def test_a_message_survives_the_outbox() -> None:
    told = with_chart(message(30), PICTURE, "words")
    again = from_json(json.loads(json.dumps(told.as_json())))
    assert json.dumps(again.as_json()) == json.dumps(told.as_json())
    assert (len(again.alerts), again.total) == (20, 30)
    assert "… and 10 more" in as_html(again)
