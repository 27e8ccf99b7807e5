"""Topics of texts, and clouds of vectors: found where they moved, quiet where they did not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist, pdist
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import normalize

from monitor.stats.drift import Drift, compare, compare_embeddings, compare_topics, find_topics, judge, kind_of
from monitor.stats.drift.clusters import silhouette
from monitor.stats.drift.embeddings import energy_coefficient
from monitor.stats.drift.topics import NEW

TOPICS = {
    "refund": "refund order parcel shipping return invoice broken delivery warehouse courier",
    "code": "python function loop error variable compile class module import debug",
    "travel": "flight hotel beach ticket passport luggage airport train museum city",
    "health": "doctor headache medicine sleep diet fever exercise vitamin blood nurse",
    "cooking": "recipe oven butter flour garlic onion pasta soup salt bake",
    "law": "contract lawyer clause court tenant landlord lease liability notice dispute",
}
COMMON = [
    "please",
    "can",
    "you",
    "tell",
    "me",
    "how",
    "what",
    "the",
    "is",
    "a",
    "for",
    "with",
    "my",
    "and",
    "about",
    "help",
    "need",
    "want",
]


def texts(n: int, shares: dict[str, float], *, seed: int) -> pd.Series[Any]:
    rng = np.random.default_rng(seed)
    kinds = rng.choice(list(shares), n, p=np.array(list(shares.values())) / sum(shares.values()))
    own, common = rng.integers(0, 10, (n, 5)), rng.integers(0, len(COMMON), (n, 7))
    words = {kind: said.split() for kind, said in TOPICS.items()}
    return pd.Series(
        [
            " ".join([*(words[kind][i] for i in mine), *(COMMON[i] for i in other)])
            for kind, mine, other in zip(kinds, own, common, strict=True)
        ]
    )


EVEN = dict.fromkeys(("refund", "code", "travel", "health", "cooking"), 1.0)


def test_topics_are_what_they_are() -> None:
    said = texts(1500, EVEN, seed=1)
    found = find_topics(said.tolist())
    assert found is not None
    assert len(found.names) == 5
    assert {next(kind for kind, words in TOPICS.items() if name.split(", ")[0].split()[0] in words.split()) for name in found.names} == set(EVEN)  # fmt: skip
    topic, near = found.place(texts(500, EVEN, seed=2).tolist())
    assert np.bincount(topic, minlength=6)[:5].min() > 70
    assert near.shape == (500,)
    alien, _ = found.place(["zzz qqq", "wholly other words"])
    assert alien.tolist() == [5, 5]
    assert len(find_topics(said.tolist(), k=3).names) == 3  # type: ignore[union-attr]


def test_a_topic_that_grows_is_named_with_examples() -> None:
    before, now = texts(3000, EVEN, seed=3), texts(1500, {**EVEN, "refund": 2.6}, seed=4)
    before.iloc[:7] = [None, "", " ", *before.iloc[3:7]]
    (found,) = judge([_found(before, now)])
    assert (found.feature, found.method, found.drifted) == ("prompt.topics", "jensen_shannon", True)
    words = found.moved[0].split(":")[0].split(", ")
    assert set(words) <= set(TOPICS["refund"].split()), found.moved
    assert all(set(now.iloc[row].split()) & set(TOPICS["refund"].split()) for row in found.current_rows)
    assert not any(set(before.iloc[row].split()) & set(TOPICS["refund"].split()) for row in found.reference_rows)
    assert "5 topics" in found.note


def test_a_topic_that_is_new_is_none_of_the_reference() -> None:
    before, now = texts(2000, EVEN, seed=5), texts(1000, {**EVEN, "law": 1.5}, seed=6)
    (found,) = judge([_found(before, now)])
    assert found.drifted
    assert found.moved[0].startswith(f"{NEW}: 0.0"), found.moved
    assert all(set(now.iloc[row].split()) & set(TOPICS["law"].split()) for row in found.current_rows)


def _found(before: Any, now: Any, **options: Any) -> Drift:
    found = compare_topics("prompt", before, now, **options)
    assert found is not None
    return found


def test_nothing_to_cluster() -> None:
    assert compare_topics("x", texts(150, EVEN, seed=1), texts(150, EVEN, seed=2)) is None
    rng = np.random.default_rng(1)
    noise = pd.Series([" ".join(rng.choice([f"w{i}" for i in range(300)], 8)) for _ in range(600)])
    assert compare_topics("x", noise, noise) is None
    assert compare_topics("x", pd.Series(["the same text"] * 500), noise) is None
    empty = _found(texts(400, EVEN, seed=1), pd.Series([None, ""], dtype=object))
    assert (empty.value, empty.n_current) == (None, 0)


def test_false_alarms_and_power_of_topics() -> None:
    """25 stable pairs: p below 0.05 in at most what chance allows for; 6 pairs in which one topic of five grows: all told."""
    small, told = 0, 0
    for seed in range(25):
        found = _found(texts(500, EVEN, seed=100 + seed), texts(300, EVEN, seed=500 + seed), k=5)
        assert found.p_value is not None
        small += found.p_value <= 0.05
        told += judge([found])[0].drifted
    assert small <= 4  # of 25 at 5 %, 4 or fewer in 99.3 % of cases
    assert told == 0
    moved = sum(judge([_found(texts(2000, EVEN, seed=1000 + s), texts(1500, {**EVEN, "code": 2.5}, seed=2000 + s), k=5)])[0].drifted for s in range(6))  # fmt: skip
    assert moved == 6


def test_energy_by_its_definition_and_in_one_dimension() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 1, (80, 3)), rng.normal(0.5, 1, (60, 3))
    across = cdist(x, y).mean()
    by_hand = (2 * across - pdist(x).mean() - pdist(y).mean()) / (2 * across)
    assert energy_coefficient(x, y) == pytest.approx(by_hand)
    energy, _ = compare_embeddings("v", x, y)
    assert energy.value == pytest.approx(by_hand)
    assert energy.low is not None
    assert energy.high is not None
    assert energy.low < by_hand < energy.high
    # The same with one point twice as far: no unit enters.
    assert compare_embeddings("v", 1000 * x, 1000 * y)[0].value == pytest.approx(by_hand)


@pytest.mark.parametrize("kind", ["moved", "wider", "turned"])
def test_clouds_that_differ_are_told_apart(kind: str) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(0, 1, (600, 16)), rng.normal(0, 1, (600, 16))
    if kind == "moved":
        y[:, 3] += 1.2
    elif kind == "wider":
        y *= 1.5
    else:  # each dimension as before, and two of them now together
        y[:, :8] = y[:, 8:]
    energy, classifier = judge(compare_embeddings("v", x, y))
    assert energy.p_value == 1 / 500
    if kind == "moved":
        assert classifier.drifted
        assert classifier.moved[0].endswith("dimension 3")
        assert y[list(classifier.current_rows), 3].min() > 1
    if kind == "wider":
        assert energy.drifted
        assert classifier.drifted


def test_silhouette_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(6)
    vectors = normalize(rng.normal(0, 1, (90, 5)) + np.repeat(np.eye(5)[:3] * 2, 30, axis=0))
    topic = np.repeat([0, 1, 2], 30)
    topic[0] = 3  # one that is alone
    assert silhouette(vectors, topic) == pytest.approx(silhouette_score(vectors, topic, metric="cosine"))
    assert silhouette(vectors, np.zeros(90, dtype=int)) == -1


def test_wrong_vectors() -> None:
    with pytest.raises(ValueError, match="3 numbers in the reference and 2"):
        compare_embeddings("v", np.zeros((5, 3)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="rows of a matrix"):
        compare_embeddings("v", np.zeros(5), np.zeros(5))
    x = np.random.default_rng(1).normal(0, 1, (30, 2))
    holed = np.vstack([x, [np.nan, 1.0]])
    assert compare_embeddings("v", holed, x)[0].n_reference == 30
    assert judge(compare_embeddings("v", x[:1], x))[0].value is None
    same = compare_embeddings("v", np.ones((60, 2)), np.ones((60, 2)))
    assert [each.value for each in same] == [0.0, 0.5]


def test_false_alarms_coverage_and_power_of_energy() -> None:
    """200 stable pairs, p at most 0.05 in about 5 %; the interval of a true difference holds it in about 95 %."""
    rng = np.random.default_rng(3)
    small = sum(
        (compare_energy(rng.normal(0, 1, (80, 8)), rng.normal(0, 1, (60, 8))).p_value or 0) <= 0.05 for _ in range(200)
    )
    assert small <= 18  # 99 % of cases at 5 %
    big = np.random.default_rng(4)
    truth = energy_coefficient(big.normal(0, 1, (3000, 8)), big.normal(0, 1, (3000, 8)) + 0.6)
    held = power = 0
    for _ in range(200):
        found = compare_energy(rng.normal(0, 1, (150, 8)), rng.normal(0, 1, (150, 8)) + 0.6)
        held += (found.low or 0.0) <= truth <= (found.high or 0.0)
        power += judge([found])[0].drifted
    assert 0.91 <= held / 200 <= 0.985
    assert power / 200 >= 0.95


def compare_energy(x: Any, y: Any) -> Drift:
    """Without the classifier, and with fewer lots."""
    from monitor.stats.drift import embeddings

    sides = [x, y]
    return embeddings._energy(
        "v", sides, [np.arange(len(side)) for side in sides], None, 99, 0.95, np.random.default_rng(1)
    )


def test_tables_with_texts_and_vectors() -> None:
    """A column of texts is compared by words and by topics, one of vectors by distance and classifier; chunk by chunk."""
    rng = np.random.default_rng(7)
    before = pd.DataFrame({"prompt": texts(2500, EVEN, seed=8), "vector": list(rng.normal(0, 1, (2500, 4)))})
    now = pd.DataFrame({"prompt": pd.concat([texts(1000, EVEN, seed=9), texts(1000, {**EVEN, "travel": 4.0}, seed=10)], ignore_index=True)})  # fmt: skip
    moved = rng.normal(0, 1, (2000, 4)) + np.repeat([[0.0], [1.0]], 1000, axis=0)
    now["vector"] = [str(list(map(float, row))) for row in moved]
    assert (kind_of(before["prompt"]), kind_of(before["vector"]), kind_of(now["vector"])) == (
        "text",
        "vector",
        "vector",
    )
    found = {(each.feature, each.method, each.chunk): each for each in compare(before, now, chunk=1000)}
    assert {key for key, each in found.items() if each.drifted} == {
        ("prompt", "domain_classifier", 1), ("prompt.topics", "jensen_shannon", 1),
        ("vector", "domain_classifier", 1), ("vector", "energy_distance", 1),
    }  # fmt: skip
    assert len(found) == 8
    examples = found["prompt.topics", "jensen_shannon", 1].current_rows
    assert all(row >= 1000 and set(now["prompt"][row].split()) & set(TOPICS["travel"].split()) for row in examples)
