"""The traffic of `monitor demo`: one real hour of arrivals, on made-up servers, with stated incidents.

Real: when the 19,366 requests came and how many tokens went in and out (the packaged Azure trace). Made up,
and marked `monitor.simulated`: servers, latencies, users, sessions, errors and cancellations. `Scenario`
states all of it.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from collectors.simulate.calls import Calls, Origin, Parents, made_up_parents, served_calls
from collectors.simulate.replay import Progress, ending_at, new_encoder, open_sender, send_all, send_live
from collectors.simulate.send import ReplayResult
from collectors.simulate.serving import Engine, Node, Slowdown
from collectors.simulate.spans import Batch
from collectors.simulate.workload import NS, Ints, Workload, azure_trace

HISTORY: Final = "demo-history"
LIVE: Final = "demo-live"
MODEL: Final = "llama-3.3-70b-instruct"
CHAT, DOCS = "chat-api", "docs-assistant"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens in the demo; times in seconds after the first arrival, shares from 0 to 1.

    Parameters
    ----------
    slow_node, slow_start_s, slow_end_s, slow_factor
        This node takes `slow_factor` times as long for everything within the window.
    slow_error_share, error_share, cancelled_share, impatient_share
        Share of calls that fail on the slow node within the window, and anywhere else; share that users
        cancel, and share that they cancel when the first token took longer than `impatient_s`.
    release_s
        When release `new_release` replaces `old_release` everywhere; it changes nothing but its name.
    docs_share
        Share of users of the service `docs-assistant`, which retrieves documents before each call; others use
        `chat-api`.
    users, session_idle_s
        Number of users; a user who was idle for that long begins a new session.
    """

    slow_node: str = "gpu-2"
    slow_start_s: float = 38 * 60.0
    slow_end_s: float = 46 * 60.0
    slow_factor: float = 1.7
    slow_error_share: float = 0.05
    error_share: float = 0.002
    cancelled_share: float = 0.006
    impatient_share: float = 0.15
    impatient_s: float = 1.5
    release_s: float = 30 * 60.0
    old_release: str = "2.0.0"
    new_release: str = "2.1.0"
    docs_share: float = 0.3
    users: int = 300
    session_idle_s: float = 480.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """A node of the demo: what it costs and what runs on it."""

    name: str
    variant: str
    region: str
    deployment: str
    pricing: str
    engine: Engine


# fp8 halves the bytes of the weights: the demo takes prefill as 1.5 times and a step as 1.4 times as fast.
_FP8: Final = Engine(prefill_tokens_per_s=13_000.0, step_base_s=0.0146)
PLACES: Final = (
    Place(
        name="gpu-1",
        variant="fp16",
        region="eu-west",
        deployment="on_premises",
        pricing="owned",
        engine=Engine(),
    ),
    Place(
        name="gpu-2",
        variant="fp16",
        region="eu-west",
        deployment="on_premises",
        pricing="owned",
        engine=Engine(),
    ),
    Place(name="gpu-3", variant="fp8", region="us-east", deployment="cloud", pricing="on_demand", engine=_FP8),
)


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that was put into the traffic on purpose; times in Unix nanoseconds."""

    name: str
    text: str
    start_ns: int
    end_ns: int
    where: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class DemoHour:
    """The calls of one pass over the trace, at absolute times, and what was done to them."""

    calls: Calls
    origins: tuple[Origin, ...]
    incidents: tuple[Incident, ...]


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What became of the loaded hour, and of the live traffic after it."""

    history: ReplayResult
    live: ReplayResult


def demo_traffic(
    *,
    endpoint: str,
    stop: threading.Event,
    protocol: str = "grpc",
    headers: Mapping[str, str] | None = None,
    scenario: Scenario | None = None,
    seed: int = 0,
    live_speed: float = 1.0,
    on_progress: Progress | None = None,
    on_loaded: Callable[[ReplayResult, DemoHour], None] | None = None,
) -> DemoResult:
    """Load the last hour, then go on live until `stop` is set.

    The loaded hour ends now; live traffic carries on from its last arrival with the same trace from the
    beginning, at `live_speed` times real time. `on_loaded` is called in between, with what became of the hour
    and what is in it.

    Raises
    ------
    NoReceiver, ReplayFailed
        As `replay` does.
    """
    scenario = scenario or Scenario()
    trace = azure_trace()
    hour = demo_hour(trace, scenario, seed=seed, end_ns=time.time_ns())
    history = _load(hour, endpoint, protocol, headers, stop, on_progress)
    if on_loaded is not None:
        on_loaded(history, hour)
    with open_sender(endpoint, protocol=protocol, headers=headers, in_flight=2, patience_s=600.0, stop=stop) as sender:
        encoder = new_encoder(hour.origins, LIVE)
        for calls in live_calls(trace, scenario, seed=seed, after_ns=int(hour.calls.start_ns[-1]), speed=live_speed):
            if stop.is_set():
                break
            send_live(sender, encoder, calls, batch=512, stop=stop)
    return DemoResult(history=history, live=sender.result)


