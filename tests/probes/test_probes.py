"""Probes against a real local endpoint: one that treats a group worse by a stated amount, and one that does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from monitor.bias import score_bbq
from monitor.cli import app, commands
from monitor.errors import BadInput, ConfigError, StoreAway
from monitor.jobs import probes as job
from monitor.jobs.job import Context
from monitor.kpis import Window, evaluate
from monitor.probes import plan_probes, read_results, run_probes
from monitor.probes.endpoint import TRIES
from monitor.probes.templates import read_templates
from monitor.settings import ProbeSettings, Settings
from monitor.store import Client
from tests.tools import openai_stub
from tests.tools.service import ROOT

assert commands  # importing it registers them
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(days=7), NOW + timedelta(seconds=1))
QUESTIONS = ROOT / "tests" / "data" / "bbq-religion" / "preds_Religion.jsonl.gz"
REFUSAL = "I'm sorry, but I can't help with that request."
PAIRS = 60


@pytest.fixture
def stub() -> Iterator[openai_stub.Stub]:
    with openai_stub.running() as running:
        yield running


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    """Three groups, sixty prompts."""
    path = tmp_path / "probes.yaml"
    groups = {"north": ["Nora"], "south": ["Sina"], "west": ["Wim"]}
    prompts = [f"Task {i}: write a letter for {{group}}." for i in range(PAIRS)]
    path.write_text(
        yaml.safe_dump({"sets": [{"name": "origin", "baseline": "north", "groups": groups, "prompts": prompts}]})
    )
    return path


def settings_of(stub: openai_stub.Stub, **more: Any) -> ProbeSettings:
    return ProbeSettings(**({"endpoint": stub.base_url, "model": "m", "timeout_s": 10} | more))


def chance(*parts: object) -> float:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 2**32


def answering(*, refuses: float, unfair: dict[str, float]) -> Callable[[dict[str, Any]], str]:
    """A model that refuses a share of all prompts by chance, and more of some names by a stated share."""

    def reply(body: dict[str, Any]) -> str:
        prompt = body["messages"][0]["content"]
        more = sum(share for name, share in unfair.items() if name in prompt)
        if chance(prompt, "refused") < refuses + more:
            return REFUSAL
        return "Dear all, " + "here is what you asked for " * (3 + round(4 * chance(prompt, "long")))

    return reply


def test_an_unfair_endpoint_is_found_and_named(store_client: Client, stub: openai_stub.Stub, templates: Path) -> None:
    stub.reply = answering(refuses=0.1, unfair={"Sina": 0.4})
    found = run_probes(store_client, settings_of(stub, templates=templates, token="hunter2"), now=NOW)
    assert (found.asked, found.failed) == (3 * PAIRS, 0)
    refusal = {each.cohort: each.found for each in found.comparisons if each.metric == "refusal"}
    south, west = refusal["origin=south"], refusal["origin=west"]
    # The truth is 0.4 more.
    assert south.verdict == "unequal"
    assert south.low is not None
    assert south.high is not None
    assert south.low <= 0.4 <= south.high
    assert west.verdict != "unequal"
    # What was counted, by hand.
    refused = {name: sum(stub.reply({"messages": [{"content": f"Task {i}: write a letter for {name}."}]}) == REFUSAL for i in range(PAIRS)) for name in ("Nora", "Sina")}  # fmt: skip
    assert south.value == pytest.approx((refused["Sina"] - refused["Nora"]) / PAIRS)
    # How they were asked: by this address alone, unsampled, and said to be probes.
    assert all(
        each["authorization"] == "Bearer hunter2" and each["traceparent"].endswith("-00") for each in stub.headers
    )
    assert {(path, body["user"], body["model"]) for path, body in stub.seen} == {("/v1/chat/completions", "monitor-probe", "m")}  # fmt: skip
    # What is kept.
    rows = read_results(store_client)
    assert rows[0]["verdict"] == "unequal"
    assert "hunter2" not in json.dumps(rows, default=str)
    said = store_client.query(
        "SELECT countIf(name = 'refusal'), countIf(name = 'refusal' AND label = 'yes' AND explanation LIKE 'origin=south,%'),"
        " groupUniqArray(toString(source)), (SELECT count() FROM inferences) FROM evaluations FINAL"
    ).result_rows[0]
    assert said == (3 * PAIRS, refused["Sina"], ["probe"], 0)


def test_probes_are_in_no_kpi_of_live_traffic(store_client: Client, stub: openai_stub.Stub, templates: Path) -> None:
    stub.reply = answering(refuses=0.1, unfair={"Sina": 0.6})
    run_probes(store_client, settings_of(stub, templates=templates), now=NOW)
    # Even if a service behind the endpoint recorded the calls although they are not sampled.
    trace, span = store_client.query("SELECT trace_id, span_id FROM evaluations LIMIT 1").result_rows[0]
    store_client.insert("inferences", [[NOW, trace, span]], column_names=["timestamp", "trace_id", "span_id"])
    values = evaluate(store_client, window=WINDOW)
    live = {value.name: value for value in values if not value.name.startswith("probes.")}
    assert live["safety.refusal_rate"].n == 0
    assert live["safety.flagged_rate"].n == 0
    assert not any(name.startswith("accuracy.score.") for name in live)
    (unequal,) = (value for value in values if value.name == "probes.unequal")
    assert (unequal.value, unequal.n) == (1.0 + _unequal_others(store_client), _judged(store_client))
    found = evaluate(store_client, ["probes.difference"], window=WINDOW, by=["metric", "cohort"])
    refusal = next(v for v in found if v.group == {"metric": "refusal", "cohort": "origin=south"})
    row = next(r for r in read_results(store_client) if (r["metric"], r["cohort"]) == ("refusal", "origin=south"))
    assert (refusal.value, refusal.low, refusal.high, refusal.n) == (row["value"], row["low"], row["high"], PAIRS)
    (whole,) = evaluate(store_client, ["probes.difference"], window=WINDOW)
    assert whole.value is None
    assert "split by metric and cohort" in whole.note


def _unequal_others(client: Client) -> int:
    return sum(row["verdict"] == "unequal" and row["metric"] != "refusal" for row in read_results(client))


def _judged(client: Client) -> int:
    return sum(row["verdict"] != "insufficient" for row in read_results(client))


def test_a_fair_endpoint_is_left_in_peace(store_client: Client, stub: openai_stub.Stub, templates: Path) -> None:
    """It refuses a tenth by chance, and writes long and short answers by chance: what simulations say of more days is in tests/stats."""
    alarms = 0
    for day in range(2):
        model = answering(refuses=0.1, unfair={})
        stub.reply = lambda body, day=day, model=model: model(  # type: ignore[misc]
            {"messages": [{"content": f"{day} {body['messages'][0]['content']}"}]}
        )
        found = run_probes(store_client, settings_of(stub, templates=templates), now=NOW + timedelta(days=day))
        alarms += sum(each.found.verdict == "unequal" for each in found.comparisons)
    assert alarms == 0


def test_an_endpoint_that_fails(store_client: Client, stub: openai_stub.Stub, templates: Path) -> None:
    stub.failures["m"] = [429, 500]  # tried again, and answered
    stub.reply = answering(refuses=0.0, unfair={})
    settings = settings_of(stub, templates=templates, concurrency=1)
    assert run_probes(store_client, settings, now=NOW).failed == 0
    stub.failures["m"] = [401] * 5
    again = run_probes(store_client, settings, now=NOW + timedelta(days=1))
    assert (again.failed, again.first_error) == (5, "HTTP 401")
    assert {each.found.n for each in again.comparisons} == {PAIRS - 2} or min(each.found.n for each in again.comparisons) >= PAIRS - 5  # fmt: skip
    stub.failures["m"] = [401] * 500
    settings = settings_of(stub, templates=templates)
    before = len(stub.seen)
    with pytest.raises(
        StoreAway, match=r"180 of 180 probes got no answer from 127\.0\.0\.1:\d+ \(HTTP 401\); nothing was judged"
    ):
        run_probes(store_client, settings, now=NOW + timedelta(days=2))
    assert len(stub.seen) == before + 3 * PAIRS  # what is refused for good is not asked again
    assert TRIES > 1
    assert len({row["run_at"] for row in read_results(store_client)}) == 1


def test_no_redirect_is_followed(store_client: Client, templates: Path) -> None:
    """An endpoint that sends us elsewhere, say to a machine's metadata service, is not obeyed."""
    import http.server
    import threading

    asked: list[str] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(307)
            self.send_header("location", f"http://127.0.0.1:{self.server.server_port}/inside")  # type: ignore[attr-defined]
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        with pytest.raises(StoreAway, match="HTTP 307"):
            run_probes(store_client, ProbeSettings(endpoint=url, model="m", templates=templates), now=NOW)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert set(asked) == {"/v1/chat/completions"}


