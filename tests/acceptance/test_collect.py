"""Several `monitor collect` processes in front of one server, and in front of a cluster."""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from monitor.settings import load_settings
from monitor.store.client import connect
from monitor.store.cluster import LOCAL
from tests.conftest import with_database
from tests.tools import clickhouse_server
from tests.tools.cluster import config_for, post, reported_twice
from tests.tools.service import ROOT, Service, command, environment, spawn_collect, wait_until_ready


@pytest.fixture(params=["one server", "a cluster"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A configuration file for each kind of store, with an empty database."""
    database = f"collect_{uuid.uuid4().hex[:8]}"
    if request.param == "a cluster":
        with clickhouse_server.cluster(tmp_path / "servers") as servers:
            yield config_for(tmp_path, servers, database)
        return
    url = with_database(str(request.getfixturevalue("clickhouse_url")), database)
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump({"store": {"url": url}}))
    yield path
    admin = connect(url, database="default")
    admin.command(f"DROP DATABASE IF EXISTS {database}")
    admin.close()


def test_two_collectors_are_as_one(config: Path, tmp_path: Path) -> None:
    """Started at the same moment on an empty store; one is stopped, one killed and started again."""
    folders = [tmp_path / "a", tmp_path / "b"]
    # Data folders are told on the command line: each needs its own.
    starting = [spawn_collect(folder, "--config", str(config)) for folder in folders]
    collectors = [wait_until_ready(process, folder) for process, folder in zip(starting, folders, strict=True)]
    assert [list(collector.addresses) for collector in collectors] == [["grpc", "http"]] * 2
    try:
        bodies = [reported_twice(1 + 20 * number, 20) for number in range(40)]
        with ThreadPoolExecutor(4) as pool:
            sent = [
                pool.submit(post, collectors[number % 2].addresses["http"], body) for number, body in enumerate(bodies)
            ]
            assert [each.result() for each in sent] == [200] * len(bodies)
        collectors[0].kill()
        assert collectors[1].stop(signal.SIGTERM) == 0
        collectors[0] = wait_until_ready(spawn_collect(folders[0], "--config", str(config)), folders[0])
        collectors[0].wait_until_stored()
        assert collectors[0].ready() is None
        _check_rows(config)
        _check_commands(config, folders[0], collectors[0])
    finally:
        for collector in collectors:
            collector.stop()


def _check_rows(config: Path) -> None:
    settings = load_settings(config)
    client = connect(settings.store_url)
    found = client.query("SELECT count(), uniqExact(SpanId), uniqExact(TraceId) FROM otel_traces").result_rows
    assert found == [(1600, 1600, 800)]
    assert client.command("SELECT count() FROM inferences FINAL") == 1600
    applied = "SELECT count(), uniqExact(version) FROM schema_migrations FINAL"
    assert len(set(client.query(applied).result_rows[0])) == 1
    client.close()
    if settings.store.cluster:
        for url in settings.node_urls:
            shard = connect(url)
            assert 600 < int(str(shard.command(f"SELECT count() FROM otel_traces{LOCAL}"))) < 1000
            shard.close()


def _check_commands(config: Path, data: Path, collector: Service) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            command(*arguments, "--config", str(config)), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    kpis = json.loads(run("kpi", "traffic.requests", "--json"))
    assert [value["value"] for value in kpis] == [800]
    assert "up to date" in run("migrate")
    # The folder in which spans wait is one process's.
    said = run("collect", "--data", str(data), "--grpc-port", "0", "--http-port", "0", code=1)
    assert f"in use by process {collector.process.pid}" in said
    assert collector.addresses["http"] in said
