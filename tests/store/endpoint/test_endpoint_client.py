"""The unmodified clickhouse-connect HTTP client against the endpoint."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from monitor.store.client import QUERY_PRIORITY, background_settings

if TYPE_CHECKING:
    from conftest import Served


def test_client_connects_with_its_defaults(client: Client) -> None:
    assert client.ping()
    assert client.command("SELECT version()") == client.server_version
    assert client.server_tz is not None


def test_query_gives_typed_rows(client: Client) -> None:
    rows = client.query("SELECT id, at, model, ttft, tags FROM shop.calls ORDER BY id LIMIT 2").result_rows
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    assert [(row[0], row[2], row[3], row[4]) for row in rows] == [
        (0, "llama", None, {"k": "0"}),
        (1, "qwen", 0.001, {"k": "1"}),
    ]
    assert rows[0][1].replace(tzinfo=datetime.UTC) == at


def test_summary_says_what_was_read(client: Client) -> None:
    summary = client.query("SELECT sum(id) FROM shop.calls").summary
    assert summary["read_rows"] == "1000"
    assert summary["result_rows"] == "1"
    assert summary["query_id"]


def test_query_df(client: Client) -> None:
    frame = client.query_df("SELECT model, count() AS n FROM shop.calls GROUP BY model ORDER BY model")
    assert frame.to_dict("list") == {"model": ["llama", "qwen"], "n": [500, 500]}


def test_query_arrow(client: Client) -> None:
    table = client.query_arrow("SELECT id, ttft FROM shop.calls ORDER BY id LIMIT 3")
    assert table.to_pydict() == {"id": [0, 1, 2], "ttft": [None, 0.001, 0.002]}


def test_query_without_rows_has_columns(client: Client) -> None:
    result = client.query("SELECT id, model FROM shop.calls LIMIT 0")
    assert result.column_names == ("id", "model")
    assert client.query("SELECT id FROM shop.calls WHERE 0").result_rows == []


@pytest.mark.parametrize(
    "value", ["plain", "it's", "a\\b", "tab\tline\nend", "`x`", "--", "/* */", "ünïcode ✓", "{a:String}", ""]
)
def test_string_parameters_arrive_unchanged(client: Client, value: str) -> None:
    assert client.query("SELECT {value:String} AS v", parameters={"value": value}).result_rows == [(value,)]


def test_parameters_of_other_types(client: Client) -> None:
    at = datetime.datetime(2026, 5, 1, 12, 30, tzinfo=datetime.UTC)
    sql = "SELECT {n:Nullable(Int8)}, {list:Array(String)}, {at:DateTime}, count() FROM {table:Identifier} WHERE id < {top:UInt64}"
    values = {"n": None, "list": ["a", "it's"], "at": at, "table": "calls", "top": 10}
    client.database = "shop"
    row = client.query(sql, parameters=values).result_rows[0]
    assert row[0] is None
    assert list(row[1]) == ["a", "it's"]
    assert row[2].replace(tzinfo=datetime.UTC) == at
    assert row[3] == 10


def test_form_encoded_parameters(served: Served) -> None:
    with clickhouse_connect.get_client(
        host="127.0.0.1", port=served.ports["open"], form_encode_query_params=True
    ) as client:
        ids = list(range(5000))
        assert client.query(
            "SELECT sum(id) FROM shop.calls WHERE id IN {ids:Array(UInt64)}", parameters={"ids": ids}
        ).result_rows == [(499500,)]


def test_queries_go_before_jobs(client: Client) -> None:
    mine, theirs = QUERY_PRIORITY, background_settings()["priority"]
    assert client.query("SELECT getSetting('priority')").result_rows == [(mine,)]
    assert 0 < mine < theirs, "the smaller number goes first, and 0 is outside of the order"


def test_settings_are_applied_and_last_for_one_query(client: Client) -> None:
    sql = "SELECT getSetting('max_threads'), getSetting('join_use_nulls'), timezone()"
    settings = {"max_threads": 1, "join_use_nulls": 1, "session_timezone": "Asia/Tokyo"}
    assert client.query(sql, settings=settings).result_rows == [(1, True, "Asia/Tokyo")]
    assert client.query(sql).result_rows[0][1:] == (False, client.query("SELECT timezone()").result_rows[0][0])


def test_streams_of_rows_blocks_and_frames(client: Client) -> None:
    sql = "SELECT number, toString(number) AS text FROM numbers(500000)"
    with client.query_row_block_stream(sql) as blocks:
        assert sum(len(block) for block in blocks) == 500_000
    with client.query_df_stream(sql) as frames:
        assert sum(int(frame["number"].sum()) for frame in frames) == 499_999 * 250_000
    with client.query_arrow_stream(sql) as batches:
        assert sum(batch.num_rows for batch in batches) == 500_000


@pytest.mark.parametrize("compress", [False, "gzip", "zstd", "lz4", "deflate"])
def test_compressed_answers(served: Served, compress: bool | str) -> None:
    with clickhouse_connect.get_client(host="127.0.0.1", port=served.ports["open"], compress=compress) as client:
        rows = client.query("SELECT number, repeat('x', 100) FROM numbers(20000)").result_rows
        assert (len(rows), rows[-1]) == (20_000, (19_999, "x" * 100))


@pytest.mark.parametrize(
    ("sql", "code", "name"),
    [
        pytest.param("SELECT (1", 62, "SYNTAX_ERROR", id="syntax"),
        pytest.param("SELECT nope FROM shop.calls", 47, "UNKNOWN_IDENTIFIER", id="column"),
        pytest.param("SELECT * FROM shop.nope", 60, "UNKNOWN_TABLE", id="table"),
        pytest.param("SELECT * FROM nope.nope", 81, "UNKNOWN_DATABASE", id="database"),
        pytest.param("SELECT nope(1)", 46, "UNKNOWN_FUNCTION", id="function"),
        pytest.param("SELECT throwIf(1)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", id="while running"),
        pytest.param("INSERT INTO shop.file VALUES ('x')", 164, "READONLY", id="insert"),
        pytest.param("DROP TABLE shop.calls", 164, "READONLY", id="drop"),
        pytest.param("SET readonly = 0", 164, "READONLY", id="set"),
    ],
)
def test_error_codes(client: Client, sql: str, code: int, name: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.query(sql)
    assert (caught.value.code, caught.value.name) == (code, name)
    with pytest.raises(DatabaseError) as caught:
        client.command(sql)
    assert caught.value.code == code


def test_late_error_of_a_whole_query(client: Client) -> None:
    """The client waits for the end of a query that it does not stream, so the error is one of the whole."""
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT throwIf(number = 900000) FROM numbers(1000000)")
    assert caught.value.code == 395


def _count(client: Client, sql: str, seen: list[int]) -> None:
    with client.query_row_block_stream(sql) as blocks:
        seen.extend(len(block) for block in blocks)


def test_error_in_the_middle_of_a_stream(client: Client) -> None:
    seen: list[int] = []
    with pytest.raises(StreamFailureError) as caught:
        _count(client, "SELECT number, throwIf(number = 4000000) FROM numbers(5000000)", seen)
    assert caught.value.code == 395
    assert 0 < sum(seen) <= 4_000_000


def test_inserts_of_the_client_are_refused(client: Client) -> None:
    for compress in (False, True):
        client.write_compression = "lz4" if compress else None
        with pytest.raises(DatabaseError) as caught:
            client.insert("shop.file", [["x"]], column_names=["file"])
        assert caught.value.code == 164
    assert client.command("SELECT count() FROM shop.file") == 0


def test_refused_settings(client: Client) -> None:
    for settings, code in (
        ({"max_execution_time": 0}, 452),
        ({"max_memory_usage": 1 << 50}, 452),
        ({"format_schema": "/etc/passwd"}, 164),
        ({"log_comment": "mine"}, 164),
        ({"no_such_setting": 1}, 115),
    ):
        with pytest.raises(DatabaseError) as caught:
            client.query("SELECT 1", settings=settings)
        assert caught.value.code == code, settings


def test_wrong_password_is_516(served: Served) -> None:
    port = served.ports["guarded"]
    with clickhouse_connect.get_client(host="127.0.0.1", port=port, username="reader", password="pass:wörd") as client:
        assert client.command("SELECT 1") == 1
    with pytest.raises(DatabaseError) as caught:
        clickhouse_connect.get_client(host="127.0.0.1", port=port, username="reader", password="no")
    assert caught.value.code == 516