def test_an_own_scorer(store_client: Client, stub: openai_stub.Stub, templates: Path) -> None:
    stub.reply = lambda body: "short" if "Wim" in body["messages"][0]["content"] else "rather a long answer"
    settings = settings_of(stub, templates=templates, scorers=["tests.probes.test_probes:is_short"])
    found = {(each.metric, each.cohort): each.found for each in run_probes(store_client, settings, now=NOW).comparisons}
    west = found["is_short", "origin=west"]
    assert (west.value, west.verdict, west.test) == (1.0, "unequal", "mcnemar exact")
    assert found["length", "origin=west"].verdict == "unequal"
    assert found["is_short", "origin=south"].verdict in ("within", "unclear")
    with pytest.raises(ConfigError, match=r"cannot load tests\.probes\.test_probes:absent \(AttributeError"):
        run_probes(store_client, settings_of(stub, scorers=["tests.probes.test_probes:absent"]), now=NOW)


def is_short(prompt: str, answer: str) -> bool:
    assert prompt.startswith("Task")
    return len(answer) < 10


def test_the_job(store_client: Client, stub: openai_stub.Stub, templates: Path) -> None:
    off = job.run(Context(client=store_client, settings=Settings(), now=NOW))
    assert (off.rows, off.note) == (0, "no probes are sent: `probes.endpoint` is empty")
    assert job.ask_bbq(Context(client=store_client, settings=Settings(), now=NOW)).rows == 0
    stub.reply = answering(refuses=0.1, unfair={"Wim": 0.5})
    settings = Settings(probes=settings_of(stub, templates=templates))
    done = job.run(Context(client=store_client, settings=settings, now=NOW))
    assert "refusal of origin=west" in done.note
    assert done.rows > 3 * PAIRS


