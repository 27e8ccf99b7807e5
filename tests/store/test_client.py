"""The connection factory, the claim on a data folder, and what people are told when either fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from monitor.errors import BadInput, StoreAway, StoreError, StoreLocked
from monitor.settings import Settings, StoreSettings
from monitor.store.client import (
    Client,
    connect,
    error_code,
    explained,
    is_transient,
    reason,
    server_address,
    store_path,
)
from monitor.store.owner import Claim, find_owner
from monitor.store.reader import open_existing, reader_url
from tests.conftest import with_database
from tests.tools import clickhouse_server

ROOT = Path(__file__).parents[2]


def test_both_backends_answer_alike(backend_url: str, database: str) -> None:
    client = connect(backend_url, database=database)
    assert client.query("SELECT 1 AS a, currentDatabase() AS b").result_rows == [(1, database)]
    with pytest.raises(Exception, match="UNKNOWN_TABLE") as caught:
        client.query("SELECT * FROM nowhere")
    assert error_code(caught.value) == 60
    client.close()


@pytest.mark.parametrize("url", ["chdb://relative/folder", "chdb:relative"])
def test_an_embedded_url_needs_an_absolute_folder(url: str) -> None:
    with pytest.raises(BadInput, match="three slashes"):
        connect(url)


def test_store_path_unquotes() -> None:
    assert store_path("chdb:///a%20b/c") == Path("/a b/c")


def test_wrong_password_names_the_server_and_no_secret(clickhouse_url: str) -> None:
    address = server_address(clickhouse_url)
    wrong = address.replace("http://", "http://monitor:hunter2@")
    with pytest.raises(StoreError, match="refused the user or password") as caught:
        connect(wrong)
    assert address.split("/default")[0] in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert not isinstance(caught.value, StoreAway)


def test_a_server_that_is_away() -> None:
    with pytest.raises(StoreAway, match=r"127\.0\.0\.1:9.* does not answer .*store\.url") as caught:
        connect("http://u:hunter2@127.0.0.1:9/db")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_an_unknown_database_says_what_makes_it(clickhouse_url: str) -> None:
    with pytest.raises(StoreError, match="no such database; run `monitor migrate`"):
        connect(with_database(clickhouse_url, "nowhere"))


def test_errors_of_a_server_that_dies_are_transient(tmp_path: Path) -> None:
    with clickhouse_server.running(tmp_path / "data") as server:
        client = connect(server.url())
        server.process.kill()
        server.process.wait()
        with pytest.raises(ClickHouseError) as caught:
            client.command("SELECT 1")
        assert is_transient(caught.value)
        with pytest.raises(StoreAway), explained("here"):
            client.command("SELECT 1")


SLOW = "SELECT sleepEachRow(0.02) FROM numbers(10)"


@pytest.mark.parametrize(
    ("statement", "settings", "transient"),
    [
        pytest.param("SELECT * FROM nowhere", {}, False, id="unknown table"),
        pytest.param("SELEC 1", {}, False, id="syntax"),
        pytest.param("SELECT throwIf(1)", {}, False, id="thrown on purpose"),
        pytest.param(SLOW, {"max_execution_time": 0.01, "max_block_size": 1}, True, id="time limit"),
        pytest.param(
            "SELECT groupArray(number) FROM numbers(10000000)", {"max_memory_usage": 1_000_000}, True, id="memory"
        ),
    ],
)
def test_what_may_succeed_later(backend_url: str, statement: str, settings: dict[str, object], transient: bool) -> None:
    client = connect(backend_url, database="default")
    with pytest.raises(DatabaseError) as caught:
        client.query(statement, settings=settings)
    assert is_transient(caught.value) is transient
    client.close()


def test_an_embedded_folder_that_another_process_has(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    code = (
        "import sys, time; from monitor.store.client import connect;"
        f"c = connect('chdb://{folder}'); print('open', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        second = f"from monitor.store.client import connect; connect('chdb://{folder}')"
        done = subprocess.run([sys.executable, "-c", second], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert "StoreLocked" in done.stderr
        assert "another process has it open" in done.stderr
    finally:
        holder.kill()
        holder.wait()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot make the store folder .*--data"):
        connect(f"chdb://{tmp_path}/file/store")


CLAIM = (
    "import sys, time, pathlib; from monitor.store.owner import Claim;"
    "c = Claim(pathlib.Path(sys.argv[1])); c.announce({'clickhouse': 'http://127.0.0.1:1'}); print('claimed', flush=True); time.sleep(60)"
)


def test_one_owner_and_it_can_be_found(tmp_path: Path) -> None:
    assert find_owner(tmp_path / "data") is None
    holder = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(tmp_path / "data")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "claimed\n"
        owner = find_owner(tmp_path / "data")
        assert owner is not None
        assert (owner.pid, owner.addresses) == (holder.pid, {"clickhouse": "http://127.0.0.1:1"})
        with pytest.raises(StoreLocked, match=rf"process {holder.pid}.*clickhouse=http://127\.0\.0\.1:1"):
            Claim(tmp_path / "data")
        settings = Settings(data=tmp_path / "data", store=StoreSettings(clickhouse_user="u", clickhouse_password="p w"))
        assert reader_url(settings) == "http://u:p%20w@127.0.0.1:1"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    # However it ended, the folder is free, and the word it left is not believed.
    assert (tmp_path / "data" / "service.json").exists()
    assert find_owner(tmp_path / "data") is None
    claim = Claim(tmp_path / "data")
    assert find_owner(tmp_path / "data") is None, "a service that is starting has said nothing yet"
    with pytest.raises(StoreLocked, match="is starting"):
        Claim(tmp_path / "data")
    claim.announce({"http": "h"})
    assert json.loads((tmp_path / "data" / "service.json").read_text())["pid"] == os.getpid()
    claim.release()
    Claim(tmp_path / "data").release()


def test_reading_makes_no_store(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(BadInput, match=r"no store in the data folder .*--data"):
        open_existing(Settings(data=tmp_path / "data"))
    assert not (tmp_path / "data").exists()
    assert time.monotonic() - begin < 5


def test_a_reason_does_not_quote_the_statement(store_client: Client) -> None:
    """Ours may hold a salt, and reasons are logged and shown."""
    with pytest.raises(Exception, match="a-secret") as caught:
        store_client.command("SELECT nothing, concat('a-secret', 'x')")
    assert reason(caught.value) == "Unknown expression identifier `nothing` (UNKNOWN_IDENTIFIER)"


def test_the_reason_of_a_broken_connection_is_what_the_system_said() -> None:
    # As the driver puts it, whole statement and all.
    refused = OperationalError(
        "Error HTTPConnectionPool(host='127.0.0.1', port=1): Max retries exceeded with url: /?query=SELECT+a-secret"
        " (Caused by NewConnectionError(\"HTTPConnection(host='127.0.0.1', port=1): Failed to establish a new connection:"
        ' [Errno 111] Connection refused")) executing HTTP request attempt 1 (http://127.0.0.1:1)'
    )
    unknown = OperationalError("Error Max retries exceeded with url: /?query=SELECT+a-secret")
    assert reason(refused) == "connection refused"
    assert reason(unknown) == "Error Max retries exceeded"
