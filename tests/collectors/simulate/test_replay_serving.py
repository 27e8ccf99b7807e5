"""The serving model: what must hold whatever the load."""

from __future__ import annotations

import dataclasses
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.simulate.serving import Engine, Node, Served, Slowdown, enough_nodes, serve
from collectors.simulate.workload import NS, Ints, azure_trace, read_workload

PLAIN = Engine(jitter=0.0)


def ints(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)


@st.composite
def loads(draw: st.DrawFn) -> tuple[Ints, Ints, Ints]:
    count = draw(st.integers(1, 40))
    # Whole milliseconds up to 3 s make both crowds and quiet stretches, and simultaneous arrivals.
    arrivals = sorted(draw(st.lists(st.integers(0, 3000), min_size=count, max_size=count)))
    inputs = draw(st.lists(st.integers(0, 5000), min_size=count, max_size=count))
    outputs = draw(st.lists(st.integers(0, 60), min_size=count, max_size=count))
    return ints(arrivals) * 1_000_000, ints(inputs), ints(outputs)


engines = st.builds(
    Engine,
    slots=st.integers(1, 6),
    prefill_overhead_s=st.sampled_from([0.0, 0.037]),
    step_per_sequence_s=st.sampled_from([0.0, 0.002]),
    jitter=st.sampled_from([0.0, 0.1]),
)


@settings(max_examples=80, deadline=None)
@given(load=loads(), engine=engines, slow=st.booleans())
def test_invariants_of_one_node(load: tuple[Ints, Ints, Ints], engine: Engine, slow: bool) -> None:
    slowdowns = (Slowdown(start_s=0.5, end_s=1.5, factor=3.0),) if slow else ()
    node = Node(name="a", engine=engine, slowdowns=slowdowns)
    arrival, tokens_in, tokens_out = load
    served = serve(arrival, tokens_in, tokens_out, nodes=[node], seed=3)
    start = arrival + served.queue_ns
    first = start + served.prefill_ns
    end = first + served.decode_ns

    assert min(served.queue_ns.min(), served.prefill_ns.min(), served.decode_ns.min()) >= 0
    assert (served.decode_ns[tokens_out <= 1] == 0).all()
    assert (served.decode_ns[tokens_out > 1] > 0).all()
    # First come, first served, and one prompt at a time.
    assert (start[1:] >= first[:-1] - 1).all()
    # Never more in the batch than there are slots.
    for moment in first:
        assert ((first <= moment) & (end > moment)).sum() <= engine.slots
    # The engine never idles with work at hand: a prompt is read as soon as it is there, its turn has come, and a
    # slot is free.
    for i in range(len(arrival)):
        ready = max(arrival[i], first[i - 1] if i else 0)
        if i >= engine.slots:
            ready = max(ready, np.sort(end[:i])[i - engine.slots])
        assert abs(int(start[i]) - int(ready)) <= 2
    many = tokens_out > 1
    assert (served.largest_gap_ns[~many] == -1).all()
    assert (served.largest_gap_ns[many] <= served.decode_ns[many]).all()
    mean_gap = served.decode_ns[many] / (tokens_out[many] - 1)
    assert (served.largest_gap_ns[many] >= mean_gap - 2).all()


@settings(max_examples=40, deadline=None)
@given(load=loads(), slots=st.integers(1, 6))
def test_every_sequence_gets_its_tokens_at_the_speed_of_the_batch(load: tuple[Ints, Ints, Ints], slots: int) -> None:
    """Second way of counting: add up time / step time over each stretch in which the batch does not change."""
    engine = Engine(jitter=0.0, slots=slots, step_per_sequence_s=0.002)
    arrival, tokens_in, tokens_out = load
    served = serve(arrival, tokens_in, tokens_out, nodes=[Node(name="a", engine=engine)], seed=0)
    start = (arrival + served.queue_ns) / NS
    first = start + served.prefill_ns / NS
    end = first + served.decode_ns / NS
    edges = np.unique(np.concatenate([start, first, end]))
    made = np.zeros(len(arrival))
    for low, high in pairwise(edges):
        middle = (low + high) / 2
        decoding = (first < middle) & (end > middle)
        if not ((start < middle) & (first > middle)).any() and decoding.any():
            step_s = engine.step_base_s + engine.step_per_sequence_s * decoding.sum()
            made[decoding] += (high - low) / step_s
    assert made == pytest.approx(np.maximum(tokens_out - 1, 0), abs=1e-4)


