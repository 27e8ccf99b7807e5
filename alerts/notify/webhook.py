"""A signed POST of JSON to any address, in the form of the Standard Webhooks specification."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json

from alerts.message import Message
from alerts.notify.http import Answer, post
from alerts.outcome import Delivery, Refused, TryLater
from monitor.settings.receivers import WebhookChannel


def send(channel: WebhookChannel, message: Message, delivery: Delivery) -> str:
    """Post it; returns what there is to say of it: nothing."""
    body = json.dumps(payload(message, delivery), ensure_ascii=False, separators=(",", ":")).encode()
    answer = post(
        channel.url.get_secret_value(),
        body,
        {"Content-Type": "application/json", **signature_headers(channel.secret.get_secret_value(), body, delivery)},
        timeout_s=min(channel.timeout_s, delivery.timeout_s or channel.timeout_s),
        allow=channel.allow,
        ca_file=channel.ca_file,
    )
    judge(answer)
    return ""


def payload(message: Message, delivery: Delivery) -> dict[str, object]:
    """What is posted; `id` is the same for each attempt."""
    told = message.as_json()
    told.pop("chart", None)  # a picture is for people
    return {
        "version": 1,
        "id": delivery.key,
        "thread": delivery.thread,
        "possibly_repeated": delivery.possibly_repeated,
        "subject": delivery.subject,
        **told,
    }


def signature_headers(secret: str, body: bytes, delivery: Delivery) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` and, with a secret, `webhook-signature`: HMAC-SHA256 over `id.timestamp.body`."""
    timestamp = str(int(delivery.at.timestamp()))
    headers = {"webhook-id": delivery.key, "webhook-timestamp": timestamp}
    if secret:
        signed = b".".join((delivery.key.encode(), timestamp.encode(), body))
        digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _key(secret: str) -> bytes:
    """The key's bytes: base64 after `whsec_`, else the text itself."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise Refused("the secret of the webhook begins with `whsec_`, but no base64 follows; correct it") from None
    return secret.encode()


def judge(answer: Answer) -> None:
    """Raise what the status means; 2xx is taken."""
    if 200 <= answer.status < 300:
        return
    words = f"it answers {answer.status}"
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise TryLater(words, retry_after_s=answer.retry_after_s)
    if 300 <= answer.status < 400:
        raise Refused(f"{words}, a redirect, which is not followed; set the address that it leads to")
    raise Refused(words)
