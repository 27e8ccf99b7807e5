"""The queue of calls to label: whom it names, why, and that its labels help."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitor.errors import BadInput
from monitor.kpis import Window, evaluate
from monitor.kpis.review import review_queue
from monitor.store import Client
from tests.kpis.rows import START, store

DAY = Window(START, START + timedelta(hours=6))
COLUMNS = ["timestamp", "trace_id", "span_id", "name", "label", "score", "source"]


def calls(client: Client, hours: int = 6, each: int = 60) -> None:
    n = hours * each
    store(
        client,
        pd.DataFrame(
            {
                "timestamp": [START + timedelta(hours=i // each, seconds=i % each) for i in range(n)],
                "trace_id": [f"{i:032x}" for i in range(n)],
                "span_id": [f"{i:016x}" for i in range(n)],
                "model": "m",
                "completion": [f"answer {i}" for i in range(n)],
                "duration_s": 1.0,
            }
        ),
    )


def judge(client: Client, rows: list[tuple[int, str, str, float | None, str]]) -> None:
    """Call, name, label, score, source."""
    at = START + timedelta(hours=7)
    client.insert("evaluations", [[at, f"{i:032x}", f"{i:016x}", *row] for i, *row in rows], column_names=COLUMNS)


def test_labels_go_where_the_judge_errs(store_client: Client) -> None:
    """Six hours, in the last of which the judge is often wrong: labels go there, and shorten the interval more than others."""
    calls(store_client)
    rng = np.random.default_rng(2)
    truth = rng.random(360) < 0.8
    verdict = np.where(np.arange(360) >= 300, rng.random(360) < 0.5, truth)
    judge(store_client, [(i, "correct", "yes" if verdict[i] else "no", None, "judge") for i in range(360)])
    first = [hour * 60 + k for hour in range(6) for k in range(8)]
    judge(store_client, [(i, "correct", "yes" if truth[i] else "no", None, "human") for i in first])
    queue = review_queue(store_client, window=DAY, limit=40, kinds=["interval"])
    assert len(queue) == 40
    assert all((call.kind, call.send_as) == ("interval", "correct") for call in queue)
    picked = [int(call.trace_id, 16) for call in queue]
    assert len(set(picked)) == 40
    assert not set(picked) & set(first)
    assert sum(i >= 300 for i in picked) >= 25
    assert [call.value for call in queue] == sorted((call.value for call in queue), reverse=True)
    assert queue[0].completion == f"answer {picked[0]}"
    # The same for who looks again, and by lot: not the first of an hour.
    again = review_queue(store_client, window=DAY, limit=40, kinds=["interval"])
    assert [int(call.trace_id, 16) for call in again] == picked
    last = sorted(i for i in picked if i >= 300)
    assert last != list(range(308, 308 + len(last)))


def test_the_unsure_and_the_disputed(store_client: Client) -> None:
    calls(store_client, hours=1)
    judge(
        store_client,
        [
            (0, "correct", "", 0.55, "judge"),
            (1, "correct", "", 0.99, "judge"),
            (2, "correct", "yes", None, "judge"),
            (2, "correct", "no", None, "human"),
            (3, "correct", "yes", None, "judge"),
            (3, "correct", "yes", None, "human"),
            (4, "refusal", "yes", 0.52, "moderation"),
            (5, "refusal", "no", 0.3, "moderation"),
            (6, "refusal", "no", 0.0, "moderation"),
            (7, "refusal", "yes", 0.5, "moderation"),
            (7, "refusal", "no", None, "human"),
            (8, "refusal", "yes", 0.5, "probe"),
        ],
    )
    found = {kind: [(int(c.trace_id, 16), c.send_as) for c in review_queue(store_client, window=DAY, kinds=[kind])] for kind in ("refusal", "disagreement", "unsure")}  # fmt: skip
    assert found == {
        "refusal": [(4, "refusal"), (5, "refusal")],
        "disagreement": [(2, "correct.second")],
        "unsure": [(0, "correct.chosen")],
    }
    whole = review_queue(store_client, window=DAY, limit=50)
    assert len({call.trace_id for call in whole}) == len(whole)
    assert [call.kind for call in whole][:4:2] == ["interval", "interval"]
    assert "a refusal with a probability of 0.52" in {call.why for call in whole}
    # Labels that come of it do not enter accuracy, and what is labelled is not asked again.
    before = evaluate(store_client, ["accuracy.correct"], window=DAY)
    judge(store_client, [(0, "correct.chosen", "no", None, "human"), (2, "correct.second", "no", None, "human"), (4, "refusal", "no", None, "human")])  # fmt: skip
    assert evaluate(store_client, ["accuracy.correct"], window=DAY) == before
    left = {kind: [int(c.trace_id, 16) for c in review_queue(store_client, window=DAY, kinds=[kind])] for kind in found}
    assert left == {"refusal": [5], "disagreement": [], "unsure": []}


def test_without_a_judge_any_call_may_be_labelled(store_client: Client) -> None:
    assert review_queue(store_client, window=DAY) == []
    calls(store_client, hours=2)
    judge(store_client, [(i, "correct", "no" if i % 2 else "yes", None, "human") for i in range(10)])
    queue = review_queue(store_client, window=DAY, limit=20)
    picked = [int(call.trace_id, 16) for call in queue]
    assert len(picked) == 20
    assert min(picked) >= 10
    assert sum(i >= 60 for i in picked) > 12  # the hour that has no label yet
    assert review_queue(store_client, window=DAY, where={"model": "other"}) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [({"limit": 0}, "1 to 1000 calls, not 0"), ({"kinds": ["other"]}, "no kind `other`"), ({"where": {"x": "y"}}, "no filter key")],
)  # fmt: skip
def test_what_cannot_be_asked(store_client: Client, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        review_queue(store_client, window=DAY, **options)
