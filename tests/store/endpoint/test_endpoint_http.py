"""The wire: parameters, headers, formats, compression, errors."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import TYPE_CHECKING

import httpx2
import lz4.block
import lz4.frame
import pytest

from monitor.store.cityhash import cityhash128
from monitor.store.endpoint_encoding import zstd

if TYPE_CHECKING:
    from conftest import Served


@pytest.mark.parametrize("path", ["", "ping", "replicas_status"])
def test_health(served: Served, path: str) -> None:
    answer = served.http.get(served.url() + path)
    assert (answer.status_code, answer.text) == (200, "Ok.\n")
    assert served.http.get(served.url("guarded") + "ping").text == "Ok.\n"


def test_unknown_path(served: Served) -> None:
    answer = served.http.get(served.url() + "nope")
    assert answer.status_code == 404
    assert "There is no handle /nope" in answer.text


def test_head_has_no_body(served: Served) -> None:
    answer = served.http.head(served.url(), params={"query": "SELECT 1"})
    assert (answer.status_code, answer.content) == (200, b"")


def test_query_in_the_url_the_body_and_both(served: Served) -> None:
    url = served.url()
    assert httpx2.get(url, params={"query": "SELECT 1 + 1"}).text == "2\n"
    assert httpx2.post(url, content="SELECT 1 + 1").text == "2\n"
    assert httpx2.post(url, params={"query": "SELECT 1 + "}, content="1").text == "2\n"
    # What curl -d sends.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert httpx2.post(url, content="SELECT 1 + 1", headers=form).text == "2\n"
    # A line ends between them: two halves of a word stay two words.
    assert httpx2.post(url, params={"query": "SELECT 1 a"}, content="b").status_code == 400


def test_headers_of_an_answer(served: Served) -> None:
    answer = served.ask("SELECT id FROM shop.calls LIMIT 3", query_id="my-id")
    headers = answer.headers
    assert headers["X-ClickHouse-Query-Id"] == "my-id"
    assert headers["X-ClickHouse-Format"] == "TabSeparated"
    assert headers["X-ClickHouse-Timezone"]
    assert headers["X-ClickHouse-Server-Display-Name"]
    assert headers["Content-Type"] == "text/tab-separated-values; charset=UTF-8"
    summary = json.loads(headers["X-ClickHouse-Summary"])
    assert summary["result_rows"] == "3"
    assert int(summary["elapsed_ns"]) > 0


def test_query_id_cannot_break_headers(served: Served) -> None:
    answer = served.ask("SELECT 1", query_id="a\r\nSet-Cookie: x=1")
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("by", "name", "text"),
    [
        pytest.param({"params": {"default_format": "CSV"}}, "CSV", '1,"a"\n', id="parameter"),
        pytest.param({"params": {"default_format": "jsoneachrow"}}, "JSONEachRow", '{"x":1,"y":"a"}\n', id="any case"),
        pytest.param({"headers": {"X-ClickHouse-Format": "Values"}}, "Values", "(1,'a')", id="header"),
        pytest.param({"sql": " FORMAT TSVWithNames"}, "TSVWithNames", "x\ty\n1\ta\n", id="clause"),
        pytest.param({"sql": " FORMAT CSV", "params": {"default_format": "TSV"}}, "CSV", '1,"a"\n', id="clause wins"),
        pytest.param({"sql": "\nFORMAT/**/CSV;"}, "CSV", '1,"a"\n', id="clause after a comment"),
    ],
)
def test_formats(served: Served, by: dict[str, dict[str, str]], name: str, text: str) -> None:
    sql = "SELECT 1 AS x, 'a' AS y" + str(by.get("sql", ""))
    answer = served.http.post(served.url(), content=sql, params=by.get("params"), headers=by.get("headers"))
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["X-ClickHouse-Format"] == name


@pytest.mark.parametrize("format_name", ["Native", "TSV", "CSV", "RowBinary", "JSONEachRow", "JSON", "Parquet", "XML"])
@pytest.mark.parametrize("hold_back", ["0", "1"])
def test_streamed_and_complete_answers_are_the_same_text(served: Served, format_name: str, hold_back: str) -> None:
    """Many blocks, in whatever order they are sent: the text must be one answer of its format."""
    sql = "SELECT number, toString(number) FROM numbers(200000) FORMAT "
    one_block = served.ask(sql + format_name, max_block_size="1000000", wait_end_of_query="1")
    many = served.ask(sql + format_name, max_block_size="20000", wait_end_of_query=hold_back)
    assert many.status_code == one_block.status_code == 200
    if format_name in ("TSV", "CSV", "RowBinary", "JSONEachRow"):
        assert many.content == one_block.content
    elif format_name == "JSON":
        assert many.json()["data"] == one_block.json()["data"]
        assert many.json()["rows"] == 200_000
    else:
        assert len(many.content) > 1_000_000


def test_totals_and_extremes_are_whole(served: Served) -> None:
    sql = "SELECT number % 2 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k FORMAT TSV"
    assert served.value(sql) == "0\t5\n1\t5\n\n0\t10"
    assert served.value("SELECT number FROM numbers(3) FORMAT TSV", extremes="1") == "0\n1\n2\n\n0\n2"


def test_parameters_of_the_url(served: Served) -> None:
    assert served.value("SELECT {x:UInt8} + 1", param_x="41") == "42"
    assert served.value("SELECT {s:String}", param_s=r"a\tb") == r"a\tb"
    assert served.ask("SELECT {x:UInt8}", param_x="abc").headers["X-ClickHouse-Exception-Code"] == "457"
    assert served.ask("SELECT {x:UInt8}").headers["X-ClickHouse-Exception-Code"] == "456"


def test_multipart_parameters(served: Served) -> None:
    parts = {"query": (None, "SELECT {a:String}, {b:UInt8}"), "param_a": (None, "x"), "param_b": (None, "7")}
    answer = served.http.post(served.url(), files=parts)
    assert (answer.status_code, answer.text) == (200, "x\t7\n")
    answer = served.http.post(served.url(), params={"query": "SELECT * FROM t"}, files={"t": ("t.tsv", b"1\n")})
    assert answer.status_code == 501
    assert answer.headers["X-ClickHouse-Exception-Code"] == "48"
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = served.http.post(served.url(), content=b"no form at all", headers={"Content-Type": content_type})
        assert answer.status_code == 400


def test_database(served: Served) -> None:
    assert served.value("SELECT count() FROM calls", database="shop") == "1000"
    answer = served.http.post(
        served.url(), content="SELECT currentDatabase()", headers={"X-ClickHouse-Database": "shop"}
    )
    assert answer.text == "shop\n"
    assert served.ask("SELECT 1", database="nope").status_code == 404
    assert served.ask("SELECT 1", database="a`b\\").status_code == 404
    assert served.value("SELECT currentDatabase()") == "default"


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        pytest.param({"query": "SELECT (1"}, 400, 62, id="syntax"),
        pytest.param({"query": "SELECT 1; SELECT 2"}, 400, 62, id="two statements"),
        pytest.param({"query": "SELECT 1 FROM nope"}, 404, 60, id="table"),
        pytest.param({"query": "SELECT 1", "default_format": "Nope"}, 404, 73, id="format"),
        pytest.param({"query": "SELECT 1", "nope": "1"}, 404, 115, id="setting"),
        pytest.param({"query": "SELECT 1 SETTINGS nope = 1"}, 404, 115, id="setting in the text"),
        pytest.param({"query": "DROP TABLE shop.calls"}, 500, 164, id="write"),
        pytest.param({"query": "SELECT throwIf(1)"}, 500, 395, id="while running"),
        pytest.param({"query": "SELECT 1", "decompress": "1"}, 501, 48, id="decompress"),
        pytest.param({"query": "SELECT 'a\0b'"}, 200, None, id="zero byte in a string"),
    ],
)
def test_errors(served: Served, params: dict[str, str], status: int, code: int | None) -> None:
    answer = served.http.get(served.url(), params=params)
    assert answer.status_code == status, answer.text
    if code is None:
        assert "X-ClickHouse-Exception-Code" not in answer.headers
        return
    assert answer.headers["X-ClickHouse-Exception-Code"] == str(code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert answer.text.count("(version ") == 1
    assert "formatQuery" not in answer.text


@pytest.mark.parametrize("hold_back", ["0", "1"])
def test_error_after_the_first_bytes(served: Served, hold_back: str) -> None:
    """Held back, a late error has its status; sent already, it is in the body between the announced marks."""
    sql = "SELECT number, throwIf(number = 900000) FROM numbers(1000000) FORMAT TSV"
    answer = served.ask(sql, wait_end_of_query=hold_back, max_block_size="10000")
    if hold_back == "1":
        assert answer.status_code == 500
        assert answer.headers["X-ClickHouse-Exception-Code"] == "395"
        return
    assert answer.status_code == 200
    tag = answer.headers["X-ClickHouse-Exception-Tag"]
    rows, _, rest = answer.content.partition(f"\r\n__exception__\r\n{tag}\r\n".encode())
    assert rows.startswith(b"0\t0\n1\t0\n")
    message, _, size = rest.removesuffix(f" {tag}\r\n__exception__\r\n".encode()).rpartition(b"\n")
    assert message.startswith(b"Code: 395. DB::Exception: ")
    assert int(size) == len(message) + 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
def test_compressed_answers(served: Served, encoding: str) -> None:
    sql = "SELECT number FROM numbers(100000)"
    plain = served.ask(sql).content
    with served.http.stream(
        "POST",
        served.url(),
        params={"query": sql, "enable_http_compression": "1"},
        headers={"Accept-Encoding": encoding},
    ) as answer:
        packed = b"".join(answer.iter_raw())
        assert answer.headers["Content-Encoding"] == encoding
    unpack = {"gzip": gzip.decompress, "zstd": zstd.decompress, "lz4": lz4.frame.decompress, "deflate": zlib.decompress}
    assert unpack[encoding](packed) == plain
    assert len(packed) < len(plain)


def test_compression_only_if_asked_for(served: Served) -> None:
    answer = served.http.get(served.url(), params={"query": "SELECT 1"}, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers
    params = {"query": "SELECT 1", "enable_http_compression": "1"}
    for accept in ("br", "gzip;q=0", "identity", ""):
        answer = served.http.get(served.url(), params=params, headers={"Accept-Encoding": accept})
        assert "Content-Encoding" not in answer.headers, accept


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("zstd", zstd.compress), ("lz4", lz4.frame.compress), ("x-gzip", gzip.compress)],
)
def test_compressed_requests(served: Served, encoding: str, pack: object) -> None:
    assert callable(pack)
    body = pack(b"SELECT 'packed'")
    headers = {"Content-Encoding": encoding}
    assert served.http.post(served.url(), content=body, headers=headers).text == "packed\n"
    assert served.http.post(served.url(), content=pack(b"SELECT ") + pack(b"1"), headers=headers).text == "1\n"
    assert served.http.post(served.url(), content=body[:-3], headers=headers).status_code == 400
    assert served.http.post(served.url(), content=b"SELECT 1", headers=headers).status_code == 400
    # A small body that unpacks to a large one stops at the limit.
    bomb = served.http.post(served.url("narrow"), content=pack(b"SELECT 1" + b" " * 50_000_000), headers=headers)
    assert bomb.status_code == 413


def test_too_long_bodies_and_unknown_encodings(served: Served) -> None:
    assert served.ask("SELECT 1" + " " * 300_000, on="narrow").status_code == 413
    headers = {"Content-Encoding": "br"}
    assert served.http.post(served.url(), content=b"SELECT 1", headers=headers).status_code == 400


def test_native_compressed_blocks(served: Served) -> None:
    """What JDBC drivers ask for."""
    data = served.ask("SELECT number FROM numbers(300000)", compress="1").content
    plain, at = b"", 0
    while at < len(data):
        size = int.from_bytes(data[at + 17 : at + 21], "little")
        block = data[at + 16 : at + 16 + size]
        assert cityhash128(block) == data[at : at + 16]
        plain += lz4.block.decompress(block[9:], uncompressed_size=int.from_bytes(block[5:9], "little"))
        at += 16 + size
    assert plain == served.ask("SELECT number FROM numbers(300000)").content


@pytest.mark.parametrize(
    ("block", "checksum"),
    [
        # Taken from a ClickHouse server: SELECT 1 with compress=1.
        pytest.param("820c0000000200000020310a", "de79cf087fb635049db816df195b016b", id="12 bytes"),
    ],
)
def test_checksum_of_a_real_server(block: str, checksum: str) -> None:
    assert cityhash128(bytes.fromhex(block)).hex() == checksum


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("how", "status"),
    [
        pytest.param({"headers": _basic("reader", "pass:wörd")}, 200, id="basic"),
        pytest.param(
            {"headers": {b"X-ClickHouse-User": b"reader", b"X-ClickHouse-Key": "pass:wörd".encode("latin-1")}},
            200,
            id="headers",
        ),
        pytest.param({"params": {"user": "reader", "password": "pass:wörd"}}, 200, id="parameters"),
        pytest.param({}, 403, id="nobody"),
        pytest.param({"headers": _basic("reader", "pass")}, 403, id="wrong password"),
        pytest.param({"headers": _basic("default", "pass:wörd")}, 403, id="wrong user"),
        pytest.param({"headers": {"Authorization": "Basic !!!"}}, 403, id="broken basic"),
        pytest.param({"headers": {"Authorization": "Bearer x"}}, 403, id="bearer"),
        pytest.param(
            {"headers": _basic("reader", "no"), "params": {"user": "reader", "password": "pass:wörd"}},
            403,
            id="header goes before",
        ),
    ],
)
def test_login(served: Served, how: dict[str, dict[str, str]], status: int) -> None:
    params = {"query": "SELECT 1"} | how.get("params", {})
    answer = served.http.get(served.url("guarded"), params=params, headers=how.get("headers"))
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.headers["X-ClickHouse-Exception-Code"] == "516"
        assert "password" not in str(answer.headers)


def test_settings_of_the_url(served: Served) -> None:
    assert served.value("SELECT getSetting('max_block_size')", max_block_size="1000") == "1000"
    assert served.value(
        "SELECT 18446744073709551615 FORMAT JSONCompactEachRow", output_format_json_quote_64bit_integers="1"
    ) == ('["18446744073709551615"]')
    assert served.value("SELECT 1", readonly="1") == served.value("SELECT 1", readonly="2") == "1"
    assert served.value("SELECT getSetting('readonly')", readonly="2") == "1"
    # The value in force already changes nothing, as on a server.
    assert served.value("SELECT 1", allow_ddl="0") == "1"
    # Settings in the text of the query are judged like those of the URL.
    assert served.value("SELECT getSetting('max_block_size') SETTINGS max_block_size = 2000") == "2000"
    assert served.ask("SELECT 1 SETTINGS max_execution_time = 1e9").headers["X-ClickHouse-Exception-Code"] == "452"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("readonly", "0", 164),
        ("allow_ddl", "1", 164),
        ("allow_introspection_functions", "1", 164),
        ("format_schema", "/etc/passwd:x", 164),
        ("format_schema_source", "string", 164),
        ("output_format_schema", "/tmp/written", 164),
        ("format_template_row", "/etc/passwd", 164),
        ("format_template_resultset", "/etc/passwd", 164),
        ("format_avro_schema_registry_url", "http://127.0.0.1:1", 164),
        ("format_display_secrets_in_show_and_select", "1", 164),
        ("additional_table_filters", "{'shop.calls': 'file(1)'}", 164),
        ("log_comment", "not-mine", 164),
        ("max_query_size", "1000000000", 164),
        ("dialect", "kusto", 164),
        ("max_execution_time", "0", 452),
        ("max_execution_time", "1e6", 452),
        ("max_execution_time", "-1", 452),
        ("max_execution_time", "nan", 452),
        ("max_memory_usage", "0", 452),
        ("max_threads", "1000", 452),
        ("max_execution_time", "abc", 72),
        ("nope", "1", 115),
        ("join_use_nulls' , readonly = '0", "1", 115),
    ],
)
def test_settings_that_are_refused(served: Served, name: str, value: str, code: int) -> None:
    answer = served.ask("SELECT 1", **{name: value})
    assert answer.headers.get("X-ClickHouse-Exception-Code") == str(code), answer.text
    if "'" not in name:
        text = f"SELECT 1 SETTINGS {name} = '{value}'" if code != 72 else "SELECT 1 SETTINGS max_execution_time = 'abc'"
        if "{" not in value:
            assert served.ask(text).headers.get("X-ClickHouse-Exception-Code") == str(code)


def test_setting_values_cannot_break_out(served: Served) -> None:
    for value in ("Europe/Berlin', readonly = '0", "\\', readonly = 0 --", "UTC'; DROP TABLE shop.calls"):
        answer = served.ask("SELECT 1", session_timezone=value)
        assert answer.status_code != 200
    assert served.value("SELECT count() FROM shop.calls") == "1000"


def test_binary_queries_are_refused_without_harm(served: Served) -> None:
    answer = served.http.post(served.url(), content=b"SELECT '\xff\xfe'")
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (400, "36")
    answer = served.http.post(served.url(), content=b"INSERT INTO shop.file FORMAT RowBinary\n\x01\xff\x00")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"
