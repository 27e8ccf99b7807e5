"""Which scheduled jobs run, and how often."""

from __future__ import annotations

from pydantic import Field

from monitor.settings.section import Section


class JobSettings(Section):
    intervals: dict[str, str] = Field(
        {}, description="From one run of a job to the next, where it is not the job's own: `name: 30s` (s, m, h, d)."
    )
    off: list[str] = Field(
        [], description="Jobs that do not run by themselves; `monitor jobs run NAME` still runs them."
    )
    parallel: int = Field(4, ge=1, le=64, description="Jobs that one process runs at once.")
    lease_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="Time without a sign of life after which another process takes over a job (ClickHouse server only).",
    )
