"""The safety family, computed a second time, and whom an evaluation is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monitor.errors import BadInput
from monitor.kpis import KpiValue, evaluate, series
from monitor.stats import intervals as iv
from monitor.store import Client
from tests.kpis.rows import START, WINDOW, random_calls, store

CATEGORIES = ("insult", "pii.email", "pii", "weapons")
EVALUATION = ("timestamp", "trace_id", "span_id", "name", "label", "score", "source", "explanation", "response_id")
NAMES = ("flagged_rate", "blocked_rate", "pii_rate")


def said(client: Client, rows: list[dict[str, Any]]) -> None:
    base = dict.fromkeys(EVALUATION, "") | {"score": None, "source": "moderation"}
    values = [[(base | row)[key] for key in EVALUATION] for row in rows]
    client.insert("evaluations", values, column_names=list(EVALUATION))


def moderated_calls(
    client: Client, *, weights: tuple[float, ...], more: Mapping[str, Any] = MappingProxyType({})
) -> pd.DataFrame:
    """Random calls; the frame's `findings` is None for those that were not moderated, else category -> blocked."""
    calls = random_calls(500, seed=21, weights=weights).assign(**more)
    store(client, calls)
    g = np.random.default_rng(22)
    rows: list[dict[str, Any]] = []
    findings: list[dict[str, bool] | None] = []
    for call in calls.itertuples():
        if g.random() < 0.3:
            findings.append(None)
            continue
        mine: dict[str, bool] = {}
        at = {"timestamp": call.timestamp + timedelta(seconds=1), "trace_id": call.trace_id, "span_id": call.span_id}
        for stage in ("input", "output"):
            found = [
                (str(c), bool(g.random() < 0.3))
                for c in g.choice(CATEGORIES, g.integers(0, 3), replace=False)
                if g.random() < 0.4
            ]
            label = "blocked" if any(b for _, b in found) else "flagged" if found else "allowed"
            rows.append(
                at | {"name": f"moderation.{stage}", "label": label, "explanation": found[0][0] if found else ""}
            )
            for category, blocked in found:
                rows.append(at | {"name": category, "label": "blocked" if blocked else "flagged", "explanation": stage})
                mine[category] = mine.get(category, False) or blocked
            # The decision is blocked for the whole, in the category that it names first.
            if found:
                mine[found[0][0]] = mine[found[0][0]] or label == "blocked"
        findings.append(mine)
    said(client, rows)
    return calls.assign(findings=findings)


def expected(calls: pd.DataFrame, among: tuple[str, ...] | None = None) -> dict[str, tuple[float, float, float, int]]:
    """Share with Wilson's ends and n of each rate, over the moderated calls; `among`: of these categories alone."""
    rows = calls[[findings is not None for findings in calls["findings"]]]
    kept = [{c: b for c, b in findings.items() if among is None or c in among} for findings in rows["findings"]]
    hits = {
        "flagged_rate": [bool(findings) for findings in kept],
        "blocked_rate": [any(findings.values()) for findings in kept],
        "pii_rate": [any(c.split(".")[0] == "pii" for c in findings) for findings in kept],
    }
    return {name: wilson(np.array(hit), rows["sample_weight"].to_numpy()) for name, hit in hits.items()}


def wilson(hits: Any, w: Any) -> tuple[float, float, float, int]:
    value = float(np.average(hits, weights=w))
    variance = (w**2 * (hits - value) ** 2).sum() / w.sum() ** 2
    effective = value * (1 - value) / variance if 0 < value < 1 else w.sum() ** 2 / (w**2).sum()
    return (value, *iv.wilson(value * effective, effective), len(w))


def same(found: KpiValue, want: tuple[float, float, float, int]) -> None:
    assert found.n == want[3], (found.name, found.group)
    assert (found.value, found.low, found.high) == pytest.approx(want[:3], rel=1e-9), (found.name, found.group)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.5, 6.0)], ids=["plain", "weighted"])
def test_rates_over_moderated_calls(store_client: Client, weights: tuple[float, ...]) -> None:
    calls = moderated_calls(store_client, weights=weights)
    names = [f"safety.{name}" for name in NAMES]
    for value in evaluate(store_client, names, window=WINDOW):
        same(value, expected(calls)[value.name.removeprefix("safety.")])
    for value in evaluate(store_client, names, window=WINDOW, by=["node"]):
        mine = calls[calls["node"] == value.group["node"]]
        same(value, expected(mine)[value.name.removeprefix("safety.")])
    seen = set()
    for value in evaluate(store_client, names, window=WINDOW, by=["category", "node"], where={"model": "llama"}):
        mine = calls[(calls["node"] == value.group["node"]) & (calls["model"] == "llama")]
        same(value, expected(mine, (value.group["category"],))[value.name.removeprefix("safety.")])
        seen.add(tuple(value.group.values()))
    assert len(seen) == len(CATEGORIES) * 3
    two = ("insult", "pii")
    for value in evaluate(store_client, names, window=WINDOW, where={"category": two}):
        same(value, expected(calls, two)[value.name.removeprefix("safety.")])
    only = evaluate(store_client, names, window=WINDOW, by=["category"], where={"category": two})
    assert {value.group["category"] for value in only} == set(two)
    frame = series(store_client, names, window=WINDOW, step_s=1800, by=["category"])
    halves = (calls["timestamp"] - pd.Timestamp(START)).dt.total_seconds() // 1800
    for row in frame.itertuples():
        half = (row.time - pd.Timestamp(START)).total_seconds() // 1800
        want = expected(calls[halves == half], (row.category,))[row.name.removeprefix("safety.")]
        assert (row.value, row.low, row.high, row.n) == pytest.approx(want, rel=1e-9)


