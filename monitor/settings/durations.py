"""Lengths of time in the configuration: `30s`, `5m`, `4h`, `1h30m`; here since settings import nothing of ours."""

from __future__ import annotations

import re
from typing import Final

_UNITS_S: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def seconds_of(text: str) -> float:
    """Seconds of a duration; `0s` is none at all.

    Raises
    ------
    ValueError
        If it is no duration.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"`{text}` is no duration; write a number and a unit, such as 30s, 5m, 4h or 1h30m")
    return float(sum(float(number) * _UNITS_S[unit] for number, unit in parts))
