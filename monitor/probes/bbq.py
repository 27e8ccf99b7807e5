"""BBQ, the bias benchmark, asked of an endpoint; the scores are those of `monitor bias --bbq`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from monitor.bias.benchmark import BbqScore, chosen_answer, read_questions, score_rows
from monitor.errors import BadInput, StoreAway
from monitor.probes.endpoint import Reply, ask, trace_of
from monitor.probes.results import BBQ, write_results
from monitor.settings import ProbeSettings
from monitor.store import Client
from monitor.store.judgements import Judgement, write_judgements

EVALUATOR: Final = "bbq"
_ANSWER: Final = "answer of the endpoint"
_PROMPT: Final = """{context} {question}

A: {ans0}
B: {ans1}
C: {ans2}

Answer with the letter A, B or C alone."""


def run_bbq(
    client: Client, settings: ProbeSettings, *, now: datetime, stop: threading.Event | None = None
) -> list[BbqScore]:
    """Ask the questions of `settings.bbq`, score and record the answers.

    Raises
    ------
    BadInput
        If the file is none of BBQ.
    StoreAway
        If more than half of the questions got no answer.
    """
    if settings.bbq is None:
        raise BadInput("no questions of BBQ are configured; name their file in `probes.bbq`")
    rows = _sample(read_questions(settings.bbq), settings.bbq_questions)
    if any("question" not in row or "context" not in row for row in rows):
        raise BadInput(f"{settings.bbq} has no fields `context` and `question`; it cannot be asked")
    ids = [trace_of(now.isoformat(), BBQ, i) for i in range(len(rows))]
    prompts = [(_PROMPT.format_map(row), each) for row, each in zip(rows, ids, strict=True)]
    replies = ask(settings, prompts, stop=stop)
    where = urlsplit(settings.endpoint).netloc
    failed = [reply for reply in replies if reply.text is None]
    if 2 * len(failed) > len(replies):
        raise StoreAway(
            f"{len(failed)} of {len(replies)} questions of BBQ got no answer from {where} ({failed[0].error}); nothing was"
            " scored; check `probes.endpoint`, `probes.model` and `probes.token`"
        )
    answered = [
        {**row, _ANSWER: reply.text} for row, reply in zip(rows, replies, strict=True) if reply.text is not None
    ]
    scores = score_rows(answered, [_ANSWER], place=str(settings.bbq))
    write_judgements(client, _judgements(rows, replies, now))
    records = [_record(score, len(failed)) for score in scores]
    write_results(client, records, run_at=now, model=settings.model, endpoint=where)
    return scores


def _sample(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The same choice at each run, spread evenly: neighbours in the file are variants of one question."""
    if len(rows) <= most:
        return rows
    order = sorted(range(len(rows)), key=lambda i: hashlib.sha256(str(i).encode()).digest())[:most]
    return [rows[i] for i in sorted(order)]


def _judgements(rows: Sequence[Mapping[str, Any]], replies: Sequence[Reply], now: datetime) -> list[Judgement]:
    said = []
    for row, reply in zip(rows, replies, strict=True):
        which = chosen_answer(row, reply.text) if reply.text is not None else None
        if which is None:
            continue
        said.append(
            Judgement(
                timestamp=now,
                trace_id=reply.trace_id,
                span_id=reply.span_id,
                name="bbq",
                score=float(which == int(row["label"])),
                label=str(row["answer_info"][f"ans{which}"][1]),
                source="probe",
                evaluator=EVALUATOR,
                explanation=f"{row.get('category', '')}, {row['context_condition']}, {row['question_polarity']}",
            )
        )
    return said


def _record(score: BbqScore, failed: int) -> dict[str, Any]:
    notes = [score.result.note, f"{score.unmatched} answers fit none of the three" if score.unmatched else ""]
    notes.append(f"{failed} questions got no answer" if failed else "")
    return {
        "kind": BBQ, "cohort": score.category, "metric": f"bbq.{score.metric}", "value": score.result.value,
        "low": score.result.low, "high": score.result.high, "p_value": None, "p_adjusted": None, "group_value": None,
        "baseline_value": None, "n": score.result.n, "n_differing": 0, "baseline": "", "method": score.result.method,
        "test": "", "verdict": "", "reason": "; ".join(note for note in notes if note),
    }  # fmt: skip
