"""Windows, filters, too little data, completeness, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from monitor.errors import BadInput
from monitor.kpis import DIMENSIONS, REGISTRY, KpiValue, Window, evaluate, parse_where, query, series
from monitor.kpis.render import to_json
from monitor.kpis.sources import SOURCES
from monitor.store import Client
from tests.kpis.rows import START, WINDOW, store

COUNTS = [name for name, kpi in REGISTRY.items() if kpi.empty == 0]


def calls_at(seconds: list[float], **columns: object) -> pd.DataFrame:
    """One call for each beginning, in seconds after the start of the window."""
    n = len(seconds)
    return pd.DataFrame(
        {
            "timestamp": [pd.Timestamp(START + timedelta(seconds=second)) for second in seconds],
            "trace_id": [f"{i:032x}" for i in range(1, n + 1)],
            "span_id": [f"{i:016x}" for i in range(1, n + 1)],
            "role": "client",
            "duration_s": 1.0,
            **columns,
        }
    )


def one(client: Client, name: str, **options: object) -> KpiValue:
    (value,) = evaluate(client, [name], **{"window": WINDOW, **options})  # type: ignore[arg-type]
    return value


def test_a_window_without_calls(store_client: Client) -> None:
    for by in ([], ["node"]):
        values = evaluate(store_client, window=WINDOW, by=by)
        goodput = [f"objective.goodput{end}" for end in ("", "_per_gpu_hour", "_per_dollar")]
        assert [value.name for value in values] == [*REGISTRY, *goodput]
        for value in values:
            assert (value.n, value.low, value.high, value.group) == (0, None, None, {})
            assert value.value == (0 if value.name in COUNTS else None)
            assert value.value == 0 or value.note
    frame = series(store_client, ["traffic.requests", "latency.ttft.p95"], window=WINDOW, step_s=600)
    assert list(frame.groupby("name")["value"].count()) == [0, 6]
    assert frame["n"].sum() == 0
    assert series(store_client, "latency", window=WINDOW, step_s=600, by=["node"]).empty


def test_windows_are_half_open_to_the_nanosecond(store_client: Client) -> None:
    for i, ns in enumerate((-1, 0, 1, 3_600 * 10**9 - 1, 3_600 * 10**9)):
        store_client.command(
            "INSERT INTO inferences (timestamp, trace_id, span_id, role, duration_s)"
            f" SELECT fromUnixTimestamp64Nano(toInt64({WINDOW.start_ns + ns})), '{i}', '{i}', 'client', 1"
        )
    assert one(store_client, "traffic.requests").value == 3


def test_a_span_that_is_sent_again_counts_once(store_client: Client) -> None:
    calls = calls_at([1, 2, 3], emitter="e", seq=[1, 2, 3])
    store(store_client, calls)
    store(store_client, calls.iloc[:2])
    assert one(store_client, "traffic.requests").value == 3
    assert one(store_client, "traffic.completeness").value == 1
    assert one(store_client, "latency.e2e.p50").n == 3


def test_client_and_engine_of_one_call_count_once(store_client: Client) -> None:
    client_side = calls_at([10], service="chat", model="m", node="", stream=[True], ttft_s=[0.5], output_tokens=[11])
    engine_side = calls_at([10.1], service="vllm", model="m", node="gpu-1", queue_s=[0.1], output_tokens=[11])
    engine_side = engine_side.assign(role="engine", span_id="00000000000000ee", parent_span_id="0000000000000001")
    store(store_client, client_side.assign(duration_s=2.0))
    store(store_client, engine_side.assign(duration_s=1.5))
    assert one(store_client, "traffic.output_tokens").value == 11
    assert one(store_client, "latency.e2e.p50").value == 2
    assert one(store_client, "latency.queue.p50", by=["node", "service", "stream"]).group == {
        "node": "gpu-1",
        "service": "chat",
        "stream": "true",
    }


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE inferences --", "a,b", "tab\tnew\nline", "back\\slash\\'", "ü 🙂 {x}", ""]
)
def test_values_reach_the_store_as_they_are(store_client: Client, text: str) -> None:
    store(store_client, calls_at([1, 2, 3], node=[text, "other", text + "x"], user_id=[text, "u", "v"]))
    assert one(store_client, "traffic.requests", where={"node": text}).value == 1
    assert one(store_client, "traffic.requests", where={"user_id": [text, "v"]}).value == 2
    groups = evaluate(store_client, ["traffic.requests"], window=WINDOW, by=["node"])
    assert sorted(value.group["node"] for value in groups) == sorted([text, "other", text + "x"])


def test_filters_join_keys_and_choose_among_values(store_client: Client) -> None:
    store(
        store_client,
        calls_at([1, 2, 3, 4], node=["a", "b", "c", "a"], model=["m", "m", "m", "k"], stream=[True, False, None, True]),
    )
    assert one(store_client, "traffic.requests", where=parse_where(["node=a,b", "model=m"])).value == 2
    assert one(store_client, "traffic.requests", where=parse_where(["node=a", "node=c"])).value == 3
    assert one(store_client, "traffic.requests", where={"stream": "TRUE"}).value == 2
    assert one(store_client, "traffic.requests", where={"stream": ""}).value == 1
    assert one(store_client, "traffic.requests", where={"trace_id": f"{2:032x}"}).value == 1
    streams = evaluate(store_client, ["traffic.requests"], window=WINDOW, by=["stream", "cancelled"])
    assert [(v.group["stream"], v.group["cancelled"], v.value) for v in streams] == [
        ("true", "false", 2),
        ("", "false", 1),
        ("false", "false", 1),
    ]


def test_every_dimension_splits_and_filters(store_client: Client) -> None:
    store(store_client, calls_at([1, 2], emitter="e", seq=[1, 2]))
    names = ["traffic.requests", "traffic.completeness"]
    for name in DIMENSIONS:
        values = evaluate(store_client, names, window=WINDOW, by=[name])
        (group,) = {tuple(value.group.items()) for value in values}
        again = evaluate(store_client, names, window=WINDOW, where=dict(group))
        assert [value.value for value in values] == [value.value for value in again] == [2, 1], name


def test_groups_are_cut_loudly(store_client: Client) -> None:
    nodes = [f"n{i}" for i in range(12) for _ in range(i + 1)]
    store(store_client, calls_at([float(i) for i in range(len(nodes))], node=nodes))
    values = evaluate(store_client, ["traffic.requests", "latency.e2e.p50"], window=WINDOW, by=["node"], groups_max=3)
    assert [value.group["node"] for value in values] == ["n11", "n10", "n9"] * 2
    assert all("the 3 largest of 12 groups" in value.note for value in values)
    uncut = evaluate(store_client, ["traffic.requests"], window=WINDOW, by=["node"])
    assert len(uncut) == 12
    assert not any(value.note for value in uncut)
    frame = series(store_client, "traffic.requests", window=WINDOW, step_s=1800, by=["node"], groups_max=2)
    assert list(frame["node"].unique()) == ["n11", "n10"]
    assert frame.attrs["notes"] == ["the 2 largest of 12 groups"]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 30])
def test_little_data_is_said(store_client: Client, n: int) -> None:
    x = np.linspace(0.1, 1, n)
    store(store_client, calls_at([float(i) for i in range(n)], ttft_s=x))
    p50, p99, mean = evaluate(
        store_client, ["latency.ttft.p50", "latency.ttft.p99", "latency.ttft.mean"], window=WINDOW
    )
    assert p50.value == pytest.approx(np.quantile(x, 0.5))
    assert p99.value == pytest.approx(np.quantile(x, 0.99))
    assert p99.high is None
    assert "both need 368" in p99.note
    assert (p50.low is None) == (n < 6)
    assert (mean.low is None) == (n < 2)
    assert ("needs 2 calls" in mean.note) == (n < 2)
    plain = one(store_client, "latency.ttft.p99", intervals=False)
    assert (plain.value, plain.low, plain.high, plain.note) == (p99.value, None, None, "")


def test_unknown_is_not_zero(store_client: Client) -> None:
    store(store_client, calls_at([1, 2, 3], output_tokens=[5, None, 0]))
    values = {value.name: value for value in evaluate(store_client, window=WINDOW)}
    assert values["traffic.output_tokens"].value == 5
    assert (values["traffic.output_tokens"].n, values["traffic.output_tokens"].note[:6]) == (2, "1 of 3")
    assert (values["traffic.input_tokens"].value, values["traffic.input_tokens"].n) == (None, 0)
    assert "none of 3 calls reported its input tokens" in values["traffic.input_tokens"].note
    assert "none of 3 calls has it" in values["latency.ttft.p95"].note
    assert values["traffic.error_rate"].value == 0
    assert values["traffic.error_rate"].high is not None
    assert values["traffic.error_rate"].high > 0.5
    assert json.loads(to_json(list(values.values())))


def test_latencies_that_are_no_numbers_are_left_out(store_client: Client) -> None:
    store_client.command(
        "INSERT INTO inferences (timestamp, trace_id, span_id, role, duration_s, ttft_s) SELECT"
        f" fromUnixTimestamp64Nano(toInt64({WINDOW.start_ns})), toString(number), toString(number), 'client',"
        " arrayElement([1, nan, inf, 3], number + 1), arrayElement([nan, nan, nan, inf], number + 1) FROM numbers(4)"
    )
    p50 = one(store_client, "latency.e2e.p50")
    assert (p50.value, p50.n) == (2, 2)
    assert one(store_client, "latency.e2e.mean").value == 2
    assert one(store_client, "latency.ttft.mean").value is None


def test_completeness_counts_gaps_per_emitter(store_client: Client) -> None:
    # a: 1, 2, 4 of 4; b: 7 to 9 of 3, in disorder; one call of another SDK.
    store(store_client, calls_at([1, 2, 3, 4, 5, 6, 7], emitter=[*"aaabbb", ""], seq=[1, 2, 4, 9, 7, 8, 0]))
    value = one(store_client, "traffic.completeness")
    assert value.value == pytest.approx(6 / 7)
    assert (value.n, value.low) == (7, None)
    assert value.note == "1 of 7 calls are missing"
    assert one(store_client, "traffic.completeness", where={"trace_id": f"{7:032x}"}).note.endswith(
        "numbered by the SDK"
    )


def test_completeness_ignores_the_ragged_edges_of_window_and_filter(store_client: Client) -> None:
    # Numbered when they ended: 3 began before the window, 5 is of another model; neither is lost.
    calls = calls_at([-5, 1, 2, 3, 4], emitter="a", seq=[3, 2, 4, 5, 6], model=["m", "m", "m", "k", "m"])
    store(store_client, calls)
    assert one(store_client, "traffic.completeness").value == 1
    assert one(store_client, "traffic.completeness", where={"model": "m"}).value == 1
    by_model = evaluate(store_client, ["traffic.completeness"], window=WINDOW, by=["model"])
    assert {value.group["model"]: (value.value, value.n) for value in by_model} == {"m": (1, 5), "k": (1, 1)}
    frame = series(store_client, "traffic.completeness", window=WINDOW, step_s=2)
    assert list(frame["value"].dropna()) == [1, 1, 1]


def test_a_source_that_lacks_a_dimension_says_so(store_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = replace(SOURCES["numbered"], dimensions=("node",), where_keys=("node",))
    monkeypatch.setattr(query, "SOURCES", {**SOURCES, "numbered": narrow})
    store(store_client, calls_at([1], model="m"))
    requests, completeness = evaluate(
        store_client,
        ["traffic.requests", "traffic.completeness"],
        window=WINDOW,
        by=["model"],
        where={"role": "client"},
    )
    assert (requests.value, completeness.value) == (1, None)
    assert "traffic.completeness cannot be split by or filtered on model, role" in completeness.note
    frame = series(store_client, "traffic", window=WINDOW, step_s=3600, by=["model"])
    assert "traffic.completeness" not in set(frame["name"])
    assert frame.attrs["notes"][0].startswith("traffic.completeness cannot")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["latency.tfft.p95"]}, "did you mean `latency.ttft.p95`"),
        ({"names": ["ttft.p95"]}, "did you mean `latency.ttft.p95`"),
        ({"names": ["zzz"]}, "the families are .*latency, .*traffic"),
        ({"by": ["modle"]}, "did you mean `model`"),
        ({"by": ["node", "node"]}, "twice"),
        ({"by": ["node", "model", "role", "gpu"]}, "3 at most"),
        ({"by": ["trace_id"]}, "there is no dimension `trace_id`"),
        ({"where": {"nod": "x"}}, "did you mean `node`"),
        ({"where": {"stream": "maybe"}}, "stream is true, false or empty"),
        ({"where": {"node": []}}, "has no value"),
        ({"groups_max": 0}, "groups_max"),
    ],
)
def test_wrong_questions_are_refused(store_client: Client, options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        evaluate(store_client, **{"names": ["traffic.requests"], "window": WINDOW, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("step_s", [0, -1, 0.1])
def test_impossible_steps_are_refused(store_client: Client, step_s: float) -> None:
    with pytest.raises(BadInput, match="steps of"):
        series(store_client, "traffic", window=WINDOW, step_s=step_s)


def test_the_far_ends_of_time(store_client: Client) -> None:
    store(store_client, calls_at([1]))
    forever = Window(datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
    assert one(store_client, "traffic.requests", window=forever).value == 1


def report(client: Client, emitter: str, settled: list[tuple[float, int]], node: str = "n") -> None:
    """Reports at so many seconds of the window."""
    rows = ", ".join(
        f"(fromUnixTimestamp64Nano(toInt64({WINDOW.start_ns + int(at * 1e9)})), '{emitter}', '{node}', {number})"
        for at, number in settled
    )
    client.command(f"INSERT INTO sdk_reports (timestamp, emitter, node, settled) VALUES {rows}")


def test_completeness_sees_the_last_calls_and_emitters_that_lost_all(store_client: Client) -> None:
    # a: 1 to 3 came, 5 are settled; b: numbered four, none came; c: was settled before the window and idle in it.
    store(store_client, calls_at([1, 2, 3], emitter="a", seq=[1, 2, 3], node="n"))
    report(store_client, "a", [(0, 0), (5, 5)])
    report(store_client, "b", [(0, 0), (5, 4)], node="silent")
    report(store_client, "c", [(0, 7), (5, 7)], node="idle")
    whole = one(store_client, "traffic.completeness")
    assert whole.value == pytest.approx(3 / 9)
    assert (whole.n, whole.note) == (9, "6 of 9 calls are missing")
    by_node = evaluate(store_client, ["traffic.completeness"], window=WINDOW, by=["node"])
    assert {value.group["node"]: (value.value, value.n) for value in by_node} == {
        "n": (pytest.approx(0.6), 5),
        "silent": (0.0, 4),
    }
    # Of which model the lost calls were is not known, so a filter on it knows the gaps alone.
    assert one(store_client, "traffic.completeness", where={"model": ""}).value == 1


def test_completeness_counts_what_began_before_the_first_report_of_the_window(store_client: Client) -> None:
    # 4 and 5 ended before the window's first report (which says 5) but began in it; 6 is lost.
    store(store_client, calls_at([1, 2, 3], emitter="a", seq=[4, 5, 7], node="n"))
    report(store_client, "a", [(2.5, 5), (8, 7)])
    value = one(store_client, "traffic.completeness")
    assert (value.value, value.n) == (pytest.approx(3 / 4), 4)
