"""Numbers of messages: three digits that count, in the unit that suits; an interval in the unit of its value."""

from __future__ import annotations

import math
from typing import Final

_SECONDS: Final = ((86400.0, "d"), (3600.0, "h"), (120.0, "min"), (1.0, "s"), (1e-3, "ms"), (0.0, "µs"))
_SIZES: Final = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6}
# Whole numbers of what the KPI's name says already.
_COUNTED: Final = ("call", "token", "user", "session", "node", "label", "feature", "gap")


def number_text(value: float, unit: str, *, low: float | None = None, high: float | None = None) -> str:
    """`870 ms`, `3.2 %`, `19,366`; with its interval `870 ms (95 %: 812 to 931)`."""
    factor, suffix = _scale(value, unit)
    text = f"{_digits(value * factor)}{suffix}"
    if low is None and high is None:
        return text
    if high is None:
        return f"{text} (95 %: at least {_digits((low or 0.0) * factor)})"
    if low is None:
        return f"{text} (95 %: at most {_digits(high * factor)})"
    return f"{text} (95 %: {_digits(low * factor)} to {_digits(high * factor)})"


def _scale(value: float, unit: str) -> tuple[float, str]:
    if unit == "1":
        return 100.0, " %"
    if unit == "s":
        name = next((name for least, name in _SECONDS if abs(value) >= least), "s") if value else "s"
        return 1 / _SIZES[name], f" {name}"
    return 1.0, "" if unit in _COUNTED or not unit else f" {unit}"


def _digits(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1e}"
