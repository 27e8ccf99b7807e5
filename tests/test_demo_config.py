"""The demo's own configuration: it loads, a file lies over it section by section, and its budget follows from the calendar."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from alerts.book import known_from_settings, make_book
from collectors.simulate.scenario import Scenario
from monitor.errors import ConfigError
from monitor.serve.demo_config import demo_values, month_so_far_usd
from monitor.serve.demo_story import RULES
from monitor.settings import load_settings

NOW = datetime(2026, 11, 26, 20, tzinfo=UTC)


def test_it_loads_with_a_rule_for_each_live_incident() -> None:
    settings = load_settings(under=demo_values(Scenario(), NOW))
    assert settings.privacy.capture_content
    names = {rule.name for rule in settings.alerts}
    assert {name for rules in RULES.values() for name in rules} <= names
    problems = make_book(settings, known_from_settings(settings)).problems
    assert not problems, problems
    assert {each.kind for each in Scenario().live} == set(RULES)


def test_a_file_lies_over_it_section_by_section(tmp_path: Path) -> None:
    file = tmp_path / "monitor.yaml"
    file.write_text("routing: {dashboard_url: 'http://demo.example'}\njobs: {off: [kpis]}\nobjectives: []\n")
    settings = load_settings(file, under=demo_values(Scenario(), NOW))
    assert settings.routing.dashboard_url == "http://demo.example"
    assert settings.jobs.off == ["kpis"]
    assert settings.jobs.intervals["cost"] == "30s", "what the file does not say stays"
    assert settings.objectives == [], "a list lies over a list as a whole"
    assert settings.alerts
    file.write_text("routings: {}\n")
    with pytest.raises(ConfigError, match=r"monitor\.yaml: unknown key `routings`; did you mean `routing`"):
        load_settings(file, under=demo_values(Scenario(), NOW))


def test_the_budget_is_what_the_month_so_far_would_have_cost() -> None:
    whole = month_so_far_usd(Scenario(), NOW)
    assert month_so_far_usd(dataclasses.replace(Scenario(), days=7), NOW) == pytest.approx(whole / 2, rel=0.05)
    first = month_so_far_usd(Scenario(), datetime(2026, 11, 1, 2, tzinfo=UTC))
    assert 0 < first < whole / 50
    budgets = {each["name"]: each["amount"] for each in demo_values(Scenario(), NOW)["budgets"]}
    assert budgets["provider"] == pytest.approx(1.02 * whole, rel=1e-3)
