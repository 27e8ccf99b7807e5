"""Jobs of the embedded store: `monitor up` runs them, `monitor jobs` tells of them, and neither outlives Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.service import ROOT, Service, environment, run, running

TOKEN = "a-token"
CONFIG = f"collectors: {{tokens: [{TOKEN}]}}\nretention: {{raw_days: 7}}\njobs: {{intervals: {{retention: 6h}}}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("up")
    (made / "monitor.yaml").write_text(CONFIG)
    return made


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with running(folder / "data", "--config", str(folder / "monitor.yaml")) as started:
        yield started
    log = (folder / "data.log").read_text()
    assert "Traceback" not in log


def options(folder: Path, *more: str) -> list[str]:
    return ["--config", str(more[0]) if more else str(folder / "monitor.yaml"), "--data", str(folder / "data")]


def post(service: Service, name: str, **headers: str) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(
        f"{service.addresses['http']}/api/jobs/{name}/run", data=b"{}", headers=headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_service_runs_its_jobs_and_tells_of_them(service: Service, folder: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        listed = json.loads(run("jobs", "--json", *options(folder)).stdout)
        retention = next(each for each in listed if each["job"] == "retention")
        if retention["state"] == "ok":
            break
        assert time.monotonic() < deadline, listed
    assert (retention["every_s"], retention["off"], retention["overdue"]) == (21_600.0, False, False)
    assert retention["due_at"] > retention["succeeded_at"] == retention["last_run"]["started_at"]
    text = run("jobs", *options(folder), env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    assert re.search(r"retention +6h +\d\d-\d\d \d\d:\d\d:\d\d +\d+\.\d\d s +0 +ok ", text)
    checked = run("check", *options(folder)).stdout
    assert re.search(rf"^ok    jobs +{len(listed)} of {len(listed)} ran", checked, re.MULTILINE), checked


def test_a_run_on_demand_is_the_services(service: Service, folder: Path) -> None:
    done = run("jobs", "run", "retention", "--json", *options(folder))
    assert done.returncode == 0, done.stderr
    assert f":{service.process.pid}:" in json.loads(done.stdout)["worker"]
    assert run("jobs", "run", "retention", *options(folder)).stdout.startswith("retention: ok in 0.")
    with urllib.request.urlopen(f"{service.addresses['http']}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    count = re.search(r'^monitor_job_runs_total\{job="retention",state="ok"\} (\d+)$', page, re.MULTILINE)
    assert count is not None
    assert int(count.group(1)) >= 3
    assert "monitor_collector_wal_bytes" in page


def test_a_run_is_asked_for_with_a_token(service: Service, folder: Path) -> None:
    json_type = {"Content-Type": "application/json"}
    assert post(service, "retention", **json_type)[0] == 401
    assert post(service, "retention", Authorization=f"Bearer {TOKEN}")[0] == 415
    code, body = post(service, "retentoin", Authorization=f"Bearer {TOKEN}", **json_type)
    assert (code, body["error"]) == (404, "there is no job `retentoin`; did you mean `retention`?")
    assert post(service, "retention", Authorization=f"Bearer {TOKEN}", **json_type)[0] == 200
    (folder / "none.yaml").write_text("{}")
    refused = run("jobs", "run", "retention", *options(folder, str(folder / "none.yaml")))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--config" in refused.stderr


def test_a_worker_leaves_the_embedded_store_to_its_process(service: Service, folder: Path) -> None:
    refused = run("work", *options(folder))
    assert refused.returncode == 1
    assert f"process {service.process.pid} has it" in refused.stderr


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{off: [retentoin]}", "`jobs.off` names no job with `retentoin`; did you mean `retention`?"),
        ("{intervals: {retention: soon}}", "`soon` is no duration"),
        ("{interval: {}}", "unknown key `jobs.interval`; did you mean `intervals`?"),
    ],
)
def test_what_is_said_wrong_of_jobs_is_refused(tmp_path: Path, section: str, said: str) -> None:
    (tmp_path / "monitor.yaml").write_text(f"jobs: {section}")
    done = run("check", "--config", str(tmp_path / "monitor.yaml"), "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert said in done.stdout


def test_ctrl_c_in_the_middle_of_a_job_and_what_it_leaves(tmp_path: Path) -> None:
    """The job asks the embedded engine something that never ends; then the store is read, and retention set, without a service."""
    data, log = tmp_path / "data", tmp_path / "begun"
    ports = {f"MONITOR_COLLECTORS__{name}_PORT": "0" for name in ("GRPC", "HTTP", "CLICKHOUSE", "DASHBOARD")}
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.tools.working", "up", str(log)],
            cwd=ROOT,
            env=environment({**ports, "MONITOR_DATA": str(data)}),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not log.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, (tmp_path / "errors").read_text()
            time.sleep(0.05)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready ")
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - asked < 15
    finally:
        process.kill()
    assert "Traceback" not in (tmp_path / "errors").read_text()

    sql = "SELECT job, state, error FROM job_runs FINAL"
    said = run("query", sql, "--format", "JSONEachRow", "--data", str(data)).stdout
    why = "stopped with the process; the next run makes it up"
    assert [json.loads(line) for line in said.splitlines()] == [{"job": "endless", "state": "abandoned", "error": why}]
    # Somebody changed the configuration since.
    done = run("jobs", "run", "retention", "--data", str(data), env={"MONITOR_RETENTION__RAW_DAYS": "5"})
    assert done.returncode == 0, done.stderr
    assert "corrected otel_logs, otel_metrics_exponential_histogram" in done.stdout
    assert "inferences" not in done.stdout
    sql = "SELECT create_table_query FROM system.tables WHERE name = 'otel_traces'"
    ddl = run("query", sql, "--format", "JSONEachRow", "--data", str(data)).stdout
    assert "TTL toDate(Timestamp) + toIntervalDay(5)" in ddl
    again = run("jobs", "run", "retention", "--data", str(data), env={"MONITOR_RETENTION__RAW_DAYS": "5"})
    assert "corrected" not in again.stdout
