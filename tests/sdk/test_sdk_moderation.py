"""`moderate`: what each filter finds, what the clock and failures do, and what of it reaches the store."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from monitor import sdk
from monitor.errors import ConfigError
from monitor.sdk import Finding, Verdict, amoderate, endpoint_filter, moderate, pii_filter, rule_filter
from monitor.sdk.moderation_filters import read_findings, toxicity_filter, warm_up
from monitor.sdk.moderation_pool import Busy, Pool
from monitor.store.client import connect
from monitor.store.migrate import migrate
from tests.collectors.receiving import receiving
from tests.conftest import empty_all
from tests.tools.service import ROOT, environment

RULES = {
    "insult": ["idiot", "complete  fool"],
    "weapons": {"words": ["pipe bomb"], "patterns": [r"\bAK-?47\b"], "action": "block", "score": 0.9},
}


def events(span: Any) -> list[dict[str, Any]]:
    return [dict(event.attributes or {}) for event in span.events if event.name == "gen_ai.evaluation.result"]


@pytest.mark.parametrize(
    ("text", "action", "category", "score"),
    [
        ("hello", "allowed", "", 0.0),
        ("You IDIOT!", "flagged", "insult", 1.0),
        ("idiotic", "allowed", "", 0.0),
        ("what a complete\nfool", "flagged", "insult", 1.0),
        ("a pipe bomb, idiot", "blocked", "weapons", 0.9),
        ("an ak47", "blocked", "weapons", 0.9),
    ],
)
def test_rules(text: str, action: str, category: str, score: float) -> None:
    found = moderate(text, filters=RULES)
    assert (found.action, found.category, found.score) == (action, category, score)
    assert (found.blocked, found.flagged, found.allowed) == (
        action == "blocked",
        action != "allowed",
        action != "blocked",
    )
    assert found.filter == ("rules" if category else "")
    assert 0 < found.latency_s < 0.5
    assert (found.timed_out, found.failed) == ((), ())


def test_the_default_looks_for_personal_data() -> None:
    found = moderate("write to alice@example.org or +49 151 12345678", stage="output")
    assert (found.action, found.stage) == ("flagged", "output")
    assert [finding.category for _, finding in found.findings] == ["pii.email", "pii.phone"]
    assert moderate("nothing personal").action == "allowed"
    assert moderate("4111 1111 1111 1111", filters=pii_filter(["card"], action="block")).category == "pii.card"
    assert moderate("alice@example.org", filters=pii_filter("card")).action == "allowed"


def check(text: str) -> float:
    return 0.7


@pytest.mark.parametrize(
    ("returned", "findings"),
    [
        (None, []),
        (False, []),
        (True, [("check", 1.0, "flag")]),
        (0.49, []),
        (0.5, [("check", 0.5, "flag")]),
        (1, [("check", 1.0, "flag")]),
        (Finding(category="x", action="block"), [("x", 1.0, "block")]),
        ({"category": "x", "score": 0.1}, [("x", 0.1, "flag")]),
        ([{"category": "x"}, Finding(category="y")], [("x", 1.0, "flag"), ("y", 1.0, "flag")]),
        ([], []),
    ],
)
def test_what_functions_may_return(returned: Any, findings: list[tuple[str, float, str]]) -> None:
    found = read_findings(returned, name="check")
    assert [(finding.category, finding.score, finding.action) for finding in found] == findings


@pytest.mark.parametrize(
    "returned",
    [
        "yes",
        1.5,
        -1,
        float("nan"),
        {"kind": "x"},
        {"category": ""},
        ["x"],
        object(),
        {"category": "x", "action": "ban"},
    ],
)
def test_a_function_that_returns_nonsense_has_failed(returned: Any) -> None:
    found = moderate("text", filters=lambda text: returned)
    assert (found.action, found.failed) == ("allowed", ("<lambda>",))
    assert moderate("text", filters=lambda text: returned, fail="closed").blocked


def test_a_function_by_its_name() -> None:
    found = moderate("text", filters=[check, check])
    assert [(name, finding.category, finding.score) for name, finding in found.findings] == [
        ("check", "check", 0.7),
        ("check-2", "check-2", 0.7),
    ]


def boom(text: str) -> bool:
    raise RuntimeError("boom")


def slow(text: str) -> bool:
    time.sleep(0.6)
    return True


@pytest.mark.parametrize(
    ("filters", "fail", "action", "category", "filter_", "timed_out", "failed"),
    [
        ([boom], "open", "allowed", "", "", (), ("boom",)),
        ([boom], "closed", "blocked", "undecided", "boom", (), ("boom",)),
        ([slow], "open", "allowed", "", "", ("slow",), ()),
        ([slow], "closed", "blocked", "undecided", "slow", ("slow",), ()),
        ([slow, boom, RULES], "open", "flagged", "insult", "rules", ("slow",), ("boom",)),
        ([slow, boom, RULES], "closed", "blocked", "undecided", "slow", ("slow",), ("boom",)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("run", ["sync", "async"])
def test_late_and_failed_filters(
    run: str, filters: Any, fail: str, action: str, category: str, filter_: str, timed_out: Any, failed: Any
) -> None:
    started = time.perf_counter()
    if run == "sync":
        found = moderate("idiot", filters=filters, fail=fail, budget_ms=150)
    else:
        found = asyncio.run(amoderate("idiot", filters=filters, fail=fail, budget_ms=150))
    took_s = time.perf_counter() - started
    assert (found.action, found.category, found.filter) == (action, category, filter_)
    assert (found.timed_out, found.failed) == (timed_out, failed)
    assert took_s < 0.5
    if timed_out:
        assert 0.15 <= found.latency_s < 0.5


def test_the_first_that_blocks_decides() -> None:
    found = moderate("a pipe bomb", filters=[slow, RULES], fail="closed", budget_ms=5000)
    assert (found.action, found.category) == ("blocked", "weapons")
    assert found.timed_out == ()
    assert found.latency_s < 0.5


def test_filters_run_side_by_side() -> None:
    both = threading.Barrier(2)

    def meet(text: str) -> bool:
        both.wait(2)
        return False

    found = moderate("text", filters=[meet, meet], budget_ms=3000)
    assert (found.action, found.failed, found.timed_out) == ("allowed", (), ())


def test_asynchronous_filters_run_in_the_loop_and_are_cancelled() -> None:
    cancelled = []

    async def waits(text: str) -> bool:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(text)
            raise
        return True

    async def quick(text: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"category": "seen", "score": 0.6}

    async def run() -> Verdict:
        found = await amoderate("text", filters=[waits, quick], budget_ms=100)
        await asyncio.sleep(0)
        return found

    found = asyncio.run(run())
    assert (found.action, found.category, found.timed_out, cancelled) == ("flagged", "seen", ("waits",), ["text"])
    # Without a loop, they get one of their own.
    assert moderate("text", filters=quick).category == "seen"


def test_the_event_loop_goes_on_meanwhile() -> None:
    async def run() -> int:
        moderation = asyncio.ensure_future(amoderate("text", filters=slow, budget_ms=300))
        ticks = 0
        while not moderation.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert asyncio.run(run()) >= 5


def test_threads_and_queue_are_bounded() -> None:
    pool = Pool(threads=2, waiting=3)
    gate = threading.Event()
    futures = [pool.submit(lambda: gate.wait(5)) for _ in range(2)]
    deadline = time.monotonic() + 5
    while not all(future.running() for future in futures):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    futures += [pool.submit(lambda: gate.wait(5)) for _ in range(3)]
    with pytest.raises(Busy, match="3 filters wait for one of 2 threads"):
        pool.submit(lambda: True)
    gate.set()
    assert [future.result(5) for future in futures] == [True] * 5
    assert pool.submit(lambda: 7).result(5) == 7


HANGS = """
import sys, time
import monitor
def hang(text):
    time.sleep(60)
