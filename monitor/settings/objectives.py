"""What the service promises its users: objectives that are measured as a share of calls."""

from __future__ import annotations

import difflib
import math
import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from monitor.settings.section import Section

# What a filter of an objective may name: the dimensions of calls, as in `monitor.kpis.dimensions` (a test compares).
WHERE_KEYS: Final = (
    "service", "environment", "deployment", "pricing", "region", "node", "gpu", "provider", "model", "variant",
    "release", "experiment", "arm", "operation", "role", "stream", "finish_reason", "error_type", "cancelled", "dialect",
    "simulated",
)  # fmt: skip
PERIOD_DAYS_MAX: Final = 366
# `objective.goodput…` are KPIs of their own.
_RESERVED: Final = "goodput"
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_PERIOD: Final = re.compile(r"(\d{1,4})([dw])")

Kind = Literal["latency", "error", "accuracy", "safety", "cost"]
Latency = Literal["ttft", "tpot", "e2e", "queue", "prefill", "decode"]

# Kind -> keys that it must have, and keys that it may have.
_KEYS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "latency": (("latency", "threshold_s"), ()),
    "error": ((), ()),
    "accuracy": (("evaluation",), ("labels", "score_from", "sources")),
    "safety": ((), ()),
    "cost": (("ceiling_usd",), ()),
}
_OF_A_KIND: Final = ("latency", "threshold_s", "evaluation", "labels", "score_from", "sources", "ceiling_usd")


class ObjectiveSettings(Section):
    name: str = Field(
        description="Name of the objective: small letters, digits, `-` and `_`. Its KPIs are `objective.<name>.…`."
    )
    kind: Kind = Field(
        description="What makes a call good. `latency`: faster than a threshold; `error`: it did not fail; `accuracy`:"
        " judged to be right; `safety`: moderated, and not flagged; `cost`: no dearer than a ceiling."
    )
    target: float = Field(description="Share of calls that must be good, between 0 and 1, such as 0.99 for 99 %.")
    period: str = Field(
        "30d", description="Days or weeks over which the error budget is reckoned, such as 7d, 28d or 4w."
    )
    where: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(
        {}, description="Which calls it is about: dimension -> values (any of them). Empty: all calls."
    )
    description: str = Field("", description="One sentence for people, shown beside the numbers.")
    latency: Latency | None = Field(
        None, description="`latency` alone: which one, of ttft, tpot, e2e, queue, prefill and decode."
    )
    threshold_s: float | None = Field(
        None, description="`latency` alone: a good call takes at most so long, in seconds."
    )
    evaluation: str = Field("", description="`accuracy` alone: name of the evaluation, such as `correct`.")
    labels: list[str] = Field([], description="`accuracy` alone: labels that make a call good; this or `score_from`.")
    score_from: float | None = Field(None, description="`accuracy` alone: least score that makes a call good.")
    sources: list[str] = Field(
        [],
        description="`accuracy` alone: whose judgement counts, of ground_truth, human, user, judge, probe. Empty: all.",
    )
    ceiling_usd: float | None = Field(
        None, description="`cost` alone: a good call costs at most so much, in US dollars."
    )

    @field_validator("name")
    @classmethod
    def _speakable(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(f"{value!r} must be small letters, digits, `-` and `_`, and begin with a letter")
        if value.startswith(_RESERVED):
            raise ValueError(f"{value!r} would be taken for the KPI `objective.goodput`; choose another")
        return value

    @field_validator("target")
    @classmethod
    def _reachable(cls, value: float) -> float:
        if 1 < value < 100:
            raise ValueError(f"{value:g} is no share; write {value / 100:g} for {value:g} %")
        if not 0 < value < 1:
            raise ValueError(
                f"{value:g} must lie between 0 and 1, both excluded: at 1 there is no budget for a single error"
            )
        return value

    @field_validator("period")
    @classmethod
    def _whole_days(cls, value: str) -> str:
        if not 1 <= period_days(value) <= PERIOD_DAYS_MAX:
            raise ValueError(f"{value!r} must be 1 to {PERIOD_DAYS_MAX} whole days or weeks, such as 7d, 28d or 4w")
        return value

    @field_validator("labels", mode="before")
    @classmethod
    def _quoted(cls, value: Any) -> Any:
        if isinstance(value, list) and any(isinstance(one, bool) for one in value):
            raise ValueError("YAML reads true and false as truth values; put labels in quotes")
        return value

    @field_validator("where", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        """One value may stand without brackets; true and false are what YAML made of the texts."""
        if not isinstance(value, dict):
            return value
        return {
            key: [_text(one) for one in (given if isinstance(given, list) else [given])] for key, given in value.items()
        }

    @field_validator("where")
    @classmethod
    def _dimensions(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for key in value:
            if key not in WHERE_KEYS:
                near = difflib.get_close_matches(key, WHERE_KEYS, n=1, cutoff=0.5)
                advice = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(WHERE_KEYS)}"
                raise ValueError(f"there is no dimension `{key}`; {advice}")
        for key in ("stream", "cancelled", "simulated"):
            if wrong := [one for one in value.get(key, []) if one not in ("true", "false", "")]:
                raise ValueError(f"{key} is true, false or empty (unknown), not {wrong[0]!r}")
        return value

    @model_validator(mode="after")
    def _of_its_kind(self) -> ObjectiveSettings:
        required, allowed = _KEYS[self.kind]
        given = [key for key in _OF_A_KIND if getattr(self, key) not in (None, "", [])]
        for key in required:
            if key not in given:
                raise ValueError(f"an objective of the kind {self.kind} needs `{key}`")
        for key in given:
            if key not in required and key not in allowed:
                raise ValueError(f"an objective of the kind {self.kind} has no use for `{key}`; leave it out")
        for key in ("threshold_s", "ceiling_usd"):
            number = getattr(self, key)
            if number is not None and not 0 < number < math.inf:
                raise ValueError(f"`{key}` is {number:g}, which no call can keep; it must be more than 0")
        if self.kind == "accuracy" and bool(self.labels) == (self.score_from is not None):
            raise ValueError("an objective of the kind accuracy needs `labels` or `score_from`, one of the two")
        if self.score_from is not None and not math.isfinite(self.score_from):
            raise ValueError("`score_from` must be a finite number")
        return self


def period_days(text: str) -> int:
    """Days of a period such as `30d` or `4w`; 0 if it is none."""
    match = _PERIOD.fullmatch(text)
    return 0 if match is None else int(match[1]) * (7 if match[2] == "w" else 1)


def refuse_twins(objectives: list[ObjectiveSettings]) -> list[ObjectiveSettings]:
    """Raise `ValueError` if two have one name."""
    names = [objective.name for objective in objectives]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"two objectives have the name `{twins[0]}`; give each its own")
    return objectives


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value
