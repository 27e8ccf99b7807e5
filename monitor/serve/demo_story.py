"""What the demo says of itself: where each incident can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
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
# Shown before it begins and after it ends, as a share of its length; at least a minute.
MARGIN: Final = 0.5


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
