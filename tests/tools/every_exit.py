"""Makes calls that end in every way there is, in this process, its threads and its forked children, and says what was true.

`python -m tests.tools.every_exit FILE` reads a plan a line (JSON) and answers with a line: what each call really was, by
clocks and counters of its own, and the SDK's statistics of each process. The spans themselves go to FILE, a JSON object a
line, from all processes: appending a line is one system call.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from monitor import sdk

PLACES: Final = ("here", "thread", "fork", "fork of a thread")
# How a call ends. The second part is what it must be: fine, an error, or cancelled.
SYNC: Final = {
    "finish": "fine",
    "count": "fine",  # tokens counted by a function, nothing said at the end
    "estimate": "fine",  # nothing said at all
    "marks": "fine",  # no stream: first_token() and token(n)
    "plain": "fine",  # no stream, no token: an answer at once
    "break": "cancelled",
    "break, finish": "fine",  # a stop word
    "close": "cancelled",  # the generator around the call
    "drop": "cancelled",
    "source fails": "error",
    "reader fails": "error",
    "interrupt": "cancelled",
    "outlives, read": "fine",  # the stream goes on after the `with`
    "outlives, closed": "cancelled",
    "outlives, dropped": "cancelled",
    "outlives, fails": "error",
    "never read": "cancelled",
    "open at shutdown": "cancelled",
    "twice": "fine",  # a second try after a failed one
}
ASYNC: Final = {
    **{way: SYNC[way] for way in SYNC if way not in ("marks", "plain", "close", "drop", "interrupt")},
    "cancelled in the source": "cancelled",
    "cancelled in the reader": "cancelled",
    "timeout": "cancelled",
    "client gone": "cancelled",  # the generator around the call, closed by another task
}
PAUSE_S: Final = 0.0008


class Broken(Exception):
    """What fails."""


class File(SpanExporter):
    """Appends each span to a file; good in forked children too."""

    def __init__(self, path: str) -> None:
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write, one line a span."""
        append(
            self._path,
            [{"pid": os.getpid(), "id": s.context.span_id, **dict(s.attributes or {})} for s in spans if s.context],
        )
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to close."""


def append(path: str, items: Sequence[dict[str, Any]]) -> None:
    """Append lines at once."""
    text = "".join(json.dumps(item, default=list) + "\n" for item in items)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode())
    os.close(descriptor)


class Truth:
    """What a call was, by a clock of its own.

    The SDK sees a chunk after the source has let it go, and before its reader has it: two ticks with the true time between.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.begun = (0, 0)
        self.gone: list[int] = []
        self.got: list[int] = []
        self.said: int | None = None
        self.counted = 0

    def call(self, **more: Any) -> sdk.Call:
        return sdk.inference("m", session=self.spec["name"], **more)

    def begin(self, call: sdk.Call) -> sdk.Call:
        """Enter the call between two ticks."""
        before = time.perf_counter_ns()
        call.__enter__()
        self.begun = (before, time.perf_counter_ns())
        return call

    def source(self, error: BaseException | None = None) -> Iterator[int]:
        for size in self.spec["sizes"]:
            time.sleep(PAUSE_S)
            self.gone.append(time.perf_counter_ns())
            yield size
        if error is not None:
            raise error

    async def asource(self, error: BaseException | None = None) -> AsyncIterator[int]:
        for size in self.spec["sizes"]:
            await asyncio.sleep(PAUSE_S)
            self.gone.append(time.perf_counter_ns())
            yield size
        if self.spec["way"] == "cancelled in the source":
            await asyncio.sleep(30)
        if error is not None:
            raise error

    def took(self, size: int) -> None:
        self.got.append(time.perf_counter_ns())
        self.counted += size

    def report(self) -> dict[str, Any]:
        way = self.spec["way"]
        found: dict[str, Any] = {
            "name": self.spec["name"], "outcome": (SYNC | ASYNC)[way], "chunks": len(self.got), "said": self.said,
            "counted": self.counted if way in ("count", "marks") else None,
        }  # fmt: skip
        if self.got:
            gone, got = self.gone, self.got
            found["ttft_ns"] = (gone[0] - self.begun[1], got[0] - self.begun[0])
            gaps = [(gone[n] - got[n - 1], got[n] - gone[n - 1]) for n in range(1, len(got))]
            found["gap_ns"] = [max(low for low, _ in gaps), max(high for _, high in gaps)] if gaps else None
        return found


