"""What watching a call of the `openai` package costs: our `instrument_openai`, OpenLLMetry's and OpenLIT's, in one run.

    python -m benchmarks.sdk_others [--rounds 15] [--calls 200] [--keep FOLDER]

Each library gets a virtual environment of its own, made here with pip, with the same version of `openai`; each side is a
process (`benchmarks/sdk_side.py`), and so is the bare client. What answers is a stub inside the client, and what is sent
is encoded to OTLP and thrown away. Content is off everywhere, metrics and log events too. In each round every side makes
its calls in turn; what the bare client took is subtracted within the round, and the quotients are taken within it as well.

Caller: CPU time of the thread that makes the calls. Total: CPU time of the process until all spans are encoded.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OPENAI = "openai>=2,<3"
COMMON = ["opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-common"]
# What pip is asked for, by side. The bare client runs in our environment.
NEEDS = {
    "monitor": [OPENAI, *COMMON],
    "openllmetry": [OPENAI, *COMMON, "opentelemetry-instrumentation-openai>=0.62"],
    # It brings the OpenTelemetry that it wants; asked for the newest, pip would go back years to find a fitting one.
    "openlit": [OPENAI, "openlit>=1.44"],
}
KINDS = ("chat", "stream")
SHOWN = {"monitor": "ours", "openllmetry": "OpenLLMetry", "openlit": "OpenLIT"}


class Side:
    """A process that makes calls when it is told to."""

    def __init__(self, name: str, python: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
        if name == "monitor":
            environment["PYTHONPATH"] = str(ROOT)
        self._process = subprocess.Popen(
            [str(python), str(ROOT / "benchmarks" / "sdk_side.py"), name],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.versions = self._answer()

    def run(self, kind: str, calls: int) -> dict[str, float]:
        """CPU microseconds of one call."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {calls}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(10)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{' '.join(map(str, self._process.args))} has ended")


def main() -> None:
    """Make the environments, run, print."""
    parser = argparse.ArgumentParser(description="CPU cost of watching a call, against OpenLLMetry and OpenLIT.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=200, help="calls of each side in a round")
    parser.add_argument(
        "--keep", type=Path, help="make the environments in this folder, and use them if they are there"
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pythons = {name: environment(folder / name, needs) for name, needs in NEEDS.items()}
        sides = {name: stack.enter_context(started(name, python)) for name, python in pythons.items()}
        bare = stack.enter_context(started("bare", pythons["monitor"]))
        for name, side in sides.items():
            print(f"{SHOWN[name]}: {side.versions}")
        for kind in KINDS:
            print_table(kind, measure(kind, bare, sides, options.rounds, options.calls))


@contextmanager
def started(name: str, python: Path) -> Iterator[Side]:
    """A side that is running."""
    side = Side(name, python)
    try:
        yield side
    finally:
        side.close()


def environment(folder: Path, needs: list[str]) -> Path:
    """A virtual environment with these packages; return its Python."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # An old pip takes minutes to find versions that fit together.
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        subprocess.run([*pip, *needs], check=True)
        (folder / "complete").touch()
    return python


def measure(
    kind: str, bare: Side, sides: dict[str, Side], rounds: int, calls: int
) -> dict[str, list[dict[str, float]]]:
    """What each side took more than the bare client, round by round."""
    for side in (bare, *sides.values()):
        side.run(kind, calls)  # warm up
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("bare", *sides)}
    for _ in range(rounds):
        nothing = bare.run(kind, calls)
        found["bare"].append(nothing)
        for name, side in sides.items():
            cost = side.run(kind, calls)
            if cost["spans"] != calls:
                raise SystemExit(f"unfair: {name} sent {cost['spans']} spans for {calls} calls")
            more = {part: cost[part] - nothing[part] for part in ("caller_us", "total_us")}
            found[name].append({**more, "attributes": cost["attributes"]})
    return found


def print_table(kind: str, found: dict[str, list[dict[str, float]]]) -> None:
    """Medians, and of the quotients the median and the range."""
    print(f"\n{kind}: CPU, µs a call beyond the bare client's")
    print(f"{'':14}{'attributes':>12}{'caller':>10}{'total':>10}   {'ours / theirs, caller':28}{'total'}")
    for name, rows in found.items():
        if name == "bare":
            continue
        line = f"{SHOWN[name]:14}{rows[-1]['attributes']:12.0f}"
        line += "".join(f"{statistics.median(row[part] for row in rows):10.0f}" for part in ("caller_us", "total_us"))
        if name != "monitor":
            for part in ("caller_us", "total_us"):
                ratios = sorted(ours[part] / theirs[part] for ours, theirs in zip(found["monitor"], rows, strict=True))
                line += f"   {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})".ljust(28)
        print(line)
    print(f"bare client: {statistics.median(row['caller_us'] for row in found['bare']):.0f}")


if __name__ == "__main__":
    main()
