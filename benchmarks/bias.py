"""All bias metrics of 50 groups, counted in ClickHouse, against fairlearn: `python -m benchmarks.bias [--rows 1e7] [--compare 1e6]`.

An embedded store holds rows with a group, label, prediction, a refusal and a latency, which ClickHouse makes up. Timed is
what `monitor bias` does: one statement that counts, and then five rates of the confusion table, the refusal rate and the
mean latency, with interval, shrunk value, test against the rest and false-discovery control for each group, and the gaps
with their verdicts. fairlearn gets the first rows in memory, in a virtual environment of its own, and computes four of the
metrics by group, with difference and ratio, and without intervals; both must say the same to 1e-9. Each is done three
times, and the fastest counts, as the machine has other work.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from monitor.stats.bias import BiasReport, Family, Sums, assess, confusion_measures, outcome
from monitor.store import Client, connect

GROUPS = 50
ROUNDS = 3
FAIRLEARN = "fairlearn==0.15.0"
# Runs in fairlearn's own environment; the rows come as counts of (group, label, prediction).
THEIRS = """
import json, sys, time
import numpy as np
import fairlearn.metrics as fl
from sklearn.metrics import accuracy_score
cells = np.array(json.loads(sys.stdin.read()))
group, label, said = (np.repeat(cells[:, i], cells[:, 3]) for i in range(3))
order = np.random.default_rng(0).permutation(len(group))
group, label, said = group[order], label[order], said[order]
metrics = {"accuracy": accuracy_score, "selection_rate": fl.selection_rate,
    "true_positive_rate": fl.true_positive_rate, "false_positive_rate": fl.false_positive_rate}
best = None
for _ in range(int(sys.argv[1])):
    begin = time.perf_counter()
    frame = fl.MetricFrame(metrics=metrics, y_true=label, y_pred=said, sensitive_features=group)
    by_group, difference, ratio = frame.by_group, frame.difference(), frame.ratio()
    took = time.perf_counter() - begin
    best = took if best is None else min(best, took)
print(json.dumps({"seconds": best, "by_group": {m: {int(k): float(v) for k, v in by_group[m].items()} for m in metrics},
    "difference": {m: float(difference[m]) for m in metrics}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=float, default=1e7, help="rows that are counted")
    parser.add_argument("--compare", type=float, default=1e6, help="rows for fairlearn; 0 leaves it out")
    options = parser.parse_args()
    rows, compare = int(options.rows), min(int(options.compare), int(options.rows))
    with tempfile.TemporaryDirectory(prefix="benchmark-bias-") as folder:
        client = connect(f"chdb://{Path(folder) / 'store'}")
        fill(client, rows)
        counted, judged, report = min(
            (measure(client, rows) for _ in range(ROUNDS)), key=lambda each: each[0] + each[1]
        )
        print(f"{rows:,} rows, {GROUPS} groups, {len(report.values)} values and {len(report.gaps)} gaps with intervals")
        print(
            f"counted in {counted:.3f} s, judged in {judged:.3f} s, together {counted + judged:.3f} s (bar: 1 s for 10 M rows)"
        )
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
        if compare:
            _compare(client, compare, Path(folder))
        client.close()


def fill(client: Client, rows: int) -> None:
    """Groups of unequal size; group 7 is refused more often, and predictions are right in 80 to 90 %."""
    client.command("""
CREATE TABLE rows (id UInt64, grp UInt8, label UInt8, prediction UInt8, refused UInt8, latency_s Float32)
ENGINE = MergeTree ORDER BY id""")
    client.command(f"""
INSERT INTO rows
WITH cityHash64(number) AS h, toUInt8(sqrt(h % 2500)) AS g, bitShiftRight(h, 16) % 1000 < 400 AS truth
SELECT number, g, truth, if(bitShiftRight(h, 28) % 1000 < 800 + 2 * g, truth, NOT truth),
    bitShiftRight(h, 40) % 1000 < if(g = 7, 80, 30), exp(randNormal(0, 0.5, number))
FROM numbers({rows})""")
    client.command("OPTIMIZE TABLE rows FINAL")


def measure(client: Client, rows: int) -> tuple[float, float, BiasReport]:
    """Seconds of counting and of all that follows."""
    begin = time.perf_counter()
    cells = count(client, rows)
    middle = time.perf_counter()
    report = assess([family(cells)])
    return middle - begin, time.perf_counter() - middle, report


def count(client: Client, rows: int) -> np.ndarray:
    """Rows of (group, label, prediction, n, refused, Σ latency, Σ latency²)."""
    found = client.query(f"""
SELECT grp, label, prediction, count(), sum(refused), sum(toFloat64(latency_s)), sum(toFloat64(latency_s) * latency_s)
FROM rows WHERE id < {rows} GROUP BY grp, label, prediction ORDER BY grp, label, prediction""")
    return np.array(found.result_rows, dtype=np.float64)


def family(cells: np.ndarray) -> Family:
    groups, codes = np.unique(cells[:, 0].astype(int), return_inverse=True)
    table = np.zeros((len(groups), 2, 2))
    table[codes, cells[:, 1].astype(int), cells[:, 2].astype(int)] = cells[:, 3]
    n, refused, total, squares = (np.bincount(codes, weights=cells[:, i]) for i in (3, 4, 5, 6))
    measures = [
        *confusion_measures(table),
        outcome("refusal", "share", Sums.of_shares(refused, n)),
        outcome("latency", "mean", Sums.of_moments(n, total, squares)),
    ]
    return Family(by="group", groups=tuple(map(str, groups)), measures=tuple(measures))


def _compare(client: Client, rows: int, folder: Path) -> None:
    """Time fairlearn on the first rows, and hold its numbers against ours."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", FAIRLEARN], check=True)
    counted, judged, report = min((measure(client, rows) for _ in range(ROUNDS)), key=lambda each: each[0] + each[1])
    cells = count(client, rows)[:, :4].astype(int).tolist()
    said = subprocess.run(
        [str(python), "-c", THEIRS, str(ROUNDS)], input=json.dumps(cells), capture_output=True, text=True, check=True
    ).stdout
    theirs = json.loads(said)
    ours = {(value.metric, value.group): value.value for value in report.values}
    gaps = {gap.of: gap.value for gap in report.gaps if gap.gap == "difference" and gap.metric != "equalized_odds"}
    apart = [abs(ours[m, g] - v) for m, groups in theirs["by_group"].items() for g, v in groups.items()]  # type: ignore[operator]
    apart += [abs(gaps[m] - v) for m, v in theirs["difference"].items()]  # type: ignore[operator]
    assert max(apart) < 1e-9, f"we and fairlearn differ by {max(apart)}"
    mine = counted + judged
    print(f"{rows:,} rows: {FAIRLEARN} {theirs['seconds']:.2f} s for four metrics, ours {mine:.3f} s for all:"
          f" {theirs['seconds'] / mine:.0f} times; the same to {max(apart):.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
