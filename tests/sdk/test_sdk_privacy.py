"""What leaves the process, looked at as the bytes that arrive: nothing unredacted, and user ids as the collector hashes them."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

from monitor import sdk
from monitor.errors import ConfigError
from monitor.sdk.redaction import BUILT_IN, Privacy, hashed, read_rules
from monitor.store.client import connect
from monitor.store.migrate import migrate
from tests.collectors.receiving import receiving
from tests.conftest import empty_all

EVERYTHING = Privacy(built_in=tuple(BUILT_IN.values()))
EMAIL, PHONE, CARD = "alice.b@example.org", "+49 151 12345678", "4111 1111 1111 1111"
IBAN, IP, KEY = "DE89 3704 0044 0532 0130 00", "203.0.113.77", "sk-proj-abcdefghijklmnop1234"
TICKET, NAME = "TICKET-4711", "Erika Mustermann"
SECRETS = (EMAIL, PHONE, CARD, IBAN, IP, KEY, TICKET, NAME)
ALL_IN_ONE = "; ".join(SECRETS)
CLEAN = (
    "[redacted:email]; [redacted:phone]; [redacted:card]; [redacted:iban]; [redacted:ip]; [redacted:api_key];"
    " [redacted]; N. N."
)
RULES = [*BUILT_IN, r"TICKET-\d+", lambda text: text.replace(NAME, "N. N.")]


class Wire:
    """A collector that keeps the bytes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                wire.bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def bytes(self) -> bytes:
        """All that came in, once the SDK has sent what it has, its own counts included."""
        assert sdk.flush()
        sdk.shutdown()
        return b"".join(self.bodies)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.server.shutdown()
    wire.server.server_close()


def assert_clean(sent: bytes, *secrets: str) -> None:
    """No secret is in it, as text or in parts that would give it away."""
    assert sent
    for secret in secrets or SECRETS:
        for form in {secret, secret.replace(" ", ""), secret.replace("@", "%40")}:
            assert form.encode() not in sent, form


