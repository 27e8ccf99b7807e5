"""What is watched for drift, and which looks there are: windows of one length, one after the other, since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from monitor.kpis import Window
from monitor.stats.drift import ALPHA, DEFAULT

DAY_S: Final = 86400
WEEK_S: Final = 7 * DAY_S
SEASONS: Final = 4  # weeks whose like hours are the seasonal reference
# Weeks are counted from a Monday: 1970 began on a Thursday.
_MONDAY_S: Final = 4 * DAY_S


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is watched, as configured.

    Parameters
    ----------
    features, off : tuple of str
        Which features, none meaning `STANDARD` and what cohorts, scores and texts there are; and which not.
    reference : {"seasonal", "previous", "pinned"}
    pinned : Window, optional
    rolling_s, window_s, history_s, performance_s, grace_s : int
        Lengths in seconds; the last is how long the last calls of a window take to arrive.
    rows_min, groups_max : int
    split : tuple of str
        Of `service` and `model`.
    method : str
        Effect size, on bins.
    threshold : float, optional
    text_threshold, performance_tolerance : float
    alpha : float
        Over all features, groups and looks.
    where : mapping
        Checked filter.
    """

    features: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    reference: Literal["seasonal", "previous", "pinned"] = "seasonal"
    pinned: Window | None = None
    rolling_s: int = WEEK_S
    window_s: int = 3600
    history_s: int = 28 * DAY_S
    performance_s: int = DAY_S
    grace_s: int = 300
    rows_min: int = 100
    groups_max: int = 20
    split: tuple[str, ...] = ("service",)
    method: str = DEFAULT
    threshold: float | None = None
    text_threshold: float = 0.6
    performance_tolerance: float = 0.05
    alpha: float = ALPHA
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def setup(self) -> str:
        """Names what the looks have in common; those of another setup say nothing of what is to come."""
        pinned = "" if self.pinned is None else f" {self.pinned.start:%Y%m%dT%H%M%S}/{self.pinned.end:%Y%m%dT%H%M%S}"
        kept = "".join(f" {key}={','.join(values)}" for key, values in sorted(self.where.items()))
        return f"{self.reference}{pinned if self.reference == 'pinned' else ''} {self.window_s}s{kept}"

    def watches(self, feature: str) -> bool:
        """Whether it is looked at, should calls have it."""
        return feature not in self.off and feature not in self.split and (not self.features or feature in self.features)

    def week_slot(self, start_s: int) -> int:
        """Which hour of the week, if windows are hours."""
        return (start_s - _MONDAY_S) % WEEK_S // self.window_s

    def day_slot(self, start_s: int) -> int:
        return start_s % DAY_S // self.window_s


def last_end(now: datetime, length_s: int, grace_s: int) -> int:
    """End of the newest window that is over for so long, in Unix seconds. Windows of a week begin on Mondays."""
    shift = _MONDAY_S if length_s > DAY_S else 0
    return int(now.timestamp() - grace_s - shift) // length_s * length_s + shift


def window_of(start_s: int, length_s: int) -> Window:
    return Window(datetime.fromtimestamp(start_s, UTC), datetime.fromtimestamp(start_s + length_s, UTC))
