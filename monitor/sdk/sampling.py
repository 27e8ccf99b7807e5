"""Which calls are sent when not all are, and how many calls each of them stands for.

The choice is OpenTelemetry's consistent probability sampling: each trace brings 56 random bits (the end of its id, or
`rv` in the tracestate), and a service keeps it if they are not below its threshold. So services agree on a trace
without asking each other: equal rates keep the same traces, and a lower rate keeps a part of what a higher one keeps.
The threshold travels as `ot=th:…`, from which anybody can compute the weight.

Calls that failed or took long are few, and they are what one looks for. They are kept for sure, which is known when
they end: they stand for themselves alone (weight 1), and only the rest is thinned (weight 1 / rate). Both parts
together stand for all calls, so sums and shares stay right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from monitor import semconv
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.sdk.span import CallSpan

BITS: Final = 56
ALL: Final = 1 << BITS
_LOW_BITS: Final = ALL - 1
_DIGITS: Final = BITS // 4
# Below it a single call would stand for more than the store believes.
RATE_MIN: Final = 1e-6

# Set by `monitor.sdk.moderation` on a call whose text it blocked.
MODERATION_BLOCKED: Final = "monitor.moderation.blocked"

_VENDOR: Final = "ot"
_THRESHOLD: Final = re.compile(r"[0-9a-f]{1,14}")
_RANDOMNESS: Final = re.compile(r"[0-9a-f]{14}")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What is kept.

    Attributes
    ----------
    threshold : int
        In [0, 2**56): traces whose 56 random bits are not below it are kept.
    slow_ns : int or None
        Spans that last at least so long are kept for sure.
    errors : bool
        Failed spans, and those whose text was blocked, are kept for sure.
    """

    threshold: int
    slow_ns: int | None = None
    errors: bool = True

    @property
    def decides_late(self) -> bool:
        """Whether a span that was not chosen at its start may be kept at its end."""
        return self.errors or self.slow_ns is not None

    def is_sure(self, span: CallSpan | ReadableSpan) -> bool:
        """Whether an ended span is kept whatever its trace's random bits are."""
        if self.slow_ns is not None and (span.end_time or 0) - (span.start_time or 0) >= self.slow_ns:
            return True
        if not self.errors:
            return False
        attributes = span.attributes or {}
        return (
            span.status.status_code is StatusCode.ERROR
            or bool(attributes.get(semconv.ERROR_TYPE))
            or bool(attributes.get(MODERATION_BLOCKED))
        )


def read_sampling(sample_rate: object, keep_slow_s: object, keep_errors: object) -> Sampling | None:
    """Check the arguments of `init`; None means that every call is sent.

    Raises
    ------
    ConfigError
        If one is wrong.
    """
    rate = 1.0 if sample_rate is None else _number("sample_rate", sample_rate)
    if not RATE_MIN <= rate <= 1:
        raise ConfigError(
            f"monitor.init: sample_rate={sample_rate!r} must be a share from {RATE_MIN:g} to 1; 0.05 sends one call in 20."
        )
    slow_s = None if keep_slow_s is None else _number("keep_slow_s", keep_slow_s)
    if slow_s is not None and not 0 < slow_s < 1e9:
        raise ConfigError(f"monitor.init: keep_slow_s={keep_slow_s!r} must be a positive number of seconds.")
    if slow_s is not None and sample_rate is None:
        raise ConfigError(
            "monitor.init: keep_slow_s says which calls are sent beside the sampled ones; give sample_rate too."
        )
    if not isinstance(keep_errors, bool):
        raise ConfigError(f"monitor.init: keep_errors must be True or False, got {keep_errors!r}.")
    if rate == 1:
        return None
    return Sampling(
        threshold=ALL - round(rate * ALL),
        slow_ns=None if slow_s is None else round(slow_s * 1e9),
        errors=keep_errors,
    )


