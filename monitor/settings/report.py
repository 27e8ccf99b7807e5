"""The weekly report: to whom, and of how long a time."""

from __future__ import annotations

from pydantic import Field, field_validator

from monitor.settings.durations import seconds_of
from monitor.settings.section import Section


class ReportSettings(Section):
    receivers: list[str] = Field(
        [], description="Receivers whose `email` gets the weekly report; empty: it is only saved in the data folder."
    )
    since: str = Field("7d", description="Time that it tells of.")

    @field_validator("since")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        seconds_of(value)
        return value