@contextlib.contextmanager
def around(truth: Truth, call: sdk.Call) -> Iterator[sdk.Call]:
    """`with call:`, between ticks."""
    truth.begin(call)
    try:
        yield call
    except BaseException as error:
        call.__exit__(type(error), error, error.__traceback__)
        raise
    call.__exit__(None, None, None)


def run_sync(truth: Truth, held: list[Any]) -> None:
    """One call in plain code."""
    way, sizes = truth.spec["way"], truth.spec["sizes"]
    half = (len(sizes) + 1) // 2
    call = truth.call()
    with contextlib.suppress(Broken, KeyboardInterrupt):
        if way in ("close", "drop"):
            answer = _generator(truth, call)
            for _ in range(half):
                truth.took(next(answer))
            if way == "close":
                answer.close()
            del answer
            gc.collect()
        elif way.startswith("outlives") or way in ("never read", "open at shutdown"):
            with around(truth, call):
                stream: Any = call.stream(truth.source(Broken("x") if way.endswith("fails") else None))
                if way == "open at shutdown":
                    held.append((call, stream))
                    truth.took(next(stream))
            _outlive(truth, stream, way, half)
            del stream
            gc.collect()
        else:
            with around(truth, call):
                _inside(truth, call, way, half)


def _generator(truth: Truth, call: sdk.Call) -> Any:
    with around(truth, call):
        yield from call.stream(truth.source())


def _outlive(truth: Truth, stream: Any, way: str, half: int) -> None:
    if way in ("never read", "open at shutdown"):
        return
    for number, size in enumerate(stream, 1):
        truth.took(size)
        if number == half and way in ("outlives, closed", "outlives, dropped"):
            break
    if way == "outlives, closed":
        stream.close()


def _inside(truth: Truth, call: sdk.Call, way: str, half: int) -> None:
    if way == "plain":
        truth.said = 7
        call.finish(output_tokens=7)
        return
    if way == "marks":
        for size in truth.source():
            call.token(size)
            truth.took(size)
        return
    if way == "twice":
        with contextlib.suppress(Broken):
            list(call.stream(_fails()))
    tokens = (lambda size: size) if way == "count" else None
    for number, size in enumerate(
        call.stream(truth.source(Broken("x") if way == "source fails" else None), tokens=tokens), 1
    ):
        truth.took(size)
        if number == half and way in ("break", "break, finish"):
            break
        if number == half and way in ("reader fails", "interrupt"):
            raise Broken("x") if way == "reader fails" else KeyboardInterrupt
    if way in ("finish", "break, finish"):
        truth.said = sum(truth.spec["sizes"])
        call.finish(output_tokens=truth.said, finish_reason="stop")


def _fails() -> Iterator[int]:
    raise Broken("first try")
    yield 0


