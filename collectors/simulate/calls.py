"""Calls to a model as columns: what is sent, before it becomes spans."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from collectors.simulate.serving import Node, serve
from collectors.simulate.workload import NS, Floats, Ints, Workload

MS: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where calls come from: becomes the OTLP resource and what all spans share. Empty text: not said."""

    service: str
    node: str
    model: str
    provider: str
    variant: str = ""
    release: str = ""
    environment: str = ""
    region: str = ""
    deployment: str = ""
    pricing: str = ""
    gpu: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parents:
    """Spans around each call.

    The HTTP server span begins `before_ns` earlier and ends `after_ns` later than the call; a retrieval of
    `retrieval_ns` (0: none) lies between the beginnings of the two.
    """

    before_ns: Ints
    after_ns: Ints
    retrieval_ns: Ints


@dataclass(frozen=True, kw_only=True, eq=False)
class Calls:
    """Calls to a model in order of arrival; one entry a call in each column.

    `start_ns` counts from whatever the maker says (the first arrival, or 1970 once `shifted`). Seconds that
    are not known are NaN and texts that are not known are empty; neither is sent. `origin` is an index into
    the origins. `extra` is what else each call's span says, as fields of the span; it may hold times of its own, so it
    is added when the calls are at their place in time.
    """

    origin: Ints
    start_ns: Ints
    duration_ns: Ints
    input_tokens: Ints
    output_tokens: Ints
    ttft_s: Floats
    queue_s: Floats
    prefill_s: Floats
    decode_s: Floats
    largest_gap_s: Floats
    error: tuple[str, ...]
    finish: tuple[str, ...]
    cancelled: tuple[bool, ...]
    user: tuple[str, ...]
    session: tuple[str, ...]
    parents: Parents | None = None
    simulated: bool = False
    arrivals_simulated: bool = False
    extra: tuple[bytes, ...] = ()
    spans: Ints = field(init=False)

    def __post_init__(self) -> None:
        spans = np.ones(len(self.start_ns), dtype=np.int64)
        if self.parents is not None:
            spans += 1 + (self.parents.retrieval_ns > 0)
        object.__setattr__(self, "spans", spans)

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def end_ns(self) -> Ints:
        """When the last span of each call has ended; only then can it be sent."""
        end = self.start_ns + self.duration_ns
        return end if self.parents is None else end + self.parents.after_ns

    def starting_at(self, start_ns: Ints) -> Calls:
        assert not self.extra, "what else the spans say has times that would stay behind"
        return dataclasses.replace(self, start_ns=start_ns)

    def shifted(self, by_ns: int) -> Calls:
        return self.starting_at(self.start_ns + by_ns)


def calls_of(workload: Workload, *, nodes: Sequence[Node], seed: int, with_parents: bool) -> Calls:
    """The calls of a workload, counted from the first arrival; `origin` is the index of the node.

    Measured latencies are kept as they are. Others come from the serving model, and the calls are marked
    simulated.
    """
    count = len(workload)
    rng = np.random.default_rng([seed, 1])
    unknown = np.full(count, np.nan)
    blank = ("",) * count
    parents = made_up_parents(count, rng, retrieval_share=0.25) if with_parents else None
    if (measured := workload.measured) is not None:
        return Calls(
            origin=rng.integers(len(nodes), size=count),
            start_ns=workload.arrival_ns,
            duration_ns=measured.duration_ns,
            input_tokens=workload.input_tokens,
            output_tokens=workload.output_tokens,
            ttft_s=measured.ttft_s,
            queue_s=unknown,
            prefill_s=unknown,
            decode_s=unknown,
            largest_gap_s=measured.largest_gap_s,
            error=measured.errors,
            finish=tuple("error" if error else "" for error in measured.errors),
            cancelled=(False,) * count,
            user=blank,
            session=blank,
            parents=parents,
            arrivals_simulated=workload.arrivals_simulated,
        )
    return served_calls(workload, nodes=nodes, seed=seed, parents=parents)


def served_calls(workload: Workload, *, nodes: Sequence[Node], seed: int, parents: Parents | None) -> Calls:
    """Calls whose latencies come from the serving model."""
    served = serve(workload.arrival_ns, workload.input_tokens, workload.output_tokens, nodes=nodes, seed=seed)
    ttft_ns = served.queue_ns + served.prefill_ns
    blank = ("",) * len(workload)
    return Calls(
        origin=served.node,
        start_ns=workload.arrival_ns,
        duration_ns=ttft_ns + served.decode_ns,
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        ttft_s=np.where(workload.output_tokens > 0, ttft_ns / NS, np.nan),
        queue_s=served.queue_ns / NS,
        prefill_s=served.prefill_ns / NS,
        decode_s=served.decode_ns / NS,
        largest_gap_s=np.where(served.largest_gap_ns >= 0, served.largest_gap_ns / NS, np.nan),
        error=blank,
        finish=blank,
        cancelled=(False,) * len(workload),
        user=blank,
        session=blank,
        parents=parents,
        simulated=True,
        arrivals_simulated=workload.arrivals_simulated,
    )


def made_up_parents(count: int, rng: np.random.Generator, *, retrieval_share: float) -> Parents:
    """HTTP handling of 1-3 ms before and after each call, and for a share of them a retrieval of 20-80 ms."""
    retrieves = rng.random(count) < retrieval_share
    retrieval_ns = np.where(retrieves, rng.integers(20 * MS, 80 * MS, count), 0)
    return Parents(
        before_ns=retrieval_ns + rng.integers(1 * MS, 3 * MS, count),
        after_ns=rng.integers(1 * MS, 3 * MS, count),
        retrieval_ns=retrieval_ns,
    )
