"""One side of `benchmarks.drift`: reads the data, then compares once for each line that it is sent."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

Answer = tuple[list[str], dict[str, float]]


def ours(methods: tuple[str, ...]) -> Callable[[pd.DataFrame, pd.DataFrame], Answer]:
    """Our comparison with these methods."""
    from monitor.stats.drift import Options, compare

    options = Options(methods=methods)

    def run(reference: pd.DataFrame, current: pd.DataFrame) -> Answer:
        found = compare(reference, current, options=options)
        values = {each.feature: each.value for each in found if each.value is not None}
        return [each.feature for each in found if each.drifted], values

    return run


def our_texts(*, topics: bool) -> Callable[[pd.DataFrame, pd.DataFrame], Answer]:
    """Our comparison of text columns, by words alone or by topics too."""
    from monitor.stats.drift import compare_texts, compare_topics, judge

    def run(reference: pd.DataFrame, current: pd.DataFrame) -> Answer:
        found = []
        for name in reference:
            found.append(compare_texts(name, reference[name], current[name]))
            told = compare_topics(name, reference[name], current[name]) if topics else None
            found += [told] if told is not None else []
        judged = judge(found)
        values = {each.feature: round(each.value, 4) for each in judged if each.value is not None}
        return [each.feature for each in judged if each.drifted], values

    return run


def evidently_texts() -> Callable[[pd.DataFrame, pd.DataFrame], Answer]:
    """Evidently's drift of text columns, with its own defaults."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    def run(reference: pd.DataFrame, current: pd.DataFrame) -> Answer:
        definition = DataDefinition(text_columns=list(reference))
        sides = [Dataset.from_pandas(side, data_definition=definition) for side in (current, reference)]
        told = Report([ValueDrift(column=name) for name in reference]).run(*sides).dict()
        drifted, values = [], {}
        for metric in told["metrics"]:
            column = metric["config"]["column"]
            values[column] = round(float(metric["value"]), 4)
            drifted += [column] if float(metric["value"]) > metric["config"]["threshold"] else []
        if len(values) != len(reference.columns):
            raise SystemExit(f"unfair: Evidently told of {len(values)} columns: {json.dumps(told, default=str)[:2000]}")
        return drifted, values

    return run


def evidently() -> Callable[[pd.DataFrame, pd.DataFrame], Answer]:
    """Evidently's preset for drift, as its documentation has it."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    def run(reference: pd.DataFrame, current: pd.DataFrame) -> Answer:
        categories = [name for name in reference if name.startswith("c")]
        definition = DataDefinition(
            numerical_columns=[name for name in reference if name not in categories], categorical_columns=categories
        )
        sides = [Dataset.from_pandas(side, data_definition=definition) for side in (current, reference)]
        told = Report([DataDriftPreset()]).run(*sides).dict()
        drifted, values = [], {}
        for metric in told["metrics"]:
            config = metric.get("config", {})
            if "column" in config and "threshold" in config:
                values[config["column"]] = float(metric["value"])
                if float(metric["value"]) >= config["threshold"]:
                    drifted.append(config["column"])
        if len(values) != len(reference.columns):
            raise SystemExit(f"unfair: Evidently told of {len(values)} columns: {json.dumps(told, default=str)[:2000]}")
        return drifted, values

    return run


def main() -> None:
    """Read, wait, compare, tell."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    kinds: dict[str, Callable[[], Any]] = {
        "default": lambda: ours(("jensen_shannon",)),
        "same": lambda: ours(("wasserstein",)),
        "words": lambda: our_texts(topics=False),
        "texts": lambda: our_texts(topics=True),
        "evidently_texts": evidently_texts,
        "evidently": evidently,
    }
    run = kinds[kind]()
    reference, current = (pd.read_parquet(folder / f"{side}.parquet") for side in ("reference", "current"))
    # What is loaded and compiled by the first run is not counted.
    run(reference.head(2000), current.head(2000))
    print("{}", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        drifted, values = run(reference, current)
        seconds = time.perf_counter() - began
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib, "drifted": drifted, "values": values}), flush=True)


if __name__ == "__main__":
    main()
