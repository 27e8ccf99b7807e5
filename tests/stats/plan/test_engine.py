"""The share in time against the serving simulator, and what must hold of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.simulate.serving import Engine as SimulatedEngine
from collectors.simulate.serving import Node, serve
from monitor.stats.plan import Engine, Objectives, attainment
from monitor.stats.plan.load import lognormal_nodes
from tests.stats.plan.cases import ENGINE

SIMULATED = SimulatedEngine(jitter=0.0)
SAME = Engine(
    model="m",
    gpu="G",
    prefill_tokens_per_s=SIMULATED.prefill_tokens_per_s,
    overhead_s=SIMULATED.prefill_overhead_s,
    tpot_s=SIMULATED.step_base_s + SIMULATED.step_per_sequence_s,
    decode_tokens_per_s=256 / (SIMULATED.step_base_s + 256 * SIMULATED.step_per_sequence_s),
    concurrency=SIMULATED.slots,
)
SIGMA = 0.8


def test_parameters_are_the_simulators() -> None:
    assert SAME.step_base_s == pytest.approx(SIMULATED.step_base_s)
    assert SAME.step_per_sequence_s == pytest.approx(SIMULATED.step_per_sequence_s)


@pytest.mark.parametrize(("rate", "output"), [(1.0, 200), (2.5, 150), (3.5, 60)])
def test_ttft_and_tpot_as_simulated(rate: float, output: int) -> None:
    """One replica, Poisson arrivals, log-normal prompts: the simulator works step by step, the model in closed form."""
    rng, n = np.random.default_rng(11), 30_000
    arrivals = np.rint(np.cumsum(rng.exponential(1 / rate, n)) * 1e9).astype(np.int64)
    prompts = np.rint(1000 * np.exp(SIGMA * rng.standard_normal(n) - SIGMA**2 / 2)).astype(np.int64)
    served = serve(
        arrivals, prompts, np.full(n, output, dtype=np.int64), nodes=[Node(name="a", engine=SIMULATED)], seed=1
    )
    ttft_s = (served.queue_ns + served.prefill_ns) / 1e9
    tpot_s = served.decode_ns / 1e9 / (output - 1)
    nodes = lognormal_nodes(1000, np.sqrt(np.expm1(SIGMA**2)))

    def share(ttft: float, tpot: float | None) -> float:
        goal = Objectives(ttft_s=ttft, tpot_s=tpot, attainment=0.5)
        return float(attainment(rate, 1, engine=SAME, prompt_nodes=nodes, output_tokens=output, objectives=goal))

    for t in (0.2, 0.4, 0.8, 1.6):
        assert share(t, None) == pytest.approx((ttft_s <= t).mean(), abs=0.035)
    # Half of the calls are about as fast as the median, four fifths of the way to the 90th percentile or beyond.
    fast, slow = np.quantile(tpot_s, [0.02, 0.98])
    assert share(1e3, float(fast) * 0.8) < 0.1
    assert share(1e3, float(slow) * 1.2) > 0.9


def test_more_than_can_be_served_is_never_in_time() -> None:
    nodes = lognormal_nodes(1000, 1.0)
    most = 1 / ENGINE.work_s(1000, 200)
    for factor, lives in ((0.9, True), (1.2, False)):
        for count in (1, 3, 50):
            got = attainment(
                most * factor * count, count, engine=ENGINE, prompt_nodes=nodes, output_tokens=200,
                objectives=Objectives(ttft_s=100.0),
            )  # fmt: skip
            assert (float(got) > 0.5) is lives


def test_edges() -> None:
    nodes = lognormal_nodes(1000, 0.0)

    def share(rate: float, count: int, ttft: float, delay: float = 0.0, engine: Engine = ENGINE) -> float:
        goal = Objectives(ttft_s=ttft)
        return float(
            attainment(rate, count, engine=engine, prompt_nodes=nodes, output_tokens=0, objectives=goal, delay_s=delay)
        )

    assert share(0.0, 0, 1.0) == 1.0
    assert share(0.1, 0, 1.0) == 0.0
    # Prefill takes 0.155 s: within the objective, or not, whatever the number of replicas.
    assert share(1e-9, 1, 0.2) == pytest.approx(1.0)
    assert share(1e-9, 500, 0.15) == 0.0
    assert share(1e-9, 1, 10.2, 10.0) == pytest.approx(1.0)
    assert share(1e-9, 1, 10.1, 10.0) == 0.0
    assert share(1.0, 1, 1.0, engine=replace(ENGINE, concurrency=1, decode_tokens_per_s=50)) > 0


@settings(max_examples=150, deadline=None)
@given(
    rate=st.floats(0.01, 40),
    count=st.integers(1, 30),
    more=st.floats(1.0, 2.0),
    ttft=st.floats(0.05, 5),
    tpot=st.one_of(st.none(), st.floats(0.01, 0.2)),
    routing=st.sampled_from(["shared", "random"]),
    output=st.floats(0, 800),
)
def test_monotone(
    rate: float, count: int, more: float, ttft: float, tpot: float | None, routing: str, output: float
) -> None:
    nodes = lognormal_nodes(900, 1.0)

    def share(rate: float, count: int, ttft: float, tpot: float | None) -> float:
        goal = Objectives(ttft_s=ttft, tpot_s=tpot, routing=routing)  # type: ignore[arg-type]
        return float(attainment(rate, count, engine=ENGINE, prompt_nodes=nodes, output_tokens=output, objectives=goal))

    here = share(rate, count, ttft, tpot)
    assert 0 <= here <= 1
    assert share(rate * more, count, ttft, tpot) <= here + 1e-9
    assert share(rate, count + 1, ttft, tpot) >= here - 1e-9
    assert share(rate, count, ttft * more, tpot) >= here - 1e-9
    if tpot is not None:
        assert share(rate, count, ttft, tpot * more) >= here - 1e-9


def test_one_queue_is_better_than_many() -> None:
    nodes = lognormal_nodes(1000, 1.0)
    shares = [
        float(
            attainment(
                20.0, 6, engine=ENGINE, prompt_nodes=nodes, output_tokens=100,
                objectives=Objectives(ttft_s=0.6, routing=routing),  # type: ignore[arg-type]
            )
        )
        for routing in ("random", "shared")
    ]  # fmt: skip
    assert shares[0] < shares[1] - 0.05


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decode_tokens_per_s": 5000.0}, "give 3200 at most"),
        ({"tpot_s": 0.0}, "must be above 0"),
        ({"gpus": 0}, "must be above 0"),
        ({"overhead_s": -1.0}, "must not be below 0"),
    ],
)
def test_engines_that_cannot_be(change: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(ENGINE, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"ttft_s": 0}, {"tpot_s": -1}, {"attainment": 1.0}, {"routing": "best"}])
def test_objectives_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"objective|attainment|routing"):
        Objectives(**wrong)  # type: ignore[arg-type]