VALUES: dict[str, Any] = {
    "text": ALL_IN_ONE,
    "list": ["safe", ALL_IN_ONE],
    "tuple": (EMAIL, IP),
    "bytes": b"\xff\x00 " + ALL_IN_ONE.encode(),
    "map": {"inner": {"deeper": [ALL_IN_ONE]}, EMAIL: 1},
    "json": json.dumps([{"role": "user", "parts": [{"content": f"first line\n{EMAIL}\n{PHONE}", "n": 4111111111111111}]}]),
    "broken json": f"[{{'x': {EMAIL}",
    "integer": 4111111111111111,
    "float": 4111111111111111.0,
    "integers": [4111111111111111, 7],
    f"key {EMAIL}": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_attributes_of_every_type(mode: str, wire: Wire, name: str) -> None:
    sdk.init("svc", endpoint=wire.endpoint, redact=RULES)
    with sdk.inference("m", attributes={name: VALUES[name]}) as one:
        one.finish(attributes={f"late {name}": VALUES[name]})
    sent = wire.bytes()
    assert_clean(sent, *SECRETS, "4111111111111111")
    # A double on the wire is eight bytes.
    import struct

    assert struct.pack("<d", 4111111111111111.0) not in sent
    assert b"[redacted" in sent


def test_every_place_of_a_span(mode: str, wire: Wire) -> None:
    sdk.init(
        "svc", endpoint=wire.endpoint, redact=RULES, capture_content=True,
        resource_attributes={"process.command_line": f"serve --key {KEY} --admin {EMAIL}"},
    )  # fmt: skip
    with contextlib.suppress(ValueError):
        with sdk.inference(
            f"model-of {EMAIL}", user=EMAIL, session=TICKET, cohorts={"town": NAME}, variant=TICKET, release=TICKET
        ) as one:
            span = trace.get_current_span()
            span.add_event(f"asked {NAME}", {"text": ALL_IN_ONE, "list": [ALL_IN_ONE]})
            span.record_exception(RuntimeError(ALL_IN_ONE))
            span.add_link(SpanContext(1, 2, True, TraceFlags(1)), {"of": ALL_IN_ONE})
            one.finish(prompt=ALL_IN_ONE, completion=[{"role": "assistant", "content": ALL_IN_ONE}], response_id=TICKET)
            raise ValueError(ALL_IN_ONE)
    sent = wire.bytes()
    assert_clean(sent)
    assert sent.count(CLEAN.encode()) == 8, sent  # event twice, exception twice, link, prompt, completion, status
    assert b"svc" in sent


def test_spans_of_others_and_the_sdks_own_counts(mode: str, wire: Wire) -> None:
    sdk.init("svc", endpoint=wire.endpoint, redact=RULES, resource_attributes={"owner": EMAIL})
    with sdk.inference("m"):
        tracer = trace.get_tracer_provider().get_tracer(
            "other", "1", attributes={"scope.owner": EMAIL, "safe": "kept scope"}
        )
        link = Link(SpanContext(1, 2, True, TraceFlags(1)), {"of": ALL_IN_ONE})
        with tracer.start_as_current_span(
            NAME, kind=SpanKind.CLIENT, attributes={"a": ALL_IN_ONE}, links=[link]
        ) as span:
            span.add_event(NAME, {"text": ALL_IN_ONE})
            span.set_status(trace.StatusCode.ERROR, ALL_IN_ONE)
    sent = wire.bytes()
    assert len(wire.bodies) >= 2
    assert b"monitor.sdk.calls.settled" in sent
    assert b"kept scope" in sent
    assert_clean(sent)


def test_content_of_others_stays_here_unless_wanted(mode: str, wire: Wire) -> None:
    sdk.init("svc", endpoint=wire.endpoint)
    said = {"gen_ai.prompt.0.content": "SECRET1", "input.value": "SECRET2", "gen_ai.prompt.0.role": "user"}
    with sdk.inference("m", attributes=said) as one:
        tracer = trace.get_tracer_provider().get_tracer("other")
        with tracer.start_as_current_span("other", attributes={**said, "llm.token_count.prompt": 7}) as span:
            span.add_event("gen_ai.user.message", {"content": "SECRET3", "role": "user"})
            span.add_event("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "kept", "message": "SECRET4"})
        one.finish(prompt="SECRET5", completion="SECRET6")
        one.error(RuntimeError("SECRET7"))
    sent = wire.bytes()
    assert re.findall(rb"SECRET\d", sent) == []
    assert sent.count(b"gen_ai.prompt.0.role") == 2
    assert b"llm.token_count.prompt" in sent
    assert b"gen_ai.evaluation.name" in sent


def test_content_is_sent_when_wanted(sent: Any) -> None:
    sdk.shutdown()
    sent.start(capture_content=True)
    with sdk.inference("m", attributes={"input.value": "hello"}) as one:
        one.finish(prompt="a", completion="b")
    assert sent.attributes()["input.value"] == "hello"
    assert json.loads(sent.attributes()["gen_ai.output.messages"])[0]["parts"][0]["content"] == "b"


def test_json_stays_json(sent: Any) -> None:
    sdk.shutdown()
    sent.start(capture_content=True, redact=["email"])
    with sdk.inference("m") as one:
        one.finish(prompt=f'first "line"\n{EMAIL}\tend', completion="nothing here")
    found = sent.attributes()
    assert json.loads(found["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": 'first "line"\n[redacted:email]\tend'}]}
    ]
    assert json.loads(found["gen_ai.output.messages"])[0]["parts"][0]["content"] == "nothing here"


