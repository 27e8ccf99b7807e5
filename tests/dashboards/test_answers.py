"""What pages conclude from numbers, and what charts show beside them: without a store."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from dashboards import operation
from dashboards.answers import first_of_longest, is_worse
from dashboards.charts import lines as line_charts
from dashboards.charts.lines import Firing, Line, Marker, Threshold, Watched
from dashboards.facts import concerns
from dashboards.watch import firing, thresholds
from dashboards.wording import scale_of
from monitor.kpis import KpiValue, Window
from monitor.store.changes import Change

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=1))


def kpi(name: str, unit: str, value: float | None, low: float | None, high: float | None) -> KpiValue:
    return KpiValue(
        name=name,
        unit=unit,
        value=value,
        low=low,
        high=high,
        n=100,
        start=WINDOW.start,
        end=WINDOW.end,
        method="wilson",
    )


@pytest.mark.parametrize(
    ("now", "then", "worse"),
    [
        ((1.5, 1.4, 1.6), (1.0, 0.9, 1.1), True),
        ((1.0, 0.9, 1.1), (1.5, 1.4, 1.6), False),
        ((1.2, 1.0, 1.4), (1.0, 0.9, 1.1), False),
        ((1.05, 1.04, 1.06), (1.0, 0.99, 1.01), False),
        ((None, None, None), (1.0, 0.9, 1.1), False),
    ],
    ids=["slower", "faster", "intervals-overlap", "too-little-to-act-on", "unknown"],
)
def test_worse_is_beyond_chance_in_the_wrong_direction_and_worth_acting_on(
    now: tuple[Any, ...], then: tuple[Any, ...], worse: bool
) -> None:
    assert is_worse(kpi("latency.ttft.p95", "s", *now), kpi("latency.ttft.p95", "s", *then)) is worse


def test_a_share_is_worse_from_half_a_point_on() -> None:
    then = kpi("traffic.error_rate", "1", 0.001, 0.0009, 0.0011)
    assert not is_worse(kpi("traffic.error_rate", "1", 0.004, 0.0035, 0.0045), then)
    assert is_worse(kpi("traffic.error_rate", "1", 0.007, 0.006, 0.008), then)
    assert not is_worse(
        kpi("safety.refusal_rate", "1", 0.5, 0.4, 0.6), kpi("safety.refusal_rate", "1", 0.1, 0.05, 0.2)
    ), "neither more nor fewer refusals are better"


def test_since_is_the_begin_of_the_longest_stretch_beyond_the_time_before() -> None:
    values = [1.0, 2.0, 1.0, 2.0, None, 2.1, 2.2, 1.0]
    frame = pd.DataFrame(
        {
            "time": [START + timedelta(minutes=i) for i in range(8)],
            "value": values,
            "low": [None if value is None else value - 0.2 for value in values],
            "high": [None if value is None else value + 0.2 for value in values],
        }
    ).astype({"value": "float64", "low": "float64", "high": "float64"})
    before = kpi("latency.ttft.p95", "s", 1.0, 0.9, 1.1)
    assert first_of_longest(frame, before, rose=True) == START + timedelta(minutes=3)
    assert first_of_longest(frame, kpi("latency.ttft.p95", "s", 9.0, 8.0, 9.5), rose=True) is None
    assert first_of_longest(frame.iloc[:0], before, rose=True) is None


def test_a_change_is_shown_where_it_may_have_touched_a_call() -> None:
    change = Change(timestamp=START, kind="deploy", title="v2", where={"node": ["gpu-1", "gpu-2"]})
    assert concerns(change, ())
    assert concerns(change, (("node", ("gpu-2", "gpu-3")),))
    assert concerns(change, (("model", ("m",)),))
    assert not concerns(change, (("model", ("m",)), ("node", ("gpu-3",))))


def test_rules_of_a_kpi_are_drawn_on_its_chart() -> None:
    rules = [
        {"name": "slow", "kpi": "a", "where": {}, "thresholds": [1.5]},
        {"name": "dear", "kpi": "b", "where": {}, "thresholds": [9.0]},
        {"name": "elsewhere", "kpi": "a", "where": {"model": ["m"]}, "thresholds": [2.0]},
    ]
    assert thresholds(("a",), (("model", ("other",)),), rules) == [Threshold(value=1.5, rule="slow")]
    episodes = pd.DataFrame(
        {
            "rule": ["slow", "slow", "dear"],
            "kpi": ["a", "a", "b"],
            "grp": [{}, {}, {}],
            "where": [{}, {}, {}],
            "start": pd.to_datetime([START - timedelta(hours=1), START + timedelta(minutes=50), START], utc=True),
            "end": pd.to_datetime([START + timedelta(minutes=5), None, None], utc=True),
        }
    )
    assert firing(("a",), WINDOW, (), episodes) == [
        Firing(start=WINDOW.start, end=START + timedelta(minutes=5), rule="slow"),
        Firing(start=START + timedelta(minutes=50), end=WINDOW.end, rule="slow"),
    ]


def test_a_line_chart_has_changes_thresholds_and_firing_times_in_it_and_says_so() -> None:
    frame = pd.DataFrame(
        {
            "time": pd.to_datetime([START, START + timedelta(minutes=1)], utc=True),
            "line": "p95",
            "value": [0.4, 0.6],
            "low": [0.3, 0.5],
            "high": [0.5, 0.7],
            "n": [50, 60],
        }
    )
    watched = Watched(
        markers=[Marker(at=START, title="deploy: v2"), Marker(at=START - timedelta(days=1), title="out of sight")],
        thresholds=[Threshold(value=0.9, rule="slow"), Threshold(value=90.0, rule="far away")],
        firing=[Firing(start=START, end=START + timedelta(minutes=1), rule="slow")],
    )
    line = Line(
        frame=frame, unit="s", colours={"p95": "#111111"}, window=WINDOW, title="TTFT", step_s=60, watched=watched
    )
    chart = line_charts._line_chart(line, scale_of("s", [0.6]), 200, pick=True).to_dict()
    told = json.dumps(chart)
    assert '"deploy: v2"' in told
    assert '"slow"' in told
    assert "out of sight" not in told
    assert '"rule": "far away"' not in told, "a far threshold would flatten the lines"
    tops = [
        layer["encoding"]["y"]["scale"]["domain"][1]
        for layer in chart["layer"]
        if "scale" in layer["encoding"].get("y", {})
    ]
    assert min(tops) >= 900, "the threshold of 0.9 s is in sight"
    words = line_charts._line_alt(line, frame)
    assert "p95 from 400 ms to 600 ms, last 600 ms" in words
    assert "changed: deploy: v2" in words
    assert "threshold of far away: 90 s" in words
    assert "firing: slow" in words


def test_an_axis_of_nothing_but_zeros_has_labels_to_read() -> None:
    frame = pd.DataFrame(
        {
            "time": pd.to_datetime([START, START + timedelta(minutes=1)], utc=True),
            "line": "rate", "value": [0.0, 0.0], "low": [0.0, 0.0], "high": [0.0004, 0.0004], "n": [900, 900],
        }
    )  # fmt: skip
    line = Line(frame=frame, unit="1", colours={"rate": "#111111"}, window=WINDOW, title="Personal data", step_s=60)
    chart = line_charts._line_chart(line, scale_of("1", [0.0]), 200, pick=False).to_dict()
    domains = [
        layer["encoding"]["y"]["scale"]["domain"]
        for layer in chart["layer"]
        if "scale" in layer["encoding"].get("y", {})
    ]
    assert domains
    assert all(domain == [0.0, 1.0] for domain in domains), "per cent"


def test_a_drop_below_zero_is_in_sight() -> None:
    frame = pd.DataFrame({"shown": [-4.0, 2.0], "high_shown": [-3.0, 3.0]})
    low, high = line_charts._ends(frame)
    assert (low, high) == (pytest.approx(-4.4), 3.0)
    assert line_charts._ends(pd.DataFrame({"shown": [0.0], "high_shown": [float("nan")]}))[1] > 0


def test_the_collectors_page_is_read() -> None:
    text = (
        "# HELP monitor_collector_spans_received_total Spans.\n# TYPE monitor_collector_spans_received_total counter\n"
        "monitor_collector_spans_received_total 12\n"
        'monitor_collector_spans_rejected_total{reason="too_large"} 3\nprocess_cpu_seconds_total 4\n'
    )
    assert operation.read_numbers(text) == {
        "spans_received_total": {"": 12.0},
        "spans_rejected_total": {'reason="too_large"': 3.0},
    }


def test_growth_is_of_days_that_are_over() -> None:
    days = pd.DataFrame({"day": pd.date_range("2026-05-01", periods=10), "bytes": [*[100.0] * 2, *[10.0] * 7, 3.0]})
    assert operation.growth(days) == 10.0
    assert operation.growth(days.tail(1)) is None
    assert operation.size_text(5_980_000) == "5.98 MB"
    assert operation.size_text(12) == "12 B"
