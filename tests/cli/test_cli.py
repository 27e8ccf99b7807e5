"""The command as its user meets it: real processes, one sentence for each failure."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.simulate.replay import replay
from collectors.simulate.workload import read_workload
from monitor.store.client import connect
from tests.tools.service import ROOT, Service, command, environment, running, spawn, wait_until_ready

WORKLOAD = ROOT / "tests" / "data" / "vllm-llama33-70b-serving" / "tp8_pp1_sharegpt_qps_01.json.gz"
STORE = ("--data", "--config")
PORTS = ("--grpc-port", "--http-port", "--clickhouse-port", "--dashboard-port", "--no-dashboard")
OPTIONS: dict[str, tuple[str, ...]] = {
    "up": (*STORE, *PORTS, "--host"),
    "collect": (*STORE, "--grpc-port", "--http-port", "--host"),
    "dashboard": (*STORE, "--store-url", "--api-url", "--api-token", "--host", "--dashboard-port"),
    "demo": (*STORE, *PORTS),
    "query": (*STORE, "--format"),
    "kpi": (*STORE, "--by", "--since", "--where", "--json", "--no-intervals"),
    "compare": (*STORE, "--since", "--margin", "--latency", "--where", "--json"),
    "replay": (
        "--endpoint",
        "--speed",
        "--service",
        "--model",
        "--node",
        "--variant",
        "--protocol",
        "--token",
        "--seed",
    ),
    "gpu": ("--endpoint", "--interval", "--dcgm", "--protocol", "--token", "--node", "--once", "--json"),
    "work": STORE,
    "jobs": (*STORE, "--json"),
    "probes": (*STORE, "--json"),
    "review": (*STORE, "--limit", "--since", "--kind", "--where", "--json"),
    "label": ("--endpoint", "--name", "--source", "--evaluator", "--protocol", "--token"),
    "bias": (
        *STORE,
        "--group",
        "--label",
        "--prediction",
        "--positive",
        "--outcome",
        "--better",
        "--weight",
        "--count",
        "--tolerance",
        "--ratio-tolerance",
        "--min-n",
        "--level",
        "--where",
        "--bbq",
        "--answers",
        "--json",
    ),
    "plan": (
        *STORE,
        "--requests-per-day",
        "--input-tokens",
        "--output-tokens",
        "--peak",
        "--hours",
        "--since",
        "--where",
        "--growth",
        "--uncertainty",
        "--model",
        "--ttft-objective",
        "--tpot-objective",
        "--attainment",
        "--routing",
        "--only",
        "--catalogue",
        "--all",
        "--json",
    ),
    "drift": (
        *STORE,
        "--reference",
        "--current",
        "--chunk",
        "--method",
        "--columns",
        "--threshold",
        "--alpha",
        "--where",
        "--json",
    ),
    "export": (*STORE, "--dataset", "--since", "--where", "--as", "--keep"),
    "report": (*STORE, "--since", "--out", "--mail"),
    "check": STORE,
    "migrate": STORE,
}


def run(*arguments: str, cwd: Path, code: int = 0, **extra: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**environment(extra), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def failure(*arguments: str, cwd: Path, **extra: str) -> str:
    """The one sentence of a command that fails."""
    error = run(*arguments, cwd=cwd, code=1, **extra).stderr
    assert "Traceback" not in error
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("monitor: ")
    return lines[0]


def test_help_names_every_command(tmp_path: Path) -> None:
    text = run("--help", cwd=tmp_path, COLUMNS="200", TERM="dumb").stdout
    assert "--debug" in text
    for name in OPTIONS:
        assert f" {name} " in text


@pytest.mark.parametrize("name", list(OPTIONS))
def test_help_is_complete(tmp_path: Path, name: str) -> None:
    text = run(name, "--help", cwd=tmp_path, COLUMNS="200", TERM="dumb").stdout
    for option in OPTIONS[name]:
        assert f"{option} " in text


@pytest.mark.parametrize("arguments", [("nothing",), ("up", "--grpc-prt", "1"), ("kpi", "--since"), ("replay",)])
def test_wrong_usage_is_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "Traceback" not in run(*arguments, cwd=tmp_path, code=2).stderr


def _failures() -> dict[str, tuple[tuple[str, ...], str]]:
    return {
        "query without a store": (("query", "SELECT 1"), "no store in the data folder"),
        "kpi without a store": (("kpi", "traffic"), "no store in the data folder"),
        "unknown kpi": (("kpi", "latency.tft.p95"), "did you mean `latency.ttft.p95`?"),
        "compare without a store": (("compare", "variant", "fp16", "fp8"), "no store in the data folder"),
        "plan without a store": (("plan",), "no store in the data folder"),
        "bad duration": (("kpi", "traffic", "--since", "3x"), "`3x` is no duration"),
        "port out of range": (("up", "--grpc-port", "70000"), "the command line: `grpc_port`"),
        "collect into the embedded store": (("collect",), "need a ClickHouse server"),
        "missing config of up": (("up", "--config", "none.yaml"), "cannot read the configuration file none.yaml"),
        "missing workload": (("replay", "none.csv"), "none.csv"),
        "nobody listens": (("replay", str(WORKLOAD), "--endpoint", "127.0.0.1:9"), "127.0.0.1:9"),
        "bad speed": (("replay", str(WORKLOAD), "--speed", "fast"), "fast"),
    }


@pytest.mark.parametrize("name", list(_failures()))
def test_failures_are_one_sentence(tmp_path: Path, name: str) -> None:
    arguments, said = _failures()[name]
    assert said in failure(*arguments, cwd=tmp_path)


def test_unknown_keys_are_said_by_every_command(tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").write_text("colectors: {}")
    for arguments in (("up",), ("query", "SELECT 1"), ("migrate",)):
        assert "did you mean `collectors`?" in failure(*arguments, cwd=tmp_path)
    assert "did you mean `collectors`?" in run("check", cwd=tmp_path, code=1).stdout


@pytest.mark.parametrize("name", ["grpc", "http", "clickhouse", "dashboard"])
def test_busy_ports(tmp_path: Path, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        others = [
            word
            for each in ("grpc", "http", "clickhouse", "dashboard")
            if each != name
            for word in (f"--{each}-port", "0")
        ]
        said = failure("up", f"--{name}-port", port, *others, cwd=tmp_path)
        assert f"port {port} on 127.0.0.1" in said
        assert f"--{name}-port" in said


def test_data_folders_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for data in ("file", "file/below", "/proc/nothing/here"):
        said = failure("up", "--data", data, "--no-dashboard", cwd=tmp_path)
        assert f"the data folder {data} cannot be written" in said
        assert "--data" in said


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("cli") / "data") as started:
        replay(read_workload(WORKLOAD), endpoint=started.addresses["grpc"])
        started.wait_until_stored()
        yield started


def test_query_formats(service: Service, tmp_path: Path) -> None:
    data = ("--data", str(service.data))
    sql = "SELECT count() AS calls FROM inferences FINAL"
    assert "200" in run("query", sql, *data, cwd=tmp_path).stdout
    assert run("query", sql, "--format", "CSV", *data, cwd=tmp_path).stdout == '"calls"\n200\n'
    assert run("query", sql, "--format", "JSONEachRow", *data, cwd=tmp_path).stdout == '{"calls":200}\n'
    assert '"rows": 1' in run("query", sql, "--format", "JSON", *data, cwd=tmp_path).stdout
    assert run("query", f"{sql} FORMAT TSV", *data, cwd=tmp_path).stdout == "200\n"


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE inferences", "SELECT 1; SELECT 2", "SET readonly = 0", "INSERT INTO inferences SELECT * FROM inferences",
        "SELECT 1 INTO OUTFILE '/tmp/never'", "SELECT * FROM file('/etc/passwd')", "",
    ],
)  # fmt: skip
def test_queries_only_read(service: Service, tmp_path: Path, sql: str) -> None:
    failure("query", sql, "--data", str(service.data), cwd=tmp_path)
    client = connect(service.addresses["clickhouse"])
    assert client.command("SELECT count() FROM inferences") == 200
    client.close()


def test_kpi_with_a_service(service: Service, tmp_path: Path) -> None:
    data = ("--data", str(service.data))
    values = json.loads(run("kpi", "traffic.requests", "--json", "--by", "service", *data, cwd=tmp_path).stdout)
    assert [(value["name"], value["value"], value["n"]) for value in values] == [("traffic.requests", 200, 200)]
    assert "200" in run("kpi", "traffic.requests", *data, cwd=tmp_path).stdout


def test_compare_with_a_service(service: Service, tmp_path: Path) -> None:
    data = ("--data", str(service.data))
    found = json.loads(run("compare", "service", "replay", "other", "--json", *data, cwd=tmp_path).stdout)
    assert found["verdict"].startswith("insufficient: each side needs 10 judged calls")
    assert "share right (difference)" in run("compare", "service", "replay", "other", *data, cwd=tmp_path).stdout
    assert "did you mean `service`" in failure("compare", "servce", "a", "b", *data, cwd=tmp_path)
    assert "cannot be compared with itself" in failure("compare", "service", "a", "a", *data, cwd=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--where", "servicereplay"), "servicereplay"),
        (("--where", "servce=replay"), "did you mean `service`"),
        (("--by", "servce"), "did you mean `service`"),
    ],
)
def test_wrong_dimensions(service: Service, tmp_path: Path, options: tuple[str, str], said: str) -> None:
    assert said in failure("kpi", "traffic.requests", *options, "--data", str(service.data), cwd=tmp_path)


def test_a_second_service_is_told_where_the_first_is(service: Service, tmp_path: Path) -> None:
    said = failure("up", "--data", str(service.data), cwd=tmp_path)
    assert f"clickhouse={service.addresses['clickhouse']}" in said
    assert f"process {service.process.pid}" in said
    assert str(service.process.pid) in failure("migrate", "--data", str(service.data), cwd=tmp_path)


def test_check_says_what_it_sees(service: Service, tmp_path: Path) -> None:
    text = run("check", "--data", str(service.data), cwd=tmp_path).stdout
    for name in ("configuration", "disk", "service", "ingest", "store", "schema", "clock"):
        assert f"ok    {name}" in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_stop_loses_nothing_and_reading_goes_on_without_a_service(tmp_path: Path, number: signal.Signals) -> None:
    data = tmp_path / "data"
    service = wait_until_ready(spawn(data, "--no-dashboard"), data)
    assert list(service.addresses) == ["grpc", "http", "clickhouse"]
    result = replay(read_workload(WORKLOAD), endpoint=service.addresses["grpc"])
    assert service.stop(number) == 0
    assert result.acknowledged == result.sent
    counted = run("query", "SELECT count() FROM otel_traces FORMAT TSV", "--data", str(data), cwd=tmp_path).stdout
    assert int(counted) == result.sent
    assert '"value": 200' in run("kpi", "traffic.requests", "--json", "--data", str(data), cwd=tmp_path).stdout
    for _ in range(2):
        assert "up to date" in run("migrate", "--data", str(data), cwd=tmp_path).stdout


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    run("migrate", "--data", "data", cwd=tmp_path)
    code = (
        f"from monitor.store.client import connect; c = connect('chdb://{tmp_path}/data/store');"
        "c.insert('schema_migrations', [[9999, 'later', 'x']], column_names=['version', 'name', 'checksum']); c.close()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    ports = [word for name in ("grpc", "http", "clickhouse") for word in (f"--{name}-port", "0")]
    assert "upgrade inference-monitor" in failure("up", "--data", "data", "--no-dashboard", *ports, cwd=tmp_path)
    assert "upgrade inference-monitor" in run("check", "--data", "data", cwd=tmp_path, code=1).stdout


def test_the_endpoint_is_for_any_client(service: Service) -> None:
    client = connect(service.addresses["clickhouse"])
    assert client.command("SELECT count() FROM inferences FINAL") == 200
    client.close()