def load_history(
    *,
    endpoint: str,
    protocol: str = "grpc",
    headers: Mapping[str, str] | None = None,
    scenario: Scenario | None = None,
    seed: int = 0,
    end_ns: int | None = None,
    stop: threading.Event | None = None,
    on_progress: Progress | None = None,
) -> tuple[ReplayResult, DemoHour]:
    """Send the demo's hour only, ending at `end_ns` (default: now)."""
    hour = demo_hour(azure_trace(), scenario or Scenario(), seed=seed, end_ns=end_ns or time.time_ns())
    return _load(hour, endpoint, protocol, headers, stop or threading.Event(), on_progress), hour


def demo_hour(trace: Workload, scenario: Scenario, *, seed: int, end_ns: int) -> DemoHour:
    """The trace on the demo's servers, its last span ending at `end_ns`."""
    calls = ending_at(_calls(trace, scenario, seed=seed, release_s=scenario.release_s), end_ns)
    first_ns, last_ns = int(calls.start_ns[0]), int(calls.start_ns[-1])
    incidents = (
        Incident(
            name="release",
            text=f"Release {scenario.new_release} replaced {scenario.old_release}.",
            start_ns=first_ns + int(scenario.release_s * NS),
            end_ns=last_ns,
            where={"release": scenario.new_release},
        ),
        Incident(
            name="slow node",
            text=f"{scenario.slow_node} was {scenario.slow_factor:g} times as slow and failed more often.",
            start_ns=first_ns + int(scenario.slow_start_s * NS),
            end_ns=first_ns + int(scenario.slow_end_s * NS),
            where={"node": scenario.slow_node},
        ),
        Incident(
            name="quantised variant",
            text="gpu-3 served the fp8 variant, the others fp16.",
            start_ns=first_ns,
            end_ns=last_ns,
            where={"variant": "fp8"},
        ),
    )
    return DemoHour(calls=calls, origins=_origins(scenario), incidents=incidents)


def live_calls(trace: Workload, scenario: Scenario, *, seed: int, after_ns: int, speed: float) -> Iterator[Calls]:
    """Pass after pass over the trace without end, each one usual gap after the last arrival before it."""
    gap_ns = int(trace.arrival_ns[-1]) // max(len(trace) - 1, 1)
    while True:
        seed += 1
        calls = _calls(trace, scenario, seed=seed, release_s=0.0)
        arrivals = after_ns + np.rint((calls.start_ns + gap_ns) / speed).astype(np.int64)
        after_ns = int(arrivals[-1])
        yield calls.starting_at(arrivals)


def _load(
    hour: DemoHour,
    endpoint: str,
    protocol: str,
    headers: Mapping[str, str] | None,
    stop: threading.Event,
    on_progress: Progress | None,
) -> ReplayResult:
    total, answered = int(hour.calls.spans.sum()), 0

    def on_batch(batch: Batch, _accepted: int) -> None:
        nonlocal answered
        answered += batch.spans
        if on_progress is not None:
            on_progress(answered, total)

    with open_sender(
        endpoint,
        protocol=protocol,
        headers=headers,
        in_flight=4,
        patience_s=60.0,
        stop=stop,
        on_batch=on_batch,
    ) as sender:
        send_all(sender, new_encoder(hour.origins, HISTORY), hour.calls, batch=512, stop=stop)
    return sender.result


# --- making up ----------------------------------------------------------------------------------------------