def test_names_of_machines_and_measurements_stay(sent: Any) -> None:
    sdk.shutdown()
    sent.start(redact=True, node="10.0.0.7", release="1.2.3.4")
    with sdk.inference("m", attributes={"count": 7, "ratio": 0.25, "on": True}) as one:
        one.finish(input_tokens=4111111111111111, queue_s=1.5)
    span = sent.one()
    assert span.resource.attributes["monitor.node"] == "10.0.0.7"
    assert span.resource.attributes["service.version"] == "1.2.3.4"
    found = dict(span.attributes)
    assert (found["count"], found["ratio"], found["on"]) == (7, 0.25, True)
    assert found["gen_ai.usage.input_tokens"] == 4111111111111111
    assert found["gen_ai.latency.time_in_queue"] == 1.5


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("mail alice.b@example.co.uk now", "mail [redacted:email] now"),
        ("jürgen@müller.de, a%40x.de", "[redacted:email], [redacted:email]"),
        ("4111-1111-1111-1111 12", "[redacted:card] 12"),
        ("12 4111 1111 1111 1111", "12 [redacted:card]"),
        ("x5555555555554444y", "x[redacted:card]y"),
        ("378282246310005", "[redacted:card]"),
        ("two: 4111111111111111 5555555555554444", "two: [redacted:card] [redacted:card]"),
        ("IBAN DE89 3704 0044 0532 0130 00 is mine", "IBAN [redacted:iban] is mine"),
        ("gb82west12345698765432", "[redacted:iban]"),
        ("from 192.168.10.20:8080", "from [redacted:ip]:8080"),
        ("[fe80::1ff:fe23:4567:890a]", "[[redacted:ip]]"),
        ("::ffff:10.0.0.1 and ::1", "[redacted:ip] and [redacted:ip]"),
        ("tel:+1-800-555-0199, 030/1234567", "tel:[redacted:phone], [redacted:phone]"),
        ("+49 151 12345678 or +4915112345678", "[redacted:phone] or [redacted:phone]"),
        ("(212) 555-1234 or 06 12 34 56 78", "[redacted:phone] or [redacted:phone]"),
        ("Authorization: Bearer abcdef1234567", "Authorization: Bearer [redacted:api_key]"),
        ('{"api_key": "abcdefgh12345"', '{"api_key": "[redacted:api_key]"'),
        ("AKIAABCDEFGHIJKLMNOP hf_" + "a" * 34, "[redacted:api_key] [redacted:api_key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[redacted:api_key]"),
    ],
)  # fmt: skip
def test_what_the_patterns_find(text: str, cleaned: str) -> None:
    assert EVERYTHING.text(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112", "1732412345678901234", "DE89 3704 0044 0532 0130 01", "256.1.1.1", "version 1.2.3",
        "12:34:56", "a::b std::vector ::", "2024-01-25 25.01.2024", "1 000 000 000", "1234567890", "0.042123456789",
        "llama-3.1-8b-instruct", "gpt-4-0125-preview", "2026-11-24T02:13:54.123456Z",
        "550e8400-e29b-41d4-a716-446655440000", "12345678-1234-1234-1234-123456789012", "me@home", "sk-short", "",
        "4bf92f3577b34da6a3ce929d0e0e4736", "chat llama-3.1-8b", "100 200 300", "user_1234567890123456",
    ],
)  # fmt: skip
def test_what_they_leave_alone(text: str) -> None:
    assert EVERYTHING.text(text) == text


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1 ",
        "1",
        "4 ",
        "a@",
        "a.b-",
        "DE89",
        "::",
        "1.1.",
        "password:",
        "(1) ",
        "+1 ",
        "sk-",
        "eyJ",
        "ab:",
        "[",
        '{"a":',
    ],
)
def test_no_text_takes_long(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    started = time.thread_time()
    EVERYTHING.text(text)
    assert time.thread_time() - started < 0.5


def test_a_rule_that_fails_lets_nothing_out(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    def broken(text: str) -> str:
        raise LookupError("rule")

    sdk.shutdown()
    sent.start(redact=[broken, lambda text: None])
    with sdk.inference("m", attributes={"a": EMAIL, "b": [EMAIL], "n": 1}) as one:
        one.finish(output_tokens=3)
    found = sent.attributes()
    assert (found["gen_ai.usage.output_tokens"], found["monitor.seq"]) == (3, 1)
    assert EMAIL not in repr(found)
    assert found["[redacted: a rule failed]"]
    assert caplog.text.count("a redaction rule failed") == 1


def test_rules_are_read_as_they_were_meant() -> None:
    assert read_rules(True) == ((), tuple(BUILT_IN.values()))
    assert read_rules("email") == ((), (BUILT_IN["email"],))
    assert read_rules(["phone", "x+", "card"]) == ((re.compile("x+"),), (BUILT_IN["card"], BUILT_IN["phone"]))
    assert read_rules(re.compile("y")) == ((re.compile("y"),), ())
    assert read_rules(None) == read_rules(False) == read_rules([]) == ((), ())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"redact": ["emial"]}, "monitor.init: redact='emial' is not one of api_key, email, iban, card, ip, phone; did you mean 'email'?"),
        ({"redact": ["(x"]}, "monitor.init: redact='(x' is not a regular expression: "),
        ({"redact": ["x*"]}, "also matches nothing at all"),
        ({"redact": 7}, "monitor.init: redact must be True or a list of "),
        ({"redact": [7]}, "monitor.init: 7 is no redaction rule"),
        ({"redact": [re.compile(b"x")]}, "is one for bytes"),
        ({"hash_user_ids": True}, "monitor.init: hash_user_ids needs a salt"),
        ({"hash_user_ids": True, "salt": ""}, "monitor.init: hash_user_ids needs a salt"),
        ({"hash_user_ids": "yes", "salt": "x"}, "monitor.init: hash_user_ids must be True or False, got 'yes'."),
        ({"salt": 5}, "monitor.init: salt must be a string, got int."),
    ],
)  # fmt: skip
def test_wrong_settings_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sdk.init("svc", **settings)
    assert message in str(caught.value)