def weight(threshold: int) -> float:
    """How many spans one that passed this threshold stands for.

    Examples
    --------
    >>> weight(0), weight(ALL // 2), weight(ALL - round(0.05 * ALL))
    (1.0, 2.0, 20.0)
    """
    return ALL / (ALL - threshold)


def randomness(trace_id: int, state: TraceState | None) -> int:
    """The 56 random bits of a trace, as a number."""
    if state:
        for member in _members(state):
            if member.startswith("rv:") and _RANDOMNESS.fullmatch(member, 3):
                return int(member[3:], 16)
    return trace_id & _LOW_BITS


def has_own_randomness(state: TraceState | None) -> bool:
    """Whether the tracestate brings random bits of its own."""
    return state is not None and any(member.startswith("rv:") for member in _members(state))


def sent_threshold(state: TraceState | None) -> int | None:
    """The threshold that a sampler wrote into the tracestate; None if none did.

    Examples
    --------
    >>> sent_threshold(TraceState([("ot", "th:8")])) == ALL // 2
    True
    """
    if state:
        for member in _members(state):
            if member.startswith("th:") and _THRESHOLD.fullmatch(member, 3):
                return int(member[3:].ljust(_DIGITS, "0"), 16)
    return None


def with_threshold(state: TraceState | None, threshold: int | None) -> TraceState:
    """The tracestate with another threshold in it, or with none; what else is in it stays.

    Examples
    --------
    >>> with_threshold(None, ALL // 2).to_header()
    'ot=th:8'
    """
    if not state:
        return _bare(threshold)
    members = [member for member in _members(state) if not member.startswith("th:")]
    if threshold is not None:
        members.insert(0, f"th:{_digits(threshold)}")
    if not members:
        return state.delete(_VENDOR) if _VENDOR in state else state
    text = ";".join(members)
    return state.update(_VENDOR, text) if _VENDOR in state else state.add(_VENDOR, text)


def as_sent(context: SpanContext, threshold: int) -> SpanContext:
    """The context of a span that is sent: sampled, and with the threshold that its weight follows from."""
    flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
    state = with_threshold(context.trace_state, threshold)
    return SpanContext(context.trace_id, context.span_id, context.is_remote, flags, state)


class ConsistentSampler(Sampler):
    """Decides at the start of a span, from its trace's random bits alone.

    The parent's decision is not asked: with the same random bits and the same rate it was the same.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._threshold = sampling.threshold
        self._otherwise = Decision.RECORD_ONLY if sampling.decides_late else Decision.DROP

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Sample, or record so that the end can decide, or drop."""
        state = trace.get_current_span(parent_context).get_span_context().trace_state
        if randomness(trace_id, state) >= self._threshold:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, with_threshold(state, self._threshold))
        return SamplingResult(self._otherwise, attributes, with_threshold(state, None) if state else state)

    def get_description(self) -> str:
        """Name, and the share that is kept."""
        return f"ConsistentSampler{{{1 / weight(self._threshold):g}}}"


class SwitchedSampler(Sampler):
    """The sampler of a provider of our own, which outlives `init` and `shutdown`: each `init` may set another."""

    def __init__(self, default: Sampler) -> None:
        self._default = default
        self.current = default

    def use(self, sampling: Sampling | None) -> None:
        """Sample so from now on; None means as the environment says."""
        self.current = self._default if sampling is None else ConsistentSampler(sampling)

    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        """As the current one."""
        return self.current.should_sample(*arguments, **named)

    def get_description(self) -> str:
        """As the current one."""
        return self.current.get_description()


def _members(state: TraceState) -> list[str]:
    text = state.get(_VENDOR)
    return text.split(";") if text else []


@lru_cache(maxsize=64)
def _bare(threshold: int | None) -> TraceState:
    return TraceState() if threshold is None else TraceState([(_VENDOR, f"th:{_digits(threshold)}")])


def _digits(threshold: int) -> str:
    return f"{threshold:0{_DIGITS}x}".rstrip("0") or "0"


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"monitor.init: {name} must be a number, got {value!r}.")
    return float(value)
