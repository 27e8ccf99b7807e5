"""The `openai` client, instrumented by OpenInference and by OpenLLMetry: what each call becomes in `inferences`."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from monitor.store.client import Client
from tests.clients.receivers import Receivers
from tests.tools import openai_stub
from tests.tools.service import ROOT, environment

INSTRUMENTATIONS = {"openinference": "grpc", "openllmetry": "http"}
FIRST_TOKEN_S, BETWEEN_TOKENS_S = 0.15, 0.02
PROMPT = "how much is twentyone times two"
INPUT_TOKENS, EMBEDDING_TOKENS, OUTPUT_TOKENS = 8, 6, 7  # with two words of the system's message
ANSWER = "Die Antwort ist zweiundvierzig 🚀"
CONTENT = ("twentyone", "be brief", "vierzig")

# What is asked for; the name is that of the model.
CALLS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "plain-async": {"asynchronous": True},
    "streamed": {"stream": True},
    "streamed-async": {"stream": True, "asynchronous": True},
    "streamed-without-usage": {"stream": True, "usage": False},
    "embedded": {"operation": "embeddings"},
    "embedded-async": {"operation": "embeddings", "asynchronous": True},
    "limited": {},
    "limited-async": {"stream": True, "asynchronous": True},
    "failed": {"stream": True},
    "retried": {"attempts": 3},
    "cut": {"stream": True},
    "stopped": {"stream": True, "stop_after": 3},
}
FAILURES = {"limited": [429], "limited-async": [429], "failed": [500], "retried": [429, 500]}
ERRORS = {
    "limited": "RateLimitError",
    "limited-async": "RateLimitError",
    "failed": "InternalServerError",
    "cut": "APIConnectionError",
}
REFUSED = ("limited", "limited-async", "failed")
EMBEDDED = ("embedded", "embedded-async")
COUNTED = ("plain", "plain-async", "streamed", "streamed-async", "retried")
WHOLE = ("plain", "plain-async", "streamed", "streamed-async", "streamed-without-usage", "retried")
STREAMED = ("streamed", "streamed-async", "streamed-without-usage", "cut", "stopped")

COLUMNS = """
    operation, role, dialect, dialect_version, provider, model, stream, input_tokens, cached_tokens, output_tokens,
    reasoning_tokens, ttft_s, tpot_s, duration_s, finish_reason, error_type, prompt, completion
