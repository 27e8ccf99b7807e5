"""Says in the terminal which alerts fire during the demo, and keeps them for its closing summary."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from monitor.errors import MonitorError
from monitor.serve import demo_story
from monitor.serve.demo_story import Fired
from monitor.settings import Settings
from monitor.store.client import Client, explained, server_address
from monitor.store.reader import open_reader

logger = logging.getLogger(__name__)

EVERY_S: Final = 3.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
                    with explained(server_address(self._settings.store_url)):
                        self._look(client)
                except MonitorError as error:
                    logger.debug("alerts are not read: %s", error)
        finally:
            client.close()

    def _look(self, client: Client) -> None:
        rows = client.query(
            "SELECT rule, fingerprint, toUnixTimestamp64Micro(active_at), anyLast(grp), anyLast(kpi), argMax(summary, at),"
            " toUnixTimestamp64Micro(minIf(at, state = 'firing')), toUnixTimestamp64Micro(maxIf(at, state = 'inactive'))"
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
                    self._say(f"    {demo_story.alert_link(now, self._dashboard)}")
            if now.ended is not None and (before is None or before.ended is None):
                self._say(f"{now.ended:%H:%M:%S} UTC  resolved {now.name}")


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
