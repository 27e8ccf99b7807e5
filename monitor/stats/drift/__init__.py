"""Drift between a reference and what is current: effects with intervals, and verdicts; numbers in, numbers out."""

from monitor.stats.drift.bins import CategoryBins, Counts, NumberBins, quantile_edges, quantile_names
from monitor.stats.drift.domain import DOMAIN, compare_tables, compare_texts
from monitor.stats.drift.embeddings import ENERGY, compare_embeddings
from monitor.stats.drift.homogeneity import Homogeneity, homogeneity
from monitor.stats.drift.methods import DEFAULT, METHODS, Method, compare_counts, compare_shares, compare_values
from monitor.stats.drift.sequential import Watch, WatchState, calibrated, e_values_bh
from monitor.stats.drift.tables import Options, compare, kind_of, left_out
from monitor.stats.drift.topics import Topics, compare_topics, find_topics, topics_of
from monitor.stats.drift.verdict import ALPHA, ROWS_MIN, Drift, judge, judge_watched, ranked

__all__ = [
    "ALPHA",
    "DEFAULT",
    "DOMAIN",
    "ENERGY",
    "METHODS",
    "ROWS_MIN",
    "CategoryBins",
    "Counts",
    "Drift",
    "Homogeneity",
    "Method",
    "NumberBins",
    "Options",
    "Topics",
    "Watch",
    "WatchState",
    "calibrated",
    "compare",
    "compare_counts",
    "compare_embeddings",
    "compare_shares",
    "compare_tables",
    "compare_texts",
    "compare_topics",
    "compare_values",
    "e_values_bh",
    "find_topics",
    "homogeneity",
    "judge",
    "judge_watched",
    "kind_of",
    "left_out",
    "quantile_edges",
    "quantile_names",
    "ranked",
    "topics_of",
]
