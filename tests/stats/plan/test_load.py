"""Stated and measured loads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitor.stats.plan import measured_load, stated_load
from monitor.stats.plan.load import MONTH_S, day_shape, lognormal_nodes


@settings(deadline=None)
@given(st.integers(1, 24), st.floats(0, 0.98))
def test_the_day_has_its_peak(hours: int, part: float) -> None:
    peak = 1 + part * (hours - 1)
    shares = day_shape(hours, peak)
    assert shares.sum() == pytest.approx(1)
    assert shares.max() * hours == pytest.approx(peak, rel=1e-6)


def test_stated() -> None:
    load = stated_load(requests_per_day=86_400, input_tokens=500, output_tokens=100, peak=3, hours=10)
    assert load.requests_per_day == pytest.approx(86_400)
    assert load.mean_input_tokens == pytest.approx(500)
    assert load.mean_output_tokens == pytest.approx(100)
    assert (load.calls_rps > 0).sum() == 10
    # The peak is over the mean of the ten hours, 2.4 times that of the day.
    assert load.peak_factor == pytest.approx(3 * 24 / 10)
    assert load.tokens_per_month == pytest.approx(86_400 * 600 * MONTH_S / 86_400)
    assert load.scaled(2).requests_per_day == pytest.approx(2 * 86_400)


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests_per_day": 0}, {"requests_per_day": math.nan}, {"input_tokens": 0}, {"output_tokens": -1}, {"peak": 0.5},
        {"peak": 24}, {"hours": 0}, {"hours": 25}, {"level_error": 1.0}, {"prompt_cv": -1},
    ],
)  # fmt: skip
def test_stated_wrongly(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|be from"):
        stated_load(**{"requests_per_day": 10, "input_tokens": 1, "output_tokens": 1, **wrong})  # type: ignore[arg-type]


def test_nodes_are_quantiles() -> None:
    sigma = math.sqrt(math.log1p(1.0))
    exact = stats.lognorm(sigma, scale=100 * math.exp(-(sigma**2) / 2)).ppf((np.arange(4000) + 0.5) / 4000)
    assert lognormal_nodes(100, 1.0, 4000) == pytest.approx(exact, rel=0.01)
    assert lognormal_nodes(100, 1.0).mean() == pytest.approx(100)
    assert lognormal_nodes(100, 0.0) == pytest.approx(100)


def steps(counts: np.ndarray, step_s: float = 60.0, **rest: object) -> object:
    return measured_load(
        step_s=step_s, calls=counts, input_tokens=counts * 10, output_tokens=counts * 2, prompt_nodes=[5, 15], **rest
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("minutes", "slot_s", "slots", "blocks"),
    [
        (3 * 1440, 3600, 72, 3),
        (3 * 1440 + 100, 3600, 72, 3),
        (2 * 1440 - 1, 300, 575, 575),
        (58, 300, 11, 11),
        (20, 60, 20, 20),
    ],
)
def test_slots(minutes: int, slot_s: float, slots: int, blocks: int) -> None:
    load = steps(np.full(minutes, 6.0))
    assert (load.slot_s, load.slots, len(np.unique(load.block))) == (slot_s, slots, blocks)  # type: ignore[attr-defined]
    assert load.calls_rps == pytest.approx(0.1)  # type: ignore[attr-defined]


def test_the_last_whole_days_are_kept() -> None:
    counts = np.concatenate([np.full(120, 600.0), np.full(2 * 1440, 6.0)])
    load = steps(counts, start_hour=5.0)
    assert load.calls_rps.max() == pytest.approx(0.1)  # type: ignore[attr-defined]
    assert load.start_hour == pytest.approx(7.0)  # type: ignore[attr-defined]


def test_chance_is_taken_out_of_minutes_and_bursts_are_left_in() -> None:
    rng = np.random.default_rng(5)
    even = steps(rng.poisson(6.0, 4 * 1440).astype(float))
    true = rng.gamma(4.0, 1.5, 4 * 1440)  # minute rates with a variance of 9
    bursty = steps(rng.poisson(true).astype(float))
    assert (even.calls_rps * 60).std(axis=1).mean() < 1.0  # type: ignore[attr-defined]
    assert (bursty.calls_rps * 60).var(axis=1, ddof=1).mean() == pytest.approx(9.0, rel=0.1)  # type: ignore[attr-defined]
    # Totals stay.
    assert even.requests_per_day == pytest.approx(6 * 1440, rel=0.01)  # type: ignore[attr-defined]
    assert even.mean_input_tokens == pytest.approx(10)  # type: ignore[attr-defined]


def test_too_little_and_nothing() -> None:
    with pytest.raises(ValueError, match="too short"):
        steps(np.full(2, 1.0), step_s=20.0)
    with pytest.raises(ValueError, match="zero"):
        steps(np.zeros(100))
    with pytest.raises(ValueError, match=r"numbers >= 0"):
        steps(np.full(100, np.nan))