found = monitor.moderate("x", filters=hang, budget_ms=50)
print(found.action, found.timed_out)
"""


def test_a_filter_that_hangs_does_not_hold_up_the_exit() -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGS],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=40, check=True,
    )  # fmt: skip
    assert done.stdout == "allowed ('hang',)\n"
    assert done.stderr == ""
    assert time.monotonic() - started < 30


# --- An endpoint ----------------------------------------------------------------------------------------------------


class Endpoint:
    """A moderation endpoint on a free port that answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.answer, self.delay_s = 200, b"", 0.0
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                time.sleep(endpoint.delay_s)
                self.send_response(endpoint.status)
                self.send_header("Content-Length", str(len(endpoint.answer)))
                self.end_headers()
                self.wfile.write(endpoint.answer)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/moderations?v=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def says(self, flagged: bool, **scores: float) -> None:
        categories = {name: score >= 0.5 for name, score in scores.items()}
        result = {"flagged": flagged, "categories": categories, "category_scores": scores}
        self.answer = json.dumps({"id": "modr-1", "model": "m", "results": [result]}).encode()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()


def test_an_endpoint_is_asked(endpoint: Endpoint) -> None:
    endpoint.says(True, violence=0.93, hate=0.6, sexual=0.01)
    one = endpoint_filter(endpoint.url, api_key="k1", model="omni", headers={"X-Team": "t"}, block=["hate"])
    found = moderate("söme text", filters=one, budget_ms=5000)
    assert (found.action, found.category, found.score, found.filter) == ("blocked", "hate", 0.6, "endpoint")
    assert [(f.category, f.score, f.action) for _, f in found.findings] == [
        ("hate", 0.6, "block"),
        ("violence", 0.93, "flag"),
    ]
    ((path, headers, body),) = endpoint.asked
    assert (path, body) == ("/v1/moderations?v=1", {"input": "söme text", "model": "omni"})
    assert (headers["authorization"], headers["x-team"]) == ("Bearer k1", "t")
    assert "k1" not in repr(found)


