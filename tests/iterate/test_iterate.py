"""Datasets, candidates, the review queue and exports over both engines, against what the rows in memory say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from monitor.errors import BadInput
from monitor.iterate import export, find_candidates
from monitor.iterate.candidates import Wanted
from monitor.iterate.messages import answer_message, prompt_messages
from monitor.iterate.review import Stratum, allocate
from monitor.kpis import Window
from monitor.store import Client
from monitor.store.datasets import Ids, add_items, datasets_with, items_of, list_datasets, remove_items, review
from tests.kpis.rows import START, WINDOW, random_calls, store

BEFORE = Window(START - timedelta(hours=1), START)


@pytest.fixture
def calls(store_client: Client) -> pd.DataFrame:
    """1,200 calls of an hour and 400 of the hour before; labels, verdicts, thumbs and, of a half, content."""
    g = np.random.default_rng(5)
    now, earlier = random_calls(1200, seed=6), random_calls(400, seed=7)
    earlier["timestamp"] -= timedelta(hours=1)
    earlier["trace_id"] = [f"{i:032x}" for i in range(5001, 5401)]
    earlier["span_id"] = [f"{i:016x}" for i in range(5001, 5401)]
    calls = pd.concat([now, earlier], ignore_index=True)
    n = len(calls)
    calls["request_id"] = [f"r'{i}" for i in range(n)]
    calls["cohorts"] = [{"topic": "law" if i < 300 else "code"} for i in range(n)]
    calls.loc[300:450, "queue_s"] = 9.0
    captured = g.random(n) < 0.5
    prompts = [json.dumps([{"role": "user", "parts": [{"type": "text", "content": f"Frage {i} ä"}]}]) for i in range(n)]
    calls["prompt"] = np.where(captured, prompts, "")
    calls["completion"] = np.where(captured, [f"answer {i}" for i in range(n)], "")
    store(store_client, calls)
    ends = calls["timestamp"] + timedelta(seconds=60)
    rows = zip(calls["trace_id"], calls["timestamp"], ends, strict=True)
    store_client.insert(
        "otel_traces_trace_id_ts", [list(row) for row in rows], column_names=["TraceId", "Start", "End"]
    )
    calls["truth"] = np.where(g.random(n) < 0.2, g.choice([0.0, 1.0], n, p=[0.3, 0.7]), np.nan)
    calls["verdict"] = np.where(g.random(n) < 0.7, g.random(n).round(3), np.nan)
    calls["thumb"] = np.where(g.random(n) < 0.05, "down", "")
    said: list[list[Any]] = []
    for call in calls.itertuples():
        at = call.timestamp + timedelta(seconds=90)
        if not np.isnan(call.truth):
            said.append([at, call.trace_id, call.span_id, "", "correct", None, "yes" if call.truth else "no", "human"])
        if not np.isnan(call.verdict):
            # Half of them name the answer instead of the call.
            by_answer = call.Index % 2
            ids = ["", "", call.request_id] if by_answer else [call.trace_id, call.span_id, ""]
            said.append([at, *ids, "correct", call.verdict, "", "judge"])
    names = ["timestamp", "trace_id", "span_id", "response_id", "name", "score", "label", "source"]
    store_client.insert("evaluations", said, column_names=names)
    thumbs = [[t + timedelta(seconds=70), i, "thumbs", d] for t, i, d in zip(calls["timestamp"], calls["trace_id"], calls["thumb"], strict=True) if d]  # fmt: skip
    store_client.insert("engagement_events", thumbs, column_names=["timestamp", "trace_id", "kind", "value"])
    return calls


def ids(rows: pd.DataFrame) -> list[Ids]:
    return [Ids(trace_id=t, span_id=s) for t, s in zip(rows["trace_id"], rows["span_id"], strict=True)]


def in_window(calls: pd.DataFrame) -> pd.DataFrame:
    return calls[calls["timestamp"] >= START]


def test_datasets_hold_calls_once_and_give_them_back(store_client: Client, calls: pd.DataFrame) -> None:
    wanted = ids(calls.iloc[[3, 1400, 77]])
    assert add_items(store_client, "hard", wanted, reason="score", note="n", author="ann") == 3
    assert add_items(store_client, "hard", [Ids(trace_id=wanted[0].trace_id), *wanted], author="bob") == 0, (
        "in it already"
    )
    assert add_items(store_client, "other", wanted[:1]) == 1
    found = items_of(store_client, "hard")
    assert [item.called_at for item in found] == sorted(calls.iloc[[3, 1400, 77]]["timestamp"])
    assert {(item.reason, item.note, item.author) for item in found} == {("score", "n", "ann")}
    assert [(each.name, each.items) for each in list_datasets(store_client)] == [("hard", 3), ("other", 1)]
    assert datasets_with(store_client, wanted[0].trace_id) == ["hard", "other"]
    assert remove_items(store_client, "hard", wanted[:1]) == 1
    assert {item.trace_id for item in items_of(store_client, "hard")} == {each.trace_id for each in wanted[1:]}
    assert add_items(store_client, "hard", wanted[:1]) == 1, "it may come back"
    assert remove_items(store_client, "hard") == 3
    assert [each.name for each in list_datasets(store_client)] == ["other"]
    with pytest.raises(BadInput, match="no model call in the store with trace ffff"):
        add_items(store_client, "hard", [Ids(trace_id="f" * 32)])
    with pytest.raises(BadInput, match="no dataset `hard`; there are: other"):
        remove_items(store_client, "hard")


def test_candidates_are_what_the_rows_say(store_client: Client, calls: pd.DataFrame) -> None:
    hour = in_window(calls)

    def found(source: str, limit: int = 500, **wanted: Any) -> list[str]:
        return [
            each.trace_id
            for each in find_candidates(store_client, source, WINDOW, wanted=Wanted(**wanted), limit=limit)
        ]

    assert set(found("rating")) == set(hour[hour["thumb"] == "down"]["trace_id"])
    # The newest word counts, and both come at once: those of which any judge says so are meant.
    low = found("score", below=0.1)
    lows = hour[(hour["verdict"] < 0.1) | (hour["truth"] == 0)]
    assert set(low) <= set(lows["trace_id"])
    assert len(low) > 0.5 * len(lows)
    slowest = hour[hour["ttft_s"].notna() & (hour["error_type"] == "") & ~hour["cancelled"]].nlargest(20, "ttft_s")
    assert len(set(found("alert", 20, kpi="latency.ttft.p95")) & set(slowest["trace_id"])) >= 19, "but for ties"
    assert set(found("alert", kpi="traffic.error_rate")) == set(hour[hour["error_type"] != ""]["trace_id"])
    drifted = found("drift", 300, feature="cohort.topic", reference=BEFORE)
    assert set(drifted) == set(hour[[each["topic"] == "law" for each in hour["cohorts"]]]["trace_id"])
    slow = set(found("drift", feature="queue", reference=BEFORE))
    tenth = calls[calls["timestamp"] < START]["queue_s"].quantile(0.88)
    assert set(hour[hour["queue_s"] == 9]["trace_id"]) <= slow <= set(hour[hour["queue_s"] > tenth]["trace_id"])


def test_the_queue_leaves_out_what_has_a_label_and_what_was_skipped(store_client: Client, calls: pd.DataFrame) -> None:
    both = Window(BEFORE.start, WINDOW.end)
    queue = find_candidates(store_client, "review", both, limit=60)
    assert len(queue) == 60
    open_ = calls[calls["truth"].isna()]
    assert {each.trace_id for each in queue} <= set(open_["trace_id"])
    strata = []
    for late in (False, True):
        hour = calls[(calls["timestamp"] >= START) == late]
        known = hour[hour["truth"].notna()]
        contradicted = int(((known["truth"] >= 0.5) != (known["verdict"] >= 0.5))[known["verdict"].notna()].sum())
        contradicted += int((known[known["verdict"].isna()]["truth"] < 0.5).sum())
        strata.append(
            Stratum(
                hour=int(late),
                calls=len(hour),
                labels=len(known),
                judged=len(known),
                contradicted=contradicted,
                open=int(hour["truth"].isna().sum()),
            )
        )
    given = allocate(strata, 60)
    assert sum(each.called_at >= START for each in queue) == given.get(1, 0)
    review(store_client, [Ids(trace_id=queue[0].trace_id, span_id=queue[0].span_id)], name="correct", state="skipped")
    again = find_candidates(store_client, "review", both, limit=60)
    assert queue[0].trace_id not in {each.trace_id for each in again}
    assert {each.trace_id for each in queue[1:]} <= {each.trace_id for each in again}, "chance is the same each time"
    disagree = find_candidates(store_client, "review", WINDOW, wanted=Wanted(order="disagree"), limit=500)
    hour = in_window(calls)
    clash = hour[hour["truth"].notna() & hour["verdict"].notna() & ((hour["truth"] >= 0.5) != (hour["verdict"] >= 0.5))]
    assert {each.trace_id for each in disagree} == set(clash["trace_id"])
    uncertain = find_candidates(store_client, "review", WINDOW, wanted=Wanted(order="uncertain"), limit=10)
    nearest = (hour[hour["truth"].isna()]["verdict"] - 0.5).abs().nsmallest(12)
    assert {each.trace_id for each in uncertain} <= set(hour.loc[nearest.index]["trace_id"])


def test_labels_go_where_they_lower_the_variance_most() -> None:
    """Against all ways to share four labels out."""
    strata = [
        Stratum(hour=1, calls=100, labels=3, judged=3, contradicted=1, open=50),
        Stratum(hour=2, calls=300, labels=9, judged=9, contradicted=0, open=50),
        Stratum(hour=3, calls=50, labels=0, judged=0, contradicted=0, open=1),
    ]
    pooled = (1 + 1) / (12 + 2)

    def variance(given: Sequence[int]) -> float:
        total = 0.0
        for stratum, more in zip(strata, given, strict=True):
            rate = (stratum.contradicted + 2 * pooled) / (stratum.judged + 2)
            total += (stratum.calls / 450) ** 2 * rate * (1 - rate) / (stratum.labels + 1 + more)
        return total

    ways = [(a, b, 4 - a - b) for a in range(5) for b in range(5 - a) if 4 - a - b <= 1]
    best = min(ways, key=variance)
    given = allocate(strata, 4)
    assert tuple(given.get(hour, 0) for hour in (1, 2, 3)) == best


def test_exports_hold_what_is_in_the_store(store_client: Client, calls: pd.DataFrame, tmp_path: Path) -> None:
    window = Window(BEFORE.start, WINDOW.end)
    captured = calls[calls["prompt"] != ""].sort_values(["timestamp", "trace_id"])
    done = export(store_client, tmp_path / "chat.jsonl", kind="chat", window=window)
    lines = [json.loads(line) for line in (tmp_path / "chat.jsonl").read_text().splitlines()]
    assert (done.written, done.without_content) == (len(captured), len(calls) - len(captured))
    assert lines == [
        {"messages": [{"role": "user", "content": f"Frage {i} ä"}, {"role": "assistant", "content": f"answer {i}"}]}
        for i in captured.index
    ]
    done = export(store_client, tmp_path / "eval.jsonl.gz", kind="eval", window=window, keep="wrong")
    with gzip.open(tmp_path / "eval.jsonl.gz", "rt") as file:
        evals = [json.loads(line) for line in file]
    wrong = captured[captured["truth"] == 0]
    assert [each["output"] for each in evals] == [f"answer {i}" for i in wrong.index]
    scores = [each["scores"].get("correct", np.nan) for each in evals]
    np.testing.assert_array_equal(scores, wrong["verdict"])
    done = export(store_client, tmp_path / "raw.parquet", kind="raw", window=window)
    raw = pyarrow.parquet.read_table(tmp_path / "raw.parquet").to_pandas().sort_values(["trace_id"])
    every = calls.sort_values("trace_id")
    assert done.written == len(raw) == len(calls)
    np.testing.assert_allclose(raw["ttft_s"].astype(float), every["ttft_s"], equal_nan=True)
    counts = every["truth"].notna().astype(int) + every["verdict"].notna().astype(int)
    assert [len(each) for each in raw["judgements"]] == counts.tolist()
    assert [len(each) for each in raw["feedback"]] == (every["thumb"] == "down").astype(int).tolist()
    assert not list(tmp_path.glob(".*")), "nothing half done is left"


def test_a_dataset_is_exported_with_its_reasons(store_client: Client, calls: pd.DataFrame, tmp_path: Path) -> None:
    captured = calls[calls["prompt"] != ""]
    add_items(store_client, "d", ids(captured.iloc[:30]), reason="rating", note="why")
    done = export(store_client, tmp_path / "d.parquet", kind="eval", dataset="d")
    rows = pyarrow.parquet.read_table(tmp_path / "d.parquet").to_pylist()
    assert done.written == len(rows) == 30
    assert {dict(row["metadata"])["reason"] for row in rows} == {"rating"}
    without = calls[calls["prompt"] == ""]
    add_items(store_client, "bare", ids(without.iloc[:3]))
    with pytest.raises(BadInput, match="content was not captured"):
        export(store_client, tmp_path / "bare.jsonl", kind="chat", dataset="bare")
    assert not (tmp_path / "bare.jsonl").exists()
    with pytest.raises(BadInput, match="there is no dataset `nix`"):
        export(store_client, tmp_path / "x.jsonl", kind="raw", dataset="nix")
    with pytest.raises(BadInput, match="must end in"):
        export(store_client, tmp_path / "x.csv", kind="raw", dataset="d")


def test_pandas_reads_every_kind_from_either_format(store_client: Client, calls: pd.DataFrame, tmp_path: Path) -> None:
    """And both say the same; what the rows are is above."""
    window = Window(BEFORE.start, WINDOW.end)
    captured = int((calls["prompt"] != "").sum())
    for kind, wanted in (("chat", captured), ("eval", captured), ("raw", len(calls))):
        for name in ("x.jsonl", "x.parquet"):
            assert export(store_client, tmp_path / name, kind=kind, window=window).written == wanted  # type: ignore[arg-type]
        lines = pd.read_json(tmp_path / "x.jsonl", lines=True, dtype=False, precise_float=True)
        columns = pd.read_parquet(tmp_path / "x.parquet")
        assert len(lines) == len(columns) == wanted
        assert set(columns) >= set(lines)
        for name in lines:
            told = [_told(value) for value in columns[name]]
            assert [_told(value) for value in lines[name]] == told, f"{kind}: {name}"


def _told(value: Any) -> Any:
    """The same from a line and from a column: pairs are mappings, fields that are not there are left out."""
    if isinstance(value, np.ndarray | list):
        values = [_told(each) for each in value]
        return dict(values) if values and all(isinstance(each, tuple) for each in values) else values or None
    if isinstance(value, dict):
        return {key: told for key, each in value.items() if (told := _told(each)) is not None} or None
    return None if value is None or value != value else value


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", []),
        ("[1, 2]", [{"role": "user", "content": "[1, 2]"}]),
        ('{"messages": [{"role": "system", "content": "s"}, {"role": "human", "content": "h"}]}', [{"role": "system", "content": "s"}, {"role": "user", "content": "h"}]),
        ('[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]', [{"role": "user", "content": "a\nb"}]),
        (
            (
                '[{"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "f", "arguments": {"x": 1}}]},'
                ' {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "42"}]}]'
            ),
            [
                {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]},
                {"role": "tool", "content": "42", "tool_call_id": "c"},
            ],
        ),
    ],
)  # fmt: skip
def test_prompts_become_messages(text: str, messages: list[dict[str, Any]]) -> None:
    assert prompt_messages(text) == messages


def test_answers_become_one_message() -> None:
    assert answer_message('[{"role": "assistant", "parts": [{"type": "text", "content": "4"}], "finish_reason": "stop"}]') == {
        "role": "assistant", "content": "4",
    }  # fmt: skip
    assert answer_message('{"choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}}]}') == {
        "role": "assistant", "content": "4",
    }  # fmt: skip
