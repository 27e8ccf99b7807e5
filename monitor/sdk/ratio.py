"""How many calls one stands for that a sampler of OpenTelemetry's own has chosen, such as OTEL_TRACES_SAMPLER names.

`TraceIdRatioBased` keeps the traces whose last 64 bits are below a bound. It tells nobody, in no tracestate, so the
weight follows from the sampler itself. `ParentBased` asks it only where a trace begins. Of a trace that came from
elsewhere somebody else has decided, and only the tracestate (`ot=th:…`) can tell with which probability.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from monitor.sdk.sampling import ALL, BITS

_RATIO: Final = re.compile(r"TraceIdRatioBased\{([0-9.eE+-]+)\}")
# The defaults of everything but the root. The description is what the specification defines, and all that is public.
_BY_PARENT: Final = re.compile(
    r"ParentBased\{root:(.*),remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,"
    r"localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler\}"
)
_TRACES_MAX: Final = 8192


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What is known of the sampler that has chosen spans before us.

    Attributes
    ----------
    bound : int or None
        In (0, 2**64): traces whose last 64 bits are below it are kept; None if it keeps all, or by a rule unknown here.
    asks_parent : bool
        The decision of a parent holds, and so does what its tracestate tells of the probability.
    foreign : Traces
        Traces that somebody else has decided on.
    """

    bound: int | None = None
    asks_parent: bool = True
    foreign: Traces = field(default_factory=lambda: Traces())

    def bound_for(self, trace_id: int) -> int | None:
        """The bound that this trace has passed here; None if it passed none, or one that is not known."""
        return None if self.asks_parent and trace_id in self.foreign else self.bound


class Traces:
    """The latest trace ids that were put in."""

    def __init__(self, size: int = _TRACES_MAX) -> None:
        self._size = size
        # Reentrant: a garbage collection may end one span and begin another right here.
        self._lock = threading.RLock()
        self._ids: OrderedDict[int, None] = OrderedDict()

    def add(self, trace_id: int) -> None:
        """Remember one, and forget the oldest beyond the size."""
        with self._lock:
            self._ids[trace_id] = None
            self._ids.move_to_end(trace_id)
            if len(self._ids) > self._size:
                self._ids.popitem(last=False)

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock."""
        self._lock = threading.RLock()

    def __contains__(self, trace_id: int) -> bool:
        return trace_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)


def read_sampler(sampler: Any) -> Chosen:
    """What a sampler says of itself; of one that is not known, nothing.

    Examples
    --------
    >>> from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
    >>> read_sampler(TraceIdRatioBased(0.25)).bound == 2**62, read_sampler(ALWAYS_ON).bound
    (True, None)
    >>> read_sampler(ParentBased(TraceIdRatioBased(0.25))).asks_parent, read_sampler(ALWAYS_ON).asks_parent
    (True, False)
    """
    text = str(sampler.get_description()) if hasattr(sampler, "get_description") else ""
    parent = _BY_PARENT.fullmatch(text)
    root = parent[1] if parent else text
    ratio = _RATIO.fullmatch(root)
    if ratio is None:
        return Chosen(asks_parent=root != "AlwaysOnSampler" or parent is not None)
    rate = float(ratio[1])
    bound = TraceIdRatioBased.get_bound_for_rate(rate) if 0 < rate < 1 else 0
    return Chosen(bound=bound or None, asks_parent=parent is not None)


@lru_cache(maxsize=64)
def joint_weight(bound: int | None, threshold: int, *, same_bits: bool = True) -> float:
    """How many spans one stands for that passed both a bound and a threshold.

    Parameters
    ----------
    bound : int or None
        Passed if the last 64 bits of the trace id are below.
    threshold : int
        In [0, 2**56). Passed if the 56 random bits are not below.
    same_bits : bool
        The random bits are the last 56 of the trace id, and not `rv` of the tracestate.

    Returns
    -------
    float
        1 / P(both), by counting the numbers of 64 bits that pass both; at least 1.

    Examples
    --------
    >>> joint_weight(2**62, 0), joint_weight(None, ALL // 2), joint_weight(2**63, ALL // 2)
    (4.0, 2.0, 4.0)
    """
    if bound is None:
        return ALL / (ALL - threshold)
    if not same_bits:
        return (1 << 64) / bound * (ALL / (ALL - threshold))
    # The first 8 bits of the 64 are not among the 56: so many times the 56 bits are gone through in full, then in part.
    rounds, rest = divmod(bound, 1 << BITS)
    passed = rounds * (ALL - threshold) + max(0, rest - threshold)
    return float("inf") if passed == 0 else (1 << 64) / passed
