"""`POST /api/evaluations` and `/api/feedback`: at a real service over each store, and what is said of bad requests."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from collectors.otlp.judgements import BadJudgement, evaluations_request, feedback_request
from collectors.otlp.rate import Buckets, client_of
from monitor.errors import ConfigError
from monitor.settings import load_settings
from monitor.store.client import connect
from tests.conftest import BACKENDS, drop_database, with_database
from tests.tools.service import ROOT, Service, running, spawn, wait_until_ready

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ORIGIN = "https://app.example.com"
SETTINGS = {
    "MONITOR_COLLECTORS__TOKENS": '["of a server"]',
    "MONITOR_COLLECTORS__PAGE_TOKENS": '["of a page"]',
    "MONITOR_COLLECTORS__CORS_ORIGINS": f'["{ORIGIN}"]',
    "MONITOR_COLLECTORS__API_RATE": "0.5",
    "MONITOR_COLLECTORS__API_BURST": "20",
    "MONITOR_COLLECTORS__API_MAX_BYTES": "4096",
}
HTTP = httpx2.Client(timeout=20)


@dataclass(frozen=True)
class Place:
    """A service and the address to read its store at."""

    service: Service
    reading: str

    def post(self, path: str, content: Any, *, client: str, token: str = "of a server", **headers: str) -> Any:
        """`client` is the address the request seems to come from; each has a bucket of its own."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        given = {"content-type": "application/json", "x-forwarded-for": client, **headers}
        if token:
            given["authorization"] = f"Bearer {token}"
        return HTTP.post(f"{self.service.addresses['http']}{path}", content=body, headers=given)

    def rows(self, query: str) -> list[dict[str, Any]]:
        wait_until_logs_are_stored(self.service)
        client = connect(self.reading)
        try:
            return [dict(row) for row in client.query(query).named_results()]
        finally:
            client.close()


def wait_until_logs_are_stored(service: Service) -> None:
    deadline = time.monotonic() + 60
    while service.metric("log_records_waiting"):
        assert time.monotonic() < deadline, service.ready()
        time.sleep(0.05)


