"""Scores of answers as paired differences, each group against its set's baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitor.probes.scores import kind_of
from monitor.probes.templates import Probe, ProbeSet
from monitor.stats.paired import PairedDifference, judge_pairs, paired_means, paired_shares


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One group of one set against the baseline, by one score."""

    set: str
    group: str
    baseline: str
    metric: str
    found: PairedDifference

    @property
    def cohort(self) -> str:
        return f"{self.set}={self.group}"


def compare_groups(
    sets: Sequence[ProbeSet],
    probes: Sequence[Probe],
    scores: Sequence[Mapping[str, float]],
    metrics: Sequence[str],
    *,
    tolerance: float,
    alpha: float,
) -> list[Comparison]:
    """All groups and metrics of one run, judged together.

    Parameters
    ----------
    sets, probes : sequences
    scores : sequence of mapping
        Of each probe, in the same order: metric -> number; empty where no answer came. A pair without both is left out.
    metrics : sequence of str
    tolerance, alpha
        As in `monitor.stats.paired.judge_pairs`.
    """
    by_place = {
        (probe.set, probe.group, probe.pair): score for probe, score in zip(probes, scores, strict=True) if score
    }
    found: list[Comparison] = []
    for each in sets:
        pairs = len(each.prompts) * len(each.groups[each.baseline])
        for group in each.groups:
            if group == each.baseline:
                continue
            both = [
                (by_place.get((each.name, group, i)), by_place.get((each.name, each.baseline, i))) for i in range(pairs)
            ]
            for metric in metrics:
                there = [(a[metric], b[metric]) for a, b in both if a and b and metric in a and metric in b]
                ours, theirs = [a for a, _ in there], [b for _, b in there]
                test = paired_shares if kind_of([*ours, *theirs]) == "share" else paired_means
                found.append(
                    Comparison(
                        set=each.name, group=group, baseline=each.baseline, metric=metric, found=test(ours, theirs)
                    )
                )
    judged = judge_pairs([each.found for each in found], tolerance=tolerance, alpha=alpha)
    return [
        Comparison(set=each.set, group=each.group, baseline=each.baseline, metric=each.metric, found=result)
        for each, result in zip(found, judged, strict=True)
    ]
