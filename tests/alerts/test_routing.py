"""Routes, inhibition, maintenance, silences and matchers as functions of plain values; mistakes in the configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from alerts.inhibit import inhibited
from alerts.maintenance import holds
from alerts.route import group, ways_of
from alerts.send import backoff_s
from alerts.silence import change, expire, make
from monitor.errors import BadInput, ConfigError
from monitor.settings import ReceiverSettings, RoutingSettings, load_settings
from monitor.settings.matchers import parse_matcher
from monitor.settings.routing import InhibitSettings, MaintenanceSettings
from tests.alerts.scripted import alert, at

HOOK = {"webhook": {"url": "https://hook.example/secret-part"}}


def receivers(*names: str, **settings: Any) -> dict[str, ReceiverSettings]:
    return {name: ReceiverSettings(**{**HOOK, **settings}) for name in names}


def test_routes() -> None:
    routing = RoutingSettings(
        receivers=["team"],
        routes=[
            {"matchers": ["severity=page"], "receivers": ["oncall"], "continue": True, "repeat_interval": "1h"},
            {
                "matchers": ["service=~chat.*"],
                "group_by": ["alertname", "node"],
                "routes": [{"matchers": ["node=n9"], "receivers": ["lab"], "group_wait": "30s"}],
            },
            {"matchers": ["service=chat-api"], "receivers": ["lab"]},
        ],
    )
    known = receivers("team", "oncall", "lab")

    def told(**more: Any) -> dict[str, Any]:
        return {way.receiver: way for way in ways_of(alert(**more), routing, known)}

    assert list(told(severity="info")) == ["team"]
    both = told(service="chat-api")  # a page goes on to the next that fits, whose receivers are those above
    assert list(both) == ["oncall", "team"]
    assert (both["oncall"].repeat_interval_s, both["oncall"].group_by) == (3600, ("alertname",))
    assert both["team"].group_by == ("alertname", "node")
    inner = told(severity="info", service="chat-web", node="n9")
    assert (list(inner), inner["lab"].group_wait_s) == (["lab"], 30)
    assert inner["lab"].group_by == ("alertname", "node")
    assert list(told(severity="info", receivers=["oncall", "team"])) == ["team", "oncall"]  # beside what the routes say
    groups = group([alert(node="a"), alert(node="b"), alert("other", node="a")], routing, known)
    assert [len(each.instances) for each in groups] == [2, 1]
    apart = group(
        [alert(node="a"), alert(node="b")], RoutingSettings(receivers=["x"]), receivers("x", group_by=["..."])
    )
    assert [len(each.instances) for each in apart] == [1, 1]


def test_inhibition() -> None:
    down, slow, other = alert("down", node="a"), alert("slow", node="a"), alert("slow", node="b")
    rule = InhibitSettings(source=["alertname=down"], target=["alertname=slow"], equal=["node"])
    assert inhibited([down, slow, other], [rule]) == {slow.fingerprint: down.fingerprint}
    assert inhibited([alert("down", node="a", over=1), slow], [rule]) == {}
    bare = [alert("down"), alert("slow")]  # both lack the label: equal
    assert len(inhibited(bare, [rule])) == 1
    pages = InhibitSettings(source=["severity=page"], target=["alertname=~.*"])
    assert inhibited([alert("a"), alert("b")], [pages]) == {}  # who fits both sides
    assert len(inhibited([alert("a"), alert("b", severity="info")], [pages])) == 1


@pytest.mark.parametrize(
    ("window", "moment", "expected"),
    [
        ({"from": "22:00", "until": "06:00", "zone": "Europe/Berlin"}, "2026-07-01T20:00", True),  # 22:00 in summer
        ({"from": "22:00", "until": "06:00", "zone": "Europe/Berlin"}, "2026-01-01T20:30", False),  # 21:30 in winter
        ({"from": "22:00", "until": "06:00", "zone": "Europe/Berlin"}, "2026-01-02T04:59", True),
        ({"from": "22:00", "until": "06:00", "zone": "Europe/Berlin"}, "2026-01-02T05:00", False),
        ({"from": "22:00", "until": "06:00", "days": ["fri"]}, "2026-01-03T05:59", True),  # Saturday, begun on Friday
        ({"from": "22:00", "until": "06:00", "days": ["fri"]}, "2026-01-02T05:59", False),
        ({"days": ["sun"]}, "2026-01-04T23:59", True),
        ({"days": ["sun"]}, "2026-01-05T00:00", False),
        ({"starts": "2026-01-04T10:00", "ends": "2026-01-04T12:00", "zone": "Asia/Tokyo"}, "2026-01-04T01:00", True),
        ({"starts": "2026-01-04T10:00", "ends": "2026-01-04T12:00", "zone": "Asia/Tokyo"}, "2026-01-04T03:00", False),
    ],
)
def test_maintenance(window: dict[str, Any], moment: str, expected: bool) -> None:
    assert holds(MaintenanceSettings(**window), datetime.fromisoformat(moment).replace(tzinfo=UTC)) is expected


def test_silences_change_in_place_or_anew() -> None:
    def new(matcher: str = "a=b", starts: float = 0, ends: float = 100, now: float = 0) -> Any:
        return make(
            matchers=[matcher], starts_at=at(starts), ends_at=at(ends), created_by="me", comment="x", now=at(now)
        )

    old = new()
    assert [old.status(at(second)) for second in (-1, 0, 99, 100)] == ["pending", "active", "active", "expired"]
    longer = change(old, new(ends=200, now=50), now=at(50))
    assert [(each.id, each.starts_at, each.ends_at) for each in longer] == [(old.id, at(0), at(200))]
    ended, anew = change(old, new("a=c", ends=200, now=50), now=at(50))
    assert (ended.id, ended.ends_at, anew.id != old.id, anew.starts_at) == (old.id, at(50), True, at(50))
    later = new(starts=60)
    assert [each.starts_at for each in change(later, new(starts=80, now=10), now=at(10))] == [at(80)]
    assert [each.status(at(10)) for each in [expire(later, now=at(10))]] == ["expired"]
    for act in (lambda: change(old, new(ends=900, now=500), now=at(500)), lambda: expire(old, now=at(500))):
        with pytest.raises(BadInput, match="is over"):
            act()


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("a=b", {"a": "b"}, True),
        ("a=b", {}, False),
        ("a=", {}, True),
        ("a!=b", {}, True),
        ('a="b c"', {"a": "b c"}, True),
        ("a=~b", {"a": "abc"}, False),  # the whole value
        ("a=~.*b.*", {"a": "abc"}, True),
        ("a!~x|y", {"a": "x"}, False),
        ('a="\\"q\\""', {"a": '"q"'}, True),
    ],
)
def test_matchers(text: str, labels: dict[str, str], expected: bool) -> None:
    matcher = parse_matcher(text)
    assert matcher.holds(labels) is expected
    assert parse_matcher(str(matcher)) == matcher


@pytest.mark.parametrize("text", ["a", "=b", "a=~(", "a=~(a+)+", r"a=~(a)\1", "a=~" + "x" * 400])
def test_what_is_no_matcher(text: str) -> None:
    with pytest.raises(ValueError, match=r"matcher|regular expression|repeats"):
        parse_matcher(text)


def test_waits_grow_to_five_minutes() -> None:
    assert [backoff_s(attempt, 0.0) for attempt in (1, 2, 3, 7, 100)] == [5, 10, 20, 300, 300]
    assert backoff_s(3, 1.0) == 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("receivers: {a: {}}", "has no channel"),
        ("receivers: {a: {slack: {}}}", r"`receivers\.a\.slack\.url`: must be an address"),
        ("receivers: {a: {slak: {}}}", r"unknown key `receivers\.a\.slak`; did you mean `slack`"),
        ("receivers: {a: {slack: {ulr: x}}}", r"unknown key `receivers\.a\.slack\.ulr`; did you mean `url`"),
        ("receivers: {a: {slack: {url: secret-part}}}", "must be an address that begins with https"),
        ("receivers: {a: {slack: {url: 'https://u:secret-part@x.example'}}}", "must not hold a user or password"),
        ("receivers: {a: {slack: {url_file: /nowhere/secret}}}", "`url_file` cannot be read: No such file"),
        ("receivers: {a: {webhook: {url: 'https://x.example', allow: [x]}}}", "is no network"),
        ('receivers: {a: {email: {host: m, from: a@b.c, to: ["x@y.z\\nBcc: q@r.s"]}}}', "is no plain mail address"),
        ("receivers: {a: {email: {host: m, from: a@b.c, to: x@y.z, user: u, security: plain}}}", "for anybody to read"),
        ("receivers: {a: {email: {host: m, from: a@b.c, to: x@y.z}, repeat_interval: 9d}}", "at most 5d"),
        ("receivers: {a: {email: {host: m, from: a@b.c, to: x@y.z}, group_wait: soon}}", "`soon` is no duration"),
        ("receivers: {'a b': {email: {host: m, from: a@b.c, to: x@y.z}}}", "'a b' must be letters"),
        ("routing: {receivers: [b]}", r"`routing\.receivers` names the receiver `b`"),
        ("routing: {routes: [{receivers: [b]}]}", r"`routing\.routes\[0\]\.receivers` names the receiver `b`"),
        ("routing: {routes: [{matchers: [severity]}]}", "is no matcher"),
        ("routing: {routes: [{mathcers: [a=b]}]}", r"unknown key `routing\.routes\[0\]\.mathcers`"),
        ("routing: {maintenance: [{name: x}]}", "would always hold"),
        ("routing: {maintenance: [{days: [sun], zone: Mars}]}", "no time zone `Mars`"),
        ("routing: {maintenance: [{from: '25:00'}]}", "no time of day"),
        ("routing: {dashboard_url: 'javascript:1'}", "must begin with https"),
        ("routing: {give_up_after: 1s}", "at least 1m"),
    ],
)
def test_mistakes_are_named_and_no_secret_is_shown(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_settings(path)
    assert "secret-part" not in str(caught.value)


def test_secrets_are_not_in_the_settings_text(tmp_path: Path) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text(
        "receivers: {a: {webhook: {url: 'https://h.example/secret-part', secret: secret-part},"
        " apprise: {urls: ['json://secret-part']}, email: {host: m, from: a@b.c, to: x@y.z, user: u, password: secret-part}}}"
    )
    settings = load_settings(path)
    assert "secret-part" not in f"{settings!r} {settings}"


def test_the_example_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    shown = next(block.partition("```")[0] for block in page.split("```yaml\n")[1:] if block.startswith("receivers:"))
    for name in ("SLACK_WEBHOOK", "TEAM_WEBHOOK", "TEAM_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "https://x.example/y")
    (tmp_path / "smtp").write_text("password\n")
    path = tmp_path / "monitor.yaml"
    path.write_text(shown.replace("/run/secrets/smtp", str(tmp_path / "smtp")))
    settings = load_settings(path)
    assert settings.receivers["oncall"].channels == ["email", "slack"]
    assert len(settings.routing.routes) == 2
