"""What the store counts, against the same from rows in memory; on both engines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitor.bias import families_from_store
from monitor.errors import BadInput
from monitor.stats.bias import BiasReport, assess, families_of_rows
from monitor.stats.bias.measures import Kind
from monitor.store import Client
from tests.kpis.rows import START, WINDOW, random_calls, store
from tests.kpis.test_accuracy import judge

BY = [["language", "model"]]


@pytest.fixture
def calls(store_client: Client) -> pd.DataFrame:
    """800 calls: `de` is refused more often; a half has a label and an answer, a score, thumbs."""
    g = np.random.default_rng(31)
    calls = random_calls(800, seed=32, weights=(1.0, 5.0))
    n = len(calls)
    language = g.choice(["de", "en", ""], n, p=[0.4, 0.5, 0.1])
    calls["cohorts"] = [{"language": each} if each else {} for each in language]
    refused = g.random(n) < np.where(language == "de", 0.4, 0.05)
    calls["finish_reason"] = np.where(refused, "content_filter", "stop")
    calls["request_id"] = [f"r{i}" for i in range(n)]
    store(store_client, calls)
    calls["language"] = language
    calls["truth"] = g.choice(["yes", "no"], n)
    calls["answer"] = np.where(g.random(n) < 0.8, calls["truth"], g.choice(["yes", "no"], n))
    calls["judged"] = g.random(n) < 0.5
    calls["tox"] = g.random(n).round(3)
    calls["thumbs"] = np.where(g.random(n) < 0.3, g.choice(["up", "down"], n), "")
    rows: list[dict[str, Any]] = []
    thumbs = []
    for call in calls.itertuples():
        base = {"timestamp": call.timestamp + timedelta(seconds=9), "trace_id": call.trace_id}
        if call.judged:
            rows.append({**base, "name": "truth", "label": call.truth, "source": "ground_truth"})
            rows.append({**base, "name": "answer", "label": call.answer, "source": "judge"})
            # What a person said, later, gives way to the ground truth.
            rows.append(
                {
                    **base,
                    "timestamp": base["timestamp"] + timedelta(1),
                    "name": "truth",
                    "label": "no",
                    "source": "human",
                }
            )
            rows.append({**base, "name": "toxicity", "score": call.tox})
        if call.thumbs:
            by_response = call.Index % 2
            place = ["", "", call.request_id] if by_response else [call.trace_id, "", ""]
            thumbs.append([base["timestamp"], *place, "thumbs", call.thumbs])
            if call.Index % 5 == 0:  # changed their mind: the newest counts
                before = base["timestamp"] - timedelta(seconds=5)
                thumbs.append([before, *place, "thumbs", "down" if call.thumbs == "up" else "up"])
    judge(store_client, rows)
    store_client.insert(
        "engagement_events", thumbs, column_names=["timestamp", "trace_id", "span_id", "response_id", "kind", "value"]
    )
    return calls


def by_rows(calls: pd.DataFrame, outcomes: dict[str, tuple[Kind, np.ndarray]], **more: Any) -> BiasReport:
    groups = {"language": calls["language"], "model": calls["model"]}
    return assess(families_of_rows(groups, outcomes=outcomes, weights=calls["sample_weight"], **more))


def same(found: BiasReport, wanted: BiasReport) -> None:
    assert len(found.values) == len(wanted.values)
    for a, b in zip((*found.values, *found.gaps), (*wanted.values, *wanted.gaps), strict=True):
        for key, value in vars(b).items():
            mine = getattr(a, key)
            assert mine == (pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value), (a, key)


def test_outcomes_of_calls(store_client: Client, calls: pd.DataFrame) -> None:
    names = ["error", "refusal", "latency", "ttft"]
    found, notes = families_from_store(store_client, WINDOW, by=BY, outcomes=names)
    assert notes == []
    done = calls["error_type"] == ""
    failed = (~done).to_numpy(dtype=float)
    refused = np.where(done, calls["finish_reason"] == "content_filter", np.nan)
    latency = np.where(done & ~calls["cancelled"], calls["duration_s"], np.nan)
    wanted = by_rows(
        calls,
        {
            "error": ("share", failed),
            "refusal": ("share", refused.astype(float)),
            "latency": ("mean", latency),
            "ttft": ("mean", np.where(done, calls["ttft_s"], np.nan)),
        },
    )
    same(assess(found), wanted)
    words = {v.direction for v in assess(found).values if v.by == "language" and v.metric == "refusal"}
    assert "`de` is refused more often than the rest" in words


def test_labels_predictions_scores_and_thumbs(store_client: Client, calls: pd.DataFrame) -> None:
    found, _ = families_from_store(
        store_client, WINDOW, by=BY, label="truth", prediction="answer", outcomes=["score.toxicity", "thumbs_up"]
    )
    judged = calls["judged"].to_numpy()
    wanted = by_rows(
        calls,
        {
            "score.toxicity": ("mean", np.where(judged, calls["tox"], np.nan)),
            "thumbs_up": ("share", np.where(calls["thumbs"] == "", np.nan, calls["thumbs"] == "up").astype(float)),
        },
        label=np.where(judged, calls["truth"] == "yes", np.nan),
        prediction=np.where(judged, calls["answer"] == "yes", np.nan),
    )
    same(assess(found), wanted)


def test_refusals_that_a_classifier_found_are_asked_first(store_client: Client, calls: pd.DataFrame) -> None:
    some = calls.iloc[:200]
    said = (np.arange(200) % 3 == 0).astype(float)
    judge(
        store_client,
        [
            {"timestamp": c.timestamp + timedelta(seconds=1), "trace_id": c.trace_id, "name": "refusal", "score": float(s)}
            for c, s in zip(some.itertuples(), said, strict=True)
        ],
    )  # fmt: skip
    found, _ = families_from_store(store_client, WINDOW, by=[["language"]], outcomes=["refusal"])
    values = {v.group: v for v in assess(found).values}
    mine = (some["language"] == "de").to_numpy()
    weight = some["sample_weight"].to_numpy()
    assert values["de"].n == mine.sum()
    assert values["de"].value == pytest.approx(np.average(said[mine], weights=weight[mine]))


def test_correct_and_filters(store_client: Client, calls: pd.DataFrame) -> None:
    judge(
        store_client,
        [
            {"timestamp": START, "trace_id": c.trace_id, "name": "correct", "label": c.answer, "source": "human"}
            for c in calls.iloc[:300].itertuples()
        ],
    )
    found, _ = families_from_store(store_client, WINDOW, by=[["node"]], outcomes=["correct"], where={"model": "llama"})
    some = calls.iloc[:300]
    some = some[some["model"] == "llama"]
    for value in assess(found).values:
        mine = some[some["node"] == value.group]
        assert value.n == len(mine)
        assert value.value == pytest.approx(np.average(mine["answer"] == "yes", weights=mine["sample_weight"]))


def test_what_is_not_there(store_client: Client) -> None:
    with pytest.raises(BadInput, match="no call of this window has a cohort"):
        families_from_store(store_client, WINDOW, by=[["language"]], outcomes=["error"])
    with pytest.raises(BadInput, match="there is no call in this window"):
        families_from_store(store_client, WINDOW, by=[["model"]], outcomes=["error"])
    calls = random_calls(40, seed=3)
    calls["cohorts"] = [{"tier": "free"}] * 40
    store(store_client, calls)
    with pytest.raises(BadInput, match="cohorts of this window are tier"):
        families_from_store(store_client, WINDOW, by=[["language"]], outcomes=["error"])
    with pytest.raises(BadInput, match="letters, digits"):
        families_from_store(store_client, WINDOW, by=[["x'] OR 1"]], outcomes=["error"])
    with pytest.raises(BadInput, match="no outcome `happiness`"):
        families_from_store(store_client, WINDOW, by=[["tier"]], outcomes=["happiness"])
    with pytest.raises(BadInput, match="no name of a score"):
        families_from_store(store_client, WINDOW, by=[["tier"]], outcomes=["score.x'"])
    found, notes = families_from_store(store_client, WINDOW, by=[["tier"]], prediction="answer", outcomes=["error"])
    assert "evaluation `answer`" in notes[0]
    assert [measure.name for measure in found[0].measures] == ["error"]
