"""The whole pipeline by a scripted clock, on both kinds of store, into a real HTTP receiver. Every step begins from the store
alone, so that each of them is a restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from alerts.silence import make
from alerts.silence_store import write_silences
from monitor.store import Client
from tests.alerts.scripted import Script, alert, at
from tests.tools.told import HttpReceiver, http_receiver


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with http_receiver() as running:
        yield running


def hook(receiver: HttpReceiver, **more: Any) -> dict[str, Any]:
    return {"webhook": {"url": receiver.url, "allow": ["127.0.0.1/32"]}, **more}


def told(receiver: HttpReceiver) -> list[tuple[str, int, int]]:
    """Status, firing and resolved of each message that was taken."""
    return [(each.json["status"], each.json["firing"], each.json["resolved"]) for each in receiver.taken]


def rows(client: Client, query: str) -> list[Any]:
    return list(client.query(query).result_rows)


def test_the_life_of_an_alert(store_client: Client, receiver: HttpReceiver) -> None:
    """Told at once, once; what is new after five minutes; again after four hours; and when it is over."""
    script = Script(store_client, {"a": hook(receiver)})
    one, two = alert(node="n1"), alert(node="n2", since=60)
    assert script.evaluate(0, one).tally.sent == 1
    assert told(receiver) == [("firing", 1, 0)]
    assert receiver.taken[0].json["alerts"][0]["labels"]["node"] == "n1"
    for seconds in (15, 30, 45):
        assert script.evaluate(seconds, one).planned == 0
    for seconds in (60, 75, 285):  # the second one waits for the rest of the five minutes
        assert script.evaluate(seconds, one, two).planned == 0
    script.evaluate(300, one, two)
    assert told(receiver)[1:] == [("firing", 2, 0)]
    script.evaluate(300 + 4 * 3600 - 15, one, two)
    assert len(told(receiver)) == 2
    script.evaluate(300 + 4 * 3600, one, two)
    assert told(receiver)[2:] == [("firing", 2, 0)]
    late = 300 + 4 * 3600 + 300
    script.evaluate(late, two, alert(node="n1", over=late - 10))
    assert told(receiver)[3:] == [("firing", 1, 1)]
    script.evaluate(late + 300, alert(node="n1", over=late - 10), alert(node="n2", over=late + 290))
    assert told(receiver)[4:] == [("resolved", 0, 1)]
    for seconds in (late + 315, late + 5000):
        assert script.evaluate(seconds).planned == 0
    assert script.evaluate(late + 5015, alert(node="n1", since=late + 5015)).planned == 1  # it begins again: at once
    keys = [each.headers["webhook-id"] for each in receiver.taken]
    assert len(set(keys)) == len(keys) == 6
    threads = [each.json["thread"] for each in receiver.taken]
    assert len(set(threads[:5])) == 1
    assert threads[5] != threads[0]
    assert rows(store_client, "SELECT count() FROM notifications FINAL") == [(6,)]


def test_a_group_waits_and_what_is_over_meanwhile_is_not_told(store_client: Client, receiver: HttpReceiver) -> None:
    script = Script(store_client, {"a": hook(receiver, group_wait="30s")})
    assert script.evaluate(0, alert(node="n1")).planned == 0
    assert script.evaluate(15, alert(node="n1"), alert(node="n2", since=15)).planned == 0
    script.evaluate(30, alert(node="n1"), alert(node="n2", since=15))
    assert told(receiver) == [("firing", 2, 0)]
    # Another rule, another group: over before its wait is.
    other = alert("other", since=60)
    script.evaluate(60, other)
    script.evaluate(75, alert("other", since=60, over=70))
    script.evaluate(120, alert("other", since=60, over=70))
    assert told(receiver)[1:] == [] or all(status == "resolved" for status, _, _ in told(receiver)[1:])
    assert "other" not in {each.json["alerts"][0]["labels"]["alertname"] for each in receiver.taken}


def test_the_end_is_not_told_where_it_is_not_wanted(store_client: Client, receiver: HttpReceiver) -> None:
    script = Script(store_client, {"a": hook(receiver, send_resolved=False)})
    script.evaluate(0, alert(node="n1"))
    script.evaluate(300, alert(node="n1", over=290))
    script.evaluate(315, alert(node="n1", over=290))
    assert told(receiver) == [("firing", 1, 0)]
    script.evaluate(330, alert(node="n1", since=330))  # but it is known: this is a new one
    assert told(receiver)[1:] == [("firing", 1, 0)]


def test_one_that_vanishes_is_told_as_over(store_client: Client, receiver: HttpReceiver) -> None:
    """Its rule was taken out, or it was resolved longer ago than evaluation remembers."""
    script = Script(store_client, {"a": hook(receiver, group_interval="30m")})
    script.evaluate(0, alert(node="n1"))
    assert script.evaluate(15).planned == 0
    script.evaluate(1800)
    assert told(receiver) == [("firing", 1, 0), ("resolved", 0, 1)]
    assert receiver.taken[1].json["alerts"][0]["labels"]["node"] == "n1"


def test_silenced_and_heard_again(store_client: Client, receiver: HttpReceiver) -> None:
    script = Script(store_client, {"a": hook(receiver)})
    silence = make(matchers=["node=n1"], starts_at=None, ends_at=at(600), created_by="me", comment="known", now=at(0))
    write_silences(store_client, [silence])
    planned = script.evaluate(0, alert(node="n1"), alert(node="n2"))
    assert told(receiver) == [("firing", 1, 0)]
    assert [(each.by, each.which) for each in planned.suppressed.values()] == [("silenced", silence.id)]
    script.evaluate(585, alert(node="n1"), alert(node="n2"))
    assert len(told(receiver)) == 1
    script.evaluate(600, alert(node="n1"), alert(node="n2"))
    assert told(receiver)[1:] == [("firing", 2, 0)]


def test_what_ends_while_it_is_silenced_is_news_when_it_begins_again(
    store_client: Client, receiver: HttpReceiver
) -> None:
    script = Script(store_client, {"a": hook(receiver)})
    script.evaluate(0, alert(node="n1"))
    quiet = make(matchers=["node=n1"], starts_at=None, ends_at=at(900), created_by="me", comment="x", now=at(100))
    write_silences(store_client, [quiet])
    script.evaluate(300, alert(node="n1"))
    script.evaluate(315, alert(node="n1", over=310))
    script.evaluate(700)  # gone for good
    assert told(receiver) == [("firing", 1, 0)]
    script.evaluate(900, alert(node="n1", since=900))
    assert told(receiver)[1:] == [("firing", 1, 0)]


def test_inhibited_and_in_maintenance(store_client: Client, receiver: HttpReceiver) -> None:
    routing = {
        "receivers": ["a"],
        "inhibit": [{"source": ["alertname=down"], "target": ["alertname=slow"], "equal": ["node"]}],
        "maintenance": [{"matchers": ["alertname=backup"], "from": "13:00", "until": "15:00", "zone": "Europe/Berlin"}],
    }
    script = Script(store_client, {"a": hook(receiver)}, routing)
    script.evaluate(0, alert("down", node="n1"), alert("slow", node="n1"), alert("slow", node="n2"), alert("backup"))
    assert sorted(each.json["alerts"][0]["labels"]["alertname"] for each in receiver.taken) == ["down", "slow"]
    assert [each.json["total"] for each in receiver.taken] == [1, 1]  # n2 alone is slow; 12:00 UTC is 14:00 in Berlin
    script.evaluate(
        3600, alert("slow", node="n1"), alert("slow", node="n2"), alert("backup"), alert("down", over=3590, node="n1")
    )
    assert [each.json["alerts"][0]["labels"]["alertname"] for each in receiver.taken[2:]].count("backup") == 1


def test_an_hour_without_the_channel_loses_and_doubles_nothing(store_client: Client, receiver: HttpReceiver) -> None:
    """Two alerts begin, one ends and begins again within the hour; then all of it is told once, each group's in order."""
    script = Script(store_client, {"a": {"slack": {"url": receiver.url, "allow": ["127.0.0.1/32"]}}})
    receiver.answer = lambda posted: (503, "down", {})
    for seconds in range(0, 3600, 60):
        now = [alert("one", now=seconds)]
        if seconds >= 600:
            now.append(alert("two", since=600) if seconds < 1500 else alert("two", since=600, over=1500))
            if seconds >= 2700:
                now[-1] = alert("two", since=2700)
        script.evaluate(seconds, *now)
        script.notify(seconds + 5)
    assert receiver.taken == []
    tries = len(receiver.posted)
    assert 12 < tries < 120  # it waits longer and longer, up to five minutes
    receiver.answer = lambda posted: (200, "ok", {})
    for seconds in range(3600, 4200, 5):
        script.notify(seconds)
    texts = [each.json["text"] for each in receiver.taken]
    assert [text for text in texts if "two" in text] == ["🔴 *two*", "✅ *two*", "🔴 *two*"]
    assert [text for text in texts if "one" in text] == ["🔴 *one*"]
    assert len(texts) == 4
    assert rows(store_client, "SELECT count(), uniqExact(key) FROM notifications FINAL") == [(4, 4)]
    assert script.notify(9000).sent == 0


