"""`monitor alerts test` and `check`: files as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.book import known_from_settings
from alerts.lint import lint
from alerts.made import read_values
from alerts.rule_tests import run_file
from monitor.errors import BadInput, ConfigError
from monitor.settings import load_settings
from tests.tools import service

FILE = """
rules:
  - name: slow
    kpi: latency.ttft.p95
    by: [node]
    above: 500 ms
    recover: 400 ms
    window: 1m
    for: 30s
    annotations: {summary: '{{ node }} is at {{ value }}'}
  - {name: longer, kpi: latency.e2e.mean, window: 1h, change: {relative: 20 %}}
  - {name: silent, kpi: traffic.requests, by: [node], window: 1m, absent: {within: 1h}}
  - {name: odd, kpi: traffic.request_rate, window: 10m, anomaly: {history: 7}}
  - {name: burn, objective: up}
objectives:
  - {name: up, kind: error, target: 0.99}
every: 15s
tests:
  - name: a slow node
    series:
      - {kpi: latency.ttft.p95, group: {node: gpu-1}, values: 0.2x40}
      - {kpi: latency.ttft.p95, group: {node: gpu-2}, values: 0.2x4 0.9x8 0.45x4 0.3x4 _x20}
    expect:
      - {at: 45s, alarming: []}
      - {at: 1m, rule: slow, group: {node: gpu-2}, state: pending}
      - {at: 90s, alarming: [{rule: slow, group: {node: gpu-2}, summary: gpu-2 is at 900 ms}]}
      - {at: 225s, rule: slow, group: {node: gpu-2}, state: firing}
      - {at: 4m, rule: slow, group: {node: gpu-2}, state: inactive}
  - name: longer than last week, and not by chance
    series:
      - {kpi: latency.e2e.mean, start: -170h, every: 1h, values: 10x170 13x5, margin: 1}
    expect:
      - {at: 0s, alarming: [{rule: longer}]}
  - name: as long as last week
    series:
      - {kpi: latency.e2e.mean, start: -170h, every: 1h, values: 10x170 13x5, margin: 2}
    expect:
      - {at: 1m, alarming: []}
  - name: a silent node
    series:
      - {kpi: traffic.requests, group: {node: gpu-1}, values: 100x400}
      - {kpi: traffic.requests, group: {node: gpu-2}, values: 100x4 _x400}
    expect:
      - {at: 45s, alarming: []}
      - {at: 1m, alarming: [{rule: silent, group: {node: gpu-2}, summary: nothing for 1m}]}
      - {at: 62m, alarming: []}
  - name: a rush
    series:
      - {kpi: traffic.request_rate, start: -168h, every: 24h, values: 10 11 9 10 10.5 9.5 10 30}
    expect:
      - {at: 0s, alarming: [{rule: odd}]}
  - name: the budget burns
    series:
      - {kpi: objective.up.burn_rate, values: 5x4 20x4 0x4}
    expect:
      - {at: 45s, rule: burn-fast, state: inactive}
      - {at: 45s, rule: burn-slow, state: firing}
      - {at: 60s, rule: burn-fast, state: firing}
      - {at: 105s, rule: burn-fast, state: firing}
      - {at: 120s, rule: burn-fast, state: inactive}
"""


def write(folder: Path, text: str, name: str = "tests.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_rules_of_every_kind_are_tested_by_a_file(tmp_path: Path) -> None:
    assert run_file(write(tmp_path, FILE)) == (6, [])


def test_what_fails_is_said_with_its_line(tmp_path: Path) -> None:
    wrong = FILE.replace(
        "{at: 1m, rule: slow, group: {node: gpu-2}, state: pending}",
        "{at: 1m, rule: slow, group: {node: gpu-2}, state: firing}",
    )
    wrong = wrong.replace("{at: 0s, alarming: [{rule: odd}]}", "{at: 0s, alarming: []}")
    _, failures = run_file(write(tmp_path, wrong))
    lines = wrong.splitlines()
    assert [(failure.test, failure.text) for failure in failures] == [
        ("a slow node", "at 1m `slow` (node gpu-2) is pending, not firing"),
        ("a rush", "at 0s `odd` alarms, which was not expected"),
    ]
    assert "state: firing" in lines[(failures[0].line or 0) - 1]
    assert "at: 0s" in lines[(failures[1].line or 0) - 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tests: [", "tests.yaml, line 1: "),
        ("rules: []\ntests:\n  - name: a\n    expects: []", r"tests.yaml, line \d: `tests.0.expect"),
        ("rules: [{name: a, kpi: x.y, above: 1}]\ntests: [{name: a, expect: [{at: 0s}]}]", "there is no KPI `x.y`"),
        ("tests: [{name: a, expect: [{at: 0s}]}]", "has no `rules`"),
    ],
)
def test_files_that_cannot_be(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run_file(write(tmp_path, text))


def test_values() -> None:
    assert read_values("0.2x3 1+0.5x3 -1") == [0.2, 0.2, 0.2, 1, 1.5, 2, -1]
    assert [value != value for value in read_values("_x2 1")] == [True, True, False]
    with pytest.raises(BadInput, match="`zwei` is no value"):
        read_values("1 zwei")
    with pytest.raises(BadInput, match="more than 100,000"):
        read_values("1x100001")


CONFIG = """\
objectives:
  - {name: up, kind: error, target: 0.9}
alerts:
  - name: slow
    kpi: latency.ttft.p95
    above: 40 %
  - name: fine
    kpi: traffic.error_rate
    above: 0.4
    severity: page
  - {name: budget, objective: up}
"""


def test_check_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    path = write(tmp_path, CONFIG, "monitor.yaml")
    settings = load_settings(path, tmp_path)
    book, findings = lint(settings, known_from_settings(settings), path)
    assert [(finding.level, finding.rule, finding.line) for finding in findings] == [
        ("error", "slow", 6),
        ("warning", "fine", 10),
        ("warning", "budget", 11),
    ]
    assert "lowered to 8" in findings[2].text
    assert "slow" not in [rule.name for rule in book.rules]


def test_the_commands(tmp_path: Path) -> None:
    config = write(tmp_path, CONFIG, "monitor.yaml")
    ran = service.run("alerts", "check", "--config", str(config), "--data", str(tmp_path))
    assert ran.returncode == 1
    assert f"error: {config}, line 6: alert rule `slow`: `above`: `40 %` does not fit" in ran.stdout
    broken = write(tmp_path, CONFIG.replace("above: 0.4", "abov: 0.4"), "broken.yaml")
    ran = service.run("alerts", "check", "--config", str(broken))
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "line 9: " in ran.stderr
    assert "unknown key `alerts[1].abov`; did you mean `above`?" in ran.stderr
    ran = service.run("alerts", "test", str(write(tmp_path, FILE)))
    assert (ran.returncode, ran.stdout) == (0, "6 of 6 tests passed\n")