def test_rates_by_cohort_release_and_category(store_client: Client) -> None:
    """Whatever calls are labelled with is a dimension and a filter: the same numbers as by hand."""
    language = np.random.default_rng(5).choice(["de", "en", ""], 500)
    more = {
        "cohorts": [{"user language": each} if each else {} for each in language],
        "release": np.where(np.arange(500) % 2, "r1", "r2"),
    }
    calls = moderated_calls(store_client, weights=(1.0, 2.5), more=more).assign(language=language)
    names, by = [f"safety.{name}" for name in NAMES], "cohort.user language"
    groups = set()
    for value in evaluate(store_client, names, window=WINDOW, by=[by, "release"]):
        mine = calls[(calls["language"] == value.group[by]) & (calls["release"] == value.group["release"])]
        same(value, expected(mine)[value.name.removeprefix("safety.")])
        groups.add(tuple(value.group.values()))
    assert len(groups) == 6
    for value in evaluate(
        store_client, names, window=WINDOW, by=["category", by], where={by: ("de", "en"), "release": "r1"}
    ):
        mine = calls[(calls["language"] == value.group[by]) & (calls["release"] == "r1")]
        same(value, expected(mine, (value.group["category"],))[value.name.removeprefix("safety.")])
        assert value.group[by]
    frame = series(store_client, "traffic.requests", window=WINDOW, step_s=1800, by=[by])
    assert frame["value"].sum() == pytest.approx(calls["sample_weight"].sum())
    (kept,) = evaluate(store_client, ["fleet.gpu_utilization"], window=WINDOW, by=[by])
    assert "cannot be split by or filtered on cohort.user language" in kept.note
    with pytest.raises(BadInput, match="no name of a cohort"):
        evaluate(store_client, names, window=WINDOW, by=["cohort.it's"])
    assert evaluate(store_client, names[:1], window=WINDOW, where={"cohort.other": "x"})[0].n == 0


def two_calls(client: Client, **columns: Any) -> None:
    base = {
        "timestamp": [START + timedelta(seconds=1), START + timedelta(seconds=2)],
        "trace_id": ["a" * 32, "a" * 32],
        "span_id": ["1" * 16, "2" * 16],
        "duration_s": [10.0, 1.0],
        "node": ["long", "short"],
        "request_id": ["r1", "r2"],
    }
    store(client, pd.DataFrame(base | columns))


def refusals(client: Client) -> dict[str, tuple[float | None, int]]:
    values = evaluate(client, ["safety.refusal_rate"], window=WINDOW, by=["node"])
    return {value.group["node"]: (value.value, value.n) for value in values if value.group}


@pytest.mark.parametrize(
    ("named", "whose"),
    [
        ({"trace_id": "a" * 32, "span_id": "2" * 16}, "short"),
        ({"trace_id": "a" * 32}, "long"),  # the one that ended last
        ({"trace_id": "a" * 32, "span_id": "9" * 16}, "long"),  # a span that is no call
        ({"response_id": "r2"}, "short"),
        ({"trace_id": "b" * 32, "span_id": "2" * 16}, None),
        ({"trace_id": "b" * 32}, None),
        ({"response_id": "r3"}, None),
    ],
    ids=["span", "trace", "other-span", "response", "strange-span", "strange-trace", "strange-response"],
)
def test_whom_an_evaluation_is_about(store_client: Client, named: dict[str, str], whose: str | None) -> None:
    two_calls(store_client)
    said(
        store_client,
        [{"timestamp": START + timedelta(days=2), "name": "refusal", "label": "yes", "source": "human", **named}],
    )
    assert refusals(store_client) == ({} if whose is None else {whose: (1.0, 1)})


def test_an_inner_party_speaks_for_the_call(store_client: Client) -> None:
    """A gateway that moderates names its own span; the call is the client's, and counts once."""
    two_calls(store_client, role=["client", "engine"], parent_span_id=["", "1" * 16], timestamp=[START] * 2)
    said(
        store_client,
        [
            {
                "timestamp": START,
                "trace_id": "a" * 32,
                "span_id": "2" * 16,
                "name": "moderation.input",
                "label": "blocked",
            }
        ],
    )
    (rate,) = evaluate(store_client, ["safety.blocked_rate"], window=WINDOW)
    assert (rate.value, rate.n) == (1.0, 1)


