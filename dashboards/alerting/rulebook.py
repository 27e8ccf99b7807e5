"""Rules as the collectors' API tells them: those of the file are known to nobody else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from dashboards import api
from dashboards.memory import remembered
from dashboards.store import store_url
from monitor.errors import MonitorError
from monitor.kpis import Window

RULES_PATH: Final = "/api/alerts/rules"
# Charts ask for thresholds as well, and would rather do without than wait.
PATIENCE_S: Final = 3.0
ORIGINS: Final = {"default": "default", "file": "monitor.yaml", "dashboard": "dashboard"}


@dataclass(frozen=True, kw_only=True)
class Rulebook:
    """All rules as declared and as evaluated, what is wrong with some, and who can be told.

    `trouble` says why none of it is known.
    """

    rules: Sequence[Mapping[str, Any]] = ()
    evaluated: Sequence[Mapping[str, Any]] = ()
    problems: Sequence[Mapping[str, Any]] = ()
    receivers: Sequence[str] = ()
    trouble: str = ""


def rulebook() -> Rulebook:
    """Kept for some seconds."""
    return _rulebook(store_url())


def evaluated() -> Sequence[Mapping[str, Any]]:
    """Rules as they are evaluated; none where the API does not answer."""
    return rulebook().evaluated


@remembered(ttl_s=15, entries_max=4)
def _rulebook(url: str) -> Rulebook:
    try:
        answer = api.read(RULES_PATH, timeout_s=PATIENCE_S)
    except MonitorError as error:
        return Rulebook(trouble=str(error))
    return Rulebook(
        rules=answer["rules"],
        evaluated=answer.get("evaluated", ()),
        problems=answer["problems"],
        receivers=answer.get("receivers", ()),
    )


@remembered(ttl_s=15, entries_max=20)
def versions(url: str, name: str) -> list[dict[str, Any]]:
    """All versions of a rule of the dashboard, the newest first."""
    return list(reversed(api.read(f"{RULES_PATH}/{quote(name, safe='')}")["versions"]))


@remembered(ttl_s=15, entries_max=4)
def precision(url: str, days: int) -> dict[str, dict[str, Any]]:
    """Rule -> how often it fired, and of those marked, how many were right."""
    return {each["rule"]: each for each in api.read(f"/api/alerts/precision?since={days}d")["rules"]}


def replay(rule: Mapping[str, Any], window: Window, *, shift: str = "") -> list[dict[str, Any]]:
    """What a rule would have done in this time; one answer for each rule that it makes.

    Raises
    ------
    Refused
        Naming the key that is wrong.
    """
    minutes = max(1, round(window.seconds / 60))
    end = datetime.fromtimestamp(window.end.timestamp() // 60 * 60, UTC)
    return _replay(store_url(), json.dumps(rule, sort_keys=True), minutes, end.isoformat(), shift)


@remembered(ttl_s=120, entries_max=50, words="Replaying the rule …")
def _replay(url: str, rule: str, minutes: int, end: str, shift: str) -> list[dict[str, Any]]:
    body = {"rule": json.loads(rule), "since": f"{minutes}m", "end": end, "shift": shift}
    return list(api.send("/api/alerts/backtest", body, timeout_s=60.0)["replays"])


def forget() -> None:
    """Ask anew: a rule was changed."""
    for cached in (_rulebook, versions, precision):
        cached.clear()
