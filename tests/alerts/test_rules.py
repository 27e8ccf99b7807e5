"""What is said about rules that cannot be."""

from __future__ import annotations

import re
from typing import Any

import pytest

from alerts.book import known_from_settings, make_book, refuse_wrong_rules
from alerts.conditions.band import Band
from alerts.conditions.burn import Burn, burn_rows
from alerts.defaults import DEFAULTS
from alerts.rules import Known, Rule, compile_rule
from monitor.errors import BadInput, ConfigError
from monitor.settings import ObjectiveSettings, Settings
from monitor.settings.alerts import read_rule

UP = ObjectiveSettings(name="up", kind="error", target=0.9)
SETTINGS = Settings.model_validate({"objectives": [UP]})
KNOWN: Known = known_from_settings(SETTINGS)
TTFT = {"name": "r", "kpi": "latency.ttft.p95"}
RATE = {"name": "r", "kpi": "traffic.error_rate"}


def compiled(**given: Any) -> list[Rule]:
    return compile_rule(read_rule({"name": "r", **given}), KNOWN)


def band(**given: Any) -> Band:
    (rule,) = compiled(**given)
    assert isinstance(rule.condition, Band)
    return rule.condition


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**TTFT, "kpi": "latency.ttft.p59", "above": 1}, "`kpi`: there is no KPI `latency.ttft.p59`; did you mean `latency.ttft.p9"),
        ({"kpi": "latency.ttft", "above": 1}, "`latency.ttft` is the front of several; give one, such as `latency.ttft.p50`"),
        ({**TTFT}, "needs exactly one of above, below, .*; none is given"),
        ({**TTFT, "above": 1, "below": 0.5}, r"a band is `outside: \[low, high\]`"),
        ({**TTFT, "above": 1, "anomaly": True}, "`above` and `anomaly` are given"),
        ({**TTFT, "above": "40 %"}, "`above`: `40 %` does not fit: latency.ttft.p95 is a time in seconds; write 0.5 or 500 ms"),
        ({**RATE, "above": "500 ms"}, "`500 ms` does not fit: traffic.error_rate is a share; write 0.4 or 40 %"),
        ({**RATE, "above": 40}, r"`above`: 40 can never be exceeded: traffic.error_rate is at most 1; did you mean `40 %`\?"),
        ({**RATE, "above": 1}, "1 can never be exceeded"),
        ({**RATE, "below": 0}, "nothing can be below 0"),
        ({**RATE, "above": -0.1}, "-0.1 is always exceeded"),
        ({**RATE, "above": "lots"}, "`lots` is no number"),
        ({**RATE, "outside": [0.5, 0.2]}, "`outside`: must be the lower bound, then the upper one"),
        ({**RATE, "outside": [0.5]}, "`outside`: needs the lower and the upper bound"),
        ({**TTFT, "above": 0.5, "recover": "600 ms"}, "`recover`: is 600 ms, on the wrong side: what fires above 500 ms recovers below it"),
        ({**RATE, "below": 0.5, "recover": 0.4}, "on the wrong side: what fires below 50 % recovers above it"),
        ({**RATE, "outside": [0.2, 0.5], "recover": [0.1, 0.4]}, "must lie within 0.2 and 0.5"),
        ({**RATE, "above": 0.5, "window": "10s"}, "`window`: of 10s is shorter than the time from one evaluation to the next"),
        ({**RATE, "above": 0.5, "window": "soon"}, "`window`: `soon` is no duration"),
        ({**RATE, "above": 0.5, "for": "1 minute"}, "`for`: `1 minute` is no duration"),
        ({**RATE, "above": 0.5, "by": ["nodes"]}, "`by`: there is no dimension `nodes`; did you mean `node`"),
        ({**RATE, "above": 0.5, "where": {"modl": "a"}}, "`where`: there is no filter key `modl`; did you mean `model`"),
        ({"kpi": "fleet.gpu_utilization", "above": 0.5, "by": ["finish_reason"]}, "`by`: fleet.gpu_utilization is not known by finish_reason; it is by"),
        ({**RATE, "above": 0.5, "labels": {"team": "{{ nod }}"}, "by": ["node"]}, "`labels.team`: line 1 of the text uses `nod`.* did you mean `node`"),
        ({**RATE, "above": 0.5, "labels": {"team": "{{ value }}"}}, "`labels.team`: .*uses `value`, which is not known here"),
        ({**RATE, "above": 0.5, "annotations": {"a": "one\n{{ valu }}"}}, "line 2 of the text uses `valu`.* did you mean `value`"),
        ({**RATE, "above": 0.5, "annotations": {"a": "{% if %}"}}, "`annotations.a`: line 1 of the text is no template"),
        ({**RATE, "above": 0.5, "labels": {"node": "x"}, "by": ["node"]}, "`node` is a dimension of the group already"),
        ({**RATE, "above": 0.5, "labels": {"severity": "x"}}, "the label `severity` is made of the rule's own"),
        ({**RATE, "above": 0.5, "labels": {"Team\n": "x"}}, "is no name of a label"),
        ({**RATE, "above": 0.5, "receivers": ["a\r\nBcc: b"]}, "`receivers`: .* holds a line break"),
        ({**RATE, "above": 0.5, "runbook": "http://a\n"}, "`runbook`: .* holds a line break"),
        ({**RATE, "above": 0.5, "name": "a\r\nBcc: x"}, "`name`: .*must be letters, digits"),
        ({**RATE, "above": 0.5, "abve": 1}, "an alert rule has no key `abve`; did you mean `above`"),
        ({**RATE, "change": {"relativ": 1}}, r"no key `change.relativ`; did you mean `relative`"),
        ({**RATE, "change": {"relative": "20 s"}}, "`change`: `20 s` is no share"),
        ({**RATE, "change": {}, "recover": 1}, "`recover`: is of no use with `change`"),
        ({"objective": "upp"}, r"`objective`: there is no objective `upp`; did you mean `up`\?"),
        ({"objective": "up", "window": "5m"}, "`window`: is of no use with `objective`"),
        ({"kpi": "objective.up.burn_rate", "above": 14.4}, "14.4 can never be exceeded: objective.up.burn_rate is at most 10"),
        ({"kpi": "traffic.requests", "absent": {"within": "5m"}}, "`absent`: looks back `within` 5m, and the window is 10m already"),
        ({"health": "jobs", "kpi": "traffic.requests"}, "`kpi`: is of no use with `health`"),
    ],
    ids=lambda value: re.sub(r"\W+", " ", str(value))[:60] if isinstance(value, str) else None,
)  # fmt: skip
def test_rules_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compiled(**given)


