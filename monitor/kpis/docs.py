"""`docs/kpis.md` from the registry: `python -m monitor.kpis.docs [FILE]`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from monitor.kpis.dimensions import BY_MAX, DIMENSIONS, IDS
from monitor.kpis.families import DECLARED, DYNAMIC
from monitor.kpis.kpi import Kpi
from monitor.kpis.sources import SOURCES

_HEAD = f"""# KPIs

Made from the registry by `python -m monitor.kpis.docs`; change the registry, not this page.

## Reading a number

- `n` is the number of stored calls that a number is computed from. An interval holds the true value with 95 % confidence.
- Too little data is said, not drawn: the value is empty and the note tells why. A quantile has a value from the first
  call on; an end of its interval that would need more calls is left open, and the note says how many it needs.
- A call belongs to the window in which it began; windows are half-open and in UTC, and the last
  hour if none is given.
- A call that is reported by a client, a gateway and the engine is one call. Durations and tokens are the outermost
  party's where it reports them; node, GPU and the times of the stages are the engine's.
- Percentiles are exact, over the calls themselves, interpolated linearly between neighbours (numpy's default), and never
  averaged. With unequal weights a percentile is that of the calls repeated in proportion to their weights.
- Sampled calls count with their `sample_weight`, the number of calls that each stands for. Where all weights are 1, every
  number is the plain exact one. Where they are not, the note says how many unsampled calls the data is worth.
- Latencies leave out calls with an error: a fast refusal is no fast answer. Calls that the user broke off count for what
  they had come to (`ttft`, `queue`, `prefill`), since leaving them out would hide slow first tokens, but not for what was
  cut short (`tpot`, `e2e`, `decode`). A latency that nobody reported is unknown, never 0.
- Unknown is not zero: a total over calls of which none said how much has no value. A window without calls counts 0.

KPIs can be split (`--by`) by up to {BY_MAX} of, and filtered (`--where key=value`, `key=a,b` for any of them) on (a source
that has fewer says so below),
{", ".join(f"`{name}`" for name in DIMENSIONS)}, and also filtered on {", ".join(f"`{name}`" for name in IDS)}.
"""


def render() -> str:
    """The whole page."""
    parts = [_HEAD]
    everything = [*DECLARED, *(kpi for dynamic in DYNAMIC for kpi in dynamic.examples)]
    families = list(dict.fromkeys(kpi.family for kpi in everything))
    parts += [_family(family, [kpi for kpi in everything if kpi.family == family]) for family in families]
    return "\n".join(parts)


def _family(family: str, kpis: list[Kpi]) -> str:
    rows = ["| name | unit | better | meaning | formula | interval |", "|---|---|---|---|---|---|"]
    rows += [
        f"| `{kpi.name}` | {kpi.unit} | {kpi.better or ''} | {_cell(kpi.meaning)} | {_cell(kpi.formula)} |"
        f" {kpi.estimator.method} |"
        for kpi in kpis
    ]
    sources = dict.fromkeys(kpi.source for kpi in kpis)
    notes = [f"- Source `{name}`: {SOURCES[name].rows}.{_split(name)}" for name in sources]
    notes += [f"- Interval `{method}`: {sentence}." for method, sentence in _intervals(kpis)]
    return "\n".join([f"## `{family}.`", "", *rows, "", *notes, ""])


def _split(source: str) -> str:
    """By what it can be split, where that is not everything."""
    dimensions = SOURCES[source].dimensions
    left_out = [f"`{name}`" for name in DIMENSIONS if name not in dimensions]
    more = [f"`{name}`" for name in dimensions if name not in DIMENSIONS]
    if len(left_out) > len(dimensions):
        return f" By {', '.join(f'`{name}`' for name in dimensions)} alone." if dimensions else " Not to be split."
    without = f" Not by {', '.join(left_out)}." if left_out else ""
    return f"{without} Also by {', '.join(more)}." if more else without


def _intervals(kpis: Iterable[Kpi]) -> list[tuple[str, str]]:
    # Two estimators may share a method's name with different sentences; both are told.
    return list(dict.fromkeys((kpi.estimator.method, kpi.estimator.interval) for kpi in kpis))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/kpis.md")
    target.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
