"""`probes.`: how a model answers prompts that we send it ourselves; never of live calls."""

from __future__ import annotations

from typing import Final

from monitor.kpis.kpi import Kpi
from monitor.kpis.probe_estimators import LookedUp, Unequal

KPIS: Final = (
    Kpi(
        name="probes.unequal",
        unit="comparison",
        meaning="Comparisons of a group with its baseline, in the newest run of probes that surely differ by more than the tolerance.",
        formula="rows of the newest run with the verdict unequal; n is how many have a verdict",
        better="lower",
        source="probes_paired",
        estimator=Unequal(),
        window="7d",
    ),
    Kpi(
        name="probes.difference",
        unit="difference",
        meaning="Group less baseline over pairs of prompts that differ in the group's term alone; of one metric and cohort.",
        formula="mean over pairs of score of the group's answer − score of the baseline's",
        better=None,
        source="probes_paired",
        estimator=LookedUp(what="comparisons"),
        window="7d",
    ),
    Kpi(
        name="probes.bbq",
        unit="percent",
        meaning="Scores of BBQ as the endpoint answered its questions; of one metric and cohort (category). See docs/bias.md.",
        formula="bbq.ambiguous, bbq.disambiguated, bbq.accuracy…: docs/bias.md",
        better=None,
        source="probes_bbq",
        estimator=LookedUp(what="scores"),
        window="30d",
    ),
)
