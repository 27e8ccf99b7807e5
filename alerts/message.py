"""What is told: one message on one group, the same for every channel, as plain data that can wait in the outbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from alerts.links import page_link, silence_link
from alerts.model import Instance, Severity, State
from alerts.numbers import number_text

ALERTS_MAX: Final = 20
_RANK: Final[Mapping[str, int]] = {"page": 0, "ticket": 1, "info": 2}
_STATES: Final = {
    State.FIRING: "firing", State.RECOVERING: "firing", State.NO_DATA: "no data", State.ERROR: "cannot be evaluated",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Told:
    """One alert of a message, in words.

    Parameters
    ----------
    title : str
        Rule and group, such as `slow-first-token · model llama, node gpu-2`.
    state : str
        `firing`, `no data`, `cannot be evaluated` or `resolved`.
    summary : str
    facts : sequence of pairs
        Heading and text: the value, since when, …
    slices, changes : sequence of str
        What explains it, the most important first; what was changed shortly before.
    labels : mapping
    value, low, high, threshold, n, kpi, unit, active_at, resolved_at
        The numbers behind the words, for programs.
    runbook, link, silence_link : str
        Addresses; empty where there is none.
    """

    title: str
    state: str
    summary: str
    facts: Sequence[Sequence[str]] = ()
    slices: Sequence[str] = ()
    changes: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    kpi: str = ""
    unit: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    n: int = 0
    active_at: str = ""
    resolved_at: str = ""
    runbook: str = ""
    link: str = ""
    silence_link: str = ""


@dataclass(frozen=True, kw_only=True)
class Message:
    """All that one message says."""

    status: Literal["firing", "resolved"]
    severity: Severity
    headline: str
    alerts: Sequence[Told]
    total: int
    firing: int
    resolved: int
    link: str = ""
    footer: str = ""
    chart: str = ""  # PNG in base64
    chart_words: str = ""

    @property
    def word(self) -> str:
        """What happened, in a word."""
        return (
            "RESOLVED"
            if self.status == "resolved"
            else {"page": "PAGE", "ticket": "ALERT", "info": "NOTE"}[self.severity]
        )

    @property
    def mark(self) -> str:
        return "✅" if self.status == "resolved" else {"page": "🔴", "ticket": "🟠", "info": "🔵"}[self.severity]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What was found out about an alert beside its numbers."""

    slices: Sequence[str] = ()
    changes: Sequence[str] = ()


def from_json(values: Mapping[str, Any]) -> Message:
    told = [Told(**{**each, "facts": [tuple(fact) for fact in each["facts"]]}) for each in values["alerts"]]
    return Message(**{**values, "alerts": told})


def compose(
    *,
    firing: Sequence[Instance],
    resolved: Sequence[Instance],
    explained: Mapping[str, Explained],
    dashboard_url: str,
    now: datetime,
    footer: str = "",
) -> Message:
    """The message on these alerts, the worst first.

    Parameters
    ----------
    firing, resolved : sequence of Instance
        At least one of either.
    explained : mapping
        Fingerprint -> what explains that alert.
    dashboard_url : str
        Empty: no links.
    """
    firing = sorted(firing, key=lambda each: (_RANK[each.severity], -_distance(each)))
    instances = [*firing, *resolved]
    told = [
        _told(each, explained.get(each.fingerprint, Explained()), dashboard_url, now) for each in instances[:ALERTS_MAX]
    ]
    severity = min((each.severity for each in (firing or instances)), key=lambda each: _RANK[each])
    return Message(
        status="firing" if firing else "resolved",
        severity=severity,
        headline=_headline(firing, resolved),
        alerts=told,
        total=len(instances),
        firing=len(firing),
        resolved=len(resolved),
        link=page_link(dashboard_url, "alerts"),
        footer=footer,
    )


def subject_of(instances: Sequence[Instance], severity: Severity) -> str:
    """What all mails of a thread are called: rule, and what its alerts have in common. Without the state, which changes."""
    first = instances[0]
    names = list(dict.fromkeys(each.rule for each in instances))
    common = {
        key: value for key, value in first.group.items() if all(each.group.get(key) == value for each in instances)
    }
    where = ", ".join(f"{_dimension(key)} {value or '(unknown)'}" for key, value in common.items())
    what = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    return f"[{severity}] {what}" + (f" · {where}" if where else "")


