"""A process is killed (SIGKILL) at each step between plan and record, on a real server; another one goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.store import Client
from monitor.store.client import connect
from tests.alerts.scripted import Script, alert
from tests.conftest import Databases, migrated_database
from tests.tools.told import http_receiver

PROGRAM = Path(__file__).with_name("send_and_die.py")


@pytest.mark.parametrize(
    ("where", "before", "after", "repeated"),
    [
        ("planned", 0, 1, False),
        ("begun", 0, 1, True),  # nobody knows that it was not sent
        ("sent", 1, 2, True),  # the one case in which it is told twice
        ("logged", 1, 1, False),
    ],
)
def test_killed_at(
    where: str, before: int, after: int, repeated: bool, clickhouse_url: str, migrated: Databases
) -> None:
    database = migrated_database(clickhouse_url, migrated)
    client = connect(clickhouse_url, database=database)
    with http_receiver() as receiver:
        hook = {"webhook": {"url": receiver.url, "allow": ["127.0.0.1/32"]}}
        script = Script(client, {"a": hook})
        _clear(client)
        if where != "planned":
            receiver.answer = lambda posted: (503, "", {})
            script.evaluate(0, alert(node="n1"))
            receiver.answer = lambda posted: (200, "ok", {})
        killed = subprocess.run(
            [sys.executable, str(PROGRAM), clickhouse_url, database, receiver.url, where], timeout=120, check=False
        )
        assert killed.returncode == -signal.SIGKILL
        assert len(receiver.taken) == before
        script.notify(30, claim_s=0.0 if where != "planned" else 1000.0)
        assert len(receiver.taken) == after
        assert receiver.taken[-1].json["possibly_repeated"] is repeated
        assert len({each.headers["webhook-id"] for each in receiver.taken}) == 1
        for seconds in (45, 60):  # and then it is done
            script.notify(seconds)
            assert script.evaluate(seconds, alert(node="n1")).planned == 0
        assert len(receiver.taken) == after
        query = "SELECT count(), max(possibly_repeated) FROM notifications FINAL"
        assert client.query(query).result_rows == [(1, repeated)]
        assert client.query("SELECT state FROM alert_outbox FINAL").result_rows == [("sent",)]
        _clear(client)
    client.close()


def test_an_attempt_of_a_living_process_is_left_alone(store_client: Client) -> None:
    with http_receiver() as receiver:
        script = Script(store_client, {"a": {"webhook": {"url": receiver.url, "allow": ["127.0.0.1/32"]}}})
        receiver.answer = lambda posted: (503, "", {})
        script.evaluate(0, alert(node="n1"))
        store_client.insert(
            "alert_sends",
            [[store_client.query("SELECT key FROM alert_outbox FINAL").result_rows[0][0], 2, "another"]],
            column_names=["key", "attempt", "holder"],
        )
        receiver.answer = lambda posted: (200, "ok", {})
        assert script.notify(10, claim_s=100.0).sent == 0
        assert script.notify(10, claim_s=0.0).sent == 1


def _clear(client: Client) -> None:
    for table in ("alert_outbox", "alert_sends", "notifications", "silences"):
        client.command(f"TRUNCATE TABLE {table}")
