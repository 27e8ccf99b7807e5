"""The load that a fleet is planned for: requests and tokens in slots of time, measured or stated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_S: Final = 86_400.0
MONTH_S: Final = 365.25 / 12 * DAY_S  # an average month: 730.5 hours
NODES: Final = 16  # prompt sizes that stand for all; each for one sixteenth of the requests
STATED_CV: Final = 1.0  # spread of prompt sizes where nobody measured them: standard deviation / mean
STATED_ERROR: Final = 0.2  # a stated usage is taken as right within this share


@dataclass(frozen=True, kw_only=True, eq=False)
class Load:
    """Demand over a stretch of time that repeats.

    Parameters
    ----------
    slot_s, step_s : float
        Length of a slot (within which a fleet does not change) and of the steps within it, in seconds.
    calls_rps, input_tps, output_tps : array of float, shape (slots, steps)
        Requests, prompt tokens and generated tokens per second.
    prompt_nodes : array of float, shape (nodes,)
        Prompt sizes in tokens that stand for equal shares of the requests.
    block : array of int, shape (slots,)
        Which day (or other unit that repeats) a slot belongs to; blocks are what the cost's interval is computed from.
    start_hour : float
        Hour of the day (UTC) at which the first slot begins.
    level_error : float
        Relative error of the level as a whole, as half of a 95 % interval: 0.2 means within ±20 %.
    source : str
        `measured` or `stated`.
    calls : int
        Calls that it was measured from; 0 if stated.
    note : str
        What a reader has to know about it.
    """

    slot_s: float
    step_s: float
    calls_rps: Floats
    input_tps: Floats
    output_tps: Floats
    prompt_nodes: Floats
    block: Ints
    start_hour: float = 0.0
    level_error: float = 0.0
    source: str = "stated"
    calls: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        shape = self.calls_rps.shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"a load needs slots and steps, not an array of shape {shape}")
        if self.input_tps.shape != shape or self.output_tps.shape != shape or self.block.shape != shape[:1]:
            raise ValueError("calls, tokens and blocks of a load must have the same slots")
        rates = (self.calls_rps, self.input_tps, self.output_tps)
        if not all(np.all(np.isfinite(rate)) and np.all(rate >= 0) for rate in rates):
            raise ValueError("the rates of a load must be numbers >= 0")
        if not self.calls_rps.any():
            raise ValueError("the load is zero; there is nothing to plan for")
        if not 0 <= self.level_error < 1:
            raise ValueError(f"level_error must be in [0, 1), not {self.level_error:g}")

    @property
    def slots(self) -> int:
        return len(self.calls_rps)

    @property
    def seconds(self) -> float:
        return self.slots * self.slot_s

    @property
    def repeats_a_month(self) -> float:
        """How often the stretch comes in an average month."""
        return MONTH_S / self.seconds

    @property
    def requests_per_day(self) -> float:
        return float(self.calls_rps.mean()) * DAY_S

    @property
    def mean_input_tokens(self) -> float:
        return float(self.input_tps.sum() / self.calls_rps.sum())

    @property
    def mean_output_tokens(self) -> float:
        return float(self.output_tps.sum() / self.calls_rps.sum())

    @property
    def tokens_per_month(self) -> float:
        return float((self.input_tps + self.output_tps).mean()) * MONTH_S

    @property
    def peak_factor(self) -> float:
        """Requests of the busiest slot over those of the mean one."""
        slots = self.calls_rps.mean(axis=1)
        return float(slots.max() / slots.mean())

    def scaled(self, factor: float) -> Load:
        """The same load, `factor` times as high."""
        if not 0 < factor < math.inf:
            raise ValueError(f"a load is scaled by a number above 0, not {factor:g}")
        return replace(
            self,
            calls_rps=self.calls_rps * factor,
            input_tps=self.input_tps * factor,
            output_tps=self.output_tps * factor,
        )


def stated_load(
    *,
    requests_per_day: float,
    input_tokens: float,
    output_tokens: float,
    peak: float = 2.0,
    hours: int = 24,
    prompt_cv: float = STATED_CV,
    level_error: float = STATED_ERROR,
) -> Load:
    """The day of a service that does not run yet.

    Parameters
    ----------
    requests_per_day : float
        Requests of a day, > 0.
    input_tokens, output_tokens : float
        Mean tokens of a prompt and of an answer.
    peak : float
        Requests of the busiest hour over those of the mean hour among `hours`; from 1 (even) to below `hours`.
    hours : int
        Hours of the day in which requests come, from 1 to 24, with the busiest in the middle.
    prompt_cv : float
        Standard deviation of prompt sizes over their mean; sizes are taken as log-normal.
    level_error : float
        Share within which the statement is taken as right.

    Returns
    -------
    Load
        24 slots of one hour. Hour i has the share exp(k cos(2 pi (i + 1/2 - hours/2) / hours)) of the day (the
        shape of a von Mises density), with k such that the busiest hour has the peak.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    for name, value in (("requests_per_day", requests_per_day), ("input_tokens", input_tokens)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0, not {value:g}")
    if not 0 <= output_tokens < math.inf:
        raise ValueError(f"output_tokens must not be below 0, but it is {output_tokens:g}")
    if not 0 <= prompt_cv < 10:
        raise ValueError(f"prompt_cv must be in [0, 10), not {prompt_cv:g}")
    share = np.zeros(24)
    first = (24 - hours) // 2
    share[first : first + hours] = day_shape(hours, peak)
    calls = (requests_per_day * share / 3600.0)[:, None]
    return Load(
        slot_s=3600.0,
        step_s=3600.0,
        calls_rps=calls,
        input_tps=calls * input_tokens,
        output_tps=calls * output_tokens,
        prompt_nodes=lognormal_nodes(input_tokens, prompt_cv),
        block=np.zeros(24, dtype=np.int64),
        level_error=level_error,
        note=f"a stated usage, taken as right within {level_error:.0%}; the busiest hour is in the middle of the day",
    )


def day_shape(hours: int, peak: float) -> Floats:
    """Share of each of `hours` hours, with one hump and the busiest hour `peak` times the mean."""
    if not 1 <= hours <= 24:
        raise ValueError(f"hours must be from 1 to 24, not {hours}")
    if peak < 1 or (peak > 1 and peak >= 0.999 * hours):
        raise ValueError(f"peak must be from 1 to below hours ({hours}), not {peak:g}")
    cosine = np.cos(2 * np.pi * (np.arange(hours) + 0.5 - hours / 2) / hours)

    def shares(k: float) -> Floats:
        raised = np.exp(k * (cosine - cosine.max()))
        return np.asarray(raised / raised.sum())

    if peak == 1:
        return np.full(hours, 1 / hours)
    # With an even number of hours two neighbours are the busiest, so that no hump has more than half in one.
    if shares(1e4).max() * hours < peak:
        cosine = np.cos(2 * np.pi * (np.arange(hours) - hours // 2) / hours)
    k = float(optimize.brentq(lambda k: float(shares(k).max()) * hours - peak, 0.0, 1e4))
    return shares(k)


def lognormal_nodes(mean: float, cv: float, nodes: int = NODES) -> Floats:
    """Sizes that stand for equal shares of a log-normal distribution, with exactly this mean."""
    sigma = math.sqrt(math.log1p(cv**2))
    sizes = np.exp(sigma * special.ndtri((np.arange(nodes) + 0.5) / nodes))
    return np.asarray(sizes * (mean / sizes.mean()))


def measured_load(
    *,
    step_s: float,
    calls: ArrayLike,
    input_tokens: ArrayLike,
    output_tokens: ArrayLike,
    prompt_nodes: ArrayLike,
    poisson_variance: ArrayLike | None = None,
    start_hour: float = 0.0,
    stored: int = 0,
    level_error: float = 0.0,
    note: str = "",
) -> Load:
    """A load from counts in steps of equal length, in order of time.

    Parameters
    ----------
    step_s : float
        Length of a step in seconds.
    calls, input_tokens, output_tokens : array of float, shape (steps,)
        Totals of each step; steps without a call are 0.
    prompt_nodes : array of float
        Quantiles of the prompt sizes, at the middles of equal shares.
    poisson_variance : array of float, shape (steps,), optional
        Variance that each count has by chance: the count itself, or the sum of squared weights of sampled calls.
    start_hour, stored, level_error, note
        As in `Load`; `stored` is the number of calls.

    Returns
    -------
    Load
        Two days or more: slots of an hour, cut to whole days (the last ones), one block a day. Less: slots of five
        minutes (one, below half an hour), one block each. Within a slot the counts of the steps are drawn towards
        the slot's mean until their variance is that beyond chance: a minute with twelve calls where six are usual
        is mostly luck, which the queueing model adds by itself.

    Raises
    ------
    ValueError
        If the steps do not fill a slot or have no call.
    """
    columns = [np.asarray(column, dtype=np.float64) for column in (calls, input_tokens, output_tokens)]
    variance = columns[0] if poisson_variance is None else np.asarray(poisson_variance, dtype=np.float64)
    slot_s, keep = _slots(len(columns[0]), step_s)
    per_slot = max(1, round(slot_s / step_s))
    skipped = len(columns[0]) - keep
    shaped = [column[skipped:].reshape(-1, per_slot) for column in columns]
    shrink = _beyond_chance(shaped[0], variance[skipped:].reshape(-1, per_slot))
    rates = [(column.mean(axis=1)[:, None] * (1 - shrink) + column * shrink) / step_s for column in shaped]
    slots = len(shaped[0])
    per_day = max(1, round(DAY_S / slot_s))
    nodes = np.sort(np.asarray(prompt_nodes, dtype=np.float64))
    mean = float(rates[1].sum() / max(rates[0].sum(), 1e-300))
    nodes = nodes * (mean / nodes.mean()) if nodes.sum() > 0 else np.full(len(nodes), mean)
    return Load(
        slot_s=slot_s,
        step_s=step_s,
        calls_rps=rates[0],
        input_tps=rates[1],
        output_tps=rates[2],
        prompt_nodes=nodes,
        block=np.arange(slots) // per_day if slot_s >= 3600 else np.arange(slots),
        start_hour=(start_hour + skipped * step_s / 3600) % 24,
        level_error=level_error,
        source="measured",
        calls=stored,
        note=note,
    )


def _slots(steps: int, step_s: float) -> tuple[float, int]:
    """Length of a slot, and how many of the last steps fill whole slots (whole days, if there are two)."""
    seconds = steps * step_s
    if seconds >= 2 * DAY_S:
        return max(3600.0, step_s), round(seconds // DAY_S * DAY_S / step_s)
    slot_s = max(300.0 if seconds >= 1800 else 60.0, step_s)
    keep = round(seconds // slot_s * slot_s / step_s)
    if not keep:
        raise ValueError(
            f"{seconds:g} s of calls are too short a stretch to plan from; at least {slot_s:g} s are needed"
        )
    return slot_s, keep


def _beyond_chance(counts: Floats, variance: Floats) -> Floats:
    """Factor (slots, 1) in [0, 1] that leaves of each slot's spread the part beyond chance.

    Moments of a mixed Poisson distribution: var(count) = chance + var(rate). Drawing by sqrt(excess / var) keeps
    var(rate) (constrained empirical Bayes, T. A. Louis 1984).
    """
    if counts.shape[1] < 2:
        return np.ones((len(counts), 1))
    seen = counts.var(axis=1, ddof=1)
    excess = np.maximum(seen - variance.mean(axis=1), 0.0)
    return np.asarray(np.sqrt(np.divide(excess, seen, out=np.zeros_like(seen), where=seen > 0))[:, None])
