"""Make the pictures of alert messages in docs/alerts: `python docs/alert_pictures.py`.

The numbers come from made-up calls in an embedded store, through the same code that makes real messages. The mail is drawn by
Chromium; Slack's blocks are drawn by a small page of ours that shows them as Slack does, near enough to judge the text.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from dataclasses import replace
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from alerts import chart, suspects
from alerts.html import as_html
from alerts.message import Message, compose, with_chart
from alerts.model import Instance, State
from alerts.notify import slack
from alerts.outcome import Delivery
from alerts.pipeline import explain
from monitor.jobs.job import Context
from monitor.settings import Settings
from monitor.store.changes import record_change
from monitor.store.client import connect
from monitor.store.migrate import migrate
from tests.alerts.test_slices import BEGAN, END, firing, slow_node
from tests.dashboards.browsing import chromium
from tests.kpis.rows import store

FOLDER = Path(__file__).parent / "alerts"
DASHBOARD = "https://monitor.example.com"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        client = connect(f"chdb://{folder}/store")
        migrate(client)
        calls = slow_node(9000)
        calls["model"] = calls["model"].replace({"llama": "llama-3.1-8b", "qwen": "qwen2.5-7b"})
        calls.loc[calls["node"] == "gpu-2", "variant"] = "fp8"
        calls["variant"] = calls["variant"].fillna("bf16")
        store(client, calls)
        record_change(
            client,
            timestamp=BEGAN - timedelta(minutes=4),
            kind="deploy",
            title="engine 0.11 on gpu-2",
            author="ci",
            where={"node": ["gpu-2"]},
            link="https://git.example.com/pull/118",
        )
        slow = firing(client, "latency.ttft.p95", threshold=0.5, where={"model": ["llama-3.1-8b"]})
        slow = _named(slow, "Callers wait too long for the first token of llama-3.1-8b.")
        context = Context(client=client, settings=Settings(), now=END)
        message = _message(context, [slow], [])
        picture = chart.draw(client, slow, suspects.suspects(client, slow))
        firing_mail = with_chart(message, picture, chart.words_of(slow))
        over = _over(slow)
        resolved_mail = with_chart(_message(context, [], [over]), chart.draw(client, over), chart.words_of(over))
        client.close()
    with chromium() as browser:
        for name, each, width, scheme in (
            ("mail-light", firing_mail, 720, "light"),
            ("mail-dark", firing_mail, 720, "dark"),
            ("mail-narrow", firing_mail, 375, "light"),
            ("mail-resolved", resolved_mail, 720, "light"),
        ):
            html = as_html(each, chart=f"data:image/png;base64,{each.chart}")
            _shoot(browser, html, FOLDER / f"{name}.png", width=width, scheme=scheme)
        for name, each in (("slack", firing_mail), ("slack-resolved", resolved_mail)):
            delivery = Delivery(key="k", thread="t", subject="s", at=END)
            _shoot(
                browser, _slack_page(slack.payload(each, delivery)), FOLDER / f"{name}.png", width=720, scheme="light"
            )


def _message(context: Context, now_firing: list[Instance], over: list[Instance]) -> Message:
    return compose(
        firing=now_firing,
        resolved=over,
        explained={one.fingerprint: explain(context, one) for one in now_firing},
        dashboard_url=DASHBOARD,
        now=context.now,
    )


def _named(instance: Instance, summary: str) -> Instance:
    return replace(instance, summary=summary, runbook="https://wiki.example.com/slow-first-token")


def _over(instance: Instance) -> Instance:
    return replace(instance, state=State.INACTIVE, resolved_at=END, value=0.21, low=0.2, high=0.22, summary="")


def _shoot(browser: Any, html: str, path: Path, *, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 400}, color_scheme=scheme, device_scale_factor=2)
    page.set_content(html)
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    picture.quantize(128).save(path, optimize=True)
    page.close()


def _slack_page(body: dict[str, Any]) -> str:
    """The blocks as Slack shows them."""
    attachment = body["attachments"][0]
    blocks = "".join(_block(block) for block in attachment["blocks"])
    return f"""<meta charset=utf-8><style>
      body {{ font: 15px/1.47 Lato, 'Helvetica Neue', Arial, sans-serif; color: #1d1c1d; margin: 16px 20px; }}
      .who b {{ font-weight: 900; }} .who span {{ font-size: 11px; background: #ddd; border-radius: 2px; padding: 1px 3px; color: #616061; }}
      .bar {{ border-left: 4px solid {attachment["color"]}; border-radius: 4px; padding: 2px 0 2px 12px; margin-top: 6px; }}
      .fields {{ display: grid; grid-template-columns: 1fr 1fr; gap: 6px 16px; }}
      .section, .fields, .context {{ margin: 6px 0; white-space: pre-wrap; overflow-wrap: anywhere; }}
      .context {{ font-size: 13px; color: #616061; }} a {{ color: #1264a3; text-decoration: none; }} hr {{ border: 0; border-top: 1px solid #ddd; }}
    </style><div class=who><b>Inference Monitor</b> <span>APP</span></div><div>{_mark(_mrkdwn(body["text"]))}</div><div class=bar>{blocks}</div>"""


def _block(block: dict[str, Any]) -> str:
    if block["type"] == "divider":
        return "<hr>"
    if block["type"] == "context":
        return "".join(f"<div class=context>{_mrkdwn(each['text'])}</div>" for each in block["elements"])
    text = f"<div class=section>{_mrkdwn(block['text']['text'])}</div>" if "text" in block else ""
    fields = "".join(f"<div>{_mrkdwn(each['text'])}</div>" for each in block.get("fields", []))
    return text + (f"<div class=fields>{fields}</div>" if fields else "")


def _mark(text: str) -> str:
    """The coloured signs, which not every machine has a font for."""
    for sign, colour in (("🔴", "#dd2e44"), ("🟠", "#f4900c"), ("🔵", "#55acee"), ("✅", "#77b255")):
        shape = "3px" if sign == "✅" else "50%"
        dot = f'<span style="display:inline-block;width:15px;height:15px;border-radius:{shape};background:{colour};vertical-align:-2px"></span>'
        text = text.replace(sign, dot)
    return text


def _mrkdwn(text: str) -> str:
    parts = re.split(r"(<https?://[^|>]+\|[^>]+>)", text)
    for index, part in enumerate(parts):
        link = re.fullmatch(r"<([^|>]+)\|([^>]+)>", part)
        if link:
            parts[index] = f'<a href="{escape(link[1])}">{link[2]}</a>'
        else:  # what Slack's own escapes stand for is escaped already
            parts[index] = re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", part)
            parts[index] = re.sub(r"(?<!\w)_([^_\n]+)_(?!\w)", r"<i>\1</i>", parts[index])
    return "".join(parts)


if __name__ == "__main__":
    main()
