"""Stretches of time: half-open, in UTC, exact to the nanosecond in the store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from monitor.errors import BadInput

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """`30s`, `5m`, `1h`, `30d`, `2w`, `1h30m` as a length of time.

    Raises
    ------
    BadInput
        If the text is no duration, or not longer than zero.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadInput(f"`{text}` is no duration; write a number and a unit, such as 30s, 5m, 1h, 30d or 1h30m")
    try:
        length = timedelta(seconds=sum(float(number) * _UNITS_S[unit] for number, unit in parts))
    except OverflowError:
        raise BadInput(f"the duration `{text}` is too long; the longest useful one is that of the store") from None
    if not length:
        raise BadInput(f"the duration `{text}` is zero; it must be longer")
    return length


@dataclass(frozen=True)
class Window:
    """The time from `start` up to, and without, `end`.

    Parameters
    ----------
    start, end : datetime
        With a time zone; kept in UTC.

    Raises
    ------
    BadInput
        If a time zone is missing, or the window does not end after its start.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            moment: datetime = getattr(self, name)
            if moment.tzinfo is None:
                raise BadInput(f"the window's {name} {moment.isoformat()} has no time zone; give one, such as Z")
            object.__setattr__(self, name, moment.astimezone(UTC))
        if self.end <= self.start:
            raise BadInput(
                f"the window must end after its start {self.start.isoformat()}, not at {self.end.isoformat()}"
            )

    @classmethod
    def last(cls, duration: str | timedelta, *, now: datetime | None = None) -> Window:
        """The stretch of this length that ends now."""
        length = parse_duration(duration) if isinstance(duration, str) else duration
        end = datetime.now(UTC) if now is None else now
        try:
            return cls(end - length, end)
        except OverflowError:
            raise BadInput(f"the duration `{duration}` reaches back before the year 1; give a shorter one") from None

    @property
    def start_ns(self) -> int:
        return _nanoseconds(self.start)

    @property
    def end_ns(self) -> int:
        return _nanoseconds(self.end)

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


def _nanoseconds(moment: datetime) -> int:
    # Whole-number arithmetic: a float of seconds since 1970 has no room for nanoseconds.
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
