"""A tiny streaming engine, watched in two lines.

    monitor up                                # in another terminal: prints grpc=… when it is ready
    python examples/quickstart.py             # sends to http://localhost:4317
    python examples/quickstart.py http://localhost:4317 --calls 50

The address may also come from OTEL_EXPORTER_OTLP_ENDPOINT.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator

import monitor

MODEL = "llama-3.1-8b"
QUESTIONS = ("What is a token?", "Why is the sky blue?", "Tell me a joke.", "Was ist ein Token?")


class FakeEngine:
    """Answers with a few words at a believable pace; one in twenty answers fails."""

    def __init__(self, seed: int, pace: float) -> None:
        self._random = random.Random(seed)
        self._pace = pace

    def generate(self, prompt: str) -> Iterator[str]:
        """Yield the answer token by token."""
        time.sleep(self._random.lognormvariate(-3.0, 0.4) * self._pace)
        for number in range(self._random.randint(5, 20)):
            if self._random.random() < 0.004:
                raise RuntimeError("out of GPU memory")
            yield f"word{number} "
            time.sleep(self._random.lognormvariate(-4.6, 0.3) * self._pace)


def answer(engine: FakeEngine, prompt: str, user: str) -> Iterator[str]:
    """What a serving endpoint does: pass tokens on as they come."""
    language = "de" if prompt.startswith("Was") else "en"
    with monitor.inference(
        MODEL, provider="fake", user=user, session=f"{user}-1", cohorts={"language": language}
    ) as call:
        count = 0
        for token in call.stream(engine.generate(prompt)):
            count += 1
            yield token
        call.finish(input_tokens=len(prompt.split()), output_tokens=count, finish_reason="stop")


def main() -> None:
    """Make some calls, one of them left by its reader, and tell what was sent."""
    parser = argparse.ArgumentParser(description="Send inference spans of a fake engine to a collector.")
    parser.add_argument("endpoint", nargs="?", help="OTLP address; default: OTEL_EXPORTER_OTLP_ENDPOINT, or localhost")
    parser.add_argument("--calls", type=int, default=20, help="how many calls (default 20)")
    parser.add_argument("--pace", type=float, default=1.0, help="1 is lifelike, 0 does not wait at all")
    options = parser.parse_args()

    monitor.init(
        service="quickstart",
        endpoint=options.endpoint,
        node="laptop",
        deployment="on_premises",
        variant="fp16",
    )
    engine = FakeEngine(seed=7, pace=options.pace)
    for number in range(options.calls):
        prompt = QUESTIONS[number % len(QUESTIONS)]
        try:
            for token in answer(engine, prompt, user=f"u{number % 3}"):
                print(token, end="", flush=True)
                if number == 1:
                    break  # the reader has gone: recorded as cancelled, not as an error
        except RuntimeError as error:
            print(f"[{error}]", end="")
        print()
    delivered = monitor.flush()
    stats = monitor.stats()
    print(f"{stats.exported} of {stats.ended} calls sent.")
    if not delivered:
        raise SystemExit("Not all calls could be sent; is a collector running (monitor up)?")


if __name__ == "__main__":
    main()
