"""Every KPI, declared once. A new family is a new list here; `docs/kpis.md` is generated from it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from monitor.errors import BadInput
from monitor.kpis.estimators import Completeness, Mean, Measure, Quantile, Rate, Share, Total
from monitor.kpis.kpi import Kpi

_ALL = Measure(name="all", value="1")
_ERRORS = Measure(name="errors", value="1", among="error_type != ''")
_CANCELLED = Measure(name="cancelled_calls", value="1", among="cancelled")
_INPUT = Measure(name="input_tokens_known", value="input_tokens", missing="reported its input tokens")
_OUTPUT = Measure(name="output_tokens_known", value="output_tokens", missing="reported its output tokens")

_TRAFFIC: Final = (
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

_NO_ERROR = "error_type = ''"
_WHOLE = f"{_NO_ERROR} AND NOT cancelled"
_MISSING = "has it (without an error)"

# Column, meaning, which calls, and those calls in words.
_LATENCIES: Final = (
    ("ttft", "ttft_s", "Time from the request to the first token", _NO_ERROR),
    ("tpot", "tpot_s", "Time per output token after the first: (e2e − TTFT) / (output tokens − 1)", _WHOLE),
    ("e2e", "duration_s", "Time from the request to the end of the answer", _WHOLE),
    ("queue", "queue_s", "Time that the engine let the request wait", _NO_ERROR),
    ("prefill", "prefill_s", "Time in which the engine read the prompt", _NO_ERROR),
    ("decode", "decode_s", "Time in which the engine wrote the answer", _WHOLE),
)
_IN_WORDS: Final = {
    _NO_ERROR: "calls without an error, broken off ones included, that have it",
    _WHOLE: "calls without an error, and not broken off, that have it",
}
_LEVELS: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def _latency(name: str, column: str, meaning: str, among: str) -> Iterable[Kpi]:
    measure = Measure(name=name, value=column, among=among, missing=_MISSING)
    words = _IN_WORDS[among]
    for statistic, level in _LEVELS.items():
        yield Kpi(
            name=f"latency.{name}.{statistic}",
            unit="s",
            meaning=f"{meaning}: {_quantile_words(level)}.",
            formula=f"quantile {level:g} of {column}, weighted by sample_weight, over {words}",
            better="lower",
            source="calls",
            estimator=Quantile(of=measure, level=level),
        )
    yield Kpi(
        name=f"latency.{name}.mean",
        unit="s",
        meaning=f"{meaning}: the mean.",
        formula=f"Σ sample_weight · {column} / Σ sample_weight, over {words}",
        better="lower",
        source="calls",
        estimator=Mean(of=measure),
    )


def _quantile_words(level: float) -> str:
    return "half of the calls are faster" if level == 0.5 else f"{level:.0%} of the calls are faster"


REGISTRY: Final[Mapping[str, Kpi]] = MappingProxyType(
    {kpi.name: kpi for kpi in (*_TRAFFIC, *(kpi for latency in _LATENCIES for kpi in _latency(*latency)))}
)


def resolve(names: Iterable[str]) -> list[Kpi]:
    """KPIs by name, or by the front of their names: `latency`, `latency.ttft`. No name at all means all.

    Raises
    ------
    BadInput
        If nothing has such a name; the nearest one is suggested.
    """
    found: dict[str, Kpi] = {}
    wanted = list(names)
    for name in wanted:
        exact = [REGISTRY[name]] if name in REGISTRY else []
        matches = exact or [kpi for kpi in REGISTRY.values() if kpi.name.startswith(f"{name.rstrip('.')}.")]
        if not matches:
            raise BadInput(f"there is no KPI `{name}`; {_advice(name)}")
        found |= {kpi.name: kpi for kpi in matches}
    return list(found.values()) if wanted else list(REGISTRY.values())


def _advice(name: str) -> str:
    # Also try without the family: people write `ttft.p95`.
    candidates = {kpi: kpi for kpi in REGISTRY} | {kpi.partition(".")[2]: kpi for kpi in REGISTRY}
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{candidates[near[0]]}`?"
    families = sorted({kpi.family for kpi in REGISTRY.values()})
    return f"the families are {', '.join(families)}; `monitor kpi` without a name shows all"
