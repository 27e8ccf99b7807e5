"""`accuracy.` against pandas, scikit-learn and the statistics by arrays, from the same judgements."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, precision_score, recall_score

from monitor.errors import BadInput
from monitor.kpis import KpiValue, Window, evaluate, series
from monitor.stats.calibrated import Scored, calibrate, expected
from monitor.stats.intervals import wilson
from monitor.stats.label_sums import LabelledSums, PredictedSums, Stratum
from monitor.stats.prediction_powered import prediction_powered_proportion
from monitor.store import Client
from tests.kpis.rows import START, random_calls, store

WINDOW = Window(START, START + timedelta(hours=3))
CLASSES = np.array(["refund", "invoice", "other"])


def judge(client: Client, rows: list[dict[str, Any]]) -> None:
    columns = ["timestamp", "trace_id", "span_id", "response_id", "name", "score", "label", "source", "evaluator"]
    defaults = {"span_id": "", "response_id": "", "score": None, "label": "", "source": "judge", "evaluator": ""}
    client.insert(
        "evaluations", [[{**defaults, **row}[name] for name in columns] for row in rows], column_names=columns
    )


@pytest.fixture
def calls(store_client: Client) -> pd.DataFrame:
    """900 calls over three hours: all have a judge's verdict, a third a label, some classes and confidences."""
    g = np.random.default_rng(21)
    calls = random_calls(900, seed=22)
    calls["timestamp"] = [START + timedelta(microseconds=int(us)) for us in g.integers(0, int(3 * 3.6e9), len(calls))]
    calls["right"] = (g.random(len(calls)) < np.where(calls["model"] == "llama", 0.85, 0.6)).astype(float)
    calls["verdict"] = np.where(g.random(len(calls)) < 0.9, calls["right"], 1 - calls["right"])
    calls["labelled"] = g.random(len(calls)) < 1 / 3
    calls["answer"] = g.choice(CLASSES, len(calls), p=[0.5, 0.3, 0.2])
    calls["truth"] = np.where(calls["right"] == 1, calls["answer"], g.choice(CLASSES, len(calls)))
    calls["right"] = (calls["answer"] == calls["truth"]).astype(float)
    calls["confidence"] = np.clip(0.55 + 0.3 * calls["right"] + g.normal(0, 0.1, len(calls)), 0, 1)
    store(store_client, calls.drop(columns=["right", "verdict", "labelled", "answer", "truth", "confidence"]))
    later = START + timedelta(days=9)
    rows: list[dict[str, Any]] = []
    for call in calls.itertuples():
        base = {"timestamp": call.timestamp + timedelta(seconds=20), "trace_id": call.trace_id, "span_id": call.span_id}
        rows.append({**base, "name": "correct", "score": call.verdict, "evaluator": "judge-1"})
        rows.append({**base, "name": "answer", "label": call.answer, "source": "human"})
        rows.append({**base, "name": "confidence", "score": call.confidence})
        if call.labelled:  # late, and without the span: the trace has one call
            rows.append(
                {
                    "timestamp": later,
                    "trace_id": call.trace_id,
                    "name": "correct",
                    "label": call.truth,
                    "source": "ground_truth",
                }
            )
    # Judgements without a span are rows of their own kind; those with one must meet them.
    for row in rows:
        row["span_id"] = ""
    judge(store_client, rows)
    return calls


def ask(client: Client, *names: str, **asked: Any) -> dict[tuple[str, ...], KpiValue]:
    found = evaluate(client, names, window=WINDOW, **asked)
    return {(value.name, *value.group.values()): value for value in found}


def test_correct_is_the_share_of_right_labels(store_client: Client, calls: pd.DataFrame) -> None:
    found = ask(store_client, "accuracy.correct", by=("model",))
    for model, mine in calls[calls["labelled"]].groupby("model"):
        value = found["accuracy.correct", str(model)]
        assert value.n == len(mine)
        assert value.value == pytest.approx(mine["right"].mean())
        assert (value.low, value.high) == pytest.approx(wilson(mine["right"].sum(), len(mine)))