def test_the_salt_is_not_shown_and_may_come_from_the_environment(sent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk.shutdown()
    monkeypatch.setenv("MONITOR_PRIVACY__SALT", "from-env")
    sent.start(hash_user_ids=True)
    with sdk.inference("m", user="u1"):
        pass
    assert sent.attributes()["user.id"] == hashed("u1", "from-env")
    assert "from-env" not in repr(Privacy(salt="from-env"))


USERS: tuple[Any, ...] = ("u1", "Jürgen ☃", EMAIL, 17, 4.0, True, ["a", "b"], "")


def test_user_ids_are_hashed_as_by_the_collector(chdb_url: str, tmp_path: Path) -> None:
    client = connect(chdb_url)
    migrate(client)
    empty_all(client)  # of what others left there
    found: list[list[tuple[str, str]]] = []
    parameters = '{"user":"u1","temperature":0.5}'
    for by_sdk in (True, False):
        privacy = {} if by_sdk else {"hash_user_ids": True, "salt": "pepper"}
        with receiving(tmp_path / str(by_sdk), chdb_url, privacy=privacy) as target:
            settings: dict[str, Any] = {"hash_user_ids": True, "salt": "pepper", "redact": ["email"]} if by_sdk else {}
            sdk.init("svc", endpoint=f"http://{target.grpc}", **settings)
            for index, user in enumerate(USERS):
                with sdk.inference("m", session=str(index), attributes={"user.id": user, "enduser.id": user}) as one:
                    one.finish(attributes={"llm.invocation_parameters": parameters})
            assert sdk.flush()
            sdk.shutdown()
            deadline = time.monotonic() + 30
            while target.pipeline.waiting or client.command("SELECT count() FROM inferences FINAL") != len(USERS):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        rows = client.query("SELECT session_id, user_id FROM inferences FINAL ORDER BY session_id").result_rows
        found.append([(str(session), str(user)) for session, user in rows])
        raw = client.query("SELECT DISTINCT SpanAttributes['llm.invocation_parameters'] FROM otel_traces").result_rows
        assert raw == [('{"user":"[hidden]","temperature":0.5}',)]
        assert (
            client.command("SELECT count() FROM otel_traces WHERE position(toString(SpanAttributes), 'alice') > 0") == 0
        )
        empty_all(client)
    client.close()
    by_sdk_found, by_collector = found
    assert by_sdk_found == by_collector
    assert by_sdk_found[0] == ("0", "f1a7ee0185dc7865269206963de4de3a549fbe04312328af1e810141bdb6ed32")
    assert len({user for _, user in by_sdk_found if user}) == len(USERS) - 1


def test_hashing_costs_the_caller_nothing(sent: Any) -> None:
    """What the caller's thread holds is still plain: the work is done on the copy that is sent."""
    sdk.shutdown()
    sent.start(hash_user_ids=True, salt="s", redact=True)
    before = datetime.now(UTC)
    with sdk.inference("m", user=EMAIL, attributes={"a": EMAIL}) as one:
        span: Any = trace.get_current_span()
        one.finish()
    assert span.attributes["a"] == EMAIL
    assert sent.attributes()["a"] == "[redacted:email]"
    assert sent.attributes()["user.id"] == hashed(EMAIL, "s")
    assert datetime.now(UTC) >= before