@pytest.fixture(scope="module", params=BACKENDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data = tmp_path_factory.mktemp("api") / "data"
    if request.param == "chdb":
        with running(data, env=SETTINGS) as service:
            yield Place(service, service.addresses["clickhouse"])
        return
    server = str(request.getfixturevalue("clickhouse_url"))
    name = f"api_{time.time_ns()}"
    url = with_database(server, name)
    with running(data, env={**SETTINGS, "MONITOR_STORE__URL": url}) as service:
        yield Place(service, url)
    drop_database(server, name)


ROWS = "SELECT * EXCEPT (timestamp, inserted_at), toUnixTimestamp64Nano(timestamp) AS time FROM {} FINAL WHERE {} ORDER BY time"


def test_every_column_of_evaluations(place: Place) -> None:
    at = datetime.fromtimestamp(int(time.time()) - 100, UTC).replace(microsecond=123456)
    given = {
        "trace_id": TRACE, "span_id": SPAN.upper(), "response_id": "r", "service": "review", "name": "correct",
        "score": 0.1, "label": "no", "source": "human", "evaluator": "ann", "explanation": "it is nöt",
        "error_type": "e", "timestamp": at.isoformat(),
    }  # fmt: skip
    before = time.time_ns()
    # The first is sent twice, with its time, and counts once; the others have none, and are two.
    little = {"response_id": "r", "name": "helpful", "label": "yes"}
    for body in (given, [given, little, little]):
        answer = place.post("/api/evaluations", body, client="10.0.0.1")
        assert (answer.status_code, answer.json()) == (200, {"accepted": 1 if body is given else 3})
    rows = place.rows(ROWS.format("evaluations", "response_id = 'r'"))
    times = [row.pop("time") for row in rows]
    assert times[0] == int(at.timestamp()) * 10**9 + 123_456_000
    assert before < times[1] < times[2] < time.time_ns()
    expected = {key: value for key, value in given.items() if key != "timestamp"}
    blank = {key: None if key == "score" else "" for key in expected}
    assert rows == [{**expected, "span_id": SPAN}, {**blank, **little}, {**blank, **little}]


def test_every_column_of_engagement(place: Place) -> None:
    about = {"trace_id": TRACE, "span_id": SPAN, "response_id": "r", "service": "web"}
    who = {"session_id": "every column", "user_id": "u"}
    given = [
        {**about, **who, "thumbs": "down", "comment": "bad"},
        {**about, **who, "kind": "share", "value": "mail"},
        {**who, "kind": "thumbs", "value": "up"},
        {**who, "comment": "only this"},
    ]
    answer = place.post("/api/feedback", given, client="10.0.0.2")
    assert (answer.status_code, answer.json()) == (200, {"accepted": 4})
    rows = place.rows(ROWS.format("engagement_events", "session_id = 'every column'"))
    assert all(row.pop("time") for row in rows)
    blank = {**dict.fromkeys(about, ""), **who, "value": "", "comment": ""}
    assert rows == [
        {**blank, **about, "kind": "thumbs", "value": "down", "comment": "bad"},
        {**blank, **about, "kind": "share", "value": "mail"},
        {**blank, "kind": "thumbs", "value": "up"},
        {**blank, "kind": "comment", "comment": "only this"},
    ]


def test_tokens(place: Place) -> None:
    thumbs = {"session_id": "tokens", "thumbs": "up"}
    for token in ("", "wrong"):
        refused = place.post("/api/feedback", thumbs, client="10.0.0.3", token=token)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json() == {"error": "a valid token is wanted: `authorization: Bearer TOKEN`"}
    for token in ("of a server", "of a page"):
        assert place.post("/api/feedback", thumbs, client="10.0.0.3", token=token).status_code == 200
    assert len(place.rows("SELECT 1 FROM engagement_events FINAL WHERE session_id = 'tokens'")) == 2


def test_a_page_speaks_for_its_user_alone(place: Place) -> None:
    said = {"trace_id": TRACE, "name": "of a page", "score": 1}
    forbidden = place.post(
        "/api/evaluations", [said, {**said, "source": "ground_truth"}], client="10.0.0.4", token="of a page"
    )
    assert forbidden.status_code == 403
    assert forbidden.json() == {
        "error": "[1].source: this token is for web pages, which may say `user` only, not `ground_truth`"
    }
    assert place.post("/api/evaluations", said, client="10.0.0.4", token="of a page").status_code == 200
    assert place.post("/api/evaluations", said, client="10.0.0.4").status_code == 200
    spans = HTTP.post(
        f"{place.service.addresses['http']}/v1/traces",
        content=b"{}",
        headers={"authorization": "Bearer of a page", "content-type": "application/json"},
    )
    assert spans.status_code == 401
    rows = place.rows("SELECT source FROM evaluations FINAL WHERE name = 'of a page' ORDER BY source")
    assert rows == [{"source": ""}, {"source": "user"}]


def test_browsers_ask_first(place: Place) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    url = f"{place.service.addresses['http']}/api/feedback"
    allowed = HTTP.options(url, headers={**asks, "origin": ORIGIN})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert allowed.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in allowed.headers["access-control-allow-methods"]
    refused = HTTP.options(url, headers={**asks, "origin": "https://evil.example"})
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    # What needs no asking is not taken.
    plain = place.post(
        "/api/feedback", {"session_id": "s", "thumbs": "up"}, client="10.0.0.5", **{"content-type": "text/plain"}
    )
    assert (plain.status_code, plain.json()) == (
        415,
        {"error": "Content-Type application/json is wanted, `text/plain` came"},
    )
    for status, token in ((200, "of a page"), (401, "")):
        answer = place.post(
            "/api/feedback", {"session_id": "s", "thumbs": "up"}, client="10.0.0.5", token=token, origin=ORIGIN
        )
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, ORIGIN)
        assert answer.headers["access-control-expose-headers"] == "Retry-After"


