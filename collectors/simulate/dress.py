"""What the demo's spans say beyond times and tokens: cohorts, weight, cost, texts, events; and what is said of them later."""

from __future__ import annotations

from typing import Final

import numpy as np

from collectors.simulate import opinions
from collectors.simulate.calls import Calls
from collectors.simulate.events import Record, text_attribute
from collectors.simulate.people import TIERS, People, Turns
from collectors.simulate.scenario import API, PLACES, QUANTISED, Scenario
from collectors.simulate.spans import ATTRIBUTES
from collectors.simulate.texts import CHOICES, LANGUAGES, NEW_TOPIC, TOPICS, content
from collectors.simulate.wire import double_attribute
from collectors.simulate.workload import Floats, Ints
from monitor import semconv

COST: Final = "gen_ai.usage.cost"
# What the provider takes for a million tokens, in dollars, while its price is the usual one.
API_INPUT_USD, API_OUTPUT_USD = 1.2, 4.8
# Share of right answers.
RIGHT: Final = 0.93
RIGHT_API: Final = 0.945
RIGHT_QUANTISED: Final = 0.9
# What the new topic takes off: nobody prepared the models for it.
NEW_TOPIC_LOSS: Final = 0.18
REFUSED_RIGHT: Final = 0.1

_cost = double_attribute(ATTRIBUTES, COST)
_weight = double_attribute(ATTRIBUTES, semconv.SAMPLE_WEIGHT)


def dress(
    calls: Calls,
    turns: Turns,
    people: People,
    place: Ints,
    topic: Ints,
    services: list[str],
    scenario: Scenario,
    rng: np.random.Generator,
    *,
    weight: float,
) -> tuple[tuple[bytes, ...], list[Record]]:
    """Further fields of each call's span, and the judgements that come later.

    Parameters
    ----------
    place, topic : array of int
        Where each call is served, and what it is about, the new topic being the last.
    services : list of str
        Service of each call.
    weight : float
        How many calls each of these stands for.
    """
    count = len(calls)
    language = people.language[turns.user]
    truth = _truth(turns, place, topic, language, scenario, rng)
    events = opinions.at_once(calls, truth, rng)
    cohorts = [
        [text_attribute(f"{semconv.COHORT_PREFIX}{name}", value) for value in values]
        for name, values in (("language", LANGUAGES), ("tier", TIERS))
    ]
    topics = (*TOPICS, NEW_TOPIC)
    captured = (rng.random(count) < scenario.captured_share).tolist()
    choice = rng.integers(CHOICES, size=count).tolist()
    weighted = _weight(weight) if weight != 1 else b""
    costs = costs_usd(calls, place, turns.at_s, scenario).tolist()
    extra = []
    columns = (language.tolist(), people.tier[turns.user].tolist(), topic.tolist(), truth.refused.tolist())
    for row, (spoken, tier, about, refused) in enumerate(zip(*columns, strict=True)):
        parts = [cohorts[0][spoken], cohorts[1][tier], weighted]
        if costs[row] == costs[row]:
            parts.append(_cost(costs[row]))
        if captured[row]:
            parts.append(content(ATTRIBUTES, topics[about], LANGUAGES[spoken], choice[row], refused))
        parts.append(events[row])
        extra.append(b"".join(parts))
    return tuple(extra), opinions.later(calls, services, truth, rng)


def costs_usd(calls: Calls, place: Ints, at_s: Floats, scenario: Scenario) -> Floats:
    """What the provider's API says that each call cost; NaN for calls on nodes of one's own."""
    price = scenario.strength("price", at_s, 1.0)
    usd = price * (calls.input_tokens * API_INPUT_USD + calls.output_tokens * API_OUTPUT_USD) / 1e6
    return np.where(place == API, usd, np.nan)


def _truth(
    turns: Turns, place: Ints, topic: Ints, language: Ints, scenario: Scenario, rng: np.random.Generator
) -> opinions.Truth:
    count = len(turns)
    quantised = (place == [each.name for each in PLACES].index(QUANTISED)) & scenario.on(
        "quantised variant", turns.at_s
    )
    chance = np.where(quantised, RIGHT_QUANTISED, np.where(place == API, RIGHT_API, RIGHT))
    chance = chance - np.where(topic == len(TOPICS), NEW_TOPIC_LOSS, 0.0)
    biased = language == LANGUAGES.index(scenario.biased_language)
    share = np.where(
        biased, scenario.strength("biased refusals", turns.at_s, scenario.refused_share), scenario.refused_share
    )
    refused = rng.random(count) < share
    right = rng.random(count) < np.where(refused, REFUSED_RIGHT, chance)
    return opinions.Truth(right=right, refused=refused, last=turns.last == 1)
