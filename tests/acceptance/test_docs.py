"""Every shell command of docs/ is run, page by page as a reader would, against one small service with calls of a week."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pandas as pd
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from monitor.store.client import connect
from tests.probes.test_probes import answering
from tests.tools import openai_stub
from tests.tools.inside import inside
from tests.tools.service import NO_JOBS, ROOT, Service, running
from tests.tools.told import mail_server

DOCS = ROOT / "docs"
# Pages whose commands tests of their own run.
ELSEWHERE = {
    "quickstart.md": "tests/acceptance/test_quickstart.py",
    "guides.md": "tests/acceptance/test_demo.py, on the demo",
    "judgements.md": "tests/collectors/test_api_judgements.py",
    "operations.md": "tests/acceptance/test_operations.py",
}
# Commands that are not run here, and why.
SKIPPED = {
    "monitor work": "serves until it is stopped, and needs a server: tests/jobs/test_work.py",
    "monitor report": "`monitor report --mail` does all of it, and mails it",
    "monitor dashboard --store-url http://clickhouse:8123/monitor --api-url http://collector:4318": "serves until it is stopped: tests/dashboards/test_alone.py",
    "monitor dashboard": "serves until it is stopped: tests/dashboards/test_alone.py",
}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def commands_of(page: Path) -> list[str]:
    """The commands in its shell blocks: continued lines are one, comments are gone."""
    blocks = re.findall(
        r"^```(?:sh|bash|shell)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    found = []
    for block in blocks:
        waiting = ""
        for line in block.replace("\\\n", " ").splitlines():
            waiting += line + "\n"
            try:
                words = shlex.split(waiting, comments=True)
            except ValueError:  # a quotation goes on in the next line
                continue
            if words:
                found.append(shlex.join(words))
            waiting = ""
        assert not waiting, f"{page.name}: a quotation does not end: {waiting[:80]}"
    return found


PAGES = {page.name: commands for page in sorted(DOCS.glob("*.md")) if (commands := commands_of(page))}


@dataclass(frozen=True)
class Reader:
    """The service, the folder where one stands, and what is meant by the names that only examples have."""

    service: Service
    folder: Path
    meant: dict[str, Callable[[], str]]

    def run(self, command: str) -> str:
        for example, real in self.meant.items():
            if example in command:
                command = command.replace(example, real())
        words = shlex.split(command)
        if words[0] == "monitor":
            return inside(*words[1:])
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder, now = tmp_path_factory.mktemp("docs"), datetime.now(UTC)
    with openai_stub.running() as stub, mail_server(folder / "mail") as mail:
        usual = answering(refuses=0.05, unfair={})
        stub.reply = lambda body: "A" if "Who?" in str(body["messages"]) else usual(body)
        email = {"host": "localhost", "port": mail.port, "ca_file": str(mail.ca_file), "from": "m@example.com", "to": ["t@example.com"]}  # fmt: skip
        config = {
            "data": str(folder / "monitor-data"),
            "privacy": {"capture_content": True},
            "objectives": [{"name": "first-token", "kind": "latency", "latency": "ttft", "threshold_s": 1.0, "target": 0.95}],
            "cohorts": {"keys": ["language"]},
            "alerts": [{"name": "some-calls", "kpi": "traffic.requests", "above": 1, "window": "1h"}],
            "receivers": {"team": {"email": email}},
            "report": {"receivers": ["team"]},
            "probes": {"endpoint": stub.base_url, "model": "m", "bbq": str(folder / "questions.jsonl"), "bbq_questions": 10},
        }  # fmt: skip
        (folder / "monitor.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        write_files(folder)
        options = ("--config", str(folder / "monitor.yaml"))
        with pytest.MonkeyPatch.context() as patch, running(folder / "monitor-data", *options, env=NO_JOBS) as service:
            patch.chdir(folder)
            for name in [name for name in os.environ if name.startswith(("MONITOR_", "OTEL_"))]:
                patch.delenv(name)
            patch.setenv("COLUMNS", "160")
            send_calls(service, now)
            for job in ("rollup", "objectives", "alerts"):
                inside("jobs", "run", job)

            def silence() -> str:
                return str(json.loads(inside("alerts", "silences", "--json"))[0]["id"])

            def alert() -> str:
                return str(json.loads(inside("alerts", "--json"))["alerts"][0]["fingerprint"])

            yield Reader(
                service,
                folder,
                {
                    "http://127.0.0.1:8123": lambda: service.addresses["clickhouse"],
                    "http://localhost:4318": lambda: service.addresses["http"],
                    "1f3a": alert,
                    "3f9c2a71b04e88d5": silence,
                    "2026-03-01/2026-03-08": lambda: f"{now - 7 * DAY:%Y-%m-%dT%H:%MZ}/{now:%Y-%m-%dT%H:%MZ}",
                    "2026-11-01T00:00Z/2026-11-02T00:00Z": lambda: f"{now - 8 * DAY:%Y-%m-%dT%H:%MZ}/{now - DAY:%Y-%m-%dT%H:%MZ}",
                },
            )  # fmt: skip


def write_files(folder: Path) -> None:
    """The files that commands name."""
    g = np.random.default_rng(1)
    for name, n, ttft in (("last_month.parquet", 6000, 0.3), ("today.csv.gz", 6000, 0.6)):
        frame = pd.DataFrame({"ttft": g.lognormal(np.log(ttft), 0.4, n), "language": g.choice(["de", "en"], n)})
        frame.to_parquet(folder / name) if name.endswith("parquet") else frame.to_csv(folder / name, index=False)
    n = 2000
    calls = pd.DataFrame(
        {
            "language": g.choice(["de", "en"], n), "tier": g.choice(["free", "paid"], n), "approved": g.choice(["yes", "no"], n),
            "answer": g.choice(["yes", "no"], n), "refused": g.random(n) < 0.1, "latency_s": g.lognormal(0, 1, n),
        }
    )  # fmt: skip
    calls.to_csv(folder / "calls.csv", index=False)
    calls.to_parquet(folder / "calls.parquet")
    shutil.copy(ROOT / "monitor" / "plan" / "data" / "catalogue.yaml", folder / "offers.yaml")
    alerts = (DOCS / "alerts.md").read_text(encoding="utf-8")
    (tests,) = [b for b in re.findall(r"^```yaml\n(.*?)^```$", alerts, re.MULTILINE | re.DOTALL) if "tests:" in b]
    (folder / "tests.yaml").write_text(tests, encoding="utf-8")
    with gzip.open(ROOT / "tests" / "data" / "bbq-religion" / "preds_Religion.jsonl.gz", "rt") as file:
        answers = [json.loads(line) for _, line in zip(range(400), file, strict=False)]
    for name, more in (("answers.jsonl", "completion"), ("questions.jsonl", "context")):
        rows = [{**each, more: each["ans1"], "question": "Who?", "stereotyped_groups": ["Muslim"]} for each in answers]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def send_calls(service: Service, now: datetime) -> None:
    """600 calls of the week before yesterday and 600 of this hour, and what is said of them."""
    g = np.random.default_rng(2)
    moments = [now - 7.5 * DAY + 6 * DAY * share for share in np.linspace(0, 1, 600)]
    moments += [now - 55 * timedelta(minutes=1) * share for share in np.linspace(1, 0.02, 600)]
    request, said, thumbs = ExportTraceServiceRequest(), [], []
    spans = {}
    for node in ("gpu-1", "gpu-2"):
        batch = request.resource_spans.add()
        for key, value in {"service.name": "chat-api", "monitor.node": node}.items():
            batch.resource.attributes.add(key=key).value.string_value = value
        spans[node] = batch.scope_spans.add().spans
    for number, moment in enumerate(moments):
        late, start_ns = number >= 600, int(moment.timestamp() * 1e9)
        trace = (0xD0C5 << 96 | number).to_bytes(16)
        span = spans["gpu-2" if number % 3 else "gpu-1"].add(
            name="chat", trace_id=trace, span_id=(number + 1).to_bytes(8)
        )
        span.start_time_unix_nano, span.end_time_unix_nano = start_ns, start_ns + 4 * 10**9
        texts = {
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "llama-3.3-70b-instruct", "user.id": f"u{number % 50}",
            "session.id": f"s{number % 90}", "monitor.cohort.language": "de" if number % 2 else "en",
            "monitor.cohort.topic": "customs" if late and number % 3 == 0 else "law",
            "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": f"question {number}"}]}]),
            "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": f"answer {number}"}]}]),
        }  # fmt: skip
        for key, value in texts.items():
            span.attributes.add(key=key).value.string_value = value
        span.attributes.add(key="gen_ai.response.time_to_first_chunk").value.double_value = float(
            g.lognormal(-1 + late, 0.4)
        )
        for key, tokens in {"gen_ai.usage.input_tokens": 800, "gen_ai.usage.output_tokens": 150}.items():
            span.attributes.add(key=key).value.int_value = tokens
        about = {"trace_id": trace.hex(), "span_id": (number + 1).to_bytes(8).hex()}
        said.append({**about, "name": "correct", "source": "judge", "evaluator": "j", "score": float(g.random())})
        said.append({**about, "name": "answer", "source": "judge", "label": str(g.choice(["yes", "no"]))})
        if number % 4 == 0:
            said.append({**about, "name": "correct", "source": "human", "label": "no" if number % 20 == 0 else "yes"})
        if number % 30 == 0:
            label = "flagged" if number % 60 else "blocked"
            said.append({**about, "name": "insult", "source": "moderation", "label": label})
            thumbs.append({"trace_id": trace.hex(), "thumbs": "down"})
    http = service.addresses["http"]
    with httpx2.Client(base_url=http, timeout=60) as client:
        body = request.SerializeToString()
        answers = [client.post("/v1/traces", content=body, headers={"Content-Type": "application/x-protobuf"})]
        answers += [client.post("/api/evaluations", json=said[at : at + 1000]) for at in range(0, len(said), 1000)]
        answers.append(client.post("/api/feedback", json=thumbs))
    assert [answer.status_code for answer in answers] == [200] * len(answers), [answer.text for answer in answers]
    store, deadline = connect(service.addresses["clickhouse"]), time.monotonic() + 60
    query = "SELECT (SELECT count() FROM inferences), (SELECT count() FROM evaluations), (SELECT count() FROM engagement_events)"
    wanted: tuple[Any, ...] = (len(moments), len(said), len(thumbs))
    while (counts := store.query(query).result_rows[0]) < wanted:
        assert time.monotonic() < deadline, counts
        time.sleep(0.2)
    store.close()


@pytest.mark.parametrize("page", [name for name in PAGES if name not in ELSEWHERE])
def test_commands_of_the_page_work(reader: Reader, page: str) -> None:
    for command in PAGES[page]:
        if command not in SKIPPED:
            assert reader.run(command).strip(), f"{command} printed nothing"


def test_what_is_left_out_is_there() -> None:
    """No exception outlives what it is about."""
    every = [command for commands in PAGES.values() for command in commands]
    assert set(SKIPPED) <= set(every)
    assert set(ELSEWHERE) <= set(PAGES)
    assert len(every) > 60
