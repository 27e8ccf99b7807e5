"""The job `notify`: sends what waits in the outbox and is due."""

from __future__ import annotations

from typing import Final

from alerts.send import Sender
from monitor.jobs.job import Context, Job, Outcome


def run(context: Context) -> Outcome:
    """Send once."""
    if not context.settings.receivers:
        return Outcome()
    tally = Sender(client=context.client, settings=context.settings, now=context.now, stop=context.stop).run()
    parts = [
        f"{count} {word}"
        for count, word in ((tally.sent, "sent"), (tally.later, "to be tried again"), (tally.failed, "given up"))
        if count
    ]
    return Outcome(rows=tally.sent, note=", ".join(parts))


NOTIFY: Final = Job(
    name="notify", meaning="Sends alert messages that wait, or could not be sent before.", every_s=5, run=run
)