def as_text(message: Message, *, possibly_repeated: bool = False) -> str:
    """The message as plain text, for mails and whatever shows no more."""
    lines = [f"{message.word}: {message.headline}", ""]
    if possibly_repeated:
        lines[1:1] = ["(Possibly repeated: an earlier attempt may have arrived.)"]
    for told in message.alerts:
        lines += [told.title, told.summary]
        lines += [f"  {name}: {value}" for name, value in told.facts]
        for heading, texts in (("Most of it comes from:", told.slices), ("What changed just before:", told.changes)):
            if texts:
                lines += [f"  {heading}", *(f"    - {text}" for text in texts)]
        for name, url in (("Dashboard", told.link), ("Runbook", told.runbook), ("Silence", told.silence_link)):
            if url:
                lines.append(f"  {name}: {url}")
        lines.append("")
    if message.total > len(message.alerts):
        lines += [f"… and {message.total - len(message.alerts)} more", ""]
    if message.footer:
        lines += [message.footer, ""]
    return "\n".join(lines)


def with_chart(message: Message, picture: str, words: str) -> Message:
    return replace(message, chart=picture, chart_words=words)


def _told(instance: Instance, explained: Explained, dashboard_url: str, now: datetime) -> Told:
    over = not instance.alarming
    return Told(
        title=title_of(instance),
        state="resolved" if over else _STATES.get(instance.state, instance.state.value),
        summary=_summary(instance),
        facts=_facts(instance, now),
        slices=() if over else tuple(explained.slices),
        changes=() if over else tuple(explained.changes),
        labels=dict(instance.labels),
        fingerprint=instance.fingerprint,
        kpi=instance.kpi,
        unit=instance.unit,
        value=instance.value,
        low=instance.low,
        high=instance.high,
        threshold=instance.threshold,
        n=instance.n,
        active_at=_iso(instance.active_at),
        resolved_at=_iso(instance.resolved_at),
        runbook=instance.runbook,
        link=page_link(dashboard_url, instance.kpi, instance),
        silence_link="" if over else silence_link(dashboard_url, instance.labels),
    )


def title_of(instance: Instance) -> str:
    where = ", ".join(f"{_dimension(key)} {value or '(unknown)'}" for key, value in instance.group.items())
    return f"{instance.rule} · {where}" if where else instance.rule


def _headline(firing: Sequence[Instance], resolved: Sequence[Instance]) -> str:
    instances = firing or resolved
    first = title_of(instances[0])
    more = f" and {len(instances) - 1} more" if len(instances) > 1 else ""
    also = f" ({len(resolved)} resolved)" if firing and resolved else ""
    return f"{first}{more}{also}"


def _summary(instance: Instance) -> str:
    if not instance.alarming:
        reasons = {"missing_series": "there is no such group any more", "missing": "its rule says no more of it"}
        why = reasons.get(instance.reason, instance.reason.replace("_", " "))
        return f"It is over{f': {why}' if why else ''}."
    reason = f" ({instance.reason})" if instance.reason else ""
    return f"{instance.summary or instance.condition}{reason}"


def _facts(instance: Instance, now: datetime) -> list[tuple[str, str]]:
    facts = []
    if instance.value is not None:
        facts.append(("Value", number_text(instance.value, instance.unit, low=instance.low, high=instance.high)))
    if instance.condition:
        facts.append(("Fires" if instance.alarming else "Fired", instance.condition))
    if instance.kpi:
        over = _length(instance.window_end - instance.window_start)
        facts.append(("Measured", f"{instance.kpi} over {over}" + (f", n = {instance.n:,}" if instance.n else "")))
    began, ended = instance.active_at or instance.fired_at, instance.resolved_at
    if began is not None:
        whole = f" until {_clock(ended, began)}" if ended is not None else ""
        lasted = _length((ended or now) - began)
        facts.append(
            ("Since" if ended is None else "From", f"{_clock(began, now if ended is None else None)}{whole} ({lasted})")
        )
    return facts


def number(instance: Instance, value: float) -> str:
    """A number in the alert's unit."""
    return number_text(value, instance.unit)


def _distance(instance: Instance) -> float:
    """How far beyond its threshold, relatively."""
    if instance.value is None or not instance.threshold:
        return 0.0
    return abs(instance.value - instance.threshold) / abs(instance.threshold)


def _dimension(name: str) -> str:
    return name.removeprefix("cohort.").replace("_", " ")


def _clock(moment: datetime, reference: datetime | None) -> str:
    """`14:05 UTC`, with the day where it is another one."""
    moment = moment.astimezone(UTC)
    same_day = reference is not None and moment.date() == reference.astimezone(UTC).date()
    return moment.strftime("%H:%M UTC" if same_day else "%-d %b %H:%M UTC")


def _length(length: timedelta) -> str:
    seconds = max(0, round(length.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h".replace(".0 h", " h") if seconds < 172800 else f"{seconds / 86400:.0f} days"


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat()