def test_amounts_have_units() -> None:
    assert band(**TTFT, above="500 ms", recover="0.4 s").high == 0.5
    assert band(**TTFT, above="2m").high == 120.0
    assert band(**RATE, above="40 %").high == pytest.approx(0.4)
    assert band(kpi="traffic.requests", below="10 calls").low == 10
    assert band(kpi="objective.up.error_budget", below="-20 %").low == pytest.approx(-0.2)


def test_burn_rates_are_those_of_the_workbook() -> None:
    def factors(target: float, days: float) -> list[tuple[float, float, float]]:
        return [
            (row.long_s / 3600, row.short_s / 60, round(row.factor, 3))
            for row in burn_rows(target=target, period_days=days)
        ]

    assert factors(0.999, 30) == [(1, 5, 14.4), (6, 30, 6), (24, 120, 3), (72, 360, 1)]
    assert factors(0.999, 28) == [(1, 5, 13.44), (6, 30, 5.6), (24, 120, 2.8), (72, 360, 0.933)]
    assert factors(0.999, 7) == [(1, 5, 16.8), (6, 30, 5.6), (24, 120, 2.8)]
    rows = burn_rows(target=0.9, period_days=30)
    assert [(row.factor, row.lowered) for row in rows] == [(pytest.approx(8), True), (6, False), (3, False), (1, False)]
    assert all(row.factor < 1 / (1 - 0.5) for row in burn_rows(target=0.5, period_days=30))


