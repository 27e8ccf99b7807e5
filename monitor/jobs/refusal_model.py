"""The classifier of refusals that this store's labels made: trained, kept in `refusal_models`, read."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from monitor.kpis.sources.moderated import SAID_REFUSAL
from monitor.stats.refusal import RefusalModel, Trained, train
from monitor.stats.refusal.classifier import LABELS_MAX
from monitor.store import Client

logger = logging.getLogger(__name__)

CHARACTERS: Final = 2000
_PEOPLE: Final = "name = 'refusal' AND source IN ('human', 'ground_truth') AND error_type = ''"


def read_model(client: Client) -> RefusalModel | None:
    """The newest; None where the rules are used."""
    rows = client.query("SELECT model FROM refusal_models ORDER BY trained_at DESC LIMIT 1").result_rows
    if not rows or not rows[0][0]:
        return None
    try:
        return RefusalModel.from_json(str(rows[0][0]))
    except ValueError as error:
        logger.warning("the classifier of refusals cannot be read, and the rules are used: %s", error)
        return None


def retrain(client: Client, now: datetime) -> Trained | None:
    """Train anew if people have labelled since; None if not."""
    newest, labels = client.query(
        f"SELECT max(inserted_at), count() FROM evaluations WHERE {_PEOPLE} AND isNotNull({SAID_REFUSAL})"
    ).result_rows[0]
    last = client.query("SELECT max(trained_at), count() FROM refusal_models").result_rows[0]
    # Rows become visible some time after they are stamped: labels of the two minutes before count as new.
    if not labels or (
        last[1] and client.query(_older(), parameters={"at": str(newest), "trained": str(last[0])}).result_rows[0][0]
    ):
        return None
    answers, refused = _labelled(client)
    found = train(answers, refused)
    client.insert(
        "refusal_models",
        [
            [
                now, found.model.version if found.model else "", found.model.to_json() if found.model else "", found.n,
                found.n_refused, found.accuracy, found.rules_accuracy, found.brier, found.note,
            ]
        ],
        column_names=[
            "trained_at", "version", "model", "n", "n_refused", "accuracy", "rules_accuracy", "brier", "note",
        ],
    )  # fmt: skip
    return found


def _older() -> str:
    return "SELECT toDateTime64({at:String}, 3, 'UTC') < toDateTime64({trained:String}, 3, 'UTC') - toIntervalMinute(2)"


def _labelled(client: Client) -> tuple[list[str], list[bool]]:
    """Captured answers with what people last said of each; the newest labels, if there are very many."""
    said = (
        f"SELECT trace_id, span_id, argMax({SAID_REFUSAL}, timestamp) AS refused, max(timestamp) AS at"
        f" FROM evaluations FINAL WHERE {_PEOPLE} AND isNotNull({SAID_REFUSAL}) AND trace_id != ''"
        " GROUP BY trace_id, span_id"
    )
    # A label may name the trace alone: it is about the answer that came last.
    answers = (
        f"SELECT trace_id, span_id, leftUTF8(completion, {CHARACTERS}) AS answer, timestamp FROM inferences FINAL"
        f" WHERE completion != '' AND trace_id IN (SELECT trace_id FROM ({said}))"
    )
    rows = client.query(
        f"SELECT a.answer, s.refused, s.at FROM ({answers}) AS a INNER JOIN ({said}) AS s"
        " ON a.trace_id = s.trace_id WHERE s.span_id = '' OR s.span_id = a.span_id"
        f" ORDER BY s.at DESC, a.timestamp DESC LIMIT 1 BY a.trace_id, s.span_id LIMIT {LABELS_MAX}"
    ).result_rows
    return [str(answer) for answer, _, _ in rows], [bool(refused) for _, refused, _ in rows]
