"""Users of the demo: who they are, when they come back, and how their calls make up sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from collectors.simulate.scenario import DAY, Scenario
from collectors.simulate.texts import LANGUAGES
from collectors.simulate.workload import Floats, Ints

TIERS: Final = ("free", "pro", "enterprise")
_LANGUAGE_SHARES: Final = (0.55, 0.17, 0.15, 0.13)
_TIER_SHARES: Final = (0.7, 0.25, 0.05)
# Half of those who come by once stay away within days; the others stay.
_FICKLE_SHARE: Final = 0.5
_FICKLE_DAYS: Final = 4.0
# Time between two calls of a session: at least some seconds to read, and then as it comes.
_READING_S: Final = 8.0
_PAUSE_S: Final = 50.0
# Users who were there when the history begins; the others come day by day.
_FIRST_SHARE: Final = 0.6


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """All users, one entry each: busyness, first and last second (after the demo's begin), language, tier, service."""

    weight: Floats
    from_s: Floats
    until_s: Floats
    language: Ints
    tier: Ints
    docs: Ints

    def __len__(self) -> int:
        return len(self.weight)


@dataclass(frozen=True, kw_only=True, eq=False)
class Turns:
    """Calls in order of time: seconds after the demo's begin, session (its number), user, and whether it is the session's last."""

    at_s: Floats
    session: Ints
    user: Ints
    last: Ints

    def __len__(self) -> int:
        return len(self.at_s)

    def first(self, count: int) -> Turns:
        return Turns(
            at_s=self.at_s[:count], session=self.session[:count], user=self.user[:count], last=self.last[:count]
        )


def make_people(scenario: Scenario, *, seed: int) -> People:
    """The same users for every part of the demo's traffic."""
    rng = np.random.default_rng([seed, 20])
    count = scenario.users
    span_s = max(scenario.days, 1.0) * DAY
    joined = np.where(rng.random(count) < _FIRST_SHARE, -np.inf, -rng.random(count) * span_s)
    stays = rng.random(count) > _FICKLE_SHARE
    lasts = rng.exponential(_FICKLE_DAYS * DAY, count)
    return People(
        weight=1.0 / np.arange(1, count + 1, dtype=np.float64) ** 0.35,
        from_s=joined,
        # A fickle user of before the history has gone in the course of it.
        until_s=np.where(stays, np.inf, np.maximum(joined, -span_s) + lasts),
        language=rng.choice(len(LANGUAGES), count, p=_LANGUAGE_SHARES),
        tier=rng.choice(len(TIERS), count, p=_TIER_SHARES),
        docs=(rng.random(count) < scenario.docs_share).astype(np.int64),
    )


def make_turns(people: People, starts_s: Floats, *, turns: float, rng: np.random.Generator) -> Turns:
    """Calls of the sessions that begin at these moments; each user is one of those who are around on that day."""
    length = rng.geometric(1.0 / turns, len(starts_s))
    session = np.repeat(np.arange(len(starts_s)), length)
    first = np.cumsum(length) - length
    gap_s = _READING_S + rng.exponential(_PAUSE_S, len(session))
    gap_s[first] = 0.0
    passed = np.cumsum(gap_s)
    at_s = starts_s[session] + passed - passed[first][session]
    last = np.zeros(len(session), dtype=np.int64)
    last[first + length - 1] = 1
    order = np.argsort(at_s, kind="stable")
    user = _users(people, starts_s, rng)
    return Turns(at_s=at_s[order], session=session[order], user=user[session][order], last=last[order])


def _users(people: People, starts_s: Floats, rng: np.random.Generator) -> Ints:
    chosen = np.zeros(len(starts_s), dtype=np.int64)
    days = np.floor(starts_s / DAY).astype(np.int64)
    for day in np.unique(days):
        mine = np.flatnonzero(days == day)
        middle_s = (day + 0.5) * DAY
        around = np.flatnonzero((people.from_s <= middle_s) & (people.until_s > middle_s))
        weight = people.weight[around]
        chosen[mine] = rng.choice(around, len(mine), p=weight / weight.sum())
    return chosen
