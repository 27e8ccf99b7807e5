"""Slack: an incoming webhook, within the limits of its blocks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from slack_sdk.models.attachments import BlockAttachment
from slack_sdk.models.blocks import Block, ContextBlock, DividerBlock, MarkdownTextObject, SectionBlock

from alerts.message import Message, Told
from alerts.notify.http import post
from alerts.notify.webhook import judge
from alerts.outcome import Delivery, Retired, TryLater
from monitor.settings.receivers import SlackChannel

COLOURS: Final = {"page": "#D9483B", "ticket": "#E08214", "info": "#3D85D8", "resolved": "#1E9E77"}
# A whole message of more than about 13,200 characters is refused, whatever the single limits are.
TOTAL_MAX: Final = 11_000
_ALERTS_MAX: Final = 5
_SECTION_MAX: Final = 2900  # of 3000
_FIELD_MAX: Final = 1900  # of 2000
_TITLE_MAX: Final = 300


def send(channel: SlackChannel, message: Message, delivery: Delivery) -> str:
    """Post it.

    Raises
    ------
    Retired
        If Slack says that there is no such webhook any more.
    """
    answer = post(
        channel.url.get_secret_value(),
        json.dumps(payload(message, delivery), ensure_ascii=False).encode(),
        {"Content-Type": "application/json; charset=utf-8"},
        timeout_s=min(channel.timeout_s, delivery.timeout_s or channel.timeout_s),
        allow=channel.allow,
        ca_file=channel.ca_file,
    )
    if answer.status in (404, 410):
        raise Retired(f"Slack answers {answer.status} ({_word(answer.text)}): the webhook is gone; make a new one")
    if answer.status == 200 and answer.text.strip().lower() not in ("ok", ""):
        raise TryLater(f"Slack answers 200, but says {_word(answer.text)}")
    judge(answer)
    return ""


def payload(message: Message, delivery: Delivery) -> dict[str, Any]:
    """The body: a line of text, and an attachment whose colour says how bad it is."""
    shown = _ALERTS_MAX
    while True:
        blocks = _blocks(message, delivery, shown)
        attachment = BlockAttachment(
            blocks=blocks,
            color=COLOURS["resolved" if message.status == "resolved" else message.severity],
            fallback=_cut(message.headline, _TITLE_MAX),
        )
        body = {
            "text": _cut(f"{message.mark} *{escape(message.headline)}*", _TITLE_MAX),
            "attachments": [attachment.to_dict()],
        }
        if len(json.dumps(body, ensure_ascii=False)) <= TOTAL_MAX or shown == 1:
            return body
        shown -= 1


def _blocks(message: Message, delivery: Delivery, shown: int) -> list[Block]:
    blocks: list[Block] = []
    for told in message.alerts[:shown]:
        if blocks:
            blocks.append(DividerBlock())
        blocks += _alert(told, titled=message.total > 1)
    more = message.total - min(shown, len(message.alerts))
    notes = []
    if more > 0:
        notes.append(f"… and {more} more" + (f": <{message.link}|all of them>" if message.link else ""))
    if delivery.possibly_repeated:
        notes.append("_Possibly repeated: an earlier attempt may have arrived._")
    if message.footer:
        notes.append(escape(_cut(message.footer, 500)))
    if notes:
        blocks.append(ContextBlock(elements=[MarkdownTextObject(text=note) for note in notes]))
    return blocks


def _alert(told: Told, *, titled: bool) -> list[Block]:
    title = f"*{escape(_cut(told.title, 200))}*\n" if titled else ""  # else it stands above all
    head = f"{title}{escape(_cut(told.summary, 800))}"
    blocks: list[Block] = [SectionBlock(text=MarkdownTextObject(text=_cut(head, _SECTION_MAX)))]
    fields = [f"*{escape(name)}*\n{escape(_cut(value, 400))}" for name, value in told.facts][:10]
    if fields:
        blocks.append(SectionBlock(fields=[MarkdownTextObject(text=_cut(field, _FIELD_MAX)) for field in fields]))
    for heading, lines in (("Most of it comes from", told.slices), ("What changed just before", told.changes)):
        if lines:
            text = "\n".join([f"*{heading}*", *(f"•  {escape(_cut(line, 300))}" for line in lines)])
            blocks.append(SectionBlock(text=MarkdownTextObject(text=_cut(text, _SECTION_MAX))))
    links = [
        f"<{_url(url)}|{name}>"
        for name, url in (("Dashboard", told.link), ("Runbook", told.runbook), ("Silence", told.silence_link))
        if url and len(url) < 1500
    ]
    if links:
        blocks.append(ContextBlock(elements=[MarkdownTextObject(text="   ·   ".join(links))]))
    return blocks


def escape(text: str) -> str:
    """Text of others as Slack shows it: `<!channel>` in it calls nobody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _url(url: str) -> str:
    return url.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E").replace(" ", "%20")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _word(text: str) -> str:
    """Slack's own word for the reason, such as `no_service`; anything else is not repeated."""
    word = text.strip().split("\n")[0][:60]
    return word if word.replace("_", "").isalnum() else "something else than a reason"


def blocks_of(body: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """The blocks in a body, wherever they stand: for tests and pictures."""
    return [block for attachment in body["attachments"] for block in attachment["blocks"]]
