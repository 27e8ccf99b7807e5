"""Alert rules: what is to be told, and when.

The shape of a rule is said here; what a KPI, a unit or a template makes of it is checked by `alerts.rules`, in the same way
for rules of this file and for those that are made in the dashboard.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator

from monitor.errors import ConfigError
from monitor.settings.section import Section

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_LABEL: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")

# A number in the KPI's own unit, or a text with a unit, such as `500 ms` or `40 %`.
Amount = float | str
# Keys of which a rule has exactly one: what it watches for.
CONDITIONS: Final = ("above", "below", "outside", "change", "anomaly", "absent", "objective", "health", "always")


class ChangeSettings(Section):
    against: Literal["last_week", "yesterday", "previous"] = Field(
        "last_week",
        description="What the window is compared with: the same time a week or a day before, or the window just before it.",
    )
    direction: Literal["worse", "up", "down", "any"] = Field(
        "worse", description="Which way counts; `worse` is as the KPI says."
    )
    relative: Amount | None = Field(None, description="Least change, as a share of what was before, such as 20 %.")
    absolute: Amount | None = Field(None, description="Least change in the KPI's unit, such as 100 ms.")
    apart: bool = Field(
        True, description="Whether both 95 % intervals must lie apart, so that chance alone does not fire."
    )


class AnomalySettings(Section):
    season: Literal["day", "week"] = Field(
        "day", description="What repeats: the window is compared with the same time of earlier days, or weeks."
    )
    history: int = Field(14, ge=2, le=60, description="How many days or weeks are looked at.")
    least_history: int = Field(5, ge=2, le=60, description="Below so many of them with data, nothing is judged.")
    limit: float = Field(
        5.0, gt=0, le=100, description="Distance from their median that fires, in robust standard deviations."
    )
    direction: Literal["worse", "up", "down", "any"] = Field("any", description="Which way counts.")


class AbsentSettings(Section):
    within: str = Field("24h", description="A group is expected if it was seen in the time of this length.")
    expected: float = Field(
        0.0,
        ge=0,
        description="Fires only if the group's share of what came meanwhile makes so many calls; 0: whatever came.",
    )


class AlertRule(Section):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, populate_by_name=True)

    name: str = Field(description="Name of the rule: letters, digits, `-`, `_` and `.`.")
    enabled: bool = Field(True, description="Whether it is evaluated.")
    kpi: str = Field("", description="What is measured, as in `monitor kpi`.")
    where: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(
        {}, description="Which calls it is about: dimension -> values (any of them). Empty: all."
    )
    by: list[str] = Field([], description="Dimensions; each group of them is an alert of its own. At most three.")
    window: str = Field("", description="Time that a value is over; empty: 5m, or as the kind of rule says.")
    above: Amount | None = Field(None, description="Fires above it: a number in the KPI's unit, or `500 ms`, `40 %`.")
    below: Amount | None = Field(None, description="Fires below it.")
    outside: list[Amount] | None = Field(None, description="Fires outside of the two.")
    change: ChangeSettings | None = Field(None, description="Fires when it changed: see below.")
    anomaly: AnomalySettings | None = Field(
        None, description="Fires when it is unlike the same time before: see below."
    )
    absent: AbsentSettings | None = Field(None, description="Fires when a group that was there is silent: see below.")
    objective: str = Field(
        "", description="Fires when the error budget of this objective burns too fast; `*`: of each objective."
    )
    health: Literal["", "jobs", "rules", "notifications"] = Field(
        "", description="Fires when Inference Monitor itself fails: its jobs, alert rules or notifications."
    )
    always: bool = Field(False, description="Fires always: for a receiver that tells when it hears nothing.")
    recover: Amount | list[Amount] | None = Field(
        None, description="The alert ends only beyond it, on the good side of the threshold."
    )
    for_: str = Field("", alias="for", description="It must hold for so long before it fires; empty: at once.")
    keep_firing_for: str = Field("", description="It must be over for so long before the alert ends; empty: at once.")
    min_samples: int | None = Field(None, ge=0, description="Below so many calls in the window nothing is judged.")
    confident: bool = Field(
        False, description="Whether the whole 95 % interval must lie beyond the threshold, not the value alone."
    )
    severity: Literal["page", "ticket", "info"] = Field("ticket", description="How urgent it is: page, ticket or info.")
    receivers: list[str] = Field([], description="Who is told, beside what the routes say.")
    runbook: str = Field("", description="Address of a page that says what to do.")
    labels: dict[str, str] = Field(
        {}, description="More labels, for routes, silences and inhibition; `{{ node }}` is the group's node."
    )
    annotations: dict[str, str] = Field(
        {}, description="Texts for the message, such as `summary`; they may also use `value`, `threshold` and `n`."
    )
    no_data: Literal["ok", "alert", "keep"] = Field(
        "ok", description="When there is no data at all: `ok` ends alerts, `alert` fires, `keep` leaves all as it is."
    )
    error: Literal["keep", "alert", "ok"] = Field(
        "keep",
        description="When the rule cannot be evaluated: `keep` leaves all as it is, `alert` fires, `ok` ends alerts.",
    )

    @field_validator("name")
    @classmethod
    def _speakable(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(
                f"{value!r} must be letters, digits, `-`, `_` and `.`, begin with a letter or digit, and have at most 100"
            )
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

    @field_validator("by", "receivers", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("absent", "anomaly", mode="before")
    @classmethod
    def _simply(cls, value: Any) -> Any:
        """`absent: true` is the same with what is usual."""
        return {} if value is True else None if value is False else value

    @field_validator("outside")
    @classmethod
    def _two(cls, value: list[Amount] | None) -> list[Amount] | None:
        if value is not None and len(value) != 2:
            raise ValueError(f"needs the lower and the upper bound, such as [0.2, 0.8], not {len(value)} values")
        return value

    @field_validator("labels")
    @classmethod
    def _label_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _LABEL.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a label; it has small letters, digits and `_` alone")
            if name in ("alertname", "severity"):
                raise ValueError(f"the label `{name}` is made of the rule's own; choose another")
        return value

    @field_validator("receivers", "runbook")
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        for text in [value] if isinstance(value, str) else value:
            if _CONTROL.search(text):
                raise ValueError(f"{text!r} holds a line break or another control character")
        return value

    def definition(self) -> dict[str, Any]:
        """What was set, as plain data: that of the file again."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class AlertingSettings(Section):
    defaults: bool = Field(True, description="Whether the rules that come with Inference Monitor are evaluated.")
    lateness: str = Field(
        "10s", description="How long calls take to arrive: windows end so long ago, so that they are complete."
    )
    groups_max: int = Field(1000, ge=1, le=100_000, description="Groups of one rule that are looked at, largest first.")


