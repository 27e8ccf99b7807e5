"""Every other channel, through Apprise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerts.message import Message, as_text
from alerts.outcome import Delivery, Refused, TryLater
from monitor.settings.receivers import AppriseChannel

if TYPE_CHECKING:
    from apprise import Apprise


def send(channel: AppriseChannel, message: Message, delivery: Delivery) -> str:
    """Hand it to Apprise, as plain text; what its services say is known as taken or not alone.

    Raises
    ------
    Refused
        If Apprise is not installed, or an address is none that it knows.
    TryLater
        If a service does not take it.
    """
    target = _open(channel)
    body = as_text(message)
    if delivery.possibly_repeated:
        body = f"(possibly repeated)\n{body}"
    from apprise import NotifyFormat

    if not target.notify(body=body, title=f"{message.word}: {delivery.subject}", body_format=NotifyFormat.TEXT):
        # Which of several took it is not said: those that did get it again.
        raise TryLater("Apprise could not deliver it", doubtful=len(channel.urls) > 1)
    return ""


def _open(channel: AppriseChannel) -> Apprise:
    try:
        from apprise import Apprise, AppriseAsset
    except ImportError:
        raise Refused("Apprise is not installed; install inference-monitor[apprise]") from None
    import logging

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it quotes addresses, in which secrets stand
    target = Apprise(asset=AppriseAsset(app_id="Inference Monitor", app_desc="", async_mode=False))
    for index, url in enumerate(channel.urls):
        if not target.add(url.get_secret_value()):
            raise Refused(f"address {index + 1} of `urls` is none that Apprise knows; correct it")
    return target
