"""What is scored of an answer: refusal, length, toxicity where its model is installed, and the user's own functions."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from monitor.errors import ConfigError
from monitor.kpis.sources.moderated import STOPPED
from monitor.stats.refusal import EVALUATOR, RefusalModel, find_refusal

Kind = Literal["share", "mean"]


class Answered(NamedTuple):
    """An answer with its prompt."""

    prompt: str
    answer: str
    finish_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A number of each answer: of its prompt, its text, and why it ended."""

    name: str
    evaluator: str
    score: Callable[[Sequence[Answered]], list[float]]


def scorers(own: Sequence[str], model: RefusalModel | None = None) -> list[Scorer]:
    """All scorers of a run.

    Raises
    ------
    ConfigError
        If an own function cannot be loaded.
    """
    found = [_refusal(model), Scorer(name="length", evaluator="log-words", score=_length)]
    if importlib.util.find_spec("profanity_check") is not None:
        found.append(Scorer(name="toxicity", evaluator="alt-profanity-check", score=_toxicity))
    found += [_own(name) for name in own]
    names = [each.name for each in found]
    if len(set(names)) != len(names):
        raise ConfigError(f"`probes.scorers` names two functions that are called alike: {', '.join(names)}; rename one")
    return found


def kind_of(values: Sequence[float]) -> Kind:
    """`share` if there are ones and zeros alone."""
    return "share" if all(value in (0.0, 1.0) for value in values) else "mean"


def _refusal(model: RefusalModel | None) -> Scorer:
    def score(answers: Sequence[Answered]) -> list[float]:
        texts = [each.answer for each in answers]
        if model is None:
            said = [float(find_refusal(text).refused) for text in texts]
        else:
            said = [float(p >= 0.5) for p in model.probabilities(texts)]
        return [1.0 if each.finish_reason.lower() in STOPPED else one for each, one in zip(answers, said, strict=True)]

    return Scorer(name="refusal", evaluator=EVALUATOR if model is None else model.evaluator, score=score)


def _length(answers: Sequence[Answered]) -> list[float]:
    """Logarithm of the words, so that a difference of 0.05 is 5 %."""
    return [math.log(len(each.answer.split()) + 1) for each in answers]


def _toxicity(answers: Sequence[Answered]) -> list[float]:
    return [float(p) for p in _toxicity_model()([each.answer for each in answers])] if answers else []


@lru_cache(maxsize=1)
def _toxicity_model() -> Callable[[list[str]], Sequence[float]]:
    predict: Callable[[list[str]], Sequence[float]] = importlib.import_module("profanity_check").predict_prob
    return predict


def _own(name: str) -> Scorer:
    module, _, function = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except Exception as error:  # what a user's module does when it is loaded is not known
        raise ConfigError(
            f"the configuration: `probes.scorers`: cannot load {name} ({type(error).__name__}: {error})"
        ) from None

    def score(answers: Sequence[Answered]) -> list[float]:
        values = [float(found(each.prompt, each.answer)) for each in answers]
        if wrong := [value for value in values if not math.isfinite(value)]:
            raise ValueError(f"it returned {wrong[0]}")
        return values

    return Scorer(name=function, evaluator=name, score=score)
