"""What the jobs `drift` and `bias` look at, how often, and what counts as enough."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from monitor.settings.section import Section

_DURATION = r"^[1-9]\d{0,5}[mhdw]$"
_SHORT = r"^[1-9]\d{0,5}[smhd]$"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
WEEK_S = 604800


def seconds_of(duration: str) -> int:
    """Seconds of a number and a unit, such as 1h."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


class DriftSettings(Section):
    features: list[str] = Field(
        [],
        description="What is looked at, such as output_tokens, finish_reason, cohort.language or score.NAME; empty: all that"
        " `docs/drift.md` lists, and prompt and completion where they are captured.",
    )
    off: list[str] = Field([], description="What is not looked at.")
    reference: Literal["seasonal", "previous", "pinned"] = Field(
        "seasonal",
        description="What a window is held against. `seasonal`: the same hours of the last four weeks (in the first week: of the"
        " days before); `previous`: the time before it, of length `rolling`; `pinned`: `pinned_start` to `pinned_end`.",
    )
    pinned_start: datetime | None = Field(
        None, description="Start of the pinned reference, such as 2026-11-02T00:00Z; UTC if no zone is given."
    )
    pinned_end: datetime | None = Field(None, description="Its end.")
    rolling: str = Field("7d", pattern=_DURATION, description="Length of the reference `previous`.")
    window: str = Field(
        "1h",
        pattern=_DURATION,
        description="Length of what is judged at once; one look at each. Longer where an hour has too few calls; a day or a week"
        " must be a multiple of it.",
    )
    lateness: str = Field(
        "5m",
        pattern=_SHORT,
        description="How long the last calls of a window take to arrive; it is looked at so long after its end.",
    )
    min_n: int = Field(100, ge=20, description="Calls of both sides below which there is no verdict.")
    split: list[Literal["service", "model"]] = Field(
        ["service"],
        description="Each service, or model, or pair of both, is looked at by itself; empty: all calls together.",
    )
    groups_max: int = Field(20, ge=1, le=200, description="Of these the most frequent, at most.")
    method: Literal["jensen_shannon", "psi", "chi_square", "total_variation"] = Field(
        "jensen_shannon", description="Effect size."
    )
    threshold: float | None = Field(
        None, gt=0, description="Effect that matters, instead of the method's own (0.1; PSI: 0.2)."
    )
    text_threshold: float = Field(
        0.6,
        ge=0.5,
        lt=1,
        description="The same for texts: how well a classifier tells the two sides apart; 0.5 is not at all.",
    )
    false_discovery_rate: float = Field(
        0.05,
        gt=0,
        le=0.5,
        description="Share of false ones among the drifts that are told, over all features and all looks; and chance that there"
        " is any while nothing changes.",
    )
    history: str = Field(
        "28d", pattern=_DURATION, description="How far back the first look reaches, and bins of values are made from."
    )
    performance_window: str = Field(
        "1d", pattern=_DURATION, description="The same as `window`, for changes of accuracy and of the judge."
    )
    performance_tolerance: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Change of accuracy, or of a judge's agreement with people, that does not matter yet.",
    )

    @field_validator("pinned_start", "pinned_end")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    @model_validator(mode="after")
    def _complete(self) -> DriftSettings:
        if self.reference == "pinned" and (self.pinned_start is None or self.pinned_end is None):
            raise ValueError("has the reference `pinned`; give `pinned_start` and `pinned_end`")
        if self.pinned_start and self.pinned_end and self.pinned_end <= self.pinned_start:
            raise ValueError("has a `pinned_end` that is not after `pinned_start`")
        if WEEK_S % seconds_of(self.window) or (seconds_of(self.window) < 86400 and 86400 % seconds_of(self.window)):
            raise ValueError(
                f"has a `window` of {self.window}, which does not divide a week (and a day); such as 1h, 6h, 1d"
            )
        return self


class CohortSettings(Section):
    keys: list[str] = Field(
        [],
        description="Cohorts that are compared, such as language; empty: all that calls carry (the ten most frequent).",
    )
    together: list[list[str]] = Field([], description="Cohorts that are also compared in combination.")
    off: list[str] = Field([], description="Cohorts that are not compared.")
    outcomes: list[str] = Field(
        ["error", "refusal", "latency", "correct", "thumbs_up"],
        description="What is compared: error, refusal, latency, ttft, correct, thumbs_up, and score.NAME (mean of an evaluation).",
    )
    windows: list[Annotated[str, Field(pattern=_DURATION)]] = Field(
        ["1h", "6h", "1d"],
        min_length=1,
        description="Lengths of what each look is over: short ones find large gaps soon, long ones small gaps and small groups.",
    )
    every: str = Field(
        "1h",
        pattern=_DURATION,
        description="From one look to the next; the more often, the wider the intervals that verdicts are by.",
    )
    lateness: str = Field("5m", pattern=_SHORT, description="As in `drift`.")
    tolerance: float = Field(0.05, ge=0, description="Largest gap of a share that is no cause for alarm, in points.")
    tolerances: dict[str, float] = Field(
        {"latency": 0.5, "ttft": 0.2}, description="The same by outcome, in its unit (seconds, points of the score)."
    )
    ratio_tolerance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Smallest ratio of the lowest to the highest group that is none; 0: ratios alarm never.",
    )
    min_n: int = Field(30, ge=2, description="Calls of a group below which it is not judged.")
    split: list[Literal["service", "model"]] = Field(
        [], description="Each service, or model, or pair of both, is judged by itself; empty: all calls together."
    )
    groups_max: int = Field(20, ge=1, le=200, description="Of these the most frequent, at most.")
    false_discovery_rate: float = Field(
        0.05, gt=0, le=0.5, description="Chance of any false alarm in thirty days of looks, over all gaps together."
    )
