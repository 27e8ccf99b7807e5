"""`traffic.`: how much is asked of the models, and how much of it fails."""

from __future__ import annotations

from typing import Final

from monitor.kpis.estimators import Completeness, Measure, Rate, Share, Total
from monitor.kpis.kpi import Kpi

_ALL = Measure(name="all", value="1")
_ERRORS = Measure(name="errors", value="1", among="error_type != ''")
_CANCELLED = Measure(name="cancelled_calls", value="1", among="cancelled")
_INPUT = Measure(name="input_tokens_known", value="input_tokens", missing="reported its input tokens")
_OUTPUT = Measure(name="output_tokens_known", value="output_tokens", missing="reported its output tokens")

KPIS: Final = (
    Kpi(
        name="traffic.requests",
        unit="call",
        meaning="Model calls begun in the window, sampled away ones included.",
        formula="Σ sample_weight",
        better=None,
        source="calls",
        estimator=Total(of=_ALL),
        empty=0.0,
    ),
    Kpi(
        name="traffic.request_rate",
        unit="call/s",
        meaning="Model calls begun per second of the window.",
        formula="traffic.requests / seconds of the window",
        better=None,
        source="calls",
        estimator=Rate(of=_ALL),
        empty=0.0,
    ),
    Kpi(
        name="traffic.input_tokens",
        unit="token",
        meaning="Tokens read by the models, cached ones included. Calls that do not report them are not in it.",
        formula="Σ sample_weight · input_tokens",
        better=None,
        source="calls",
        estimator=Total(of=_INPUT),
        empty=0.0,
    ),
    Kpi(
        name="traffic.output_tokens",
        unit="token",
        meaning="Tokens written by the models. Calls that do not report them are not in it.",
        formula="Σ sample_weight · output_tokens",
        better=None,
        source="calls",
        estimator=Total(of=_OUTPUT),
        empty=0.0,
    ),
    Kpi(
        name="traffic.token_rate",
        unit="token/s",
        meaning="Output tokens per second of the window: what serving benchmarks call output throughput.",
        formula="traffic.output_tokens / seconds of the window",
        better=None,
        source="calls",
        estimator=Rate(of=_OUTPUT),
        empty=0.0,
    ),
    Kpi(
        name="traffic.errors",
        unit="call",
        meaning="Calls that failed. A call that its user broke off is no error, unless it says so itself.",
        formula="Σ sample_weight where error_type is not empty",
        better="lower",
        source="calls",
        estimator=Total(of=_ERRORS),
        empty=0.0,
    ),
    Kpi(
        name="traffic.error_rate",
        unit="1",
        meaning="Share of calls that failed.",
        formula="traffic.errors / traffic.requests",
        better="lower",
        source="calls",
        estimator=Share(hit=_ERRORS),
    ),
    Kpi(
        name="traffic.cancelled_rate",
        unit="1",
        meaning="Share of calls whose user or client broke them off.",
        formula="Σ sample_weight where cancelled / traffic.requests",
        better="lower",
        source="calls",
        estimator=Share(hit=_CANCELLED),
    ),
    Kpi(
        name="traffic.completeness",
        unit="1",
        meaning=(
            "Share of the calls reported by our SDK that arrived. The SDK numbers the calls of each emitter (a process); a"
            " gap is a loss. The loss of an emitter's very last calls shows only once it sends another. Split or filtered,"
            " it is that of the emitters which sent such calls: of a lost call nobody knows what it was."
        ),
        formula=(
            "Σ distinct seq stored / Σ (max seq − min seq + 1), over emitters; the highest and lowest seq are those of"
            " the calls begun in the window"
        ),
        better="higher",
        source="numbered",
        estimator=Completeness(),
    ),
)
