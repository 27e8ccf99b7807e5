"""What the demo's world is like, and what goes wrong in it: all numbers that are made up, in one place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from collectors.simulate.serving import Engine
from collectors.simulate.workload import NS, Floats

MODEL: Final = "llama-3.3-70b-instruct"
API_MODEL, API_PROVIDER = "nimbus-large", "nimbus"
CHAT, DOCS = "chat-api", "docs-assistant"
FOREVER: Final = math.inf

Kind = Literal["slow node", "quantised variant", "price", "drifting topic", "biased refusals"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place of the demo where calls are served: what it costs and what runs on it. The provider's API has no node."""

    name: str
    variant: str
    region: str
    deployment: str
    pricing: str
    engine: Engine
    gpus: int = 2
    model: str = MODEL
    provider: str = "vllm"


# fp8 halves the bytes of the weights: the demo takes prefill as 1.5 times and a step as 1.4 times as fast.
FP8: Final = Engine(prefill_tokens_per_s=13_000.0, step_base_s=0.0146)
PLACES: Final = (
    Place(name="gpu-1", variant="fp16", region="eu-west", deployment="on_premises", pricing="owned", engine=Engine()),
    Place(name="gpu-2", variant="fp16", region="eu-west", deployment="on_premises", pricing="owned", engine=Engine()),
    Place(name="gpu-3", variant="fp16", region="us-east", deployment="cloud", pricing="on_demand", engine=Engine()),
    Place(
        name="",
        variant="",
        region="us-west",
        deployment="api",
        pricing="per_token",
        # A large fleet that others share: no queue of ours, about the same speed.
        engine=Engine(prefill_tokens_per_s=20_000.0, prefill_overhead_s=0.12, step_base_s=0.016, slots=4096),
        gpus=0,
        model=API_MODEL,
        provider=API_PROVIDER,
    ),
)
QUANTISED: Final = "gpu-3"
API: Final = len(PLACES) - 1


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Something goes wrong, or is changed, from `start_s` to `end_s`; seconds after the demo began, before it negative.

    `strength` is how much: the factor of a slow node or of a price, the share of calls that are about the new topic, the
    share of the language's calls that are refused; of a quantised variant it says nothing.
    """

    kind: Kind
    start_s: float
    end_s: float = FOREVER
    strength: float = 1.0


DAY: Final = 86_400.0
HOUR: Final = 3_600.0
PAST: Final = (
    Episode(kind="quantised variant", start_s=-5 * DAY),
    Episode(kind="slow node", start_s=-3 * DAY - 4 * HOUR, end_s=-3 * DAY - 2 * HOUR, strength=1.7),
    Episode(kind="price", start_s=-2 * DAY, strength=1.6),
    Episode(kind="drifting topic", start_s=-32 * HOUR, end_s=-26 * HOUR, strength=0.4),
    Episode(kind="biased refusals", start_s=-20 * HOUR, end_s=-12 * HOUR, strength=0.2),
    # Within the hour of the trace.
    Episode(kind="slow node", start_s=-1_222.0, end_s=-742.0, strength=1.7),
)
# What happens live, in seconds after each cycle's begin: when jobs have been over the history, so that an alert has a
# before; each is seen within two minutes or so, and is over before the next cycle.
CYCLE_S: Final = 1_200.0
LIVE_EPISODES: Final = (
    Episode(kind="slow node", start_s=150.0, end_s=390.0, strength=2.6),
    Episode(kind="price", start_s=180.0, end_s=450.0, strength=5.0),
    Episode(kind="biased refusals", start_s=210.0, end_s=630.0, strength=0.5),
    Episode(kind="drifting topic", start_s=240.0, end_s=720.0, strength=0.6),
)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What the demo's world is like; times in seconds after the demo began, shares from 0 to 1.

    Parameters
    ----------
    days, keep
        Days of history before the hour; of its sessions a share of `keep` is sent, with weight 1 / `keep`, as a sampling
        SDK would.
    past, live, cycle_s
        What goes wrong before the demo begins, and after it: the latter again and again, each `cycle_s`.
    slow_node, slow_error_share, error_share, cancelled_share, impatient_share
        Which node is slow at times; share of calls that fail on it then, and anywhere else; share that users cancel, and
        share that they cancel when the first token took longer than `impatient_s`.
    biased_language, refused_share
        Whose calls are refused at times, and share of calls that are refused otherwise.
    topic_length
        A prompt of the new topic has so many times as many tokens. Not within the hour of the trace, whose sizes are real.
    releases, release_s
        Names of three releases: the second came with the quantised variant, the third `release_s` and changed nothing.
    docs_share
        Share of users of the service `docs-assistant`, which retrieves documents before each call; others use `chat-api`.
    users, turns
        Number of users; mean number of calls in a session.
    api_share
        Share of calls that go to the provider's API; the rest is spread over the nodes.
    captured_share
        Share of calls of which prompt and completion are sent.
    """

    days: float = 14.0
    keep: float = 1 / 24
    past: tuple[Episode, ...] = PAST
    live: tuple[Episode, ...] = LIVE_EPISODES
    cycle_s: float = CYCLE_S
    slow_node: str = "gpu-2"
    slow_error_share: float = 0.05
    error_share: float = 0.002
    cancelled_share: float = 0.006
    impatient_share: float = 0.15
    impatient_s: float = 2.5
    biased_language: str = "de"
    refused_share: float = 0.02
    topic_length: float = 1.5
    releases: tuple[str, str, str] = ("2.0.0", "2.1.0", "2.2.0")
    release_s: float = -1_702.0
    docs_share: float = 0.3
    users: int = 6_000
    turns: float = 3.2
    api_share: float = 0.13
    captured_share: float = 0.5

    @classmethod
    def quiet(cls, **changed: object) -> Scenario:
        """The same world in which nothing goes wrong: the variant was quantised long ago, no price changes."""
        calm = cls(past=(Episode(kind="quantised variant", start_s=-FOREVER),), live=())
        return dataclasses.replace(calm, **changed)  # type: ignore[arg-type]

    def strength(self, kind: Kind, at_s: Floats, otherwise: float) -> Floats:
        """How strong a kind of incident is at each of these moments, `otherwise` where there is none."""
        found = np.full(len(at_s), otherwise)
        for episode in self.past:
            if episode.kind == kind:
                found[(at_s >= episode.start_s) & (at_s < episode.end_s)] = episode.strength
        in_cycle = np.mod(at_s, self.cycle_s)
        for episode in self.live:
            if episode.kind == kind:
                on = (at_s >= 0) & (in_cycle >= episode.start_s) & (in_cycle < episode.end_s)
                found[on] = episode.strength
        return found

    def on(self, kind: Kind, at_s: Floats) -> NDArray[np.bool_]:
        """Whether there is an incident of this kind at each of these moments."""
        return ~np.isnan(self.strength(kind, at_s, math.nan))

    def between(self, kind: Kind, start_s: float, end_s: float) -> list[Episode]:
        """Incidents of a kind within a stretch of time, cut to it, those of every cycle written out, in order."""
        found = list(self.past)
        first = max(0, math.floor(start_s / self.cycle_s))
        for cycle in range(first, max(first, math.ceil(end_s / self.cycle_s))):
            shift_s = cycle * self.cycle_s
            found += [
                dataclasses.replace(each, start_s=each.start_s + shift_s, end_s=each.end_s + shift_s)
                for each in self.live
            ]
        cut = [
            dataclasses.replace(each, start_s=max(each.start_s, start_s), end_s=min(each.end_s, end_s))
            for each in found
            if each.kind == kind and each.start_s < end_s and each.end_s > start_s
        ]
        return sorted(cut, key=lambda each: each.start_s)

    def moments(self, after_s: float, until_s: float) -> list[tuple[float, Episode, bool]]:
        """When something begins (True) or ends within a stretch of the time after the demo's begin, in order."""
        found = []
        for cycle in range(
            max(0, math.floor(after_s / self.cycle_s)), math.floor(max(0.0, until_s) / self.cycle_s) + 1
        ):
            for episode in self.live:
                for at_s, begins in ((episode.start_s, True), (episode.end_s, False)):
                    moment_s = cycle * self.cycle_s + at_s
                    if after_s < moment_s <= until_s:
                        found.append((moment_s, episode, begins))
        return sorted(found, key=lambda each: each[0])


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that was put into the traffic on purpose; times in Unix nanoseconds."""

    name: str
    text: str
    start_ns: int
    end_ns: int
    where: Mapping[str, str]


def incidents(scenario: Scenario, *, began_ns: int, start_ns: int, end_ns: int) -> tuple[Incident, ...]:
    """What goes wrong between two moments, in order; one that does not end ends with the stretch."""
    start_s, end_s = (start_ns - began_ns) / NS, (end_ns - began_ns) / NS
    found = []
    for kind, (where, text) in _told(scenario).items():
        for episode in scenario.between(kind, start_s, end_s):
            found.append(
                Incident(
                    name=kind,
                    text=text.format(strength=episode.strength),
                    start_ns=began_ns + round(episode.start_s * NS),
                    end_ns=began_ns + round(episode.end_s * NS),
                    where=where,
                )
            )
    return tuple(sorted(found, key=lambda each: each.start_ns))


def told(scenario: Scenario, episode: Episode) -> str:
    """What is wrong, in a sentence."""
    return _told(scenario)[episode.kind][1].format(strength=episode.strength)


def _told(scenario: Scenario) -> dict[Kind, tuple[dict[str, str], str]]:
    language = scenario.biased_language
    return {
        "quantised variant": (
            {"node": QUANTISED},
            f"{QUANTISED} serves the fp8 variant since release {scenario.releases[1]}: faster, and a little less often right.",
        ),
        "slow node": (
            {"node": scenario.slow_node},
            f"{scenario.slow_node} is {{strength:g}} times as slow, and fails more often.",
        ),
        "price": (
            {"model": API_MODEL},
            f"{API_PROVIDER} takes {{strength:g}} times its price for {API_MODEL}.",
        ),
        "drifting topic": (
            {},
            "{strength:.0%} of the prompts are about customs and import duties, which nobody asked about before, and are longer.",
        ),
        "biased refusals": (
            {"language": language},
            f"{{strength:.0%}} of the calls in the language {language} are refused, and {scenario.refused_share:.0%} of the others.",
        ),
    }
