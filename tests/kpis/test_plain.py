"""What needs no store: windows, filters, the registry, tables, the page."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from rich.console import Console

from monitor.errors import BadInput
from monitor.kpis import DIMENSIONS, REGISTRY, KpiValue, Window, parse_duration, parse_where, resolve
from monitor.kpis.docs import render
from monitor.kpis.render import interval_text, to_json, to_table, value_text
from monitor.kpis.sources import SOURCES

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("1h30m", 5400),
        ("1.5h", 5400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert Window.last(text, now=NOW) == Window(NOW - timedelta(seconds=seconds), NOW)


@pytest.mark.parametrize("text", ["", "5", "h", "-5m", "5 m", "5x", "m5", "0s", "1e3s", "99999999999d", "5m\n"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(BadInput, match="duration"):
        parse_duration(text)


def test_a_duration_before_all_time() -> None:
    with pytest.raises(BadInput, match="year 1"):
        Window.last("900000d", now=NOW)


def test_windows_are_utc_and_exact() -> None:
    berlin = timezone(timedelta(hours=1))
    window = Window(datetime(2026, 3, 1, 13, 0, 0, 1, tzinfo=berlin), datetime(2026, 3, 1, 14, tzinfo=berlin))
    assert window.start == datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)
    assert window.start_ns == 1_772_366_400_000_001_000
    assert window.seconds == 3599.999999
    with pytest.raises(BadInput, match="no time zone"):
        Window(datetime(2026, 3, 1), NOW)
    with pytest.raises(BadInput, match="must end after"):
        Window(NOW, NOW)


def test_filters() -> None:
    assert parse_where(["node=a,b", "model=x=y", "node=c", "gpu="]) == {
        "node": ("a", "b", "c"),
        "model": ("x=y",),
        "gpu": ("",),
    }
    assert parse_where(["stream=Yes", "cancelled=0"]) == {"stream": ("true",), "cancelled": ("false",)}
    with pytest.raises(BadInput, match="has no `=`"):
        parse_where(["node"])


def test_names_by_their_fronts() -> None:
    assert [kpi.name for kpi in resolve(["latency.ttft"])] == [
        f"latency.ttft.{s}" for s in ("p50", "p90", "p95", "p99", "mean")
    ]
    assert resolve(["traffic.", "traffic.errors"]) == resolve(["traffic"])
    assert resolve([]) == list(REGISTRY.values())
    with pytest.raises(BadInput, match=r"there is no KPI `latency\.tt`"):
        resolve(["latency.tt"])


def test_each_kpi_is_declared_whole() -> None:
    names = [f"traffic.{n}" for n in (
        "requests", "request_rate", "input_tokens", "output_tokens", "token_rate", "errors", "error_rate", "cancelled_rate", "completeness",
    )]  # fmt: skip
    names += [
        f"latency.{stage}.{statistic}"
        for stage in ("ttft", "tpot", "e2e", "queue", "prefill", "decode")
        for statistic in ("p50", "p90", "p95", "p99", "mean")
    ]
    names += [f"cost.{n}" for n in (
        "total", "per_request", "per_million_tokens", "per_session", "per_goodput_request", "gpu_hour", "idle_share", "unpriced",
        "forecast_month", "budget_used",
    )]  # fmt: skip
    names += [f"safety.{n}" for n in ("flagged_rate", "blocked_rate", "pii_rate", "refusal_rate", "user_reports")]
    names += ["probes.unequal", "probes.difference", "probes.bbq"]
    names += [f"engagement.{n}" for n in (
        "active_users", "new_users", "sessions", "turns_per_session", "session_minutes", "return_rate_d1", "return_rate_d7",
        "feedback_rate", "thumbs_up", "thumbs_up_corrected", "regenerate_rate", "copy_rate", "abandon_rate",
    )]  # fmt: skip
    names += [f"fleet.{n}" for n in (
        "gpu_utilization", "gpu_memory", "power", "energy_per_token", "energy_per_request", "imbalance", "hot_node",
    )]  # fmt: skip
    names += ["drift.drifted_features", "drift.effect", "drift.p_value", "bias.unfair_gaps", "bias.gap"]
    assert [name for name in REGISTRY if not name.startswith("accuracy.")] == names
    for name, kpi in REGISTRY.items():
        assert kpi.name == name
        assert kpi.unit
        assert kpi.meaning.endswith(".")
        assert kpi.formula
        assert kpi.source in SOURCES
        assert kpi.estimator.ingredients
        assert parse_duration(kpi.window)


def test_ingredients_have_one_meaning_each() -> None:
    for source in SOURCES.values():
        found = dict(source.population)
        for kpi in REGISTRY.values():
            if kpi.source == source.name:
                for name, sql in kpi.estimator.ingredients.items():
                    assert found.setdefault(name, sql) == sql


def test_the_page_is_fresh() -> None:
    page = Path(__file__).parents[2] / "docs" / "kpis.md"
    assert page.read_text(encoding="utf-8") == render(), "run: python -m monitor.kpis.docs"
    for name in (*REGISTRY, *DIMENSIONS):
        assert f"`{name}`" in render()


def value(
    unit: str, number: float | None, low: float | None = None, high: float | None = None, **rest: object
) -> KpiValue:
    options: dict[str, object] = {"name": "x.y", "n": 7, "start": NOW, "end": NOW, "method": "m", **rest}
    return KpiValue(unit=unit, value=number, low=low, high=high, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "number", "interval"),
    [
        (value("s", 0.31234, 0.3, 0.32), "312.3 ms", "300.0 to 320.0"),
        (value("s", 12.3456, 11, None), "12.35 s", "11.00 to –"),
        (value("s", 0.000004), "4.000 µs", ""),
        (value("s", 0.0), "0 µs", ""),
        (value("1", 0.0123, 0.01, 0.02), "1.230 %", "1.000 to 2.000"),
        (value("1", 1.0), "100.0 %", ""),
        (value("1", 0.0, 0.0, 0.0037), "0.0000 %", "0.0000 to 0.3700"),
        (value("call", 19366.0), "19,366", ""),
        (value("call", 7.5, 3, 12.25), "7.50", "3.00 to 12.25"),
        (value("call/s", 5.0, 4.2, 5.9), "5.000 call/s", "4.200 to 5.900"),
        (value("token", None), "–", ""),
    ],
)
def test_numbers_are_short_and_comparable(found: KpiValue, number: str, interval: str) -> None:
    assert value_text(found) == number
    assert interval_text(found) == interval


def test_table_and_json() -> None:
    values = [
        value("s", 1 / 3, 0.25, 0.5, group={"node": "gpu-1"}),
        value("1", None, group={}, note="no call in this window"),
        value("1", 0.5, group={"node": ""}),
    ]
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(to_table(values))
    text = capture.get()
    for piece in ("333.3 ms", "250.0 to 500.0", "gpu-1", "(unknown)", "no call in this window", "node", "note"):
        assert piece in text
    records = json.loads(to_json(values))
    assert records[0] == {
        "name": "x.y", "unit": "s", "group": {"node": "gpu-1"}, "value": 1 / 3, "low": 0.25, "high": 0.5, "n": 7,
        "start": "2026-03-01T12:00:00+00:00", "end": "2026-03-01T12:00:00+00:00", "method": "m", "note": "",
    }  # fmt: skip
    assert records[1]["value"] is None
