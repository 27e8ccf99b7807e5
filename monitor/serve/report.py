"""The report as a file and as mail, and the weekly job that makes it."""

from __future__ import annotations

import os
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from alerts.notify.email import deliver
from dashboards.report import Report, gather, render
from dashboards.report.page import plain, subject
from monitor.errors import BadInput, MonitorError
from monitor.jobs.job import Context, Job, Outcome
from monitor.kpis import Window
from monitor.settings import Settings
from monitor.settings.receivers import EmailChannel
from monitor.store import Client
from monitor.store.calls import any_calls

WEEK_S: Final = 7 * 86_400.0
KEPT: Final = 60  # reports that are kept in the folder


def make(client: Client, settings: Settings, since: str, *, now: datetime) -> tuple[Report, str]:
    """The report of the time up to now, and its page."""
    report = gather(client, Window.last(since, now=now), now=now)
    return report, render(report, dashboard_url=settings.routing.dashboard_url)


def save(page: str, path: Path) -> None:
    """Write the page; only a whole one gets the name, and it is readable by the service's user alone.

    Raises
    ------
    MonitorError
        If it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(page)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise MonitorError(f"cannot write {path}: {error.strerror or error}; choose another place") from None


def folder(settings: Settings) -> Path:
    """Where the weekly job leaves its reports."""
    return settings.data / "reports"


def channels(settings: Settings, *, needed: bool) -> list[tuple[str, EmailChannel]]:
    """Receivers that are to have the report, with their mail.

    Raises
    ------
    BadInput
        If one of `report.receivers` is unknown or has no mail, or none is named though one is needed.
    """
    found = []
    for name in settings.report.receivers:
        receiver = settings.receivers.get(name)
        if receiver is None:
            raise BadInput(
                f"report.receivers: there is no receiver `{name}`; known are {', '.join(settings.receivers)}"
            )
        if receiver.email is None:
            raise BadInput(f"report.receivers: the receiver `{name}` has no `email`; give it one, or name another")
        found.append((name, receiver.email))
    if needed and not found:
        raise BadInput(
            "nobody gets the report by mail; name receivers with `email` in `report.receivers` of monitor.yaml"
        )
    return found


def mail(report: Report, page: str, to: list[tuple[str, EmailChannel]], *, now: datetime) -> list[str]:
    """Send it to each; returns what went wrong, in a sentence for each failure."""
    wrong = []
    for name, channel in to:
        try:
            refused = deliver(channel, compose(report, page, channel, now=now), channel.timeout_s)
        except MonitorError as error:
            refused = str(error)
        if refused:
            wrong.append(f"{name}: {refused}")
    return wrong


def compose(report: Report, page: str, channel: EmailChannel, *, now: datetime) -> EmailMessage:
    """The mail: some lines of text, the page, and the page as a file, since few mail programs draw SVG."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = subject(report)
    message["From"] = f"Inference Monitor <{channel.from_}>"
    message["To"] = ", ".join(channel.to)
    message["Date"] = format_datetime(now)
    # The same for each attempt: mailboxes keep one of two with the same id.
    domain = channel.from_.rpartition("@")[2]
    message["Message-ID"] = f"<report.{report.window.end:%Y%m%d%H%M}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(plain(report), cte="quoted-printable")
    message.add_alternative(page, subtype="html", cte="quoted-printable")
    message.add_attachment(
        page.encode(), maintype="text", subtype="html", filename=f"inference-report-{report.window.end:%Y-%m-%d}.html"
    )
    return message


def run(context: Context) -> Outcome:
    """Make the report of the last week, save it, and mail it to whom the configuration names."""
    settings = context.settings
    to = channels(settings, needed=False)
    if not any_calls(context.client):
        return Outcome(note="no calls yet")
    report, page = make(context.client, settings, settings.report.since, now=context.now)
    if not report.requests:
        return Outcome(note="no call began in this time, so there is nothing to report")
    path = folder(settings) / f"report-{context.now:%Y-%m-%d}.html"
    sent_before = path.exists()
    save(page, path)
    for old in sorted(folder(settings).glob("report-*.html"))[:-KEPT]:
        old.unlink(missing_ok=True)
    # Run again on the same day, it replaces the file and does not mail it twice.
    wrong = [] if sent_before else mail(report, page, to, now=context.now)
    if wrong:
        path.unlink(missing_ok=True)  # the next run mails it
        raise MonitorError(f"the report was not mailed: {'; '.join(wrong)}")
    return Outcome(
        rows=1,
        note=f"saved {path}" + (f", mailed to {', '.join(name for name, _ in to)}" if to and not sent_before else ""),
    )


REPORT: Final = Job(
    name="report",
    meaning="Makes the weekly report: saved in the data folder, and mailed to `report.receivers`.",
    every_s=WEEK_S,
    run=run,
)
