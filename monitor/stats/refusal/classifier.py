"""A small classifier of refusals, trained on what people labelled here.

TF-IDF of words and pairs of words near the start of an answer, with the verdict of the rules beside them, in a logistic
regression; its scores are calibrated by Platt's sigmoid on rows that each fold's model has not seen. It is used only where
it is cross-validated to be at least as good as the rules on the same rows; else the rules stay.

The model is a list of words with numbers, so it is kept as JSON: nothing that is read back from a store is ever run.

References
----------
J. Platt (1999), Probabilistic outputs for support vector machines. G. Brier (1950). F. Pedregosa et al. (2011), scikit-learn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse, special

from monitor.stats.refusal.rules import find_refusal, start_of

if TYPE_CHECKING:  # imported where it is used, as it takes long at a start
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

LABELS_MIN: Final = 100
EACH_MIN: Final = 20  # refusals, and answers that are none
LABELS_MAX: Final = 20_000
WORDS_MAX: Final = 3000
FOLDS: Final = 5

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RefusalModel:
    """Words with their weights; `probabilities` is all that it does.

    Attributes
    ----------
    version : str
        A hash of the numbers, so that the same labels give the same version.
    weights : mapping
        Term -> (inverse document frequency, weight).
    intercept, rules_weight : float
    platt : tuple of float
        Slope and offset of the sigmoid.
    """

    version: str
    weights: dict[str, tuple[float, float]]
    intercept: float
    rules_weight: float
    platt: tuple[float, float]

    @property
    def evaluator(self) -> str:
        return f"refusal-model/{self.version}"

    def probabilities(self, answers: Sequence[str]) -> Array:
        """Calibrated probability that each answer is a refusal; shape (n,)."""
        if not answers:
            return np.zeros(0)
        terms = sorted(self.weights)
        vectorizer = _vectorizer(vocabulary={term: i for i, term in enumerate(terms)})
        vectorizer.idf_ = np.array([self.weights[term][0] for term in terms])
        words = vectorizer.transform([start_of(answer) for answer in answers])
        coefficients = np.array([self.weights[term][1] for term in terms])
        scores = words @ coefficients + self.rules_weight * _by_rules(answers) + self.intercept
        return np.asarray(special.expit(self.platt[0] * scores + self.platt[1]), dtype=np.float64)

    def to_json(self) -> str:
        return json.dumps(
            {
                "version": self.version,
                "weights": {term: list(pair) for term, pair in self.weights.items()},
                "intercept": self.intercept,
                "rules_weight": self.rules_weight,
                "platt": list(self.platt),
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> RefusalModel:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            read: dict[str, Any] = json.loads(text)
            return cls(
                version=str(read["version"]),
                weights={str(term): (float(a), float(b)) for term, (a, b) in read["weights"].items()},
                intercept=float(read["intercept"]),
                rules_weight=float(read["rules_weight"]),
                platt=(float(read["platt"][0]), float(read["platt"][1])),
            )
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"no model of refusals: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training came to; `model` is None where the rules stay, and `note` says why.

    `accuracy` and `brier` are cross-validated; `rules_accuracy` is that of the rules on the same rows.
    """

    model: RefusalModel | None
    n: int
    n_refused: int
    accuracy: float | None = None
    rules_accuracy: float | None = None
    brier: float | None = None
    note: str = ""