def test_too_large_before_and_after_inflating(place: Place) -> None:
    body = json.dumps({"session_id": "s", "comment": "x" * 5000}).encode()
    for content, headers in ((body, {}), (gzip.compress(body), {"content-encoding": "gzip"})):
        refused = place.post("/api/feedback", content, client="10.0.0.6", **headers)
        assert refused.status_code == 413
        assert "over the limit of 4096 bytes" in refused.json()["error"]
    small = gzip.compress(json.dumps({"session_id": "gzip", "comment": "x"}).encode())
    assert place.post("/api/feedback", small, client="10.0.0.6", **{"content-encoding": "gzip"}).status_code == 200


def test_one_client_too_many(place: Place) -> None:
    thumbs = {"session_id": "rate", "thumbs": "up"}
    taken = 0
    # More than the 20 that it may at once, because one comes back every two seconds.
    while (last := place.post("/api/feedback", thumbs, client="10.0.0.7")).status_code == 200:
        taken += 1
        assert taken < 100
    assert taken >= 20
    assert last.status_code == 429
    assert last.headers["retry-after"] in ("1", "2")
    assert re.fullmatch(r"more than 0\.5 requests a second from this client; try again in [12] s", last.json()["error"])
    assert place.post("/api/evaluations", {}, client="10.0.0.7").status_code == 429, "both paths count together"
    assert place.post("/api/feedback", thumbs, client="10.0.0.8").status_code == 200, "others are not held up"
    assert place.rows("SELECT count() AS n FROM engagement_events FINAL WHERE session_id = 'rate'") == [
        {"n": taken + 1}
    ]
    with httpx2.Client() as http:
        text = http.get(f"{place.service.addresses['http']}/metrics").text
    assert re.search(r'requests_refused_total\{signal="logs",reason="rate"\} [1-9]', text)


def test_a_bad_one_spoils_the_request_and_is_named(place: Place) -> None:
    good = {"trace_id": TRACE, "name": "spoiled", "score": 1}
    refused = place.post("/api/evaluations", [good, {**good, "score": "high"}], client="10.0.0.9")
    assert (refused.status_code, refused.json()) == (400, {"error": '[1].score: must be a finite number, not "high"'})
    assert place.rows("SELECT 1 FROM evaluations WHERE name = 'spoiled'") == []
    assert place.post("/api/evaluations", [], client="10.0.0.9").json() == {"accepted": 0}
    other = HTTP.get(f"{place.service.addresses['http']}/api/feedback")
    assert (other.status_code, other.headers["allow"]) == (405, "POST")
    assert other.json() == {"error": "405: GET /api/feedback is not served here"}


