"""Says in the terminal which alerts fire during the demo, and keeps them for its closing summary."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from monitor.errors import MonitorError
from monitor.serve import demo_story
from monitor.settings import Settings
from monitor.store import Client
from monitor.store.reader import open_reader

logger = logging.getLogger(__name__)

EVERY_S: Final = 3.0
_FIRING, _RESOLVED = "firing", "resolved"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# KPI's family -> page.
_PAGES: Final[Mapping[str, str]] = {
    "latency": "latency", "traffic": "health", "cost": "cost", "safety": "safety", "bias": "safety", "drift": "drift",
    "fleet": "fleet", "accuracy": "accuracy", "engagement": "engagement",
}  # fmt: skip
_FILTERS: Final = ("service", "model", "node", "variant", "release", "region", "deployment", "provider")


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

    def link(self, dashboard: str) -> str:
        where = {key: value for key, value in self.group.items() if key in _FILTERS and value}
        end = self.ended or self.at + timedelta(minutes=5)
        start_ns, end_ns = (round(moment.timestamp() * 1e9) for moment in (self.at, end))
        return demo_story.link(dashboard, _PAGES.get(self.kpi.partition(".")[0], "alerts"), where, start_ns, end_ns)


class AlertWatch(threading.Thread):
    """Reads `alert_events` every few seconds until stopped; `fired` has what was seen, in order."""

    def __init__(self, settings: Settings, dashboard: str, stop: threading.Event, say: Callable[[str], None]) -> None:
        super().__init__(name="demo-alerts", daemon=True)
        self._settings, self._dashboard, self._stop_event, self._say = settings, dashboard, stop, say
        self.fired: dict[tuple[str, str, datetime], Fired] = {}

    def run(self) -> None:
        try:
            client = open_reader(self._settings)
        except MonitorError as error:
            logger.warning("the demo cannot tell of alerts: %s", error)
            return
        try:
            while not self._stop_event.wait(EVERY_S):
                try:
                    self._look(client)
                except MonitorError as error:
                    logger.debug("alerts are not read: %s", error)
        finally:
            client.close()

    def _look(self, client: Client) -> None:
        rows = client.query(
            "SELECT rule, fingerprint, toUnixTimestamp64Micro(active_at), anyLast(grp), anyLast(kpi), argMax(summary, at),"
            " toUnixTimestamp64Micro(minIf(at, state = 'firing')), toUnixTimestamp64Micro(maxIf(at, state = 'resolved'))"
            " FROM alert_events FINAL GROUP BY rule, fingerprint, active_at HAVING countIf(state = 'firing') > 0 ORDER BY min(at)"
        ).result_rows
        for rule, fingerprint, active, group, kpi, summary, at, ended in rows:
            key = (rule, fingerprint, _moment(active))
            before = self.fired.get(key)
            now = Fired(
                rule=rule, group=group, kpi=kpi, summary=summary, at=_moment(at),
                ended=_moment(ended) if ended > at else None,
            )  # fmt: skip
            self.fired[key] = now
            if before is None:
                self._say(f"{now.at:%H:%M:%S} UTC  ALERT {now.name}: {now.summary}")
                if self._dashboard:
                    self._say(f"    {now.link(self._dashboard)}")
            if now.ended is not None and (before is None or before.ended is None):
                self._say(f"{now.ended:%H:%M:%S} UTC  resolved {now.name}")


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
