"""What one replica of a model can do, and which share of the requests a number of replicas serves in time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from monitor.stats.plan.load import Floats
from monitor.stats.plan.queueing import both_waits_exceed, erlang_c, wait_rate

Routing = Literal["shared", "random"]
ROUTINGS: Final = ("shared", "random")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One model on one kind of GPU, as measured by a load test or stated by its maker.

    Parameters
    ----------
    model, gpu : str
        What runs on what.
    gpus : int
        GPUs of one replica.
    prefill_tokens_per_s : float
        Prompt tokens read per second, one prompt at a time.
    overhead_s : float
        Fixed time before the first token: scheduling, the step that is just running, network.
    tpot_s : float
        Time per output token of a sequence that is alone.
    decode_tokens_per_s : float
        Tokens per second of all sequences together in a full batch.
    concurrency : int
        Sequences in a full batch.
    source, as_of : str
        Where the figures come from, and of which day they are.
    """

    model: str
    gpu: str
    gpus: int = 1
    prefill_tokens_per_s: float
    overhead_s: float = 0.0
    tpot_s: float
    decode_tokens_per_s: float
    concurrency: int
    source: str = ""
    as_of: str = ""

    def __post_init__(self) -> None:
        positive = (self.prefill_tokens_per_s, self.tpot_s, self.decode_tokens_per_s)
        if not all(0 < value < math.inf for value in positive) or self.gpus < 1 or self.concurrency < 1:
            raise ValueError(f"the speeds, GPUs and concurrency of {self.model} on {self.gpu} must be above 0")
        if self.overhead_s < 0:
            raise ValueError(f"overhead_s of {self.model} on {self.gpu} must not be below 0")
        most = self.concurrency / self.tpot_s
        if self.decode_tokens_per_s > most * (1 + 1e-9):
            raise ValueError(
                f"decode_tokens_per_s of {self.model} on {self.gpu} is {self.decode_tokens_per_s:g}, but {self.concurrency}"
                f" sequences of {self.tpot_s:g} s per token give {most:g} at most"
            )

    @property
    def name(self) -> str:
        return f"{self.gpus}x {self.gpu}"

    @property
    def step_per_sequence_s(self) -> float:
        """A decode step of n sequences takes `step_base_s + n * step_per_sequence_s`."""
        full_s = self.concurrency / self.decode_tokens_per_s
        return 0.0 if self.concurrency == 1 else max(0.0, (full_s - self.tpot_s) / (self.concurrency - 1))

    @property
    def step_base_s(self) -> float:
        return self.tpot_s - self.step_per_sequence_s

    def work_s(self, input_tokens: float, output_tokens: float) -> float:
        """Seconds of a replica that a request takes when the batch is full."""
        return self.overhead_s + input_tokens / self.prefill_tokens_per_s + output_tokens / self.decode_tokens_per_s


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """What a fleet has to keep.

    Parameters
    ----------
    ttft_s : float
        A request is in time if its first token comes within this, counted from its arrival.
    tpot_s : float, optional
        ... and the time per further token is not above this.
    attainment : float
        Share of the requests of each slot that must be in time, in (0, 1).
    routing : str
        `shared`: one queue for all replicas, as a router by least load comes near to; `random`: each replica has a
        queue of its own.
    """

    ttft_s: float = 2.0
    tpot_s: float | None = None
    attainment: float = 0.95
    routing: Routing = "shared"

    def __post_init__(self) -> None:
        if not 0 < self.ttft_s < math.inf:
            raise ValueError(f"the objective of the time to first token must be above 0 s, not {self.ttft_s:g}")
        if self.tpot_s is not None and not 0 < self.tpot_s < math.inf:
            raise ValueError(f"the objective of the time per output token must be above 0 s, not {self.tpot_s:g}")
        if not 0 < self.attainment < 1:
            raise ValueError(f"attainment must be between 0 and 1, not {self.attainment:g}")
        if self.routing not in ROUTINGS:
            raise ValueError(f"routing is one of {', '.join(ROUTINGS)}, not `{self.routing}`")