def test_a_neighbour_outside_of_the_window_keeps_its_own(store_client: Client) -> None:
    """The other call of the trace ended last, but before it lies the window's end: what is said of it is not the first's."""
    two_calls(
        store_client, timestamp=[START + timedelta(minutes=59), START + timedelta(minutes=61)], duration_s=[1.0, 1.0]
    )
    for span in ("", "2" * 16):
        said(
            store_client,
            [
                {
                    "timestamp": START + timedelta(hours=2),
                    "trace_id": "a" * 32,
                    "span_id": span,
                    "name": "refusal",
                    "label": "yes",
                }
            ],
        )
    assert refusals(store_client) == {}


@pytest.mark.parametrize(
    ("judgements", "rate"),
    [
        ([("yes", None)], 1.0),
        ([("Refused", None)], 1.0),
        ([("no", None)], 0.0),
        ([("", 0.5)], 1.0),
        ([("", 0.49)], 0.0),
        ([("perhaps", None)], None),
        ([("yes", None), ("no", None)], 0.0),  # the last counts
        ([("no", None), ("", 0.9)], 1.0),
    ],
)
def test_refusals(store_client: Client, judgements: list[tuple[str, float | None]], rate: float | None) -> None:
    two_calls(store_client)
    at = {"trace_id": "a" * 32, "span_id": "1" * 16, "name": "refusal", "source": "judge"}
    rows = [
        {**at, "timestamp": START + timedelta(hours=i), "label": label, "score": score}
        for i, (label, score) in enumerate(judgements)
    ]
    said(store_client, rows)
    (found,) = evaluate(store_client, ["safety.refusal_rate"], window=WINDOW)
    assert (found.value, found.n) == (rate, 0 if rate is None else 1)
    if rate is None:
        assert found.note == "no call in this window was looked at for a refusal"
    else:
        assert (found.low, found.high) == pytest.approx(stats.binomtest(int(rate), 1).proportion_ci(method="wilson"))


def test_nobody_moderated(store_client: Client) -> None:
    two_calls(store_client)
    # What a judge says is no moderation.
    said(
        store_client,
        [{"timestamp": START, "trace_id": "a" * 32, "name": "toxicity", "label": "flagged", "source": "judge"}],
    )
    for by in ([], ["category"]):
        for value in evaluate(store_client, [f"safety.{name}" for name in NAMES], window=WINDOW, by=by):
            assert (value.value, value.n, value.note) == (None, 0, "no call in this window was moderated")
    (reports,) = evaluate(store_client, ["safety.user_reports"], window=WINDOW)
    assert (reports.value, reports.n) == (0.0, 0)


def test_findings_of_others_by_score(store_client: Client) -> None:
    two_calls(store_client)
    at = {"timestamp": START + timedelta(seconds=5), "trace_id": "a" * 32, "name": "violence"}
    said(store_client, [{**at, "span_id": "1" * 16, "score": 0.5}, {**at, "span_id": "2" * 16, "score": 0.4}])
    (rate,) = evaluate(store_client, ["safety.flagged_rate"], window=WINDOW)
    assert (rate.value, rate.n) == (0.5, 2)
    rates = evaluate(store_client, ["safety.flagged_rate"], window=WINDOW, by=["category"])
    assert [(value.group, value.value) for value in rates] == [({"category": "violence"}, 0.5)]


def test_user_reports(store_client: Client) -> None:
    two_calls(store_client, sample_weight=[1.0, 3.0])
    columns = ["timestamp", "trace_id", "span_id", "kind", "value"]
    rows = [
        [START + timedelta(days=1), "a" * 32, "2" * 16, "report", "harmful"],
        [START + timedelta(days=2), "a" * 32, "2" * 16, "report", "harmful"],
        [START + timedelta(days=2), "a" * 32, "2" * 16, "report", "wrong"],
        [START + timedelta(days=2), "a" * 32, "1" * 16, "thumbs", "down"],
    ]
    store_client.insert("engagement_events", rows, column_names=columns)
    (whole,) = evaluate(store_client, ["safety.user_reports"], window=WINDOW)
    assert (whole.value, whole.n) == (3.0, 1)
    for options in ({"by": ["category"]}, {"where": {"category": "wrong"}}):
        for value in evaluate(store_client, ["safety.user_reports"], window=WINDOW, **options):  # type: ignore[arg-type]
            assert (value.value, value.n) == (3.0, 1)
    (none,) = evaluate(store_client, ["safety.user_reports"], window=WINDOW, where={"category": "other"})
    assert none.value == 0.0