def test_an_endpoints_scores_may_be_judged_here(endpoint: Endpoint) -> None:
    endpoint.says(False, violence=0.3, hate=0.05)
    assert moderate("x", filters=endpoint_filter(endpoint.url), budget_ms=5000).action == "allowed"
    strict = endpoint_filter(endpoint.url, threshold=0.2, block="*")
    found = moderate("x", filters=strict, budget_ms=5000)
    assert (found.action, found.category, found.score) == ("blocked", "violence", 0.3)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, b"{}"),
        (200, b"not json"),
        (200, b"[]"),
        (200, b'{"results": []}'),
        (200, b'{"results": [7]}'),
        (200, b"x" * (1 << 20) + b"y"),
        (401, b""),
    ],
)
def test_an_endpoint_that_answers_wrongly_has_failed(endpoint: Endpoint, status: int, answer: bytes) -> None:
    endpoint.status, endpoint.answer = status, answer
    found = moderate("x", filters=endpoint_filter(endpoint.url), budget_ms=5000)
    assert (found.action, found.failed, found.timed_out) == ("allowed", ("endpoint",), ())


def test_an_endpoint_that_is_late_or_away(endpoint: Endpoint, free_port: int) -> None:
    endpoint.says(True, violence=1.0)
    endpoint.delay_s = 0.5
    found = moderate("x", filters=endpoint_filter(endpoint.url), budget_ms=100, fail="closed")
    assert (found.action, found.timed_out, found.failed) == ("blocked", ("endpoint",), ())
    found = moderate("x", filters=endpoint_filter(endpoint.url, timeout_s=0.1), budget_ms=5000)
    assert (found.action, found.timed_out, found.failed) == ("allowed", (), ("endpoint",))
    away = endpoint_filter(f"http://127.0.0.1:{free_port}/v1/moderations")
    assert moderate("x", filters=away, budget_ms=5000).failed == ("endpoint",)


