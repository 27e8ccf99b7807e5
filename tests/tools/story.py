"""The demo's traffic up to some moment after its begin, sent at once: what a clock that a test sets can go through."""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from collectors.simulate.history import Demo
from collectors.simulate.replay import new_encoder
from collectors.simulate.scenario import Scenario
from collectors.simulate.senders import by_end, open_senders, send_calls
from collectors.simulate.workload import NS, azure_trace
from collectors.simulate.world import World

LIVE: Final = "demo-live"


def load_story(endpoint: str, scenario: Scenario, *, began_ns: int, until_s: float) -> int:
    """Send the demo's hour, and what follows live until `until_s` after it; how many calls that were."""
    stop = threading.Event()
    world = World(azure_trace(), scenario, seed=0, began_ns=began_ns)
    demo = Demo(world, endpoint=endpoint, stop=stop)
    sent = demo.load(days=0).spans.calls
    live = next(world.live(after_ns=int(demo.hour.calls.start_ns[-1]), speed=1.0)).calls
    order = by_end(live)
    order = order[live.end_ns[order] <= began_ns + round(until_s * NS)]
    with open_senders(
        endpoint, protocol="grpc", headers=None, in_flight=4, patience_s=60.0, stop=stop
    ) as senders:  # fmt: skip
        for _ in send_calls(senders.spans, new_encoder(world.origins, LIVE), live, np.asarray(order), stop=stop):
            pass
    return sent + len(order)