def test_an_objective_makes_a_page_and_a_ticket() -> None:
    fast, slow = compiled(objective="*")
    assert (fast.name, fast.severity, slow.name, slow.severity) == ("r-up-fast", "page", "r-up-slow", "ticket")
    assert isinstance(fast.condition, Burn)
    assert fast.labels == {"objective": "up"}
    assert [rule.name for rule in compiled(objective="up")] == ["r-fast", "r-slow"]


def test_every_default_can_be_changed_and_switched_off() -> None:
    book = make_book(SETTINGS, KNOWN)
    assert {rule.declared for rule in book.rules} <= {str(default["name"]) for default in DEFAULTS}
    assert {"error-rate", "first-token-slower", "burn", "node-silent", "job-failing"} <= {
        rule.declared for rule in book.rules
    }
    assert "watchdog" not in {rule.declared for rule in book.rules}
    assert not book.broken
    given = [
        {"name": "error-rate", "above": "10 %"},
        {"name": "first-token-slower", "enabled": False},
        {"name": "watchdog", "enabled": True, "receivers": ["deadman"]},
    ]
    receivers = {"deadman": {"webhook": {"url": "https://deadman.example.com/"}}}
    changed_settings = Settings.model_validate({"alerts": given, "receivers": receivers})
    changed = {rule.name: rule for rule in make_book(changed_settings, KNOWN).rules}
    assert isinstance(changed["error-rate"].condition, Band)
    assert changed["error-rate"].condition.high == pytest.approx(0.1)
    assert changed["error-rate"].by == ("service", "model")
    assert changed["error-rate"].origin == "file"
    assert "first-token-slower" not in changed
    assert changed["watchdog"].receivers == ("deadman",)
    none = Settings.model_validate({"alerting": {"defaults": False}})
    assert make_book(none, KNOWN).rules == []


def test_wrong_rules_of_the_file_stop_the_start() -> None:
    with pytest.raises(ConfigError, match=r"alert rule `r`: `kpi`: there is no KPI `latency\.tft\.p95`"):
        refuse_wrong_rules(Settings.model_validate({"alerts": [{**TTFT, "kpi": "latency.tft.p95", "above": 1}]}))
    # The name of a score is known only when one came.
    refuse_wrong_rules(
        Settings.model_validate({"alerts": [{"name": "r", "kpi": "accuracy.score.toxicity", "above": 0.5}]})
    )


def test_receivers_are_those_of_the_configuration() -> None:
    receivers = {"oncall": {"webhook": {"url": "https://a.example.com/"}}}
    given = {"alerts": [{**TTFT, "above": 1, "receivers": ["onca"]}], "receivers": receivers}
    with pytest.raises(ConfigError, match=r"`receivers`: there is no receiver `onca`; did you mean `oncall`\?"):
        refuse_wrong_rules(Settings.model_validate(given))


def test_names_are_given_once() -> None:
    with pytest.raises(ValueError, match="two rules have the name `r`"):
        Settings.model_validate({"alerts": [{**TTFT, "above": 1}, {**RATE, "above": 0.5}]})
    given = [{"name": "a", "objective": "up"}, {**RATE, "name": "a-fast", "above": 0.5}]
    book = make_book(Settings.model_validate({"objectives": [UP], "alerts": given}), KNOWN)
    assert [problem.text for problem in book.problems] == [
        "alert rule `a-fast`: its name `a-fast` is that of another rule; rename one of the two"
    ]


def test_texts_are_made_in_a_sandbox() -> None:
    from alerts.texts import render_annotation, render_label

    assert render_label("a\r\nBcc: {{ node }}", {"node": "x\ny"}) == "a Bcc: x y"
    assert len(render_label("{{ node }}", {"node": "x" * 9999})) == 256
    assert render_annotation("one\n{{ node }}", {"node": "two\r\x00"}) == "one\ntwo"
    for escape in ("{{ node.__class__.__mro__ }}", "{{ ''.__class__.__base__.__subclasses__() }}"):
        with pytest.raises(BadInput, match="cannot be rendered"):
            render_label(escape, {"node": "x"})
