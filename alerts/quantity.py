"""Numbers that people write into rules, in the unit of the KPI that they are held against."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from monitor.errors import BadInput
from monitor.kpis import KpiValue
from monitor.kpis.kpi import Kpi
from monitor.kpis.render import value_text

_TEXT: Final = re.compile(r"\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([^\s\d].*?)?\s*")
_TIMES: Final = {
    "s": 1.0,
    "sec": 1.0,
    "ms": 1e-3,
    "µs": 1e-6,
    "us": 1e-6,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_SHARES: Final = {"%": 0.01}
_WHAT: Final = {"s": "a time in seconds", "1": "a share"}
_HOW: Final = {"s": "write 0.5 or 500 ms", "1": "write 0.4 or 40 %"}
# Shares of which more than 1, or less than 0, is possible.
_MORE_THAN_ALL: Final = ("cost.budget_used", "fleet.imbalance", "drift.", "bias.")
_LESS_THAN_NONE: Final = (".error_budget", "drift.", "bias.")


def read_amount(given: float | str, kpi: Kpi) -> float:
    """The number in the KPI's own unit.

    Raises
    ------
    BadInput
        If it is no number, or its unit is that of something else.
    """
    if isinstance(given, str):
        match = _TEXT.fullmatch(given)
        if match is None:
            raise BadInput(f"`{given}` is no number; {_advice(kpi)}")
        number = float(match[1]) * _factor(match[2] or "", given, kpi)
    else:
        number = float(given)
    if not math.isfinite(number):
        raise BadInput(f"`{given}` is no finite number; {_advice(kpi)}")
    return number


def read_share(given: float | str) -> float:
    """A relative change: `0.2` or `20 %`.

    Raises
    ------
    BadInput
        If it is neither.
    """
    match = _TEXT.fullmatch(given) if isinstance(given, str) else None
    if isinstance(given, str) and (match is None or (match[2] or "") not in ("", "%")):
        raise BadInput(f"`{given}` is no share; write 0.2 or 20 %")
    number = float(given) if match is None else float(match[1]) * (0.01 if match[2] else 1.0)
    if not 0 < number < math.inf:
        raise BadInput(f"`{given}` is no change; it must be more than 0")
    return number


def bounds(kpi: Kpi) -> tuple[float, float]:
    """Least and greatest value that the KPI can have."""
    low = -math.inf if _named(kpi, _LESS_THAN_NONE) else 0.0
    high = 1.0 if kpi.unit == "1" and not _named(kpi, _MORE_THAN_ALL) else math.inf
    return low, high


def amount_text(number: float | None, unit: str) -> str:
    """As values of that unit are written everywhere: `500.0 ms`, `40.00 %`; without zeros at the end."""
    value = KpiValue(name="", unit=unit, value=number, low=None, high=None, n=0, start=_NEVER, end=_NEVER, method="")
    number_text, space, suffix = value_text(value).partition(" ")
    return f"{_shorter(number_text)}{space}{suffix}"


_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


def duration_text(seconds: float) -> str:
    """`5m`, `1h30m`, `45s`."""
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        count, seconds = divmod(seconds, size)
        parts.append(f"{count:.0f}{unit}" if count else "")
    return "".join([*parts, f"{seconds:g}s" if seconds else ""]) or "0s"


def _shorter(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _factor(suffix: str, given: str, kpi: Kpi) -> float:
    units: Mapping[str, float] = {"s": _TIMES, "1": _SHARES}.get(kpi.unit, {})
    if suffix in ("", kpi.unit) or suffix.rstrip("s") == kpi.unit:
        return 1.0
    if suffix in units:
        return units[suffix]
    what = _WHAT.get(kpi.unit, f"in {kpi.unit}")
    raise BadInput(f"`{given}` does not fit: {kpi.name} is {what}; {_advice(kpi)}")


def _advice(kpi: Kpi) -> str:
    return _HOW.get(kpi.unit, f"write the number alone, in {kpi.unit}")


def _named(kpi: Kpi, parts: tuple[str, ...]) -> bool:
    return any(kpi.name.startswith(part) or kpi.name.endswith(part) for part in parts)