"""


@dataclass(frozen=True)
class Ran:
    """What one instrumented program saw, and what was stored of it."""

    instrumentation: str
    service: str
    seen: Mapping[str, Mapping[str, Any]]
    rows: list[dict[str, Any]]
    requests: int

    def row(self, call: str) -> dict[str, Any]:
        assert len(self.rows) == len(CALLS), "one row for each call"
        return self.rows[list(CALLS).index(call)]

    def values(self, column: str, calls: Iterable[str]) -> dict[str, Any]:
        return {call: self.row(call)[column] for call in calls}


@pytest.fixture(scope="module", params=list(INSTRUMENTATIONS))
def ran(request: pytest.FixtureRequest, receivers: Receivers, store: Client) -> Ran:
    """All the calls, one after the other, in a program of its own."""
    name = request.param
    service = f"{name}-{uuid.uuid4().hex}"
    usual = {
        "operation": "chat",
        "prompt": PROMPT,
        "stream": False,
        "usage": True,
        "asynchronous": False,
        "attempts": 1,
    }
    calls = [{**usual, "stop_after": 0, "model": model, **call} for model, call in CALLS.items()]
    with openai_stub.running() as stub:
        stub.first_token_s, stub.between_tokens_s = FIRST_TOKEN_S, BETWEEN_TOKENS_S
        stub.cached_tokens, stub.reasoning_tokens = 2, 3
        stub.failures = {model: list(statuses) for model, statuses in FAILURES.items()}
        stub.cut_after = {"cut": 2}
        order = {
            "instrumentation": name,
            "transport": INSTRUMENTATIONS[name],
            "grpc": receivers.receiving.grpc,
            "http": receivers.receiving.http,
            "service": service,
            "base_url": stub.base_url,
            "calls": calls,
        }
        program = [sys.executable, "-m", "tests.clients.instrumented", json.dumps(order)]
        done = subprocess.run(
            program, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        requests = len(stub.seen)
    assert done.returncode == 0, done.stderr
    receivers.wait_stored()
    found = store.query(
        f"SELECT {COLUMNS} FROM inferences FINAL WHERE service = {{service:String}} ORDER BY timestamp",
        parameters={"service": service},
    )
    rows = [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]
    return Ran(name, service, dict(zip(CALLS, json.loads(done.stdout), strict=True)), rows, requests)


def test_the_program_saw_what_the_stub_answered(ran: Ran) -> None:
    """Otherwise the rest would compare nothing."""
    assert {call: ran.seen[call]["text"] for call in WHOLE} == dict.fromkeys(WHOLE, ANSWER)
    assert {call: seen["error"] for call, seen in ran.seen.items() if "error" in seen} == ERRORS
    assert ran.seen["stopped"]["text"] == "Die Antwort ist"
    assert ran.seen["embedded"]["vectors"] == ran.seen["embedded-async"]["vectors"] == 1
    assert ran.requests == len(CALLS) + 2, "two attempts of one call failed"


def test_one_row_for_each_call(ran: Ran) -> None:
    assert [(row["role"], row["dialect"], row["provider"]) for row in ran.rows] == [
        ("client", ran.instrumentation, "openai")
    ] * len(CALLS)
    assert [row["operation"] for row in ran.rows] == [
        "embeddings" if call.startswith("embedded") else "chat" for call in CALLS
    ]
    assert all(row["dialect_version"] for row in ran.rows)


def test_output_tokens(ran: Ran) -> None:
    # OpenLLMetry leaves out the reasoning tokens of a stream.
    streamed = None if ran.instrumentation == "openllmetry" else 3
    reasoning = {call: streamed if call in STREAMED else 3 for call in COUNTED}
    assert ran.values("output_tokens", COUNTED) == dict.fromkeys(COUNTED, OUTPUT_TOKENS)
    assert ran.values("cached_tokens", COUNTED) == dict.fromkeys(COUNTED, 2)
    assert ran.values("reasoning_tokens", COUNTED) == reasoning


def test_input_tokens(ran: Ran) -> None:
    assert ran.values("input_tokens", COUNTED) == dict.fromkeys(COUNTED, INPUT_TOKENS)
    assert ran.values("input_tokens", EMBEDDED) == dict.fromkeys(EMBEDDED, EMBEDDING_TOKENS)


@pytest.mark.parametrize("column", ["input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "tpot_s"])
def test_tokens_that_nobody_counted_are_unknown(ran: Ran, column: str) -> None:
    uncounted = ("streamed-without-usage", *ERRORS, "stopped")
    assert ran.values(column, uncounted) == dict.fromkeys(uncounted)


def test_model_is_the_one_that_answered(ran: Ran) -> None:
    answered = (*WHOLE, *EMBEDDED, "cut", "stopped")
    assert ran.values("model", answered) == {call: call + openai_stub.DATE for call in answered}


def test_model_of_a_failed_call_is_the_one_asked_for(ran: Ran) -> None:
    assert ran.values("model", REFUSED) == {call: call for call in REFUSED}


@pytest.mark.parametrize("call", STREAMED)
def test_first_token_of_a_stream(ran: Ran, call: str) -> None:
    seen, ttft = ran.seen[call], ran.row(call)["ttft_s"]
    assert ttft is not None
    # The clock of the program began before the span did.
    latest = (seen["first"] if "first" in seen else seen["end"]) - seen["begin"]
    assert FIRST_TOKEN_S <= ttft <= latest


def test_no_first_token_without_a_stream(ran: Ran) -> None:
    others = [call for call in CALLS if call not in STREAMED]
    assert ran.values("ttft_s", others) == dict.fromkeys(others)


@pytest.mark.parametrize("call", ["streamed", "streamed-async"])
def test_time_per_token(ran: Ran, call: str) -> None:
    row = ran.row(call)
    assert row["tpot_s"] is not None
    assert row["tpot_s"] == pytest.approx((row["duration_s"] - row["ttft_s"]) / (OUTPUT_TOKENS - 1))
    # The first token may have been read late.
    assert row["tpot_s"] > BETWEEN_TOKENS_S / 2


@pytest.mark.parametrize("call", [*WHOLE, "stopped"])
def test_duration(ran: Ran, call: str) -> None:
    seen = ran.seen[call]
    tokens = 3 if call == "stopped" else OUTPUT_TOKENS
    assert FIRST_TOKEN_S + (tokens - 1) * BETWEEN_TOKENS_S <= ran.row(call)["duration_s"] <= seen["end"] - seen["begin"]


def test_stream(ran: Ran) -> None:
    asked = {call: bool(CALLS[call].get("stream")) for call in CALLS}
    if ran.instrumentation == "openinference":  # whose embeddings say nothing of it
        asked |= dict.fromkeys((call for call in CALLS if call.startswith("embedded")), None)
    assert ran.values("stream", CALLS) == asked


def test_finish_reason(ran: Ran) -> None:
    assert ran.values("finish_reason", CALLS) == {call: "stop" if call in WHOLE else "" for call in CALLS}


def test_which_calls_failed(ran: Ran) -> None:
    """All but one that OpenLLMetry 0.62 does not tell: it ends the span of a broken stream before it sets the error."""
    failed = REFUSED if ran.instrumentation == "openllmetry" else tuple(ERRORS)
    assert [call for call in CALLS if ran.row(call)["error_type"]] == list(failed)


def test_error_type(ran: Ran) -> None:
    found = {call: error.removeprefix("openai.") for call, error in ran.values("error_type", REFUSED).items()}
    assert found == {call: ERRORS[call] for call in REFUSED}


def test_nothing_of_what_was_said_is_stored(ran: Ran, store: Client) -> None:
    """`privacy.capture_content` is off."""
    query = "SELECT toString(tuple(*)) FROM {table} WHERE {column} = {{service:String}}"
    for table, column in (("otel_traces", "ServiceName"), ("inferences", "service")):
        rows = store.query(query.format(table=table, column=column), parameters={"service": ran.service}).result_rows
        assert len(rows) >= len(CALLS)
        assert [word for (row,) in rows for word in CONTENT if word in row] == []


def test_prompt_and_completion_are_empty(ran: Ran) -> None:
    assert [(row["prompt"], row["completion"]) for row in ran.rows] == [("", "")] * len(CALLS)


def test_metrics_say_the_same(ran: Ran, store: Client) -> None:
    """OpenLLMetry counts the tokens and times the calls as metrics too; OpenInference sends none."""
    query = """
        SELECT MetricName, Attributes['gen_ai.token.type'] AS of, Attributes['error.type'] AS error, sum(Count), sum(Sum)
        FROM otel_metrics_histogram
        WHERE ServiceName = {service:String} AND MetricName IN ('gen_ai.client.token.usage', 'gen_ai.client.operation.duration')
        GROUP BY ALL ORDER BY ALL
    """
    found = store.query(query, parameters={"service": ran.service}).result_rows
    if ran.instrumentation == "openinference":
        assert found == []
        return
    tokens = {of: (count, total) for name, of, _, count, total in found if name == "gen_ai.client.token.usage"}
    assert tokens == {
        "input": (len(COUNTED) + len(EMBEDDED), len(COUNTED) * INPUT_TOKENS + len(EMBEDDED) * EMBEDDING_TOKENS),
        "output": (len(COUNTED), len(COUNTED) * OUTPUT_TOKENS),
    }
    timed = {error: count for name, _, error, count, _ in found if name == "gen_ai.client.operation.duration"}
    assert timed == {"": len(CALLS) - len(REFUSED), "RateLimitError": 2, "InternalServerError": 1}