async def run_async(truth: Truth, held: list[Any]) -> None:
    """One call in asynchronous code."""
    way = truth.spec["way"]
    reached = asyncio.Event()
    if way == "client gone":
        answer = _agenerator(truth, truth.call())
        for _ in range((len(truth.spec["sizes"]) + 1) // 2):
            truth.took(await asyncio.create_task(anext(answer)))
        await asyncio.create_task(answer.aclose())
        return
    task = asyncio.create_task(_serve(truth, held, reached))
    if way.startswith("cancelled"):
        await reached.wait()
        await asyncio.sleep(0)
        task.cancel()
    with contextlib.suppress(Broken, asyncio.CancelledError, TimeoutError):
        await task
    del task
    gc.collect()


async def _agenerator(truth: Truth, call: sdk.Call) -> Any:
    with around(truth, call):
        async for size in call.stream(truth.asource()):
            yield size


async def _serve(truth: Truth, held: list[Any], reached: asyncio.Event) -> None:
    way, sizes = truth.spec["way"], truth.spec["sizes"]
    half = (len(sizes) + 1) // 2
    call = truth.call()
    failing = Broken("x") if way in ("source fails", "outlives, fails") else None
    if way.startswith("outlives") or way in ("never read", "open at shutdown"):
        with around(truth, call):
            stream: Any = call.stream(truth.asource(failing))
            if way == "open at shutdown":
                held.append((call, stream))
                truth.took(await anext(stream))
        if way in ("never read", "open at shutdown"):
            return
        number = 0
        async for size in stream:
            truth.took(size)
            number += 1
            if number == half and way in ("outlives, closed", "outlives, dropped"):
                break
        if way == "outlives, closed":
            await stream.aclose()
        return
    limit = asyncio.timeout(PAUSE_S * len(sizes) + 0.05) if way == "timeout" else contextlib.nullcontext()
    async with limit:
        with around(truth, call):
            await _ainside(truth, call, failing, half, reached)


async def _ainside(truth: Truth, call: sdk.Call, failing: Broken | None, half: int, reached: asyncio.Event) -> None:
    way, sizes = truth.spec["way"], truth.spec["sizes"]
    if way == "twice":
        with contextlib.suppress(Broken):
            list(call.stream(_fails()))
    tokens = (lambda size: size) if way == "count" else None
    number = 0
    async for size in call.stream(truth.asource(failing), tokens=tokens):
        truth.took(size)
        number += 1
        if number == len(sizes) and way == "cancelled in the source":
            reached.set()
        if number == half and way in ("break", "break, finish"):
            break
        if number == half and way == "reader fails":
            raise Broken("x")
        if number == half and way in ("cancelled in the reader", "timeout"):
            reached.set()
            await asyncio.sleep(30)
    if way in ("finish", "break, finish"):
        truth.said = sum(sizes)
        call.finish(output_tokens=truth.said, finish_reason="stop")


def run_all(specs: list[dict[str, Any]], held: list[Any]) -> list[dict[str, Any]]:
    """All calls of one place: plain ones one after another, asynchronous ones at the same time."""
    truths = [Truth(spec) for spec in specs]

    async def together() -> None:
        await asyncio.gather(*(run_async(truth, held) for truth in truths if truth.spec["is_async"]))

    for truth in truths:
        if not truth.spec["is_async"]:
            run_sync(truth, held)
    asyncio.run(together())
    return [truth.report() for truth in truths]


def run_plan(plan: list[dict[str, Any]], path: str) -> dict[str, Any]:
    """Run the calls of a plan in their places, and end the SDK in each process."""
    sdk.init("svc", exporter=File(path), queue_size=4096)
    of = {place: [spec for spec in plan if spec["place"] == place] for place in PLACES}
    held: list[Any] = []
    reports: list[dict[str, Any]] = []
    threads = [_in_thread(lambda n=n: reports.extend(run_all(of["thread"][n::2], held))) for n in range(2)]
    # Forked while those threads are in the midst of their calls.
    children = [_in_fork(of["fork"], path)] if of["fork"] else []
    if of["fork of a thread"]:
        forker = _in_thread(lambda: children.append(_in_fork(of["fork of a thread"], path)))
        forker.join()
    reports += run_all(of["here"], held)
    for thread in threads:
        thread.join()
    processes = [_end(len(of["here"]) + len(of["thread"]), held)]
    for pid, answer in children:
        with os.fdopen(answer) as pipe:
            said = pipe.read()
        os.waitpid(pid, 0)
        child = json.loads(said or '{"reports": [], "process": {"error": "a child said nothing"}}')
        reports += child["reports"]
        processes.append(child["process"])
    return {"reports": reports, "processes": processes}


def _in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def _in_fork(specs: list[dict[str, Any]], path: str) -> tuple[int, int]:
    answer, mine = os.pipe()
    pid = os.fork()
    if pid:
        os.close(mine)
        return pid, answer
    code = 1
    try:
        held: list[Any] = []
        reports = run_all(specs, held)
        said = json.dumps({"reports": reports, "process": _end(len(specs), held)})
        os.write(mine, said.encode())
        code = 0
    finally:
        os._exit(code)


def _end(calls: int, held: list[Any]) -> dict[str, Any]:
    """Shut down, let go of what is still held, and count."""
    gc.collect()
    still_open = sdk.stats().open
    sdk.shutdown()
    process = {"pid": os.getpid(), "calls": calls, "held": len(held), "open_before": still_open}
    held.clear()
    gc.collect()
    return {**process, **vars(sdk.stats())}


def main() -> None:
    """Answer plans until there are no more."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run_plan(json.loads(line), sys.argv[1])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