def test_the_channel_asks_to_wait(store_client: Client, receiver: HttpReceiver) -> None:
    script = Script(store_client, {"a": hook(receiver)})
    receiver.answer = lambda posted: (429, "slowly", {"Retry-After": "120"})
    assert script.evaluate(0, alert()).tally.later == 1
    receiver.answer = lambda posted: (200, "ok", {})
    assert script.notify(100).sent == 0
    assert script.notify(125).sent == 1
    assert len(receiver.posted) == 2


def test_a_retired_webhook_is_left_alone_and_told_elsewhere(store_client: Client, receiver: HttpReceiver) -> None:
    with http_receiver() as other:
        both = {"slack": {"url": receiver.url, "allow": ["127.0.0.1/32"]}, **hook(other)}
        script = Script(store_client, {"a": both})
        receiver.answer = lambda posted: (404, "no_service", {})
        script.evaluate(0, alert("one"))
        assert told(other) == [("firing", 1, 0)]
        script.evaluate(15, alert("one"), alert("two", since=15))
        assert len(receiver.posted) == 1  # not tried again
        names = [each.json["alerts"][0]["labels"].get("channel", "") for each in other.taken]
        assert sorted(names) == ["", "", "a/slack"]
        failing = next(each.json for each in other.taken if each.json["alerts"][0]["labels"].get("channel"))
        assert "no_service" in failing["alerts"][0]["summary"]
        assert "secret-part" not in str([each.body for each in other.taken])
        # A new address is a new channel, and the trouble is over.
        both["slack"]["url"] = receiver.url + "2"
        receiver.answer = lambda posted: (200, "ok", {})
        script = Script(store_client, {"a": both})
        script.evaluate(330, alert("one"), alert("two", since=15), alert("three", since=330))
        assert [each.json["status"] for each in other.taken[3:]].count("resolved") == 1
        assert len(receiver.taken) == 1


def test_a_message_that_cannot_be_sent_is_given_up_in_the_end(store_client: Client, receiver: HttpReceiver) -> None:
    routing = {"receivers": ["a"], "give_up_after": "10m"}
    script = Script(store_client, {"a": hook(receiver)}, routing)
    receiver.answer = lambda posted: (500, "", {})
    script.evaluate(0, alert())
    for seconds in range(5, 1200, 30):
        script.notify(seconds)
    state, error = rows(store_client, "SELECT state, last_error FROM alert_outbox FINAL")[0]
    assert (state, error) == ("failed", "given up after 10m: it answers 500")
    receiver.answer = lambda posted: (200, "ok", {})
    assert script.evaluate(1200, alert()).tally.sent == 1  # what still fires is told when it can be


def test_two_evaluators_on_one_store_send_once(store_client: Client, receiver: HttpReceiver) -> None:
    """Both plan the same, and both try to send it, at the same time."""
    script = Script(store_client, {"a": hook(receiver)})
    barrier = threading.Barrier(4)
    failures: list[BaseException] = []

    def evaluate() -> None:
        try:
            barrier.wait()
            script.evaluate(0, alert(node="n1"))
            script.notify(1, claim_s=100.0)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=evaluate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(receiver.taken) == 1