def test_estimated_is_prediction_powered_by_hour(store_client: Client, calls: pd.DataFrame) -> None:
    value = ask(store_client, "accuracy.estimated")[("accuracy.estimated",)]
    hour = calls["timestamp"].dt.floor("h")
    strata = []
    for _, mine in calls.groupby(hour):
        with_label, without = mine[mine["labelled"]], mine[~mine["labelled"]]
        strata.append(
            Stratum(
                labelled=LabelledSums.of(with_label["right"].to_numpy(), with_label["verdict"].to_numpy()),
                predicted=PredictedSums.of(without["verdict"].to_numpy()),
            )
        )
    truth = prediction_powered_proportion(strata)
    assert value.n == truth.n == calls["labelled"].sum()
    assert (value.value, value.low, value.high) == pytest.approx((truth.value, truth.low, truth.high))
    assert value.low is not None
    assert value.high is not None
    assert value.low < calls["right"].mean() < value.high
    assert truth.classical.high is not None
    assert truth.classical.low is not None
    assert value.high - value.low < truth.classical.high - truth.classical.low
    needed = ask(store_client, "accuracy.labels_needed")[("accuracy.labels_needed",)]
    assert needed.value is None or needed.value > 0
    assert "more labels wanted" in needed.note or needed.value


def test_scores_of_classes_are_those_of_scikit_learn(store_client: Client, calls: pd.DataFrame) -> None:
    mine = calls[calls["labelled"]]
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        value = ask(store_client, f"accuracy.{name}")[(f"accuracy.{name}",)]
        assert value.value == pytest.approx(score(mine["truth"], mine["answer"], average="macro"))
        assert value.n == len(mine)


def test_agreement_with_the_judge(store_client: Client, calls: pd.DataFrame) -> None:
    mine = calls[calls["labelled"]]
    found = ask(store_client, "accuracy.judge_agreement", "accuracy.judge_kappa")
    assert found[("accuracy.judge_agreement",)].value == pytest.approx((mine["right"] == mine["verdict"]).mean())
    assert found[("accuracy.judge_kappa",)].value == pytest.approx(cohen_kappa_score(mine["right"], mine["verdict"]))


def test_calibration_error_says_that_confidence_is_no_probability(store_client: Client, calls: pd.DataFrame) -> None:
    value = ask(store_client, "accuracy.calibration_error")[("accuracy.calibration_error",)]
    mine = calls[calls["labelled"]]
    # Ten bins of equal numbers of rows, plainly.
    bins = pd.qcut(mine["confidence"].rank(method="first"), 10, labels=False)
    plain = sum(
        len(each) / len(mine) * abs(each["right"].mean() - each["confidence"].mean()) for _, each in mine.groupby(bins)
    )
    assert value.n == len(mine)
    assert value.value == pytest.approx(plain, abs=0.04)
    assert value.low is not None
    assert 0 < value.low < plain


def test_expected_from_confidence_covers_the_truth(store_client: Client, calls: pd.DataFrame) -> None:
    value = ask(store_client, "accuracy.expected")[("accuracy.expected",)]
    mine = calls[calls["labelled"]]
    calibration = calibrate(mine["confidence"].to_numpy(), mine["right"].to_numpy(), kind="platt")
    by_rows = expected("accuracy", calibration, Scored.of(calls["confidence"].to_numpy()))
    assert by_rows.low is not None
    assert value.n == len(calls)
    # The store's hundred bins stand for the rows in them.
    assert (value.value, value.low, value.high) == pytest.approx((by_rows.value, by_rows.low, by_rows.high), abs=2e-3)
    assert value.low is not None
    assert value.high is not None
    assert value.low < calls["right"].mean() < value.high
    assert f"calibrated (platt) on {len(mine)} labels" in value.note


