"""Nothing but reading tables gets through. What counts is the effect on the real engine, not the wording of a refusal."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.store.readonly import INTERNAL_TABLES, OUTSIDE_FUNCTIONS, SAFE_TABLE_FUNCTIONS, Refused, tokens

if TYPE_CHECKING:
    from conftest import Served


class World:
    """What an attack could change or find out: a folder, a file with a secret, the tables, a web server."""

    def __init__(self, served: Served, folder: Path, port: int, calls: list[str]) -> None:
        self.served = served
        self.folder = folder
        self.target = folder / "written"
        self.secret_text = "secret-" + secrets.token_hex(8)
        self.secret = folder / "secret.csv"
        self.secret.write_text(self.secret_text)
        self.port = port
        self.calls = calls
        self._before = self._state()

    def filled(self, sql: str) -> str:
        places = {
            "TARGET": str(self.target),
            "SECRET": str(self.secret),
            "PORT": str(self.port),
            "FOLDER": str(self.folder),
        }
        for name, value in places.items():
            sql = sql.replace(f"@{name}", value)
        return sql

    def _state(self) -> tuple[object, ...]:
        value = self.served.value
        return (
            sorted(path.name for path in self.folder.iterdir()),
            value("SELECT count(), sum(id), max(at), (SELECT count() FROM shop.file) FROM shop.calls"),
            value(
                "SELECT (SELECT groupArray(database || '.' || name) FROM (SELECT database, name FROM system.tables ORDER BY ALL)),"
                " (SELECT groupArray(name) FROM (SELECT name FROM system.databases ORDER BY name))"
            ),
            value("SELECT getSetting('readonly'), getSetting('max_memory_usage'), getSetting('max_execution_time')"),
        )

    def assert_untouched(self, answer: httpx2.Response) -> None:
        # The error may repeat the query, so only a good answer can give the secret away.
        if answer.status_code == 200:
            assert self.secret_text not in answer.text
            assert "root:" not in answer.text
            assert "in memory" not in answer.text
        assert self._state() == self._before
        assert self.calls == []


@pytest.fixture(scope="module")
def web() -> Iterator[tuple[int, list[str]]]:
    """A web server that nobody may call: its port and the calls."""
    calls: list[str] = []

    class Web(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"1\n")

        do_POST = do_HEAD = do_PUT = do_GET

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server.server_port, calls
    server.shutdown()
    server.server_close()


@pytest.fixture
def world(served: Served, web: tuple[int, list[str]], tmp_path: Path) -> World:
    port, calls = web
    calls.clear()
    return World(served, tmp_path, port, calls)


# Each of them, sent to the bare engine with readonly = 1 or without, writes, reads a file, or opens a connection.
ATTACKS = [
    # files written by the answer
    "SELECT 1 INTO OUTFILE '@TARGET'",
    "SELECT 1 INTO OUTFILE '@TARGET' TRUNCATE FORMAT CSV",
    "SELECT 1 INTO OUTFILE '@TARGET' AND STDOUT",
    "SELECT 1 INTO/**/OUTFILE/**/'@TARGET'",
    "SELECT 1 -- x\nINTO -- y\nOUTFILE '@TARGET'",
    "SELECT 1 # x\nInTo #! y\n oUtFiLe '@TARGET' FORMAT CSV SETTINGS max_block_size = 10",
    "SELECT 1 INTO OUTFILE $x$@TARGET$x$",
    "SELECT '/*' INTO OUTFILE '@TARGET' /* '*/",
    "SELECT 1 AS `--` INTO OUTFILE '@TARGET'",
    "(SELECT 1) UNION ALL (SELECT 2) INTO OUTFILE '@TARGET'",
    "WITH 1 AS x SELECT x INTO OUTFILE '@TARGET'",
    "FROM system.one SELECT 1 INTO OUTFILE '@TARGET'",
    "1 INTO OUTFILE '@TARGET'",
    "EXPLAIN SELECT 1 INTO OUTFILE '@TARGET'",
    "EXPLAIN AST SELECT 1 INTO OUTFILE '@TARGET'",
    "EXPLAIN SYNTAX SELECT 1 INTO OUTFILE '@TARGET'",
    "SHOW TABLES FROM shop INTO OUTFILE '@TARGET'",
    "DESCRIBE TABLE shop.calls INTO OUTFILE '@TARGET'",
    "EXISTS TABLE shop.calls INTO OUTFILE '@TARGET'",
    "SHOW CREATE TABLE shop.calls INTO OUTFILE '@TARGET'",
    # files read by functions
    "SELECT file('@SECRET')",
    "SELECT `file`('@SECRET')",
    "SELECT \"file\"('@SECRET')",
    "SELECT `\\x66ile`('@SECRET')",
    "SELECT file/**/('@SECRET')",
    "SELECT file\n(\t'@SECRET')",
    "SELECT file($$@SECRET$$)",
    "SELECT arrayMap(file, ['@SECRET'])",
    "SELECT arrayMap(`file`, ['@SECRET'])",
    "SELECT arrayMap(x -> file(x), ['@SECRET'])",
    "SELECT arrayFilter(x -> file(x) != '', ['@SECRET'])",
    "SELECT * APPLY file FROM (SELECT '@SECRET')",
    "SELECT * APPLY(file) FROM (SELECT '@SECRET')",
    "SELECT * APPLY(x -> file(x)) FROM (SELECT '@SECRET')",
    "SELECT COLUMNS('p') APPLY file FROM (SELECT '@SECRET' AS p)",
    "WITH file AS f SELECT arrayMap(f, ['@SECRET'])",
    "WITH x -> file(x) AS f SELECT f('@SECRET')",
    "SELECT (SELECT file('@SECRET'))",
    "SELECT 1 WHERE file('@SECRET') != ''",
    "SELECT 1 ORDER BY file('@SECRET')",
    "SELECT 1 LIMIT length(file('@SECRET'))",
    "EXPLAIN SYNTAX SELECT file('@SECRET')",
    "EXPLAIN PLAN actions = 1 SELECT file('@SECRET')",
    "EXPLAIN QUERY TREE SELECT file('@SECRET')",
    "DESCRIBE (SELECT file('@SECRET'))",
    "SELECT * FROM view(SELECT file('@SECRET'))",
    # files and machines reached by table functions and table names
    "SELECT * FROM file('@SECRET', 'LineAsString')",
    "SELECT * FROM `file`('@SECRET', LineAsString)",
    "SELECT * FROM FiLe('@SECRET', 'LineAsString', 'x String')",
    "DESCRIBE file('@SECRET')",
    "DESCRIBE TABLE file('@SECRET', 'CSV')",
    "SELECT * FROM '@SECRET'",
    "SELECT * FROM `@SECRET`",
    'SELECT * FROM "@SECRET"',
    "SELECT * FROM default.`@SECRET`",
    "SELECT * FROM filesystem('@FOLDER')",
    "SELECT * FROM sqlite('@TARGET', 't')",
    "SELECT * FROM url('http://127.0.0.1:@PORT/x', CSV, 'a String')",
    "SELECT * FROM url('http://127.0.0.1:@PORT/x')",
    "SELECT * FROM `http://127.0.0.1:@PORT/x.csv`",
    "SELECT * FROM s3('http://127.0.0.1:@PORT/b/x.csv', NOSIGN, 'CSV')",
    "SELECT * FROM gcs('http://127.0.0.1:@PORT/b/x.csv', NOSIGN, 'CSV')",
    "SELECT * FROM remote('127.0.0.1:@PORT', system.one)",
    "SELECT * FROM remoteSecure('127.0.0.1:@PORT', system.one)",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM mysql('127.0.0.1:@PORT', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('127.0.0.1:@PORT', 'd', 't', 'u', 'p')",
    "SELECT * FROM mongodb('127.0.0.1:@PORT', 'd', 't', 'u', 'p', 'a String')",
    "SELECT * FROM redis('127.0.0.1:@PORT', 'k', 'k String')",
    "SELECT * FROM jdbc('jdbc:x', 'd', 't')",
    "SELECT * FROM odbc('DSN=x', 'd', 't')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:@PORT/x', 'CSV', 'a String')",
    "SELECT * FROM deltaLakeLocal('@FOLDER')",
    "SELECT * FROM icebergLocal('@FOLDER')",
    "SELECT * FROM executable('id', 'TSV', 'a String')",
    "SELECT * FROM executable('touch @TARGET', 'TSV', 'a String')",
    "SELECT * FROM Python(secret_frame)",
    "SELECT * FROM Python('secret_frame')",
    "SELECT * FROM python(secret_frame)",
    "SELECT * FROM `Python`(secret_frame)",
    "SELECT * FROM secret_frame",
    "SELECT * FROM arrowstream(secret_frame)",
    "SELECT * FROM eval('SELECT file(''@SECRET'')') SETTINGS allow_experimental_eval_table_function = 1",
    "SELECT * FROM (SELECT * FROM loop(file('@SECRET', LineAsString))) LIMIT 1",
    "SELECT * FROM merge('system', 'stack_trace')",
    "SELECT * FROM dictionary('x')",
    "SELECT aiGenerate('http://127.0.0.1:@PORT/', 'x')",
    "SELECT AIGenerate('x')",
    # statements that change something
    "INSERT INTO shop.file VALUES ('x')",
    "INSERT INTO shop.file SELECT 'x'",
    "INSERT INTO shop.file FORMAT CSV\nx",
    "WITH 'x' AS v INSERT INTO shop.file SELECT v",
    "INSERT INTO shop.file FROM INFILE '@SECRET' FORMAT CSV",
    "INSERT INTO FUNCTION file('@TARGET', 'CSV') SELECT 1",
    "INSERT INTO FUNCTION url('http://127.0.0.1:@PORT/x', CSV, 'a Int') VALUES (1)",
    "INSERT INTO FUNCTION remote('127.0.0.1:@PORT', 'shop', 'file') VALUES ('x')",
    "CREATE TABLE shop.new (a Int) ENGINE = Memory",
    "CREATE TEMPORARY TABLE new (a Int)",
    "CREATE TABLE shop.new ENGINE = File(CSV, '@TARGET') AS SELECT 1",
    "CREATE VIEW shop.new AS SELECT 1",
    "CREATE DATABASE new",
    "CREATE FUNCTION mine AS x -> file(x)",
    "CREATE DICTIONARY shop.new (a UInt64) PRIMARY KEY a SOURCE(FILE(path '@SECRET' format CSV)) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE NAMED COLLECTION new AS a = 1",
    "CREATE USER new",
    "DROP TABLE shop.calls",
    "DROP DATABASE shop SYNC",
    "DETACH TABLE shop.calls",
    "ATTACH TABLE shop.new FROM '@FOLDER' (a Int) ENGINE = MergeTree ORDER BY a",
    "TRUNCATE TABLE shop.calls",
    "RENAME TABLE shop.calls TO shop.new",
    "EXCHANGE TABLES shop.calls AND shop.file",
    "ALTER TABLE shop.calls DELETE WHERE 1",
    "DELETE FROM shop.calls WHERE 1",
    "UPDATE shop.calls SET model = 'x' WHERE 1",
    "OPTIMIZE TABLE shop.calls FINAL",
    "UNDROP TABLE shop.calls",
    "GRANT ALL ON *.* TO default",
    "SET readonly = 0",
    "SET max_memory_usage = 0",
    "SET param_f = 'file'",
    "USE shop",
    "SYSTEM FLUSH LOGS",
    "SYSTEM SHUTDOWN",
    "SYSTEM STOP MERGES",
    "SYSTEM RELOAD CONFIG",
    "KILL QUERY WHERE 1",
    "KILL QUERY WHERE query LIKE '%' SYNC",
    "KILL MUTATION WHERE 1",
    "BACKUP TABLE shop.calls TO File('@TARGET')",
    "RESTORE TABLE shop.calls AS shop.new FROM File('@TARGET')",
    "CHECK TABLE shop.calls",
    "EXECUTE AS default SELECT 1",
    "BEGIN TRANSACTION",
    "MOVE USER x TO y",
    "EXPLAIN AST INSERT INTO shop.file VALUES ('x')",
    "EXPLAIN CREATE TABLE shop.new (a Int) ENGINE = Memory",
    "EXPLAIN CURRENT TRANSACTION",
    # several statements
    "SELECT 1; DROP TABLE shop.calls",
    "SELECT 1;; SELECT file('@SECRET')",
    "SELECT 1; -- \nSELECT 1 INTO OUTFILE '@TARGET'",
    "SELECT 1 PARALLEL WITH DROP TABLE shop.calls",
    "DROP TABLE shop.calls PARALLEL WITH SELECT 1",
    # settings
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT * FROM (SELECT getSetting('max_memory_usage') SETTINGS max_memory_usage = 0)",
    "SELECT getSetting('max_memory_usage') SETTINGS max_memory_usage = 0 UNION ALL SELECT 1",
    "SELECT 1 FORMAT CapnProto SETTINGS format_schema = '@SECRET:x'",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '@SECRET'",
    "SELECT 1 FORMAT Protobuf SETTINGS output_format_schema = '@TARGET'",
    "SELECT arrayMap({f:Identifier}, ['@SECRET']) SETTINGS param_f = 'file'",
    # the process
    "SELECT * FROM system.stack_trace",
    "SELECT * FROM system.`stack_trace`",
    "SELECT demangle('x')",
    "SELECT addressToLine(1)",
]


def test_readonly_alone_is_not_enough(world: World) -> None:
    """The attacks have teeth: many of them succeed on a handle that has nothing but `readonly = 1`."""
    script = """
