"""The job `safety`: looks at captured answers for refusals, by rules or by the classifier that labels of this store made.

What it says goes into `evaluations` with source `moderation`, name `refusal`, and the evaluator's name and version. An
answer that it has looked at is never looked at again, so a run may stop anywhere and be run again; a new version of the
evaluator speaks of answers from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from monitor.jobs.job import Context, Job, Outcome
from monitor.jobs.refusal_model import CHARACTERS, read_model, retrain
from monitor.kpis.sources.moderated import IS_REFUSED
from monitor.stats.refusal import EVALUATOR, RefusalModel, find_refusal
from monitor.store import Client
from monitor.store.judgements import Judgement, write_judgements

BATCH: Final = 20_000
RUN_MAX: Final = 400_000  # answers in one run; the next goes on
FIRST_DAYS: Final = 7  # a store that is new to this job is looked at so far back
SLACK_MS: Final = 120_000  # rows become visible some time after they are stamped
_STATE: Final = "refusals_seen_ms"


def run(context: Context) -> Outcome:
    """Train anew if there are new labels; then look at what came since."""
    client = context.client
    trained = retrain(client, context.now)
    model = read_model(client)
    started_ms = int(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])
    since_ms = _seen(client, default=started_ms - FIRST_DAYS * 86_400_000) - SLACK_MS
    rows = 0
    while rows < RUN_MAX and not context.stop.is_set():
        answers = _unseen(client, since_ms)
        rows += write_judgements(client, [_judged(answer, model) for answer in _scored(answers, model)])
        if len(answers) < BATCH:
            _write_seen(client, started_ms)
            break
    notes = [trained.note if trained is not None else "", f"by {model.evaluator if model else EVALUATOR}"]
    return Outcome(rows=rows, note="; ".join(note for note in notes if note))


SAFETY: Final = Job(
    name="safety",
    meaning="Looks for refusals in captured answers, and learns from labels of them.",
    every_s=600,
    run=run,
)


def _unseen(client: Client, since_ms: int) -> list[tuple[Any, ...]]:
    """Captured answers, stored since, that nobody has looked at on our behalf."""
    stored = f"inserted_at >= fromUnixTimestamp64Milli(toInt64({since_ms}))"
    # Of a call that was stopped before it said anything the prompt tells that content is captured.
    captured = f"error_type = '' AND (completion != '' OR (prompt != '' AND {IS_REFUSED}))"
    traces = f"SELECT trace_id FROM inferences WHERE {stored} AND {captured}"
    seen = (
        "SELECT trace_id, span_id FROM evaluations WHERE name = 'refusal' AND source = 'moderation'"
        f" AND trace_id IN ({traces})"
    )
    return [
        tuple(row)
        for row in client.query(
            "SELECT toString(timestamp + toIntervalNanosecond(toInt64(ifNull(duration_s, 0) * 1e9))), trace_id, span_id,"
            f" toString(service), leftUTF8(completion, {CHARACTERS}), {IS_REFUSED}, toString(finish_reason) FROM inferences FINAL"
            f" WHERE {stored} AND {captured} AND (trace_id, span_id) NOT IN ({seen}) ORDER BY inserted_at LIMIT {BATCH}"
        ).result_rows
    ]


def _scored(answers: Sequence[tuple[Any, ...]], model: RefusalModel | None) -> list[tuple[Any, ...]]:
    """The answers, each with the model's probability, or None for the rules."""
    if model is None:
        return [(*answer, None) for answer in answers]
    probabilities = model.probabilities([str(answer[4]) for answer in answers])
    return [(*answer, float(p)) for answer, p in zip(answers, probabilities, strict=True)]


def _judged(answer: tuple[Any, ...], model: RefusalModel | None) -> Judgement:
    timestamp, trace_id, span_id, service, text, stopped, reason, probability = answer
    evaluator, explanation = (model.evaluator if model else EVALUATOR), ""
    if stopped:
        score, explanation = 1.0, f"finish reason {reason}"
    elif probability is not None:
        score = round(probability, 4)
    else:
        refusal = find_refusal(text)
        score, explanation = float(refusal.refused), ": ".join(filter(None, (refusal.language, refusal.phrase)))
    return Judgement(
        timestamp=timestamp,
        trace_id=trace_id,
        span_id=span_id,
        service=service,
        name="refusal",
        score=score,
        label="yes" if score >= 0.5 else "no",
        source="moderation",
        evaluator=evaluator,
        explanation=explanation,
    )


def _seen(client: Client, *, default: int) -> int:
    rows = client.query(f"SELECT value FROM safety_state FINAL WHERE name = '{_STATE}'").result_rows
    return int(rows[0][0]) if rows else default


def _write_seen(client: Client, value_ms: int) -> None:
    client.insert("safety_state", [[_STATE, value_ms, value_ms]], column_names=["name", "value", "version"])
