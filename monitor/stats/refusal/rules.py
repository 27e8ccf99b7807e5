"""Refusals by rules: does an answer begin as a refusal does?

Deterministic, in 15 languages, without training. It misses refusals in other words and other languages, and those that
come late in a long answer; it takes an answer for a refusal that declines a part and then helps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from monitor.stats.refusal.phrases import PHRASES

EVALUATOR: Final = (
    "refusal-rules/1"  # a new number whenever a phrase changes: rates before and after are not the same measure
)
START_CHARACTERS: Final = 300
_TYPOGRAPHIC: Final = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'", "\u00a0": " "})
_MARKUP: Final = re.compile(r"^[\s>*_#\"'“”«»-]+")


class Refusal(NamedTuple):
    """What the rules say of one answer: in which language it refuses, by which words; both empty if it does not."""

    refused: bool
    language: str = ""
    phrase: str = ""


def start_of(answer: str) -> str:
    """The part of an answer that is looked at, as patterns want it."""
    text = _MARKUP.sub("", answer[: 2 * START_CHARACTERS]).translate(_TYPOGRAPHIC).lower()
    return " ".join(text.split())[:START_CHARACTERS]


def find_refusal(answer: str) -> Refusal:
    """Whether an answer is a refusal.

    Examples
    --------
    >>> find_refusal("I’m sorry, but I can’t help with that.").language
    'en'
    >>> find_refusal("I can't find an error in your code; here is why it works.").refused
    False
    """
    text = start_of(answer)
    for language, pattern in _patterns():
        if found := pattern.search(text):
            return Refusal(refused=True, language=language, phrase=found.group()[:100])
    return Refusal(refused=False)


def find_refusals(answers: Iterable[str]) -> list[Refusal]:
    """The same for many."""
    return [find_refusal(answer) for answer in answers]


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((language, re.compile("|".join(each for each in phrases))) for language, phrases in PHRASES.items())