import chdb, json, os, sys
folder, target, secret, attacks = json.load(sys.stdin)
handle = chdb.connect(folder)
handle.query("SET readonly = 1")
succeeded = []
for attack in attacks:
    try:
        leaked = secret in handle.query(attack, "TSV").bytes().decode(errors="replace")
    except RuntimeError:
        leaked = False
    if leaked or os.path.exists(target):
        succeeded.append(attack)
    if os.path.exists(target):
        os.unlink(target)
print(json.dumps(succeeded))
"""
    attacks = [world.filled(attack) for attack in ATTACKS if "SYSTEM" not in attack]
    given = json.dumps([str(world.folder / "bare"), str(world.target), world.secret_text, attacks])
    result = subprocess.run(
        [sys.executable, "-c", script], input=given, capture_output=True, text=True, check=True, cwd=world.folder
    )
    # `AND STDOUT` prints there too.
    succeeded = json.loads(result.stdout.splitlines()[-1])
    assert len(succeeded) > 25, succeeded


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_has_no_effect_and_is_refused(world: World, attack: str) -> None:
    answer = world.served.ask(world.filled(attack))
    assert answer.status_code != 200, answer.text[:300]
    assert answer.headers["X-ClickHouse-Exception-Code"] != "1002", answer.text
    world.assert_untouched(answer)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT arrayMap({f:Identifier}, ['@SECRET'])", "file"),
        ("SELECT arrayMap({f:Identifier}, ['@SECRET'])", "`file`"),
        ("SELECT arrayMap({f:Identifier}, ['@SECRET'])", "fi\\x6ce"),
        ("SELECT arrayMap({f:identifier}, ['@SECRET'])", "file"),
        ("SELECT arrayMap({ f : Identifier }, ['@SECRET'])", "file"),
        ("SELECT arrayMap({f/**/:/**/Identifier}, ['@SECRET'])", "file"),
        ("SELECT {f:Identifier}('@SECRET')", "file"),
        ("SELECT * APPLY {f:Identifier} FROM (SELECT '@SECRET')", "file"),
        ("SELECT * FROM {f:Identifier}", "@SECRET"),
        ("SELECT * FROM default.{f:Identifier}", "@SECRET"),
        ("SELECT * FROM {f:Identifier}", "file('@SECRET')"),
        ("SELECT * FROM system.{f:Identifier}", "stack_trace"),
        ("SELECT 1 INTO OUTFILE {f:String}", "@TARGET"),
        ("SELECT {f:String}", "' INTO OUTFILE '@TARGET"),
        ("SELECT {f:Array(String)}", "['x'], file('@SECRET')"),
    ],
)
def test_attack_through_a_parameter(world: World, sql: str, value: str) -> None:
    answer = world.served.ask(world.filled(sql), param_f=world.filled(value))
    world.assert_untouched(answer)
    if "f:String" not in sql:
        assert answer.status_code != 200


def test_attack_split_between_url_and_body(world: World) -> None:
    for query, body in (
        ("SELECT 1 INTO", world.filled("OUTFILE '@TARGET'")),
        ("SELECT 1 /*", world.filled("*/ INTO OUTFILE '@TARGET'")),
        ("SELECT 1 --", world.filled("INTO OUTFILE '@TARGET'")),
    ):
        answer = world.served.http.post(world.served.url(), params={"query": query}, content=body)
        assert answer.status_code != 200
        world.assert_untouched(answer)


def test_every_outside_table_function_of_the_engine_is_refused(world: World) -> None:
    names = json.loads(
        world.served.value("SELECT groupArray(name) FROM system.table_functions FORMAT JSONCompactEachRow")
    )[0]
    assert len(names) > 50
    for name in names:
        if name.lower() in SAFE_TABLE_FUNCTIONS:
            continue
        answer = world.served.ask(f"SELECT * FROM {name}('x')")
        assert answer.headers["X-ClickHouse-Exception-Code"] == "164", name
        assert "reaches out" in answer.text, name
    world.assert_untouched(answer)


def test_no_function_of_the_engine_speaks_to_the_outside_unnoticed(served: Served) -> None:
    """A newer engine may bring functions that belong on the list."""
    sql = "SELECT name FROM system.functions WHERE categories = 'AI' OR match(lower(name), '^(ai[a-z]+|file|catboost.*|.*http.*|llm.*)$')"
    names = set(served.value(sql).lower().split())
    assert names >= {"file", "aigenerate"}
    assert names <= OUTSIDE_FUNCTIONS | {"currenthandler"}, names - OUTSIDE_FUNCTIONS


READS = [
    "SELECT count() FROM shop.calls",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "WITH x AS (SELECT 1 AS a) SELECT a FROM x",
    "FROM shop.calls SELECT count()",
    "SELECT t.file FROM shop.file AS t",
    "SELECT 1 AS url, 2 AS merge, 3 AS remote, 4 AS input",
    "SELECT 'INTO OUTFILE ''x''; DROP TABLE t -- file(1)'",
    "SELECT 1 AS `into outfile`, 2 AS `a--b`, 3 AS `a/*`",
    "SELECT 1 /* INTO OUTFILE 'x' */ -- file('x')",
    "SELECT number FROM numbers(3) WHERE number IN (SELECT arrayJoin([1, 2]))",
    "SELECT arrayMap(x -> x + 1, [1, 2]), arrayMap(toString, [1])",
    "SELECT * APPLY(sum) FROM numbers(3)",
    "SELECT format('{}-{}', 1, 2), transform(1, [1], ['a'], '')",
    "SELECT * FROM values('a Int8', 1, 2)",
    "SELECT quantileExact(0.5)(ttft), quantilesTDigest(0.5, 0.9)(ttft) FROM shop.calls",
    "SELECT - -1, -(-1), 1 - -1, 1e-5, 0x1F, -1.5, [1, 2][1], (1, 2).2, map('a', 1)['a']",
    "SELECT CAST(1 AS Nullable(Int8)), 1::String, toDate('2026-01-01') + INTERVAL 1 DAY, CASE WHEN 1 THEN 2 ELSE 3 END",
    "SELECT sum(id) OVER (PARTITION BY model ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM shop.calls LIMIT 1",
    "SELECT a.id FROM shop.calls AS a INNER JOIN shop.calls AS b ON a.id = b.id LIMIT 1",
    "SELECT tags['k'], tags.keys FROM shop.calls ARRAY JOIN [1, 2] AS x LIMIT 1",
    "SELECT 'ünïcode ✓' AS `größe`",
    "SELECT tuple(1, 'a') AS t, t.1, JSONExtractInt('{\"a\": 1}', 'a'), '{\"a\": 1}'::JSON AS j, j.a",
    "EXPLAIN SELECT 1",
    "EXPLAIN PLAN actions = 1, indexes = 1 SELECT id FROM shop.calls WHERE id = 1",
    "EXPLAIN AST SELECT 1",
    "EXPLAIN SYNTAX SELECT 1",
    "EXPLAIN QUERY TREE SELECT 1",
    "EXPLAIN PIPELINE SELECT 1",
    "EXPLAIN ESTIMATE SELECT id FROM shop.calls",
    "SHOW TABLES FROM shop",
    "SHOW DATABASES",
    "SHOW CREATE TABLE shop.calls",
    "SHOW COLUMNS FROM shop.calls",
    "SHOW PROCESSLIST",
    "DESCRIBE TABLE shop.calls",
    "DESC shop.calls",
    "DESCRIBE (SELECT 1)",
    "EXISTS TABLE shop.calls",
    "SELECT * FROM system.columns LIMIT 1",
    "SELECT * FROM INFORMATION_SCHEMA.TABLES LIMIT 1",
    "SELECT 1;",
    "SELECT 1 FORMAT JSON;",
    "1 + 1",
]


@pytest.mark.parametrize("sql", READS)
def test_reading_goes_through(served: Served, sql: str) -> None:
    answer = served.ask(sql)
    assert answer.status_code == 200, answer.text


def test_bound_identifiers_of_tables_go_through(served: Served) -> None:
    assert served.value("SELECT count() FROM {t:Identifier}", param_t="calls", database="shop") == "1000"
    assert served.value("SELECT count() FROM shop.{t:Identifier}", param_t="calls") == "1000"
    assert served.value("SELECT max({c:Identifier}) FROM shop.calls", param_c="id") == "999"


def test_several_handles_do_not_share_what_a_query_sets(served: Served) -> None:
    for _ in range(3):
        served.ask("SELECT 1", join_use_nulls="1", max_threads="1", database="shop")
        assert served.value("SELECT getSetting('join_use_nulls'), currentDatabase()") == "false\tdefault"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 # x",
        "SELECT $a$x$a$",
        "SELECT 1 ; x",
        "SELECT -- x",
        "SELECT /* x",
        "SELECT \\ x",
        "SELECT ü",
        "'open",
        "`open",
    ],
)
def test_unknown_signs_are_refused_by_the_splitting(text: str) -> None:
    with pytest.raises(Refused):
        tokens(text)


def test_names_are_taken_out_of_their_quotes() -> None:
    found = tokens("`a``b` \"c\\\"d\" 'e\\'f''g' `x\\ny`")
    assert [piece.value for piece in found] == ["a`b", 'c"d', "e'f'g", "x\ny"]


def test_internal_tables_exist_under_these_names(served: Served) -> None:
    names = set(served.value("SELECT name FROM system.tables WHERE database = 'system'").split())
    assert len(INTERNAL_TABLES & names) >= 10


# Random wrappings of what must not happen. For a longer search: MONITOR_TEST_EXAMPLES=5000.
_EXAMPLES = int(os.environ.get("MONITOR_TEST_EXAMPLES", "150"))

_gaps = st.sampled_from(
    [
        " ",
        "\n",
        "\t",
        "/**/",
        "/* ' */",
        "/* ` */",
        '/* " */',
        " -- '\n",
        " # x\n",
        " #! y\n",
        " --\n",
        "/* -- */",
        "\r\n",
        "/* /* */",
        "\u00a0",
        "\f",
        "\v",
    ]
)
_noise = st.sampled_from(
    [
        "'--'",
        "'/*'",
        "'*/'",
        "'\\''",
        "''''",
        "'\\\\'",
        "$a$'$a$",
        "$$ -- $$",
        "`a--b`",
        "1",
        "'#'",
        "[1, '/*']",
        '"x"',
        "'`'",
    ]
)


def _quoted(name: str) -> st.SearchStrategy[str]:
    swapped = name.swapcase()
    return st.sampled_from(
        [name, f"`{name}`", f'"{name}"', name.upper(), swapped, f"`\\x{ord(name[0]):02x}{name[1:]}`"]
    )


@st.composite
def _disguised(draw: Callable[..., str]) -> str:
    def gap() -> str:
        return "".join(draw(st.lists(_gaps, min_size=1, max_size=3)))

    def noise() -> str:
        return draw(_noise)

    core = draw(st.sampled_from(["outfile", "function", "map", "apply", "table", "insert", "second"]))
    name = draw(_quoted(draw(st.sampled_from(["file", "url", "sqlite", "executable", "Python"]))))
    argument = draw(
        st.sampled_from(
            [
                "'@SECRET'",
                "$$@SECRET$$",
                "'@SECRET', 'LineAsString'",
                "'@TARGET', 't'",
                "secret_frame",
                "'touch @TARGET', 'TSV', 'a String'",
            ]
        )
    )
    head = draw(
        st.sampled_from(["SELECT", "select", "WITH 1 AS w SELECT", "EXPLAIN SELECT", "EXPLAIN AST SELECT", "(SELECT"])
    )
    parts = {
        "outfile": [head, noise(), "INTO", "OUTFILE", "'@TARGET'"],
        "function": [head, noise(), ",", name, f"({argument})"],
        "map": [head, "arrayMap(", name, ",", "['@SECRET']", ")"],
        "apply": [head, "*", "APPLY", name, "FROM", "(SELECT '@SECRET' AS p)"],
        "table": [head, noise(), "FROM", name, f"({argument})"],
        "insert": [
            "INSERT",
            "INTO",
            draw(st.sampled_from(["shop.file", "FUNCTION file('@TARGET', 'CSV')", "shop.`file`"])),
            "SELECT",
            noise(),
        ],
        "second": [
            "SELECT",
            noise(),
            ";",
            draw(st.sampled_from(["DROP TABLE shop.calls", "SELECT 1 INTO OUTFILE '@TARGET'", "SET readonly = 0"])),
        ],
    }[core]
    if head == "(SELECT" and core not in ("insert", "second"):
        parts.append(")")
    return gap().join(parts) + draw(
        st.sampled_from(["", ";", " FORMAT CSV", " -- x", "/*", " SETTINGS max_block_size = 1"])
    )


@settings(
    max_examples=_EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sql=_disguised())
def test_no_disguise_has_an_effect(world: World, sql: str) -> None:
    answer = world.served.ask(world.filled(sql))
    assert answer.headers.get("X-ClickHouse-Exception-Code") != "1002", answer.text
    if answer.status_code == 200:
        assert world.secret_text not in answer.text
        assert "in memory" not in answer.text
    assert not world.target.exists()
    assert world.calls == []
    assert world.served.value("SELECT (SELECT count() FROM shop.calls), (SELECT count() FROM shop.file)") == "1000\t0"


@settings(
    max_examples=_EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pieces=st.lists(st.one_of(_gaps, _noise, st.sampled_from([
    "SELECT", "FROM", "INTO", "OUTFILE", "'@TARGET'", "file", "(", ")", "'@SECRET'", ",", ";", "*", "APPLY", "SETTINGS", "FORMAT", "CSV", "UNION ALL",
    "EXPLAIN", "arrayMap", "[", "]", "->", "x", "{f:Identifier}", "AS", "WITH", "shop.file", "INSERT INTO", "VALUES", "sqlite", "`", "'", "\"", "/*", "*/", "--", "$$",
])), min_size=1, max_size=25))  # fmt: skip
def test_no_random_text_has_an_effect(world: World, pieces: list[str]) -> None:
    answer = world.served.ask(world.filled(" ".join(["SELECT", *pieces])), param_f="file")
    if answer.status_code == 200:
        assert world.secret_text not in answer.text
    assert not world.target.exists()
    assert world.served.value("SELECT (SELECT count() FROM shop.calls), (SELECT count() FROM shop.file)") == "1000\t0"