def attainment(
    rate_rps: ArrayLike,
    replicas: ArrayLike,
    *,
    engine: Engine,
    prompt_nodes: Floats,
    output_tokens: float,
    objectives: Objectives,
    delay_s: float = 0.0,
) -> Floats:
    """Share of requests in time, at a steady rate on a number of replicas.

    Parameters
    ----------
    rate_rps, replicas : array of float
        Requests per second and replicas, broadcast against each other.
    engine, objectives
        What runs, and what is wanted.
    prompt_nodes : array of float, shape (nodes,)
        Prompt sizes in tokens that stand for equal shares of the requests.
    output_tokens : float
        Mean tokens of an answer.
    delay_s : float
        Further seconds before the first token, such as a cold start.

    Returns
    -------
    array of float
        In [0, 1]; 1 at rate 0, 0 without replicas and where the queue grows without end.

    Notes
    -----
    Prompts are read one at a time per replica and before all else; decoding has the rest of the time. So (1) the
    wait for reading is that of an M/G/c queue with the replicas as servers; (2) in a replica n sequences decode on
    average, with n = a base / (free - a slope), a the output tokens per second that it has to make and free the
    share of time that reading leaves; (3) the wait for a place in a batch is that of an M/M/c queue with all places
    as servers and the time in the batch as service. A request is in time if the sum of both waits and its own
    reading is within the objective, and if the batch that it joins, which has a Poisson number of sequences, is not
    too large for `tpot_s`.
    """
    rate, count = np.broadcast_arrays(np.asarray(rate_rps, dtype=np.float64), np.asarray(replicas, dtype=np.float64))
    some = count > 0
    n = np.where(some, count, 1.0)
    prefill_s = engine.overhead_s + prompt_nodes / engine.prefill_tokens_per_s
    mean_s = max(float(prefill_s.mean()), 1e-9)  # also without overhead and tokens
    scv = float(prefill_s.var()) / mean_s**2
    free = 1 - rate * mean_s / n
    tokens = rate * output_tokens / n
    spare = free - tokens * engine.step_per_sequence_s
    stable = (free > 0) & (spare > 0)
    free, spare = np.where(stable, free, 1.0), np.where(stable, spare, 1.0)
    batch = tokens * engine.step_base_s / spare
    tpot_s = (engine.step_base_s + engine.step_per_sequence_s * batch) / free
    stay_s = mean_s + output_tokens * tpot_s
    queues = n if objectives.routing == "random" else np.ones_like(n)
    arrivals, servers = rate / queues, n / queues
    offered, places = arrivals * mean_s, servers * engine.concurrency
    stable &= arrivals * stay_s < places
    waits_a, rate_a = erlang_c(servers, offered), wait_rate(servers, offered, mean_s, scv=scv)
    waits_b, rate_b = erlang_c(places, arrivals * stay_s), wait_rate(places, arrivals * stay_s, stay_s)
    late = np.zeros(rate.shape)
    for own_s in prefill_s:
        late += both_waits_exceed(objectives.ttft_s - delay_s - own_s, waits_a, rate_a, waits_b, rate_b)
    in_time = (1 - late / len(prefill_s)) * _steps_in_time(batch, free, output_tokens, engine, objectives)
    return np.where(rate <= 0, 1.0, np.where(stable & some, in_time, 0.0))


def _steps_in_time(batch: Floats, free: Floats, output_tokens: float, engine: Engine, objectives: Objectives) -> Floats:
    """P(the batch that a request joins leaves each token within the objective)."""
    if objectives.tpot_s is None or output_tokens <= 1:
        return np.ones_like(batch)
    room_s = objectives.tpot_s * free - engine.step_base_s
    if engine.step_per_sequence_s == 0:
        return np.where(room_s >= 0, 1.0, 0.0)
    others = np.floor(room_s / engine.step_per_sequence_s * (1 + 1e-12)) - 1
    return np.where(others >= 0, special.pdtr(np.maximum(others, 0.0), batch), 0.0)
