"""Reading workload files."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.simulate.workload import azure_trace, error_type, read_workload
from monitor.errors import BadInput

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def write(folder: Path, text: str | bytes, name: str = "w.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_packaged_azure_trace_has_the_published_totals() -> None:
    trace = azure_trace()
    assert len(trace) == 19_366
    assert trace.input_tokens.sum() == 22_361_870
    assert trace.output_tokens.sum() == 4_088_665
    assert [np.median(trace.input_tokens), trace.input_tokens.min(), trace.input_tokens.max()] == [
        1020,
        2,
        14050,
    ]
    assert [np.median(trace.output_tokens), trace.output_tokens.min(), trace.output_tokens.max()] == [
        129,
        7,
        1000,
    ]
    assert trace.measured is None
    assert not trace.arrivals_simulated


def test_the_packaged_azure_trace_has_the_published_times_to_100_ns() -> None:
    trace = azure_trace()
    first = int(datetime(2023, 11, 16, 18, 15, 46, tzinfo=UTC).timestamp()) * 10**9 + 680_590_000
    last = int(datetime(2023, 11, 16, 19, 14, 8, tzinfo=UTC).timestamp()) * 10**9 + 402_527_000
    assert trace.first_arrival_ns == first
    assert trace.arrival_ns[0] == 0
    assert trace.arrival_ns[-1] == last - first
    assert (np.diff(trace.arrival_ns) >= 0).all()


def test_seventh_decimal_zone_order_extra_columns_and_blank_lines(tmp_path: Path) -> None:
    text = (
        "\ufeffGeneratedTokens,Note,TIMESTAMP,ContextTokens\r\n"
        "3,late,2024-05-10 02:00:01.0000003+02:00,30\r\n"
        "\r\n"
        "1,first,2024-05-10T00:00:00Z,10\r\n"
        "2,tick,2024-05-10 00:00:00.0000001,20\r\n"
    )
    workload = read_workload(write(tmp_path, text))
    assert workload.arrival_ns.tolist() == [0, 100, 1_000_000_300]
    assert workload.input_tokens.tolist() == [10, 20, 30]
    assert workload.output_tokens.tolist() == [1, 2, 3]
    assert workload.first_arrival_ns == int(datetime(2024, 5, 10, tzinfo=UTC).timestamp()) * 10**9


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    body = gzip.compress((HEADER + "2024-05-10 00:00:00,1,2\n").encode())
    assert len(read_workload(write(tmp_path, body, "trace.csv.gz"))) == 1
    assert len(read_workload(write(tmp_path, body, "trace.csv"))) == 1


BAD_CSV = {
    "empty": ("", "is empty; wanted a CSV with the columns TIMESTAMP,ContextTokens,GeneratedTokens"),
    "only-header": (HEADER, "has a header and no requests"),
    "missing-column": ("TIMESTAMP,ContextTokens\n", "line 1: column GeneratedTokens is missing"),
    "no-header": ("2024-05-10 00:00:00,1,2\n", "line 1: column TIMESTAMP is missing"),
    "short-line": (
        HEADER + "2024-05-10 00:00:00,1\n",
        "line 2, column GeneratedTokens: missing; the line has 2",
    ),
    "negative": (
        HEADER + "2024-05-10 00:00:00,1,2\n2024-05-10 00:00:00,-4,2\n",
        "line 3, column ContextTokens: '-4'",
    ),
    "not-whole": (
        HEADER + "2024-05-10 00:00:00,1,2.5\n",
        "line 2, column GeneratedTokens: '2.5' is not a number",
    ),
    "too-many": (
        HEADER + "2024-05-10 00:00:00,1,99999999999\n",
        "wanted a whole number from 0 to 2147483647",
    ),
    "underscore": (HEADER + "2024-05-10 00:00:00,1_0,1\n", "column ContextTokens: '1_0' is not a number"),
    "time": (
        HEADER + "yesterday,1,2\n",
        "line 2, column TIMESTAMP: 'yesterday' is not a time; wanted YYYY-MM-DD",
    ),
    "impossible-day": (
        HEADER + "2024-02-31 00:00:00,1,2\n",
        "line 2, column TIMESTAMP: '2024-02-31 00:00:00'",
    ),
    "quote": (HEADER + '2024-05-10 00:00:00,1,"2\n', "line 2"),
    "not-utf8": (b"TIMESTAMP\xff\xfe", "is not text in UTF-8 (byte 9)"),
    "broken-gzip": (gzip.compress(b"abc" * 100)[:-9], "is not a whole gzip file"),
}


@pytest.mark.parametrize(("content", "message"), BAD_CSV.values(), ids=BAD_CSV.keys())
def test_a_bad_file_is_refused_with_file_line_and_column(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(BadInput) as refused:
        read_workload(path)
    assert str(refused.value).startswith(str(path))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"There is no file .*nothing.csv"):
        read_workload(tmp_path / "nothing.csv")
    with pytest.raises(BadInput, match="is a folder"):
        read_workload(tmp_path)


def test_the_vllm_run_has_the_published_aggregates(vllm_run: Path) -> None:
    published = json.loads(gzip.decompress(vllm_run.read_bytes()))
    run = read_workload(vllm_run)
    assert run.measured is not None
    assert (len(run), run.model, run.provider) == (200, "meta-llama/Llama-3.3-70B-Instruct", "vllm")
    assert run.input_tokens.sum() == published["total_input_tokens"]
    assert run.output_tokens.sum() == published["total_output_tokens"]
    assert run.measured.ttft_s.tolist() == published["ttfts"]
    for i, gaps in enumerate(published["itls"]):
        assert abs(run.measured.duration_ns[i] - (published["ttfts"][i] + sum(gaps)) * 1e9) <= 1
    assert np.isnan(run.measured.largest_gap_s).sum() == 14
    assert run.measured.errors == ("",) * 200


def test_missing_arrivals_are_drawn_the_same_way_each_time_and_labelled(vllm_run: Path) -> None:
    one, two = read_workload(vllm_run), read_workload(vllm_run)
    assert one.arrivals_simulated
    assert one.arrival_ns.tolist() == two.arrival_ns.tolist()
    assert one.arrival_ns[0] == 0
    assert (np.diff(one.arrival_ns) >= 0).all()
    # A Poisson process of 1/s: 199 gaps with mean 1 and standard deviation 1, here within four standard errors.
    gaps = np.diff(one.arrival_ns) / 1e9
    assert abs(gaps.mean() - 1) < 4 / np.sqrt(199)
    assert 0.7 < gaps.std() < 1.3


RUN: dict[str, Any] = {
    "input_lens": [10, 20],
    "output_lens": [3, 1],
    "ttfts": [0.25, 0.5],
    "itls": [[0.1, 0.3], []],
    "errors": ["", ""],
    "request_rate": 2.0,
}


def run_file(folder: Path, **changes: Any) -> Path:
    run = {key: value for key, value in {**RUN, **changes}.items() if value is not ...}
    return write(folder, json.dumps(run), "run.json")


def test_durations_are_first_token_plus_gaps(tmp_path: Path) -> None:
    measured = read_workload(run_file(tmp_path)).measured
    assert measured is not None
    assert measured.duration_ns.tolist() == [650_000_000, 500_000_000]
    assert measured.largest_gap_s[0] == 0.3


def test_a_failed_request_has_an_error_type_and_no_first_token(tmp_path: Path) -> None:
    failed = "Traceback (most recent call last):\n  ...\naiohttp.client_exceptions.ServerDisconnectedError: gone"
    path = run_file(tmp_path, output_lens=[3, 0], ttfts=[0.25, 0.0], itls=[[0.1, 0.3], []], errors=["", failed])
    measured = read_workload(path).measured
    assert measured is not None
    assert measured.errors == ("", "ServerDisconnectedError")
    assert np.isnan(measured.ttft_s).tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", ""),
        ("Bad Request", "Bad Request"),
        ("id 7 failed", "_OTHER"),
        ("x: TimeoutError", "TimeoutError"),
    ],
)
def test_error_types_are_few(text: str, name: str) -> None:
    assert error_type(text) == name


def test_recorded_start_times_are_used_and_not_labelled(tmp_path: Path) -> None:
    run = read_workload(run_file(tmp_path, start_times=[1001.5, 1000.0]))
    assert not run.arrivals_simulated
    assert run.arrival_ns.tolist() == [0, 1_500_000_000]
    assert run.input_tokens.tolist() == [20, 10]
    assert run.measured is not None
    assert run.measured.ttft_s.tolist() == [0.5, 0.25]


@pytest.mark.parametrize("rate", ["inf", float("inf"), None])
def test_an_unlimited_rate_sends_all_at_once(tmp_path: Path, rate: Any) -> None:
    assert read_workload(run_file(tmp_path, request_rate=rate)).arrival_ns.tolist() == [0, 0]


BAD_RUN: dict[str, tuple[dict[str, Any], str]] = {
    "no-details": ({"ttfts": ...}, "the list ttfts is missing; save the benchmark with its details"),
    "unequal": ({"output_lens": [1, 2, 3]}, "output_lens has 3 entries and input_lens has 2"),
    "empty": ({"input_lens": []}, "input_lens is empty"),
    "not-a-list": ({"itls": 3}, "itls is a number; wanted a list"),
    "negative-tokens": ({"input_lens": [10, -1]}, "input_lens[1] is -1; wanted a whole number of tokens"),
    "bool-tokens": ({"input_lens": [10, True]}, "input_lens[1] is True"),
    "negative-time": ({"ttfts": [0.1, -0.2]}, "ttfts[1] is -0.2; wanted seconds"),
    "nan-time": ({"ttfts": [0.1, float("nan")]}, "ttfts[1] is nan; wanted seconds"),
    "gap-not-a-list": ({"itls": [[0.1], 0.2]}, "itls[1] is a number; wanted a list of the gaps"),
    "gap-text": ({"itls": [[0.1, "x"], []]}, "itls[0][1] is 'x'; wanted seconds"),
    "error-number": ({"errors": ["", 3]}, "errors[1] is a number; wanted text"),
    "rate-zero": ({"request_rate": 0}, "request_rate is 0; wanted a number"),
    "burstiness-text": ({"burstiness": "high"}, "burstiness is 'high'; wanted a number"),
    "start-time": ({"start_times": [1, -1]}, "start_times[1] is -1; wanted seconds"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_RUN.values(), ids=BAD_RUN.keys())
def test_a_bad_run_is_refused_by_field(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = run_file(tmp_path, **changes)
    with pytest.raises(BadInput) as refused:
        read_workload(path)
    assert str(refused.value).startswith(str(path))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ nope", "line 1, column 3: not JSON"),
        ("[1, 2]", "wanted one JSON object as vLLM's benchmark saves it, found a list"),
        ("[" * 100_000, "nested too deeply"),
        ("TIMESTAMP", "line 1, column 1: not JSON"),
    ],
    ids=["broken", "list", "deep", "csv"],
)
def test_wrong_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_workload(write(tmp_path, text, "run.json"))
    assert message in str(refused.value)
