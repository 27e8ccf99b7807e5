"""What the demo says of itself: where each incident can be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from collectors.simulate.scenario import API_MODEL, QUANTISED, Episode, Incident
from collectors.simulate.workload import NS

# Kind of incident -> page that shows it, and filter there.
PAGES: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "slow node": ("latency", {}),
    "quantised variant": ("compare", {"node": QUANTISED}),
    "price": ("cost", {"model": API_MODEL}),
    "drifting topic": ("drift", {}),
    "biased refusals": ("safety", {}),
}
# Kind of incident -> rules that tell of it, in demo.yaml.
RULES: Final[Mapping[str, tuple[str, ...]]] = {
    "slow node": ("slow-node",),
    "price": ("budget-overrun",),
    "drifting topic": ("drifting-topic",),
    "biased refusals": ("refusal-gap",),
}
# An alert of an incident that is over may still come so long after it.
LATE_NS: Final = 300 * NS
# Family of KPIs -> page.
_FAMILIES: Final[Mapping[str, str]] = {
    "latency": "latency", "traffic": "health", "cost": "cost", "safety": "safety", "bias": "safety", "drift": "drift",
    "fleet": "fleet", "accuracy": "accuracy", "engagement": "engagement",
}  # fmt: skip
_FILTERS: Final = ("service", "model", "node", "variant", "release", "region", "deployment", "provider")
# Shown before it begins and after it ends, as a share of its length; at least a minute.
MARGIN: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Fired:
    """One alert: the rule, the group that it is about, and from when to when it fired; no end while it does."""

    rule: str
    group: Mapping[str, str]
    kpi: str
    summary: str
    at: datetime
    ended: datetime | None

    @property
    def name(self) -> str:
        group = " ".join(f"{key}={value}" for key, value in self.group.items() if value)
        return f"{self.rule} {group}".strip()


def link(dashboard: str, page: str, where: Mapping[str, str], start_ns: int, end_ns: int) -> str:
    """Address of a page with its filter, and with this stretch of time and some of what is around it."""
    margin_ns = max(60 * NS, round((end_ns - start_ns) * MARGIN))
    ends = [("start", _moment(start_ns - margin_ns)), ("end", _moment(end_ns + margin_ns))]
    return f"{dashboard.rstrip('/')}/{page}?{urlencode([('range', 'custom'), *ends, *where.items()])}"


def incident_lines(incident: Incident, dashboard: str) -> list[str]:
    """What happened, and where to look."""
    page, where = PAGES[incident.name]
    said = f"  {span(incident.start_ns, incident.end_ns)}: {incident.text}"
    return (
        [said] if not dashboard else [said, f"    {link(dashboard, page, where, incident.start_ns, incident.end_ns)}"]
    )


def span(start_ns: int, end_ns: int) -> str:
    """`24 Nov 18:10 to 20:10 UTC`."""
    start, end = (datetime.fromtimestamp(ns / NS, UTC) for ns in (start_ns, end_ns))
    last = "%H:%M" if start.date() == end.date() else "%-d %b %H:%M"
    return f"{start:%-d %b %H:%M} to {end.strftime(last)} UTC"


def summary_lines(happened: Sequence[Incident], fired: Sequence[Fired], dashboard: str, data: str) -> list[str]:
    """The demo's last words: incidents with the alerts that told of them, then alerts that told of something else."""
    lines, told = ["", "What happened while you watched:"], set()
    for incident in happened:
        lines += incident_lines(incident, dashboard)
        if incident.name not in RULES:
            continue
        mine = [
            each
            for each in fired
            if each.rule in RULES[incident.name] and incident.start_ns <= _ns(each.at) <= incident.end_ns + LATE_NS
        ]
        for each in mine:
            told.add(id(each))
            delay_s = (_ns(each.at) - incident.start_ns) / NS
            lines.append(f"    alert {each.name} after {delay_s:.0f} s{_ending(each)}")
        if not mine:
            lines.append("    no alert yet")
    if not happened:
        lines.append("  nothing: live traffic had not come to an incident")
    others = [each for each in fired if id(each) not in told]
    if others:
        lines.append("Alerts beside these:")
    for each in others:
        lines.append(f"  {each.at:%H:%M:%S} UTC {each.name}{_ending(each)}: {each.summary}")
        if dashboard:
            lines.append(f"    {alert_link(each, dashboard)}")
    lines.append(f"All of it is kept until the next demo: `monitor up --data {data}` shows it again.")
    return lines


def _ending(fired: Fired) -> str:
    return ", firing still" if fired.ended is None else f", over at {fired.ended:%H:%M:%S} UTC"


def alert_link(fired: Fired, dashboard: str) -> str:
    """The page on which an alert is seen."""
    where = {key: value for key, value in fired.group.items() if key in _FILTERS and value}
    page = _FAMILIES.get(fired.kpi.partition(".")[0], "alerts")
    return link(dashboard, page, where, _ns(fired.at), _ns(fired.ended or fired.at + timedelta(minutes=5)))


def _ns(moment: datetime) -> int:
    return round(moment.timestamp() * NS)


def change_of(episode: Episode, *, begins: bool) -> tuple[str, str, Mapping[str, list[str]]] | None:
    """Kind, title and calls concerned of the change that somebody made when an incident began or ended; None if nobody did."""
    if episode.kind == "price":
        title = (
            f"the provider takes {episode.strength:g} times its price"
            if begins
            else "the provider's price is as before"
        )
        return "price", title, {"model": [API_MODEL]}
    if episode.kind == "biased refusals":
        return "config", "safety prompt 7 " + ("in" if begins else "taken out"), {}
    if episode.kind == "quantised variant" and begins:
        return "deploy", f"release 2.1.0: {QUANTISED} serves fp8", {"node": [QUANTISED]}
    return None


def _moment(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
