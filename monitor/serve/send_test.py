"""`monitor alerts send-test`: one made-up message through a real channel."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from alerts.channels import Target, find_targets
from alerts.message import compose
from alerts.model import Instance, State
from alerts.outcome import Delivery
from monitor.errors import MonitorError
from monitor.settings import Settings


def send_test(settings: Settings, name: str) -> list[tuple[str, str]]:
    """Send to a channel, or to all of a receiver: name and what went wrong (empty: nothing).

    Raises
    ------
    BadInput
        If there is no such channel.
    """
    return [(target.name, _send(target, settings)) for target in find_targets(settings.receivers, name)]


def _send(target: Target, settings: Settings) -> str:
    now = datetime.now(UTC)
    message = compose(
        firing=[sample(now)],
        resolved=[],
        explained={},
        dashboard_url=settings.routing.dashboard_url,
        now=now,
        footer="This is a test: nothing is wrong.",
    )
    key = secrets.token_hex(16)
    delivery = Delivery(key=key, thread=f"test {key}", subject="[info] test of Inference Monitor", at=now)
    try:
        return target.send(message, delivery)
    except MonitorError as error:
        return str(error)


def sample(now: datetime) -> Instance:
    """A made-up alert."""
    began = now - timedelta(minutes=5)
    return Instance(
        rule="test",
        labels={"alertname": "test", "severity": "info"},
        state=State.FIRING,
        active_at=began,
        fired_at=began,
        evaluated_at=now,
        window_start=began,
        window_end=now,
        condition="somebody runs `monitor alerts send-test`",
        summary="This channel works.",
        severity="info",
    )
