"""docs/operations.md, done: a copied folder and a server's backup hold all rows, and every command on the page works."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import httpx2
import pandas as pd
import pytest

from monitor.store.client import connect
from monitor.store.migrate import migrate, pending
from tests.acceptance.test_docs import DOCS, Reader, commands_of
from tests.conftest import drop_database, make_database, with_database
from tests.tools.inside import inside
from tests.tools.service import NO_JOBS, Service, run, running

PAGE = DOCS / "operations.md"
COMMANDS = commands_of(PAGE)
SQL = re.findall(r"^(?:BACKUP|RESTORE) .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
CALLS = 300


def send(service: Service) -> None:
    now_ns = time.time_ns()
    names = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in names.items()]
    spans = [
        {
            "traceId": f"{number + 1:032x}", "spanId": f"{number + 1:016x}", "name": "chat", "attributes": attributes,
            "startTimeUnixNano": str(now_ns - number * 10**9), "endTimeUnixNano": str(now_ns - number * 10**9 + 1),
        }
        for number in range(CALLS)
    ]  # fmt: skip
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    assert httpx2.post(f"{service.addresses['http']}/v1/traces", json=body, timeout=30).status_code == 200


def test_a_copied_folder_is_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count, copy, start = (
        "monitor query 'SELECT count(), ",
        "cp -a monitor-data monitor-data.bak",
        "monitor up --data monitor-data.bak",
    )
    assert {copy, start} <= set(COMMANDS)
    with running(tmp_path / "monitor-data", env=NO_JOBS) as service:
        send(service)
        service.wait_until_stored()
        reader = Reader(service, tmp_path, {"http://127.0.0.1:8123": lambda: service.addresses["clickhouse"]})
        # What the page does with a running service; `retention` and the schema have their own tests.
        for command in COMMANDS:
            if command not in (copy, start, "monitor migrate", "monitor check"):
                reader.run(command)
        send(service)  # acknowledged, and in the log or in the store when it is killed
        service.kill()
    Reader(service, tmp_path, {}).run(copy)
    shutil.rmtree(tmp_path / "monitor-data")
    parquet = pd.read_parquet(tmp_path / "calls.parquet")
    assert len(parquet) == parquet["trace_id"].nunique() == CALLS
    assert len(pd.read_parquet(tmp_path / "calls-with-judgements.parquet")) == CALLS
    with running(tmp_path / "monitor-data.bak", env=NO_JOBS) as service:
        service.wait_until_stored()
        found = inside("query", "SELECT count() FROM otel_traces", "--format", "CSV", "--data", "monitor-data.bak")
        assert int(found.split()[-1]) == 2 * CALLS, "what was in the log came into the store"
    assert any(command.startswith(count) for command in COMMANDS)
    assert "monitor migrate" in COMMANDS
    # In a process of its own: one opens one embedded store, and another test's may be open in this one.
    done = run("migrate", "--data", str(tmp_path / "monitor-data.bak"))
    assert done.returncode == 0, done.stderr


def test_a_servers_backup_is_one(clickhouse_url: str) -> None:
    name = make_database(clickhouse_url)
    client = connect(with_database(clickhouse_url, name))
    migrate(client)
    client.command(
        "INSERT INTO inferences (timestamp, trace_id, span_id) SELECT now64(9), toString(number), '1' FROM numbers(1000)"
    )
    first, second, restore = SQL

    def said(sql: str) -> str:
        return re.sub(r"\bmonitor\b(?!-)", name, sql).replace("monitor-", f"{name}-")

    client.command(said(first))
    client.command("INSERT INTO changes (timestamp, kind, title) VALUES (now64(9), 'deploy', 'after the first')")
    client.command(said(second))
    drop_database(clickhouse_url, name)
    connect(clickhouse_url).command(said(restore))
    back = connect(with_database(clickhouse_url, name))
    assert back.command("SELECT count() FROM inferences FINAL") == 1000
    assert back.command("SELECT title FROM changes FINAL") == "after the first"
    assert pending(back) == [], "its schema is whole"
    # Views are back as well: what is written next is counted.
    back.command("INSERT INTO inferences (timestamp, trace_id, span_id) VALUES (now64(9), 'x', '1')")
    assert back.command("SELECT count() FROM inferences FINAL") == 1001
    back.close()
    drop_database(clickhouse_url, name)
