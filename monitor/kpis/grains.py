"""The grains of rollups, and the columns that tell their rows apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEYS: Final = (
    "service", "environment", "deployment", "region", "node", "provider", "model", "variant", "release",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Grain:
    """One rollup table: rows of periods of so many seconds."""

    name: str
    seconds: int
    partition: str

    @property
    def table(self) -> str:
        return f"inferences_{self.name}"

    def floor(self, seconds: int) -> int:
        """Begin of the period that this moment (Unix seconds) lies in."""
        return seconds // self.seconds * self.seconds

    def ceil(self, seconds: int) -> int:
        return -(-seconds // self.seconds) * self.seconds


MINUTE: Final = Grain(name="1m", seconds=60, partition="toDate(period)")
HOUR: Final = Grain(name="1h", seconds=3600, partition="toYYYYMM(period)")
DAY: Final = Grain(name="1d", seconds=86400, partition="toYear(period)")
GRAINS: Final = (MINUTE, HOUR, DAY)
