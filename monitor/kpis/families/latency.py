"""`latency.`: how long callers wait, and for what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from monitor.kpis.estimators import Mean, Measure, Quantile
from monitor.kpis.kpi import Kpi

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


KPIS: Final = tuple(kpi for latency in _LATENCIES for kpi in _latency(*latency))
