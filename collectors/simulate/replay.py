"""Replays a workload as OTLP traffic over the wire."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, Literal

import numpy as np

from collectors.simulate.calls import Calls, Origin, calls_of
from collectors.simulate.send import ReplayResult, Sender
from collectors.simulate.serving import Engine, Node, enough_nodes
from collectors.simulate.spans import Batch, Encoder
from collectors.simulate.workload import NS, Ints, Workload
from collectors.transport import Signal, open_transport
from monitor.errors import BadInput, Retryable

MAX_SPEED: Final = math.inf
CONNECT_TIMEOUT_S: Final = 5.0
# An SDK's batch processor flushes at least every few seconds; half a second keeps live pages lively.
FLUSH_S: Final = 0.5
UNNAMED_MODEL: Final = "replayed-model"

Progress = Callable[[int, int], None]


class NoReceiver(Retryable):
    """Nothing listens at the address."""


def parse_speed(text: str) -> float:
    """Speed as a person writes it: `max` or 0, or a factor such as `1`, `60`, `60x`.

    Examples
    --------
    >>> parse_speed("60x"), parse_speed("max"), parse_speed("0")
    (60.0, inf, inf)
    """
    word = text.strip().lower()
    if word in ("max", "inf"):
        return MAX_SPEED
    try:
        speed = float(word.removesuffix("x"))
    except ValueError:
        speed = math.nan
    if not speed >= 0:
        raise BadInput(f"Speed {text!r} is not a speed; wanted max, or a factor over real time such as 1 or 60.")
    return speed or MAX_SPEED


def replay(
    workload: Workload,
    *,
    endpoint: str,
    speed: float | Literal["max"] = "max",
    service: str = "replay",
    model: str | None = None,
    nodes: Sequence[str] | None = None,
    start: datetime | None = None,
    batch: int = 512,
    protocol: str = "grpc",
    headers: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
    on_acknowledged: Callable[[Batch], None] | None = None,
    with_parents: bool = True,
    variant: str = "",
    engine: Engine | None = None,
    seed: int = 0,
    in_flight: int = 4,
    patience_s: float = 60.0,
    stop: threading.Event | None = None,
) -> ReplayResult:
    """Send a workload as OTLP traces and say what became of each span.

    At speed "max" history is back-filled: the original spacing is kept, the last span ends now (or the first
    call arrives at `start`), and requests go out as fast as they are acknowledged. At a finite speed the
    traffic is live: a call arrives when its turn comes on the wall clock, gaps between arrivals are divided
    by the speed, latencies are as they were, and a span is sent after it has ended.

    Parameters
    ----------
    workload : Workload
        From `read_workload`.
    endpoint : str
        `host:port`, or a URL (https: TLS) of an OTLP receiver.
    speed : float or "max"
        Factor over real time; 0 or infinity mean "max".
    service, model, variant : str
        What the spans say; the model defaults to the workload's.
    nodes : sequence of str, optional
        Names of the serving nodes. Default: one for a measured run, and as many as the serving model needs to
        keep up for an arrival trace.
    start : datetime, optional
        Arrival of the first call, at speed "max" only; without a zone it is UTC.
    batch : int
        Most spans in a request; the spans of a call stay together, so below 3 a request may hold up to 3.
    protocol : {"grpc", "http"}
        OTLP/gRPC, or OTLP/HTTP with protobuf.
    headers : mapping, optional
        Sent with each request, for example `{"authorization": "Bearer …"}`.
    on_progress : callable, optional
        Called with (spans answered, spans in all), by one thread at a time.
    on_acknowledged : callable, optional
        Called with each batch that was accepted whole.
    with_parents : bool
        Put an HTTP server span, and for a quarter of the calls a retrieval, around each call.
    engine : Engine, optional
        Parameters of the serving model.
    seed : int
        Of all that is made up; trace and span ids are always new.
    in_flight, patience_s
        Requests under way at once; seconds for which one request is tried again.
    stop : threading.Event, optional
        Ends the replay early when set; what was handed over is still counted.

    Raises
    ------
    BadInput
        If an argument makes no sense.
    NoReceiver
        If nothing listens at the endpoint.
    ReplayFailed
        If sending had to end early; its `result` has the counts.
    """
    factor = MAX_SPEED if speed == "max" or speed == 0 else float(speed)
    _check(factor, batch, in_flight, start, nodes)
    stop = stop or threading.Event()
    engine = engine or Engine()
    names = list(nodes) if nodes else _node_names(workload, engine)
    placed = [Node(name=name, engine=engine) for name in names]
    calls = calls_of(workload, nodes=placed, seed=seed, with_parents=with_parents)
    origins = [
        Origin(
            service=service,
            node=name,
            model=model or workload.model or UNNAMED_MODEL,
            provider=workload.provider or "vllm",
            variant=variant,
        )
        for name in names
    ]
    total, answered = int(calls.spans.sum()), 0

    def on_batch(sent: Batch, accepted: int) -> None:
        nonlocal answered
        answered += sent.spans
        if on_acknowledged is not None and accepted == sent.spans:
            on_acknowledged(sent)
        if on_progress is not None:
            on_progress(answered, total)

    encoder = new_encoder(origins, "replay")
    with open_sender(
        endpoint,
        protocol=protocol,
        headers=headers,
        in_flight=in_flight,
        patience_s=patience_s,
        stop=stop,
        on_batch=on_batch,
    ) as sender:
        if math.isinf(factor):
            send_all(sender, encoder, _placed_in_time(calls, start), batch=batch, stop=stop)
        else:
            arrivals = time.time_ns() + np.rint(calls.start_ns / factor).astype(np.int64)
            send_live(sender, encoder, calls.starting_at(arrivals), batch=batch, stop=stop)
    return sender.result


def _check(factor: float, batch: int, in_flight: int, start: datetime | None, nodes: Sequence[str] | None) -> None:
    if not factor > 0:
        raise BadInput(f"Speed {factor} is not a speed; wanted max, or a factor over real time such as 1 or 60.")
    if batch < 1 or in_flight < 1:
        raise BadInput(f"Batch {batch} and {in_flight} requests in flight make no replay; both must be at least 1.")
    if start is not None and not math.isinf(factor):
        raise BadInput("A start can be given at speed max only; at any other speed the calls happen now.")
    if nodes is not None and not all(nodes):
        raise BadInput("A node's name cannot be empty.")


def _node_names(workload: Workload, engine: Engine) -> list[str]:
    count = 1 if workload.measured is not None else enough_nodes(workload, engine)
    return [f"node-{n + 1}" for n in range(count)]


def _placed_in_time(calls: Calls, start: datetime | None) -> Calls:
    if start is None:
        return ending_at(calls, time.time_ns())
    moment = start if start.tzinfo else start.replace(tzinfo=UTC)
    # Whole microseconds, counted in integers: a float of seconds since 1970 is off by some hundred
    # nanoseconds.
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return calls.shifted(((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000)


def ending_at(calls: Calls, end_ns: int) -> Calls:
    """The calls moved so that their last span ends at `end_ns`."""
    return calls.shifted(end_ns - int(calls.end_ns.max()))


# --- sending, shared with the demo --------------------------------------------------------------------------


def new_encoder(origins: Sequence[Origin], purpose: str) -> Encoder:
    """An encoder whose emitters and ids nobody else has."""
    return Encoder(
        origins, emitter=f"{purpose}-{secrets.token_hex(4)}", ids=np.random.default_rng(secrets.randbits(128))
    )


@contextmanager
def open_sender(
    endpoint: str,
    *,
    protocol: str,
    headers: Mapping[str, str] | None,
    in_flight: int,
    patience_s: float,
    stop: threading.Event,
    on_batch: Callable[[Batch, int], None] | None = None,
    signal: Signal = "traces",
) -> Iterator[Sender]:
    """A sender to an endpoint that was seen to listen; leaving the block waits for all answers."""
    transport = open_transport(endpoint, protocol, headers, signal=signal)
    try:
        if not transport.reachable(CONNECT_TIMEOUT_S):
            name = "OTLP/gRPC" if protocol == "grpc" else "OTLP/HTTP"
            raise NoReceiver(
                f"No {name} receiver answers at {endpoint} (waited {CONNECT_TIMEOUT_S:g} s); "
                "start one with `monitor up`, or give the right address."
            )
        with Sender(
            transport,
            endpoint=endpoint,
            in_flight=in_flight,
            patience_s=patience_s,
            stop=stop,
            on_batch=on_batch,
        ) as sender:
            yield sender
    finally:
        transport.close()


def send_all(sender: Sender, encoder: Encoder, calls: Calls, *, batch: int, stop: threading.Event) -> None:
    """Send calls in the order in which they ended, as fast as they are acknowledged."""
    order = np.argsort(calls.end_ns, kind="stable")
    for picked in slices(calls, order, batch):
        if stop.is_set():
            return
        sender.put(encoder.encode(calls, picked))


def send_live(sender: Sender, encoder: Encoder, calls: Calls, *, batch: int, stop: threading.Event) -> None:
    """Send calls on the wall clock, each after its last span has ended."""
    order = np.argsort(calls.end_ns, kind="stable")
    due_ns = calls.end_ns[order]
    done = 0
    while done < len(order) and not stop.is_set():
        ready = int(np.searchsorted(due_ns, time.time_ns(), side="right"))
        for picked in slices(calls, order[done:ready], batch):
            sender.put(encoder.encode(calls, picked))
        done = ready
        if done < len(order):
            stop.wait(max(FLUSH_S, (int(due_ns[done]) - time.time_ns()) / NS))


def slices(calls: Calls, order: Ints, batch: int) -> Iterator[Ints]:
    """Cut calls into pieces of about `batch` spans each; the spans of a call stay together."""
    filled = np.cumsum(calls.spans[order])
    begin = 0
    while begin < len(order):
        before = int(filled[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(filled, before + batch, side="right")))
        yield order[begin:end]
        begin = end