def test_an_endpoint_that_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-x\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1/moderations"
        assert moderate("x", filters=endpoint_filter(url), budget_ms=5000).failed == ("endpoint",)


# --- Wrong arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stage": "prompt"}, "monitor.moderate: stage='prompt' is neither 'input' nor 'output'."),
        ({"fail": "shut"}, "monitor.moderate: fail='shut' is neither 'open' nor 'closed'."),
        ({"budget_ms": 0}, "monitor.moderate: budget_ms=0 must be a positive number of milliseconds."),
        ({"budget_ms": float("nan")}, "must be a positive number of milliseconds"),
        ({"filters": [7]}, "monitor.moderate: 7 is no filter; give a function, or a dict of rules."),
        ({"filters": {}}, "rules must be a dict of categories"),
        ({"filters": {"x": []}}, "'x' has neither words nor patterns"),
        ({"filters": {"x": {"word": ["a"]}}}, "'x' has word; known are words, patterns, action and score."),
        ({"filters": {"x": {"patterns": ["("]}}}, "'(' is not a regular expression"),
        ({"filters": {"x": {"patterns": ["a*"]}}}, "also matches nothing at all"),
        ({"filters": {"x": {"words": ["a"], "action": "ban"}}}, "action must be 'flag' or 'block', got 'ban'"),
        ({"filters": {"x": ["a", ""]}}, "must be a list of texts that are not empty"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        moderate("text", **arguments)
    assert message in str(caught.value)
    with pytest.raises(ConfigError, match="text must be a string, got bytes"):
        moderate(b"text")  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["localhost/v1", "ftp://x/y", "http://", "http://h:99999/x", "http://h:0/"])
