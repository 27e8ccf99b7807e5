"""`fleet.`: what GPUs do, what energy goes where, and whether load is spread evenly."""

from __future__ import annotations

from typing import Final

from monitor.kpis.fleet_estimators import EnergyPer, Evenness, HotNodes, OverTime
from monitor.kpis.kpi import Kpi

KPIS: Final = (
    Kpi(
        name="fleet.gpu_utilization",
        unit="1",
        meaning="Share of time in which any kernel ran, mean over GPUs and time. It does not say how full a GPU was.",
        formula="Σ time · (busy, else engine_active) / Σ time, over readings; time since the GPU's reading before",
        better=None,
        source="gpu_time",
        estimator=OverTime(reading="busy"),
    ),
    Kpi(
        name="fleet.gpu_memory",
        unit="1",
        meaning="Share of the GPUs' memory in use, mean over whole GPUs and time.",
        formula="Σ time · memory_used_bytes / memory_total_bytes / Σ time, over readings",
        better=None,
        source="gpu_time",
        estimator=OverTime(reading="memory"),
    ),
    Kpi(
        name="fleet.power",
        unit="W",
        meaning="Power that a GPU draws, mean over GPUs and time, idle ones included.",
        formula="Σ energy / Σ time for which it is known; energy from the counter where there is one, else power × time",
        better="lower",
        source="gpu_energy",
        estimator=EnergyPer(per="seconds"),
    ),
    Kpi(
        name="fleet.energy_per_token",
        unit="J/token",
        meaning=(
            "GPU energy for each output token. All energy of the nodes is in it: reading prompts, waiting, failing. Nodes"
            " without a call in the window are in it too."
        ),
        formula="Σ energy of the GPUs / Σ sample_weight · output_tokens of the calls on the same nodes",
        better="lower",
        source="gpu_energy",
        estimator=EnergyPer(per="tokens"),
    ),
    Kpi(
        name="fleet.energy_per_request",
        unit="J/call",
        meaning="GPU energy for each call, in the same way.",
        formula="Σ energy of the GPUs / Σ sample_weight of the calls on the same nodes",
        better="lower",
        source="gpu_energy",
        estimator=EnergyPer(per="requests"),
    ),
    Kpi(
        name="fleet.imbalance",
        unit="1",
        meaning=(
            "How unevenly calls are spread over the nodes of a service and model, beyond chance: the coefficient of"
            " variation of the nodes' shares; 0 is as even as random routing. Nodes without a call in the window are unknown."
        ),
        formula="sqrt(max(0, X² − (k − 1)) / N), X² of the nodes' calls against equal shares; over groups from sums",
        better="lower",
        source="nodes",
        estimator=Evenness(),
    ),
    Kpi(
        name="fleet.hot_node",
        unit="node",
        meaning=(
            "Nodes with more than their share of calls, or at which callers wait longer than at their peers (a tenth or"
            " more, and beyond chance). The note names them with the likely cause."
        ),
        formula="number of nodes with a binomial (load) or Welch (log TTFT, TPOT, e2e) test below 5 % / tests of the group",
        better="lower",
        source="nodes",
        estimator=HotNodes(),
    ),
)
