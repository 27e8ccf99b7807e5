"""Looks of `drift` and `bias` at what happened in the demo's days before: as jobs that ran then would have left them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from collectors.simulate.scenario import HOUR, Kind, Scenario
from collectors.simulate.workload import NS
from monitor.jobs import bias, drift
from monitor.jobs.job import Context, Outcome
from monitor.settings import Settings
from monitor.settings.drift import CohortSettings, DriftSettings
from monitor.store import connect

# Live looks are over minutes; of the days before one call in 24 is there, so these are over hours.
_DRIFT: Final = DriftSettings(reference="previous", window="1h", rolling="12h", history="18h", lateness="1s")
_COHORTS: Final = CohortSettings(windows=["6h"], every="1h", lateness="1s", outcomes=["refusal"])
# Kind of episode -> which job looks, with which settings, and how long after its begin at most.
_LOOKS: Final[Mapping[Kind, tuple[Callable[[Context], Outcome], Mapping[str, object], float]]] = {
    "drifting topic": (drift.run, {"drift": _DRIFT}, 5 * HOUR),
    "biased refusals": (bias.run, {"cohorts": _COHORTS}, 7 * HOUR),
}


def look_back(settings: Settings, scenario: Scenario, began_ns: int) -> None:
    """Look once at each episode of the days before that a job is there for."""
    client = connect(settings.store_url)
    try:
        for episode in scenario.past:
            if episode.kind not in _LOOKS or episode.start_s < -scenario.days * 24 * HOUR:
                continue
            run, changed, after_s = _LOOKS[episode.kind]
            at_s = min(episode.end_s, episode.start_s + after_s)
            now = datetime.fromtimestamp(began_ns / NS + at_s, UTC)
            run(Context(client=client, settings=settings.model_copy(update=dict(changed)), now=now))
    finally:
        client.close()