def train(answers: Sequence[str], refused: Sequence[bool], *, seed: int = 1) -> Trained:
    """Train on labelled answers.

    Parameters
    ----------
    answers : sequence of str
    refused : sequence of bool
        What people say of each.
    seed : int
        Of the folds.

    Returns
    -------
    Trained
        Without a model below 100 labels, or 20 of a kind, or where the rules are right more often (balanced accuracy: both
        kinds count alike).
    """
    y = np.asarray(refused, dtype=np.int_)
    n, hits = len(y), int(y.sum())
    if n < LABELS_MIN or min(hits, n - hits) < EACH_MIN:
        note = f"rules only: {n} labels, {hits} of them refusals; {LABELS_MIN} labels and {EACH_MIN} of each kind are wanted"
        return Trained(model=None, n=n, n_refused=hits, note=note)
    texts = [start_of(answer) for answer in answers]
    rules = _by_rules(answers)
    scores = np.zeros(n)
    from sklearn.model_selection import StratifiedKFold

    for fitted, held in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(texts, y):
        vectorizer, model = _fit([texts[i] for i in fitted], rules[fitted], y[fitted])
        scores[held] = model.decision_function(_matrix(vectorizer, [texts[i] for i in held], rules[held]))
    slope, offset = _platt(scores, y)
    probabilities = special.expit(slope * scores + offset)
    accuracy, by_rules = _balanced(probabilities >= 0.5, y), _balanced(rules > 0, y)
    numbers = {"accuracy": accuracy, "rules_accuracy": by_rules, "brier": float(((probabilities - y) ** 2).mean())}
    if accuracy < by_rules:
        note = f"rules only: right in {accuracy:.1%} (both kinds alike), the rules in {by_rules:.1%}"
        return Trained(model=None, n=n, n_refused=hits, note=note, **numbers)
    vectorizer, model = _fit(texts, rules, y)
    kept = _model_of(vectorizer, model, (slope, offset))
    note = f"model {kept.version}: right in {accuracy:.1%} (both kinds alike), the rules in {by_rules:.1%}"
    return Trained(model=kept, n=n, n_refused=hits, note=note, **numbers)


def _vectorizer(**options: Any) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    # \w+ also takes words of one letter, and each run of Chinese or Japanese; pairs carry "can't help".
    return TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 2), sublinear_tf=True, **options)


def _fit(texts: list[str], rules: Array, y: npt.NDArray[np.int_]) -> tuple[TfidfVectorizer, LogisticRegression]:
    from sklearn.linear_model import LogisticRegression

    vectorizer = _vectorizer(min_df=2, max_features=WORDS_MAX).fit(texts)
    model = LogisticRegression(C=10.0, max_iter=500, solver="liblinear", random_state=0)
    return vectorizer, model.fit(_matrix(vectorizer, texts, rules), y)


def _matrix(vectorizer: TfidfVectorizer, texts: list[str], rules: Array) -> Any:
    return sparse.hstack([vectorizer.transform(texts), sparse.csr_matrix(rules[:, None])]).tocsr()


def _by_rules(answers: Sequence[str]) -> Array:
    return np.array([1.0 if find_refusal(answer).refused else 0.0 for answer in answers])


def _platt(scores: Array, y: npt.NDArray[np.int_]) -> tuple[float, float]:
    """Slope and offset of the sigmoid; targets are drawn in by Platt's prior, so that separable rows stay finite."""
    from sklearn.linear_model import LogisticRegression

    hits, misses = y.sum(), len(y) - y.sum()
    # Each row twice, with the prior's share of the other kind as weight: a logistic regression on soft targets.
    targets = np.where(y == 1, (hits + 1) / (hits + 2), 1 / (misses + 2))
    rows, kinds = np.concatenate([scores, scores])[:, None], np.repeat([1, 0], len(y))
    weights = np.concatenate([targets, 1 - targets])
    model = LogisticRegression(C=1e6, max_iter=1000).fit(rows, kinds, sample_weight=weights)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _balanced(said: npt.NDArray[np.bool_], y: npt.NDArray[np.int_]) -> float:
    return float((said[y == 1].mean() + (~said[y == 0]).mean()) / 2)


def _model_of(vectorizer: TfidfVectorizer, model: LogisticRegression, platt: tuple[float, float]) -> RefusalModel:
    terms = vectorizer.get_feature_names_out().tolist()
    coefficients = model.coef_[0]
    pairs = {
        term: (float(round(idf, 6)), float(round(weight, 6)))
        for term, idf, weight in zip(terms, vectorizer.idf_, coefficients[:-1], strict=True)
    }
    intercept, rules_weight = float(model.intercept_[0]), float(coefficients[-1])
    told = json.dumps([pairs, round(intercept, 6), round(rules_weight, 6), [round(each, 6) for each in platt]])
    return RefusalModel(
        version=hashlib.sha256(told.encode()).hexdigest()[:8],
        weights=pairs,
        intercept=intercept,
        rules_weight=rules_weight,
        platt=platt,
    )
