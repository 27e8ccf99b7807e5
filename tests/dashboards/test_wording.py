"""Numbers, intervals and changes in words."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from dashboards.wording import age_text, change_text, differs, evidence, interval_text, label, value_text
from monitor.kpis import REGISTRY, KpiValue


def kpi(name: str = "latency.ttft.p95", **values: object) -> KpiValue:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    base = KpiValue(
        name=name, unit=REGISTRY[name].unit, value=1.0, low=0.9, high=1.1, n=100, start=moment, end=moment, method="m"
    )
    return dataclasses.replace(base, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1548, "s", "155 ms"),
        (0.00052, "s", "520 µs"),
        (23.07, "s", "23.1 s"),
        (0.0, "s", "0 ms"),
        (0.003614, "1", "0.361 %"),
        (1.0, "1", "100 %"),
        (19366.0, "call", "19,366"),
        (22_361_870.0, "token", "22.4 M"),
        (1135.7, "token/s", "1,136/s"),
        (None, "s", "—"),
        (float("nan"), "1", "—"),
    ],
)
def test_a_value_has_three_digits_and_a_short_unit(value: float | None, unit: str, text: str) -> None:
    assert value_text(value, unit) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.639, 0.669, "639–669 ms"),
        (0.639, 1.2, "0.639–1.2 s"),
        (0.639, None, "≥ 639 ms"),
        (None, 0.2, "≤ 200 ms"),
        (None, None, ""),
    ],
)
def test_an_interval_has_one_unit_and_says_open_ends(low: float | None, high: float | None, text: str) -> None:
    assert interval_text(low, high, "s") == text


def test_evidence_says_interval_and_n_or_why_there_is_none() -> None:
    assert evidence(kpi()) == ("95 %: 0.9–1.1 s", "n = 100")
    assert evidence(kpi(low=None, high=None, n=1)) == ("too few for an interval", "n = 1")
    assert evidence(kpi("traffic.requests", low=None, high=None, method="exact")) == (
        "counted, not estimated",
        "n = 100",
    )
    assert evidence(kpi(value=None, note="no call in this window")) == ("no call in this window", "")


@pytest.mark.parametrize(
    ("name", "now", "then", "text"),
    [
        ("latency.ttft.p95", 1.1, 1.0, "+10.0 %"),
        ("latency.ttft.p95", 0.5, 1.0, "-50.0 %"),
        ("latency.ttft.p95", 1.0, 1.0, "0 %"),
        ("latency.ttft.p95", 20.0, 1.0, "+20×"),
        ("latency.ttft.p95", 1.0, 0.0, ""),
        ("latency.ttft.p95", 1.0, None, ""),
        ("traffic.error_rate", 0.012, 0.01, "+0.20 pp"),
        ("traffic.error_rate", 0.01, 0.01, "0 pp"),
    ],
)
def test_a_change_is_relative_or_in_percentage_points(name: str, now: float, then: float | None, text: str) -> None:
    assert change_text(kpi(name, value=now), kpi(name, value=then)) == text


def test_a_change_is_telling_only_if_the_intervals_lie_apart() -> None:
    now = kpi(value=1.0, low=0.9, high=1.1)
    assert not differs(now, kpi(value=1.15, low=1.05, high=1.3))
    assert differs(now, kpi(value=1.5, low=1.4, high=1.6))
    assert not differs(now, kpi(value=9.0, low=None, high=None)), "no interval is no evidence"
    assert not differs(now, kpi(value=9.0, low=0.5, high=None)), "an open end may be anywhere"
    assert not differs(now, kpi(value=None))
    counted = {"low": None, "high": None, "method": "exact"}
    assert differs(kpi("traffic.requests", value=2.0, **counted), kpi("traffic.requests", value=3.0, **counted))


def test_every_kpi_has_a_label() -> None:
    assert all(label(name) for name in REGISTRY)
    assert label("latency.ttft.p95") == "TTFT p95"
    assert label("engagement.thumbs_up_corrected") == "Thumbs up, corrected"
    assert label("accuracy.score.helpful") == "Score helpful"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (3, "3 s"), (240, "4 min"), (7300, "2 h"), (500_000, "6 days")]
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(seconds) == text
