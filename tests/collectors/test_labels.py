"""Labels from files, over the wire, into `evaluations`; and what is said of files that are none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from collectors.labels import BATCH, Label, read_labels, send_labels
from collectors.otlp.signals import LOGS
from collectors.transport import Answer, open_transport
from monitor.errors import BadInput, MonitorError, StoreAway
from monitor.store import connect
from tests.collectors.receiving import receiving, wait_stored

TRACES = [f"{i:032x}" for i in range(1, 6)]
DEFAULTS = {"name": "correct", "source": "human"}


def as_csv(path: Path) -> Path:
    file = path / "labels.csv"
    lines = ["trace_id,label,annotator,comment", *(f'{trace},yes,ann,"so, it is"' for trace in TRACES)]
    file.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    return file


def as_jsonl(path: Path) -> Path:
    file = path / "labels.jsonl.gz"
    rows = [{"trace_id": trace, "label": "yes", "evaluator": "ann", "explanation": "so, it is"} for trace in TRACES]
    file.write_bytes(gzip.compress("\n\n".join(json.dumps(row) for row in rows).encode()))
    return file


def as_parquet(path: Path) -> Path:
    file = path / "labels.parquet"
    columns = {
        "trace_id": TRACES,
        "label": [True] * 5,
        "annotator": ["ann"] * 5,
        "reason": ["so, it is"] * 5,
        "score": [None] * 5,
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file


@pytest.mark.parametrize("make", [as_csv, as_jsonl, as_parquet])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_file_becomes_rows(pipeline_url: str, tmp_path: Path, make: Callable[[Path], Path], protocol: str) -> None:
    labels = read_labels(make(tmp_path), defaults=DEFAULTS)
    with receiving(tmp_path / "data", pipeline_url) as target:
        endpoint = target.grpc if protocol == "grpc" else target.http
        transport = open_transport(endpoint, protocol, signal="logs")
        assert send_labels(labels, transport, endpoint=endpoint) == 5
        transport.close()
        wait_stored(target, LOGS)
    client = connect(pipeline_url)
    rows = client.query(
        "SELECT trace_id, name, label, source, evaluator, explanation, score FROM evaluations FINAL ORDER BY trace_id"
    ).result_rows
    client.close()
    assert rows == [(trace, "correct", "yes", "human", "ann", "so, it is", None) for trace in TRACES]


def test_a_row_says_more_than_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("request_id,name,score,source,timestamp\nr1,helpful,0.5,judge,2026-01-02T03:04:05Z\nr2,,1,,\n")
    first, second = read_labels(file, defaults=DEFAULTS)
    assert first.values == {
        "response_id": "r1", "name": "helpful", "score": 0.5, "source": "judge", "timestamp": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    assert second == Label(
        place=f"{file}, line 3", values={"response_id": "r2", "name": "correct", "score": 1.0, "source": "human"}
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "has no rows"),
        ("a.csv", "trace_id,label\n", "has no rows"),
        ("a.csv", "trace_id,lable\nx,yes\n", "unknown column `lable`"),
        ("a.csv", "trace_id,label\nx\n", "line 2: has fewer columns"),
        ("a.csv", "trace_id,label\nx,yes,no\n", "line 2: has more columns"),
        ("a.jsonl", '{"trace_id": "x"}\n[1]\n', "line 2: is not a JSON object"),
        ("a.jsonl", "{\n", "line 1: is not JSON"),
        ("a.parquet", "trace_id", "is no Parquet file"),
        ("a.xlsx", "", "must end in .csv, .jsonl or .parquet"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, text: str, said: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(BadInput, match=said):
        read_labels(file, defaults=DEFAULTS)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        read_labels(tmp_path / "a.csv", defaults=DEFAULTS)
    (tmp_path / "b.csv").write_bytes(b"trace_id,label\nx,\xff\n")
    with pytest.raises(BadInput, match="not UTF-8"):
        read_labels(tmp_path / "b.csv", defaults=DEFAULTS)


class Recorder:
    """A receiver's answers, in order; the last for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []

    def reachable(self, timeout_s: float) -> bool:
        return True

    def export(self, body: bytes, timeout_s: float) -> Answer:
        self.bodies.append(body)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def close(self) -> None:
        pass


def rows(count: int, **last: Any) -> list[Label]:
    good = {"trace_id": TRACES[0], "name": "correct", "label": "yes", "source": "human"}
    labels = [Label(place=f"f, line {i + 2}", values=good) for i in range(count)]
    return [*labels[:-1], Label(place=labels[-1].place, values={**good, **last})]


def test_nothing_is_sent_where_the_last_row_is_wrong() -> None:
    recorder = Recorder(Answer(verdict="accepted"))
    with pytest.raises(BadInput, match=rf"f, line {BATCH + 2}\.trace_id"):
        send_labels(rows(BATCH + 1, trace_id="short"), recorder, endpoint="here")
    assert recorder.bodies == []


def test_what_is_refused_for_now_is_sent_again() -> None:
    waits: list[float] = []
    recorder = Recorder(Answer(verdict="retry", retry_after_s=3.0), Answer(verdict="retry"), Answer(verdict="accepted"))
    assert send_labels(rows(1), recorder, endpoint="here", sleep=waits.append) == 1
    assert waits == [3.0, 0.2]
    assert len(set(recorder.bodies)) == 1


def test_a_receiver_that_will_not_take_them() -> None:
    busy = Recorder(Answer(verdict="accepted"), Answer(verdict="retry", reason="full"))
    with pytest.raises(
        StoreAway, match=rf"here does not take labels \(full\); {BATCH} were taken before; .* send the file again"
    ):
        send_labels(rows(BATCH + 1), busy, endpoint="here", sleep=lambda _: None)
    closed = Recorder(Answer(verdict="closed", reason="UNAUTHENTICATED"))
    with pytest.raises(MonitorError, match=r"here refuses labels \(UNAUTHENTICATED\)"):
        send_labels(rows(1), closed, endpoint="here")