def test_bbq_through_an_endpoint_scores_as_its_file(
    store_client: Client, stub: openai_stub.Stub, tmp_path: Path
) -> None:
    """A model that answers as the one whose answers the file holds: the published scores, in the store and as a KPI."""
    import pandas as pd

    frame = pd.read_json(QUESTIONS, lines=True).iloc[::3]
    # The stored answers come without the texts of the questions.
    frame["context"] = "Case " + frame["example_id"].astype(str) + "."
    frame["question"] = "Who " + frame["context_condition"] + " " + frame["question_polarity"] + "?"
    column = next(name for name in frame.columns if "pred" in name)
    known = {(row["context"], row["question"], row["ans0"]): row[column] for row in frame.to_dict("records")}
    path, answered = tmp_path / "questions.jsonl", tmp_path / "answered.jsonl"
    frame.drop(columns=[name for name in frame.columns if "pred" in name]).to_json(path, orient="records", lines=True)
    frame[[*[name for name in frame.columns if "pred" not in name], column]].to_json(
        answered, orient="records", lines=True
    )

    def reply(body: dict[str, Any]) -> str:
        text = body["messages"][0]["content"]
        lines = text.splitlines()
        ans0 = next(line[3:] for line in lines if line.startswith("A: "))
        return next(str(said) for (context, question, first), said in known.items() if first == ans0 and text.startswith(f"{context} {question}"))  # fmt: skip

    stub.reply = reply
    settings = Settings(probes=settings_of(stub, bbq=path, bbq_questions=1000))
    job.ask_bbq(Context(client=store_client, settings=settings, now=NOW))
    want = {score.metric: score.result for score in score_bbq(answered, answers=[column])}
    found = {row["metric"]: row for row in read_results(store_client, kind="bbq")}
    assert set(found) == {f"bbq.{name}" for name in want}
    for name, result in want.items():
        row = found[f"bbq.{name}"]
        assert (row["value"], row["low"], row["high"], row["n"]) == (result.value, result.low, result.high, result.n)
    kpis = evaluate(store_client, ["probes.bbq"], window=WINDOW, by=["metric"], where={"cohort": "Religion"})
    assert {kpi.group["metric"]: kpi.value for kpi in kpis} == {name: row["value"] for name, row in found.items()}
    right, n = store_client.query("SELECT sum(score), count() FROM evaluations FINAL WHERE source = 'probe' AND name = 'bbq'").result_rows[0]  # fmt: skip
    assert n == len(frame)
    assert right == round(sum(found[f"bbq.accuracy.{c}"]["value"] * found[f"bbq.accuracy.{c}"]["n"] / 100 for c in ("ambiguous", "disambiguated")))  # fmt: skip


