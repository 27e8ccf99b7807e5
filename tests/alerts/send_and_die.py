"""A process that plans or sends, and is killed where it is told to be: `send_and_die.py STORE DATABASE URL WHERE`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from alerts import outbox
from alerts.pipeline import plan
from alerts.send import Sender
from monitor.jobs.job import Context
from monitor.settings import Settings
from monitor.store.client import connect
from tests.alerts.scripted import alert, at


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(store: str, database: str, url: str, where: str) -> None:
    client = connect(store, database=database)
    receivers = {"a": {"webhook": {"url": url, "allow": ["127.0.0.1/32"]}}}
    settings = Settings(receivers=receivers, routing={"receivers": ["a"]})
    if where == "planned":  # between the outbox and the first attempt
        Sender.run = lambda self: die()  # type: ignore[method-assign, assignment, return-value]
        plan(Context(client=client, settings=settings, now=at(0)), [alert(node="n1")])
    if where == "begun":  # the attempt is claimed, nothing is sent
        outbox.whole = lambda client, item: die()  # type: ignore[assignment]
    if where == "logged":  # the log is written, the outbox is not
        outbox.settle = lambda *arguments, **named: die()  # type: ignore[assignment]
    Sender(client=client, settings=settings, now=at(10), claim_s=0.0, after_sent=die if where == "sent" else None).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