def _calls(trace: Workload, scenario: Scenario, *, seed: int, release_s: float) -> Calls:
    rng = np.random.default_rng([seed, 2])
    user, session, docs = _people(trace.arrival_ns, scenario, rng)
    slow = Slowdown(start_s=scenario.slow_start_s, end_s=scenario.slow_end_s, factor=scenario.slow_factor)
    nodes = [
        Node(
            name=place.name,
            engine=place.engine,
            slowdowns=(slow,) if place.name == scenario.slow_node else (),
        )
        for place in PLACES
    ]
    calls = served_calls(trace, nodes=nodes, seed=seed, parents=_parents(docs, rng))
    released = trace.arrival_ns >= release_s * NS
    error, cancelled = _mishaps(calls, scenario, rng)
    return dataclasses.replace(
        calls,
        origin=_origin_index(calls.origin, docs, released),
        error=error,
        finish=_finish_reasons(error, cancelled, trace.output_tokens),
        cancelled=cancelled,
        user=user,
        session=session,
    )


def _people(
    arrival_ns: Ints, scenario: Scenario, rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[str, ...], Ints]:
    """User and session of each request, and 1 where the user is one of the document assistant's, else 0."""
    # A few users ask often and many ask seldom.
    weight = 1.0 / np.arange(1, scenario.users + 1) ** 0.8
    who = rng.choice(scenario.users, size=len(arrival_ns), p=weight / weight.sum())
    of_docs = (rng.random(scenario.users) < scenario.docs_share).astype(np.int64)
    idle_ns = int(scenario.session_idle_s * NS)
    run = f"{rng.integers(2**32):08x}"
    last: dict[int, tuple[int, int]] = {}
    sessions = []
    for person, arrival in zip(who.tolist(), arrival_ns.tolist(), strict=True):
        number, seen = last.get(person, (0, -idle_ns - 1))
        number += arrival - seen > idle_ns
        last[person] = (number, arrival)
        sessions.append(f"session-{run}-{person + 1}-{number}")
    users = tuple(f"user-{person + 1:03d}" for person in who.tolist())
    return users, tuple(sessions), of_docs[who]


def _parents(docs: Ints, rng: np.random.Generator) -> Parents:
    around = made_up_parents(len(docs), rng, retrieval_share=1.0)
    retrieval_ns = np.where(docs == 1, around.retrieval_ns, 0)
    before_ns = around.before_ns - around.retrieval_ns + retrieval_ns
    return Parents(before_ns=before_ns, after_ns=around.after_ns, retrieval_ns=retrieval_ns)


def _mishaps(calls: Calls, scenario: Scenario, rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Errors and cancellations. They keep the file's tokens: the engine had generated them all the same."""
    at_s = calls.start_ns / NS
    slow_index = [place.name for place in PLACES].index(scenario.slow_node)
    in_window = (calls.origin == slow_index) & (at_s >= scenario.slow_start_s) & (at_s < scenario.slow_end_s)
    fails = rng.random(len(calls)) < np.where(in_window, scenario.slow_error_share, scenario.error_share)
    waited = calls.ttft_s > scenario.impatient_s
    leaves = rng.random(len(calls)) < np.where(waited, scenario.impatient_share, scenario.cancelled_share)
    names = np.where(in_window, "TimeoutError", "ConnectionResetError")
    error = tuple(name if failed else "" for name, failed in zip(names.tolist(), fails.tolist(), strict=True))
    return error, tuple((leaves & ~fails).tolist())


def _finish_reasons(error: tuple[str, ...], cancelled: tuple[bool, ...], output_tokens: Ints) -> tuple[str, ...]:
    limit = int(output_tokens.max())
    return tuple(
        "error" if failed else "" if left else "length" if tokens == limit else "stop"
        for failed, left, tokens in zip(error, cancelled, output_tokens.tolist(), strict=True)
    )


def _origins(scenario: Scenario) -> tuple[Origin, ...]:
    """Every node with both services and both releases, in the order that `_origin_index` counts."""
    return tuple(
        Origin(
            service=service,
            node=place.name,
            model=MODEL,
            provider="vllm",
            variant=place.variant,
            release=release,
            environment="demo",
            region=place.region,
            deployment=place.deployment,
            pricing=place.pricing,
            gpu="H100",
        )
        for place in PLACES
        for service in (CHAT, DOCS)
        for release in (scenario.old_release, scenario.new_release)
    )


def _origin_index(node: Ints, docs: Ints, released: np.typing.NDArray[np.bool_]) -> Ints:
    return (node * 2 + docs) * 2 + released