def test_a_judge_that_drifts(store_client: Client, calls: pd.DataFrame) -> None:
    """Against the window before: here the first half of the hours against the second."""
    middle = START + timedelta(hours=1, minutes=30)
    mine = calls[calls["labelled"]]
    same = mine["right"] == mine["verdict"]
    later = mine["timestamp"] >= middle
    (value,) = evaluate(store_client, ["accuracy.judge_agreement_change"], window=Window(middle, WINDOW.end))
    assert value.value == pytest.approx(same[later].mean() - same[~later].mean())
    assert value.n == min(later.sum(), (~later).sum())
    # Newcombe's method 10, by hand.
    now, before = (wilson(same[part].sum(), part.sum()) for part in (later, ~later))
    p, q = same[later].mean(), same[~later].mean()
    assert now.low is not None
    assert before.high is not None
    assert value.low == pytest.approx(p - q - np.hypot(p - now.low, before.high - q))
    steps = series(store_client, "accuracy.judge_agreement_change", window=WINDOW, step_s=5400)
    assert steps["value"].iloc[1] == pytest.approx(value.value)
    assert np.isnan(steps["value"].iloc[0])


def test_scores_by_name(store_client: Client, calls: pd.DataFrame) -> None:
    found = ask(store_client, "accuracy.score", by=("node",))
    for node, mine in calls.groupby("node"):
        value = found["accuracy.score.confidence", str(node)]
        assert value.value == pytest.approx(mine["confidence"].mean())
        assert value.n == len(mine)
    with pytest.raises(BadInput, match=r"did you mean `accuracy.score.confidence`"):
        ask(store_client, "accuracy.score.confidense")


def test_a_score_may_have_any_name_and_sign(store_client: Client) -> None:
    store(store_client, random_calls(3, seed=1))
    name = "it's \\ 100% `odd`"
    scores = (-2.0, -1.0, 0.5)
    judge(
        store_client,
        [
            {"timestamp": START, "trace_id": f"{i + 1:032x}", "name": name, "score": score}
            for i, score in enumerate(scores)
        ],
    )
    value = ask(store_client, f"accuracy.score.{name}")[(f"accuracy.score.{name}",)]
    assert value.value == pytest.approx(np.mean(scores))
    assert value.low is not None
    assert value.low < -2


def test_whose_word_counts(store_client: Client) -> None:
    """The newest of one kind, ground truth before a person, the last call of a trace, and a response's id."""
    calls = random_calls(4, seed=2).assign(request_id=["", "", "", "chatcmpl-4"])
    calls.loc[1, "trace_id"] = calls.loc[0, "trace_id"]
    calls.loc[0, "timestamp"], calls.loc[1, "timestamp"] = START, START + timedelta(seconds=5)
    calls["model"] = ["first", "last", "third", "fourth"]
    calls["duration_s"] = 1.0
    store(store_client, calls)
    trace, third = calls.loc[0, "trace_id"], calls.loc[2, "trace_id"]
    at = START + timedelta(minutes=5)
    judge(
        store_client,
        [
            {"timestamp": at, "trace_id": trace, "name": "correct", "label": "No", "source": "human"},
            {"timestamp": at + timedelta(minutes=1), "trace_id": trace, "name": "correct", "label": "YES", "source": "human"},
            {"timestamp": at, "trace_id": third, "name": "correct", "score": 0.0, "source": "ground_truth"},
            {"timestamp": at + timedelta(days=1), "trace_id": third, "name": "correct", "score": 1.0, "source": "human"},
            {"timestamp": at, "trace_id": "", "response_id": "chatcmpl-4", "name": "correct", "label": "yes", "source": "human"},
            # Neither a score on another scale nor a judge that failed is a verdict.
            {"timestamp": at, "trace_id": "", "response_id": "unknown", "name": "correct", "label": "yes", "source": "human"},
        ],
    )  # fmt: skip
    found = ask(store_client, "accuracy.correct", by=("model",))
    assert {model: value.value for (_, model), value in found.items()} == {"last": 1.0, "third": 0.0, "fourth": 1.0}


def test_nothing_judged_has_no_value(store_client: Client) -> None:
    store(store_client, random_calls(5, seed=3))
    for value in evaluate(store_client, ["accuracy"], window=WINDOW):
        assert value.value is None
        assert value.n == 0
        assert value.note