def test_the_example_is_a_right_file() -> None:
    sets, probes = plan_probes(ProbeSettings())
    assert [each.name for each in sets] == ["origin", "gender"]
    assert all(len(each.prompts) * len(each.groups[each.baseline]) >= 20 for each in sets)
    assert not any("{" in probe.prompt for probe in probes)
    result = CliRunner().invoke(app, ["probes", "run", "--dry-run", "--json"])
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)) == len(probes)


GOOD: dict[str, Any] = {"name": "a", "baseline": "x", "groups": {"x": ["X"], "y": ["Y"]}, "prompts": ["say {group}"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"baseline": "z"}, r"baseline is `z`, and no group is called so; known are x, y"),
        ({"groups": {"x": ["X"]}}, "needs two groups or more"),
        ({"groups": {"x": ["X"], "y": ["Y", "Z"]}}, "equally many terms each, as they are paired; found x 1, y 2"),
        ({"groups": {"x": ["X"], "y": [{"who": "Y"}]}}, "every term must fill the same slots: group, who"),
        ({"prompts": ["say it"]}, r"prompts\[0\] must have the slots \{group\}, and has none"),
        ({"prompts": ["say {group} {other}"]}, "must have the slots"),
        ({"prompts": ["say {group.__class__}"]}, "must have the slots"),
        ({"prompts": ["say {group!r}"]}, "must have the slots"),
        ({"prompts": ["say {group"]}, "has a single brace"),
        ({"promts": []}, "has an unknown key `promts`"),
    ],
)
def test_mistakes_in_templates_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "probes.yaml"
    path.write_text(yaml.safe_dump({"sets": [GOOD | change]}))
    with pytest.raises(BadInput, match=said):
        read_templates(path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"endpoint": "file:///etc/passwd", "model": "m"}, "must be an address"),
        ({"endpoint": "http://me:pw@host/v1", "model": "m"}, "neither user, password"),
        ({"endpoint": "http://host/v1"}, "names an `endpoint` and no `model`"),
        ({"scorers": ["os.system"]}, "is no function"),
    ],
)
def test_wrong_settings_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ProbeSettings(**given)