def test_an_idle_engine_serves_at_its_stated_speed() -> None:
    served = serve(ints([0]), ints([870]), ints([11]), nodes=[Node(name="a", engine=PLAIN)], seed=0)
    assert served.queue_ns.tolist() == [0]
    assert served.prefill_ns[0] == pytest.approx((PLAIN.prefill_overhead_s + 0.1) * NS)
    assert served.decode_ns[0] == pytest.approx(10 * (PLAIN.step_base_s + PLAIN.step_per_sequence_s) * NS)


def test_a_long_prompt_holds_up_a_running_answer() -> None:
    arrivals = ints([0, 200_000_000])
    served = serve(arrivals, ints([0, 8700]), ints([101, 1]), nodes=[Node(name="a", engine=PLAIN)], seed=0)
    step_ns = (PLAIN.step_base_s + PLAIN.step_per_sequence_s) * NS
    other_ns = (PLAIN.prefill_overhead_s + 1.0) * NS
    assert served.decode_ns[0] == pytest.approx(100 * step_ns + other_ns)
    assert served.largest_gap_ns[0] == pytest.approx(step_ns + other_ns)


def test_a_slowdown_stretches_only_its_window() -> None:
    arrivals = ints([0, 100, 200]) * NS
    slow = Slowdown(start_s=90, end_s=150, factor=4.0)
    tokens = ints([870] * 3), ints([11] * 3)
    usual = serve(arrivals, *tokens, nodes=[Node(name="a", engine=PLAIN)], seed=0)
    slowed = serve(arrivals, *tokens, nodes=[Node(name="a", engine=PLAIN, slowdowns=(slow,))], seed=0)
    ratio = (slowed.prefill_ns + slowed.decode_ns) / (usual.prefill_ns + usual.decode_ns)
    assert ratio == pytest.approx([1.0, 4.0, 1.0], rel=1e-6)


def columns(served: Served) -> list[list[int]]:
    return [
        column.tolist()
        for column in (
            served.node,
            served.queue_ns,
            served.prefill_ns,
            served.decode_ns,
            served.largest_gap_ns,
        )
    ]


def test_the_docs_state_the_parameters() -> None:
    text = (Path(__file__).parents[3] / "docs/replay.md").read_text()
    for field in dataclasses.fields(Engine):
        assert f"| `{field.name}` | {field.default:g} |" in text


def test_the_same_seed_gives_the_same_and_another_seed_does_not() -> None:
    trace = azure_trace()
    load = trace.arrival_ns[:2000], trace.input_tokens[:2000], trace.output_tokens[:2000]
    nodes = [Node(name="a"), Node(name="b")]
    assert columns(serve(*load, nodes=nodes, seed=1)) == columns(serve(*load, nodes=nodes, seed=1))
    assert columns(serve(*load, nodes=nodes, seed=1)) != columns(serve(*load, nodes=nodes, seed=2))


def test_requests_are_routed_by_share() -> None:
    trace = azure_trace()
    nodes = [Node(name="a", share=3.0), Node(name="b", share=1.0)]
    served = serve(trace.arrival_ns, trace.input_tokens, trace.output_tokens, nodes=nodes, seed=0)
    # Five standard deviations of a binomial share with n = 19,366 and p = 1/4 are 0.016.
    assert (served.node == 1).mean() == pytest.approx(0.25, abs=0.016)


def test_the_whole_trace_is_served_quickly_by_enough_nodes() -> None:
    trace = azure_trace()
    count = enough_nodes(trace, Engine())
    assert count == 3
    nodes = [Node(name=f"n{i}") for i in range(count)]
    began = time.process_time()
    served = serve(trace.arrival_ns, trace.input_tokens, trace.output_tokens, nodes=nodes, seed=0)
    assert time.process_time() - began < 2.0
    assert np.percentile(served.queue_ns, 50) < 0.2 * NS
    assert served.queue_ns.max() < 30 * NS


def test_defaults_agree_with_the_measured_run(vllm_run: Path) -> None:
    """What the module says about its defaults: within about a tenth of the measured means."""
    run = read_workload(vllm_run)
    assert run.measured is not None
    many = run.output_tokens > 1
    steps = run.output_tokens[many] - 1
    tpot_s = (run.measured.duration_ns / NS - run.measured.ttft_s)[many] / steps
    for seed in range(3):
        served = serve(run.arrival_ns, run.input_tokens, run.output_tokens, nodes=[Node(name="a")], seed=seed)
        ttft_s = (served.queue_ns + served.prefill_ns) / NS
        assert ttft_s.mean() == pytest.approx(run.measured.ttft_s.mean(), rel=0.1)
        assert (served.decode_ns[many] / NS / steps).mean() == pytest.approx(tpot_s.mean(), rel=0.1)