IDS = "must be 32 hexadecimal digits, not all 0, not"
EVALUATION: dict[str, Any] = {"trace_id": TRACE, "name": "x", "score": 1}
THUMBS: dict[str, Any] = {"trace_id": TRACE, "thumbs": "up"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("1", "the body: must be a JSON object, not 1"),
        ("[[]]", "[0]: must be a JSON object, not a list"),
        ("{", "the body is not JSON: Expecting property name"),
        ("\xff", "the body is not JSON: 'utf-8' codec can't decode byte 0xff in position 0"),
        ("[" * 100_000, "the body is not JSON: maximum recursion depth exceeded"),
        ({"name": "x", "score": 1}, "trace_id or response_id is missing; say which answer is meant"),
        ([{"name": "x", "score": 1}], "[0]: trace_id or response_id is missing; say which answer is meant"),
        ({**EVALUATION, "name": None}, "name is missing; say what was judged, such as `correct`"),
        ({**EVALUATION, "score": None}, "score or label or error_type is missing; give at least one"),
        ({**EVALUATION, "scor": 1}, "scor: is not known here; did you mean `score`?"),
        ({**EVALUATION, "qqq": 1}, "qqq: is not known here; known: trace_id, span_id, response_id, service, timestamp, "),
        ({**EVALUATION, "score": float("nan")}, "score: must be a finite number, not NaN"),
        ({**EVALUATION, "score": 10**400}, f"score: must be a finite number, not 1{'0' * 59}…"),
        ({**EVALUATION, "score": {}}, "score: must be a finite number, not an object"),
        (
            {**EVALUATION, "source": "robot"},
            'source: must be one of ground_truth, human, user, judge, moderation, probe, not "robot"',
        ),
        ({**EVALUATION, "source": []}, "source: must be one of ground_truth, human, user, judge, moderation, probe, not a"),
        ({**EVALUATION, "name": ""}, 'name: must be a text of 1 to 256 characters, not ""'),
        ({**EVALUATION, "label": "x" * 257}, f'label: must be a text of 1 to 256 characters, not "{"x" * 59}…'),
        ({**EVALUATION, "explanation": 7}, "explanation: must be a text, not 7"),
        ({**EVALUATION, "trace_id": "abc"}, f'trace_id: {IDS} "abc"'),
        ({**EVALUATION, "trace_id": "0" * 32}, f'trace_id: {IDS} "{"0" * 32}"'),
        ({**EVALUATION, "trace_id": 7}, f"trace_id: {IDS} 7"),
        ({**EVALUATION, "span_id": "x" * 16}, 'span_id: must be 16 hexadecimal digits, not all 0, not "xxxxxxxxxxxxxxxx"'),
        (
            {**EVALUATION, "trace_id": None, "response_id": "r", "span_id": SPAN},
            "span_id: alone says not which answer is meant; give its trace_id too",
        ),
        *(
            (
                {**EVALUATION, "timestamp": wrong},
                "timestamp: must be a time after 1970 with its zone, such as 2026-01-31T12:00:00Z, not "
                + json.dumps(wrong),
            )
            for wrong in ("yesterday", "2026-01-31T12:00:00", "1969-01-01T00:00:00Z", 1790000000)
        ),
        ({**EVALUATION, "service": " "}, 'service: must be a text of 1 to 256 characters, not " "'),
    ],
)  # fmt: skip
def test_what_is_said_of_bad_evaluations(given: Any, says: str) -> None:
    body = given.encode("latin-1") if isinstance(given, str) else json.dumps(given).encode()
    with pytest.raises(BadJudgement) as caught:
        evaluations_request(body, 1)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"thumbs": "up"},
            "trace_id or response_id or session_id or user_id is missing; say which answer or session is",
        ),
        ({"trace_id": TRACE}, "thumbs or kind or comment is missing; give at least one"),
        ({**THUMBS, "thumbs": "sideways"}, 'thumbs: must be one of up, down, not "sideways"'),
        (
            {**THUMBS, "kind": "copy"},
            "thumbs: is short for kind `thumbs` with that value; leave out `kind` and `value`",
        ),
        ({**THUMBS, "value": "up"}, "thumbs: is short for kind `thumbs` with that value; leave out `kind` and `value`"),
        ({"trace_id": TRACE, "kind": "thumbs"}, "value: must be one of up, down when the kind is `thumbs`, not null"),
        ({"trace_id": TRACE, "kind": "C p"}, 'kind: must be a short name in lower case, such as `copy`, not "C p"'),
        ({**THUMBS, "score": 1}, "score: is not known here; "),
        ({**THUMBS, "comment": ["x"]}, "comment: must be a text, not a list"),
    ],
)
def test_what_is_said_of_bad_feedback(given: Any, says: str) -> None:
    with pytest.raises(BadJudgement) as caught:
        feedback_request(json.dumps(given).encode(), 1)
    assert str(caught.value).startswith(says)


def test_text_that_protobuf_cannot_hold_and_times_that_no_table_can() -> None:
    body = b'{"trace_id": "%s", "comment": "half \\ud83d", "timestamp": "9999-12-31T23:59:59-23:59"}' % TRACE.encode()
    record = feedback_request(body, 1).resource_logs[0].scope_logs[0].log_records[0]
    assert record.time_unix_nano == 2**63 - 1
    assert {item.key: item.value.string_value for item in record.attributes} == {
        "monitor.engagement.kind": "comment",
        "monitor.engagement.comment": "half ?",
    }


