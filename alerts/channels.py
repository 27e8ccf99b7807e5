"""All channels of all receivers, by name (`oncall/slack`), and the one way to send through any of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from alerts.message import Message
from alerts.notify import apprise, email, slack, webhook
from alerts.outcome import Delivery
from monitor.errors import BadInput
from monitor.settings import ReceiverSettings
from monitor.settings.receivers import AppriseChannel, Channel, EmailChannel, SlackChannel, WebhookChannel


@dataclass(frozen=True, kw_only=True)
class Target:
    """One channel of one receiver."""

    receiver: str
    kind: str
    channel: Channel

    @property
    def name(self) -> str:
        return f"{self.receiver}/{self.kind}"

    @property
    def fingerprint(self) -> str:
        """Which address it is, without telling it: another webhook is another target."""
        channel = self.channel
        address = channel.url.get_secret_value() if isinstance(channel, SlackChannel | WebhookChannel) else ""
        return hashlib.sha256(f"{self.name} {address}".encode()).hexdigest()[:16]

    @property
    def spacing_s(self) -> float:
        """Least time between two messages: Slack takes about one a second."""
        return 1.0 if self.kind == "slack" else 0.0

    def send(self, message: Message, delivery: Delivery) -> str:
        """Send it once; returns a remark, mostly none.

        Raises
        ------
        Refused, Retired, TryLater
        """
        match self.channel:
            case EmailChannel() as channel:
                return email.send(channel, message, delivery)
            case SlackChannel() as channel:
                return slack.send(channel, message, delivery)
            case WebhookChannel() as channel:
                return webhook.send(channel, message, delivery)
            case AppriseChannel() as channel:
                return apprise.send(channel, message, delivery)
        raise AssertionError(f"no channel is of the kind {self.kind}")


def targets_of(receivers: Mapping[str, ReceiverSettings]) -> dict[str, Target]:
    """Name -> channel."""
    targets = [
        Target(receiver=name, kind=kind, channel=getattr(settings, kind))
        for name, settings in receivers.items()
        for kind in settings.channels
    ]
    return {target.name: target for target in targets}


def find_targets(receivers: Mapping[str, ReceiverSettings], name: str) -> list[Target]:
    """The channel of this name, or all of a receiver.

    Raises
    ------
    BadInput
        If there is none; those that there are are told.
    """
    targets = targets_of(receivers)
    found = [target for target in targets.values() if name in (target.name, target.receiver)]
    if not found:
        names = ", ".join(targets) or "none: `receivers` of the configuration is empty"
        raise BadInput(f"there is no receiver or channel `{name}`; there are {names}")
    return found
