"""A small, stated model of a serving engine with continuous batching; it makes up latencies where a trace has
none.

Each node is one engine (one or more GPUs that serve one copy of the model) and works like this:

- A request is routed to a node at random, in proportion to the nodes' shares, and waits in that node's queue
  (first come, first served) until one of `slots` places in the batch is free and no prompt is being read.
- Reading the prompt (prefill) takes `prefill_overhead_s + input / prefill_tokens_per_s`, spread by `jitter`.
One prompt
  at a time; while it lasts the other sequences stand still, as without chunked prefill. The first token comes
  at its end.
- Then all sequences in the batch get one token a step; a step takes `step_base_s + step_per_sequence_s *
sequences`.
- A slowdown stretches everything the engine does within a window by a factor.

So queue, prefill and decode follow from load: busy minutes are slower, long prompts hold others up, and a
slow node is slow for everybody on it. Tokens are treated as a fluid (a sequence may finish between two
steps), which lets the simulation jump from one arrival or end to the next instead of walking through some
four million tokens.

The defaults are set so that the model gives the mean TTFT and TPOT of a measured run of Llama 3.3 70B with
vLLM on 8 GPUs at 1 request/s within about a tenth; they claim nothing about any other hardware.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.simulate.workload import NS, Floats, Ints, Workload

# Prompts may keep an engine busy for this share of the time before `enough_nodes` adds another one.
PREFILL_SHARE_MAX: Final = 0.4


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Parameters of one engine; times in seconds.

    Parameters
    ----------
    prefill_tokens_per_s : float
        Prompt tokens read per second.
    prefill_overhead_s : float
        Fixed time of a prefill: scheduling, the step that is just running, network to the client.
    step_base_s, step_per_sequence_s : float
        Time of one decode step of n sequences is `step_base_s + n * step_per_sequence_s`.
    slots : int
        Most sequences in the batch.
    jitter : float
        Standard deviation of the logarithm of the prefill time; 0 makes it exact.
    """

    prefill_tokens_per_s: float = 8_700.0
    prefill_overhead_s: float = 0.037
    step_base_s: float = 0.0204
    step_per_sequence_s: float = 0.0004
    slots: int = 256
    jitter: float = 0.1

    def __post_init__(self) -> None:
        assert min(self.prefill_tokens_per_s, self.step_base_s) > 0, "an engine must get on"
        assert self.slots >= 1, "an engine needs a place in its batch"
        assert min(self.prefill_overhead_s, self.step_per_sequence_s, self.jitter) >= 0, "times cannot be negative"