def test_buckets_fill_with_time_and_stay_few() -> None:
    now = [100.0]
    buckets = Buckets(rate=2, burst=3, clients_max=2, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] += 0.25
    assert buckets.take("a") == 0.25
    now[0] += 0.25
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    now[0] += 1000
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    # A third client makes the one forgotten that was away longest.
    assert [buckets.take("b"), buckets.take("a"), buckets.take("c")] == [0, 0.5, 0]
    assert len(buckets) == 2
    assert [buckets.take("a"), buckets.take("b"), buckets.take("b"), buckets.take("b")] == [0.5, 0, 0, 0]


def test_whom_an_address_belongs_to() -> None:
    assert client_of("192.0.2.7") == "192.0.2.7"
    assert client_of("2001:db8:1:2::1") == client_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert client_of("2001:db8:1:3::1") != client_of("2001:db8:1:2::1")
    assert client_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert client_of("::1") == "::/64"
    assert client_of("what a proxy said" * 10) == ("what a proxy said" * 10)[:64]


def test_page_tokens_alone_would_be_an_open_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_COLLECTORS__PAGE_TOKENS", '["p"]')
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value) == (
        "the environment: `collectors.page_tokens` is set, but `collectors.tokens` is not, so that nobody needs a token;"
        " set `tokens` too"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_acknowledged_survives_kill_9(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = ""
    if backend == "clickhouse":
        server = str(request.getfixturevalue("clickhouse_url"))
        name = f"api_{time.time_ns()}"
        url = with_database(server, name)
    # Nothing reaches the store before the kill: segments wait an hour.
    env = {"MONITOR_COLLECTORS__API_BURST": "1000", **({"MONITOR_STORE__URL": url} if url else {})}
    data = tmp_path / "data"
    late = {**env, "MONITOR_COLLECTORS__SEGMENT_AGE_S": "3600"}
    service = wait_until_ready(spawn(data, "--no-dashboard", env=late), data)
    sent = []
    for number in range(40):
        trace_id = f"{number + 1:032x}"
        path, item = (
            ("/api/feedback", {"trace_id": trace_id, "kind": "copy"})
            if number % 2
            else ("/api/evaluations", {"trace_id": trace_id, "name": "x", "score": number})
        )
        answer = HTTP.post(f"{service.addresses['http']}{path}", json=item)
        assert answer.json() == {"accepted": 1}
        sent.append(trace_id)
    assert service.metric("log_records_waiting") == 40
    service.kill()
    with running(data, env=env) as service:
        assert service.metric("log_records_recovered_total") == 40
        place = Place(service, url or service.addresses["clickhouse"])
        found = [
            row["trace_id"]
            for table in ("evaluations", "engagement_events")
            for row in place.rows(f"SELECT trace_id FROM {table}")
        ]
    assert sorted(found) == sent
    if url:
        drop_database(server, name)


def test_the_examples_of_the_documentation(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "judgements.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(examples) == 2
    with running(tmp_path / "data") as service:
        place = Place(service, service.addresses["clickhouse"])
        printed = []
        for example in examples:
            script = example.replace("http://localhost:4318", service.addresses["http"])
            done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            printed.append(done.stdout)
        evaluations = place.rows(
            "SELECT service, name, score, label, source, evaluator, explanation, response_id, span_id FROM evaluations"
            " ORDER BY service"
        )
        engagement = place.rows(
            "SELECT service, kind, value, comment, session_id, user_id, span_id FROM engagement_events ORDER BY value"
        )
    assert printed == ["{}", '{"accepted":2}{"accepted":1}']
    assert [tuple(row.values()) for row in evaluations] == [
        ("", "helpful", 4.0, "", "user", "", "", "", ""),
        ("judge", "correct", 0.75, "mostly", "judge", "qwen-72b", "the date is wrong", "chatcmpl-1", SPAN),
        ("review", "correct", None, "yes", "human", "ann", "checked", "", SPAN),
    ]
    assert [tuple(row.values()) for row in engagement] == [
        ("", "thumbs", "down", "out of date", "s1", "", ""),
        ("judge", "thumbs", "up", "good", "s1", "u1", SPAN),
    ]