def refuse_twin_rules(rules: list[AlertRule]) -> list[AlertRule]:
    """Raise `ValueError` if two have one name."""
    names = [rule.name for rule in rules]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"two rules have the name `{twins[0]}`; give each its own")
    return rules


class RuleShapeError(ConfigError):
    """A rule with a key that cannot be as it is; `key` names it."""

    def __init__(self, text: str, key: str) -> None:
        super().__init__(text)
        self.key = key


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


def read_rule(given: dict[str, Any]) -> AlertRule:
    """A rule from plain data, wherever it comes from.

    Raises
    ------
    ConfigError
        Naming the key, what came and what was wanted.
    """
    if not isinstance(given, dict):
        raise ConfigError(f"an alert rule is a section of keys, not {given!r}")
    _refuse_unknown(given, AlertRule, "")
    for key, kind in (("change", ChangeSettings), ("anomaly", AnomalySettings), ("absent", AbsentSettings)):
        if isinstance(given.get(key), dict):
            _refuse_unknown(given[key], kind, f"{key}.")
    try:
        return AlertRule.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        text = f"alert rule `{given.get('name', '')}`: `{key}`: {said[:1].lower()}{said[1:]}"
        raise RuleShapeError(text, key.partition(".")[0]) from None


def _refuse_unknown(given: dict[str, Any], kind: type[Section], front: str) -> None:
    known = [field.alias or name for name, field in kind.model_fields.items()]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            advice = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            raise RuleShapeError(f"an alert rule has no key `{front}{key}`; {advice}", str(key))