def test_wrong_addresses_are_told(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        endpoint_filter(url)


def test_other_wrong_filters_are_told() -> None:
    with pytest.raises(ConfigError, match="'mail' is not one of api_key, email"):
        pii_filter(["mail"])
    with pytest.raises(ConfigError, match="action='ban'"):
        pii_filter(action="ban")
    with pytest.raises(ConfigError, match="timeout_s=0"):
        endpoint_filter("http://h/x", timeout_s=0)
    with pytest.raises(ConfigError, match="'high' is no threshold"):
        toxicity_filter(flag_from="high")  # type: ignore[arg-type]
    assert rule_filter({"a": "word"})("A WORD.")[0].category == "a"


# --- What is recorded -----------------------------------------------------------------------------------------------


def test_the_current_call_records_it(sent: Any) -> None:
    with sdk.inference("m") as one:
        moderate("you idiot", filters=RULES)
        moderate("a pipe bomb, idiot", stage="output", filters=[RULES, boom])
        one.finish()
    span = sent.one()
    attributes = dict(span.attributes)
    assert attributes.pop("monitor.moderation.input.latency") > 0
    assert {key: value for key, value in attributes.items() if key.startswith("monitor.moderation.input")} == {
        "monitor.moderation.input.action": "flagged",
        "monitor.moderation.input.category": "insult",
        "monitor.moderation.input.score": 1.0,
        "monitor.moderation.input.filter": "rules",
    }
    assert attributes["monitor.moderation.output.action"] == "blocked"
    assert attributes["monitor.moderation.blocked"] is True
    found = events(span)
    assert found[0].pop("monitor.moderation.latency") > 0
    source = {"monitor.evaluation.source": "moderation", "monitor.evaluation.evaluator": "rules"}
    assert found[:2] == [
        {
            "gen_ai.evaluation.name": "moderation.input",
            "gen_ai.evaluation.score.value": 1.0,
            "gen_ai.evaluation.score.label": "flagged",
            "gen_ai.evaluation.explanation": "insult",
            **source,
        },
        {
            "gen_ai.evaluation.name": "insult",
            "gen_ai.evaluation.score.value": 1.0,
            "gen_ai.evaluation.score.label": "flagged",
            "gen_ai.evaluation.explanation": "input",
            **source,
        },
    ]
    assert [(e["gen_ai.evaluation.name"], e["gen_ai.evaluation.score.label"]) for e in found[2:]] == [
        ("moderation.output", "blocked"),
        ("weapons", "blocked"),
        ("insult", "flagged"),
    ]


def test_nothing_of_the_text_is_recorded(sent: Any) -> None:
    with sdk.inference("m"):
        moderate("alice@example.org is an idiot", filters=[RULES, pii_filter(), boom])
    span = sent.one()
    assert "alice" not in span.to_json()
    assert "idiot" not in span.to_json()


def test_without_a_call_the_verdict_can_go_along_later(sent: Any) -> None:
    verdict = moderate("idiot", filters=RULES)
    assert not verdict.record()
    with sdk.inference("m", attributes=verdict.attributes) as one:
        assert verdict.record()
        one.finish()
    assert sent.attributes()["monitor.moderation.input.action"] == "flagged"
    assert len(events(sent.one())) == 2


def test_a_blocked_call_is_sent_however_few_are_sampled(sent: Any) -> None:
    sdk.shutdown()
    sent.start(sample_rate=1e-6)
    for text in ("hello", "a pipe bomb", "idiot"):
        with sdk.inference("m") as one:
            moderate(text, filters=RULES)
            one.finish()
    attributes = sent.attributes()
    assert attributes["monitor.moderation.input.category"] == "weapons"
    assert attributes["monitor.sample_weight"] == 1.0


def test_filters_see_the_callers_context() -> None:
    seen = []

    def look(text: str) -> None:
        seen.append(trace.get_current_span().get_span_context().span_id)

    sdk.init("svc", exporter=_nowhere())
    with sdk.inference("m") as one:
        moderate("x", filters=look)
    assert [f"{span_id:016x}" for span_id in seen] == [one.span_id]


def _nowhere() -> Any:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


def test_the_store_has_it_as_evaluations(chdb_url: str, tmp_path: Path) -> None:
    client = connect(chdb_url)
    migrate(client)
    empty_all(client)  # of what others left there
    with receiving(tmp_path / "data", chdb_url) as target:
        sdk.init("svc", endpoint=f"http://{target.grpc}")
        with sdk.inference("m") as one:
            moderate("a pipe bomb, idiot", filters=[RULES, boom], budget_ms=5000)
            moderate("fine", stage="output", filters=[RULES, slow], budget_ms=100)
            one.finish()
        assert sdk.flush()
        sdk.shutdown()
        deadline = time.monotonic() + 30
        while target.pipeline.waiting or client.command("SELECT count() FROM evaluations FINAL") != 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    rows = client.query(
        "SELECT name, score, label, source, evaluator, explanation, error_type, trace_id, span_id"
        " FROM evaluations FINAL ORDER BY name"
    ).result_rows
    ids = (one.trace_id, one.span_id)
    assert rows == [
        ("insult", 1.0, "flagged", "moderation", "rules", "input", "", *ids),
        ("moderation.input", 0.9, "blocked", "moderation", "rules", "weapons", "filter_failed", *ids),
        ("moderation.output", 0.0, "allowed", "moderation", "", "", "timeout", *ids),
        ("weapons", 0.9, "blocked", "moderation", "rules", "input", "", *ids),
    ]
    empty_all(client)
    client.close()


def test_models_load_when_asked_and_never_by_import() -> None:
    code = (
        "import sys, monitor; f = monitor.toxicity_filter();"
        "print(any(name in sys.modules for name in ('sklearn', 'joblib', 'numpy', 'profanity_check')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "False\n"
    warm_up([rule_filter(RULES), check])