@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """Between two moments (seconds after the first arrival) everything takes `factor` times as long."""

    start_s: float
    end_s: float
    factor: float

    def __post_init__(self) -> None:
        assert 0 <= self.start_s < self.end_s, "a slowdown needs a window"
        assert self.factor > 0, "a slowdown needs a positive factor"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One engine: its name, its share of the requests, and its slowdowns, in order and not overlapping."""

    name: str
    engine: Engine = Engine()
    share: float = 1.0
    slowdowns: tuple[Slowdown, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """What the model made of the requests, in nanoseconds.

    TTFT is `queue_ns + prefill_ns`, the whole request `queue_ns + prefill_ns + decode_ns`. `largest_gap_ns`
    is -1 below two tokens. `node` is an index into the nodes given.
    """

    node: Ints
    queue_ns: Ints
    prefill_ns: Ints
    decode_ns: Ints
    largest_gap_ns: Ints


def serve(
    arrival_ns: Ints,
    input_tokens: Ints,
    output_tokens: Ints,
    *,
    nodes: Sequence[Node],
    seed: int,
) -> Served:
    """Run requests through the nodes. The same input and seed give the same result.

    Parameters
    ----------
    arrival_ns, input_tokens, output_tokens : array of int, shape (n,)
        Requests in order of arrival.
    nodes : sequence of Node
        At least one.
    seed : int
        Of routing and jitter.
    """
    assert nodes, "at least one node must serve"
    rng = np.random.default_rng(seed)
    shares = np.array([node.share for node in nodes], dtype=np.float64)
    where = rng.choice(len(nodes), size=len(arrival_ns), p=shares / shares.sum()).astype(np.int64)
    noise = rng.standard_normal(len(arrival_ns))
    columns = np.zeros((4, len(arrival_ns)), dtype=np.int64)
    for index, node in enumerate(nodes):
        mine = np.flatnonzero(where == index)
        if len(mine):
            columns[:, mine] = _serve_on(node, arrival_ns[mine], input_tokens[mine], output_tokens[mine], noise[mine])
    queue, prefill, decode, gap = columns
    return Served(node=where, queue_ns=queue, prefill_ns=prefill, decode_ns=decode, largest_gap_ns=gap)


def enough_nodes(workload: Workload, engine: Engine) -> int:
    """Fewest nodes that spend at most `PREFILL_SHARE_MAX` of the time on reading prompts."""
    work_s = (
        len(workload) * engine.prefill_overhead_s + float(workload.input_tokens.sum()) / engine.prefill_tokens_per_s
    )
    span_s = max(float(workload.arrival_ns[-1]) / NS, 1.0)
    return max(1, math.ceil(work_s / span_s / PREFILL_SHARE_MAX))


def _serve_on(
    node: Node, arrival_ns: Ints, input_tokens: Ints, output_tokens: Ints, noise: Floats
) -> NDArray[np.int64]:
    engine = node.engine
    clock = _EngineClock(node.slowdowns)
    # Mean 1, so that jitter does not change the load.
    spread = np.exp(engine.jitter * noise - engine.jitter**2 / 2)
    work_s = (engine.prefill_overhead_s + input_tokens / engine.prefill_tokens_per_s) * spread
    steps = np.maximum(output_tokens - 1, 0)
    times = _batching(clock.work_at(arrival_ns / NS), work_s, steps, engine)
    start_s, first_s, end_s = (clock.time_at(np.array(moments)) for moments in times)
    start_ns = np.maximum(np.rint(start_s * NS).astype(np.int64), arrival_ns)
    first_ns = np.maximum(np.rint(first_s * NS).astype(np.int64), start_ns)
    end_ns = np.maximum(np.rint(end_s * NS).astype(np.int64), first_ns)
    gap_ns = np.rint(_largest_gaps(start_s, first_s, end_s, steps) * NS).astype(np.int64)
    gap_ns = np.where(steps > 0, np.minimum(gap_ns, end_ns - first_ns), -1)
    return np.stack([start_ns - arrival_ns, first_ns - start_ns, end_ns - first_ns, gap_ns])


def _batching(
    arrival_s: Floats, prefill_s: Floats, steps: Ints, engine: Engine
) -> tuple[list[float], list[float], list[float]]:
    """Start of prefill, first token and last token of each request on one engine that is never slowed down.

    All running sequences have the same speed, so one counter of tokens per sequence (`done`) serves them all:
    a sequence admitted at `done` ends when the counter reaches `done + steps`.
    """
    arrivals, prefills, remaining = arrival_s.tolist(), prefill_s.tolist(), steps.tolist()
    count = len(arrivals)
    start, first, end = [0.0] * count, [0.0] * count, [0.0] * count
    running: list[tuple[float, int]] = []
    now = done = 0.0
    admitted = 0
    while admitted < count or running:
        has_room = admitted < count and len(running) < engine.slots
        if has_room and arrivals[admitted] <= now:
            start[admitted] = now
            now += prefills[admitted]
            first[admitted] = end[admitted] = now
            if remaining[admitted]:
                heapq.heappush(running, (done + remaining[admitted], admitted))
            admitted += 1
        elif not running:
            now, done = arrivals[admitted], 0.0
        else:
            step_s = engine.step_base_s + engine.step_per_sequence_s * len(running)
            finish = now + (running[0][0] - done) * step_s
            if has_room and arrivals[admitted] < finish:
                done += (arrivals[admitted] - now) / step_s
                now = arrivals[admitted]
            else:
                now, done = max(now, finish), running[0][0]
                while running and running[0][0] <= done:
                    end[heapq.heappop(running)[1]] = now
    return start, first, end


def _largest_gaps(start_s: Floats, first_s: Floats, end_s: Floats, steps: Ints) -> Floats:
    """Largest time between two tokens: the longest stretch of other prompts read, plus one usual step."""
    count = len(start_s)
    # Requests are admitted in order, so those read while request i decodes are i+1 up to the last that
    # started before its end.
    last = np.maximum(np.searchsorted(start_s, end_s, side="left"), np.arange(1, count + 1))
    reading = np.concatenate([[0.0], np.cumsum(first_s - start_s)])
    stalled_s = reading[last] - reading[1:]
    # A stretch is a run of prompts read without a step between; 1 ns absorbs the rounding of the engine's
    # clock.
    opens = np.concatenate([[True], start_s[1:] > first_s[:-1] + 1e-9])
    stretch = np.cumsum(opens) - 1
    stretch_end = first_s[np.append(np.flatnonzero(opens)[1:], count) - 1]
    stretch_s = stretch_end - start_s[opens]
    own_rest_s = stretch_end[stretch] - first_s
    others_s = _range_max(stretch_s, stretch + 1, stretch[last - 1] + 1)
    step_s = np.maximum(end_s - first_s - stalled_s, 0.0) / np.maximum(steps, 1)
    gaps: Floats = np.maximum(own_rest_s, others_s) + step_s
    return gaps


def _range_max(values: Floats, low: Ints, high: Ints) -> Floats:
    """Maximum of values[low:high] for many ranges at once; 0 for an empty range. Table of powers of two."""
    table = [values]
    while 2 ** len(table) <= len(values):
        half = 2 ** (len(table) - 1)
        table.append(np.maximum(table[-1][:-half], table[-1][half:]))
    length = np.maximum(high - low, 0)
    level = np.where(length > 0, np.frexp(np.maximum(length, 1))[1] - 1, 0)
    result = np.zeros(len(low))
    for power, maxima in enumerate(table):
        pick = (level == power) & (length > 0)
        result[pick] = np.maximum(maxima[low[pick]], maxima[high[pick] - 2**power])
    return result


class _EngineClock:
    """Maps wall-clock seconds to undisturbed work and back; within a slowdown the engine's clock is slow."""

    def __init__(self, slowdowns: Sequence[Slowdown]) -> None:
        # One billion seconds is "for ever": np.interp holds the last value, so the line must go on.
        times, work = [0.0], [0.0]
        for slow in slowdowns:
            assert slow.start_s >= times[-1], "slowdowns must be in order and must not overlap"
            work.append(work[-1] + slow.start_s - times[-1])
            work.append(work[-1] + (slow.end_s - slow.start_s) / slow.factor)
            times += [slow.start_s, slow.end_s]
        self._time = np.array([*times, times[-1] + 1e9])
        self._work = np.array([*work, work[-1] + 1e9])

    def work_at(self, time_s: Floats) -> Floats:
        work: Floats = np.interp(time_s, self._time, self._work)
        return work

    def time_at(self, work_s: Floats) -> Floats:
        time: Floats = np.interp(work_s, self._work, self._time)
        return time
