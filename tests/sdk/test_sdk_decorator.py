"""`@monitor.inference`, `call.step` and `current_call`: one span on every way out of each kind of function."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import monitor
from monitor import sdk


class EngineError(Exception):
    """Of the function's own."""


def spans_of(sent: Any, count: int) -> list[Any]:
    """All spans of calls; nothing is open."""
    found = sent.spans()
    stats = sdk.stats()
    assert (stats.started, stats.ended, stats.open) == (count, count, 0)
    assert trace.get_current_span() is trace.INVALID_SPAN
    return [span for span in found if "gen_ai.operation.name" in span.attributes]


def outcomes(sent: Any, count: int) -> list[tuple[str, bool, int | None]]:
    """Error type, cancelled, output tokens of each span."""
    return [
        (
            span.attributes.get("error.type", ""),
            span.attributes.get("monitor.cancelled", False),
            span.attributes.get("gen_ai.usage.output_tokens"),
        )
        for span in spans_of(sent, count)
    ]


def test_plain_function(sent: Any) -> None:
    @monitor.inference("m", user="u1", attributes={"a": 1})
    def answer(question: str, *, loud: bool = False) -> str:
        """Answer."""
        monitor.current_call().finish(output_tokens=len(question))
        return question.upper() if loud else question

    assert (answer.__name__, answer.__doc__) == ("answer", "Answer.")
    assert not inspect.iscoroutinefunction(answer)
    assert [answer("was", loud=True), answer("wie viel")] == ["WAS", "wie viel"]
    # What one run says is not said of the next.
    assert outcomes(sent, 2) == [("", False, 3), ("", False, 8)]
    assert {(span.attributes["user.id"], span.attributes["a"], span.name) for span in spans_of(sent, 2)} == {
        ("u1", 1, "chat m")
    }


def test_function_fails(sent: Any) -> None:
    @monitor.inference("m")
    def answer() -> None:
        raise EngineError

    for _ in range(2):
        with pytest.raises(EngineError):
            answer()
    assert outcomes(sent, 2) == [(f"{__name__}.EngineError", False, None)] * 2


def test_async_function(sent: Any) -> None:
    @monitor.inference("m")
    async def answer(number: int) -> int:
        call = monitor.current_call()
        await asyncio.sleep(0.001)
        assert monitor.current_call() is call
        call.finish(output_tokens=number)
        return number

    async def main() -> list[int]:
        return await asyncio.gather(*(answer(number) for number in range(20)))

    assert inspect.iscoroutinefunction(answer)
    assert asyncio.run(main()) == list(range(20))
    assert sorted(found[2] or 0 for found in outcomes(sent, 20)) == list(range(20))


def test_async_function_is_cancelled(sent: Any) -> None:
    @monitor.inference("m")
    async def answer() -> None:
        await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(answer(), 0.02))
    assert outcomes(sent, 1) == [("", True, None)]


def test_method_and_callable_object(sent: Any) -> None:
    class Engine:
        @monitor.inference("m")
        def answer(self, text: str) -> tuple[Engine, str]:
            return self, text

        async def __call__(self, text: str) -> str:
            return text

    engine = Engine()
    assert engine.answer("x") == (engine, "x")
    assert asyncio.run(monitor.inference("m")(Engine())("y")) == "y"
    assert len(spans_of(sent, 2)) == 2


def test_generator(sent: Any) -> None:
    @monitor.inference("m")
    def answer() -> Generator[str, None, int]:
        span_id = monitor.current_call().span_id
        for number in range(3):
            assert monitor.current_call().span_id == span_id
            yield str(number)
        return 7

    assert inspect.isgeneratorfunction(answer)
    generator = answer()
    assert sdk.stats().started == 0
    assert next(generator) == "0"
    # The call is that of the generator's code, not of its reader.
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert monitor.current_call().trace_id == ""
    assert [next(generator), next(generator)] == ["1", "2"]
    with pytest.raises(StopIteration) as stopped:
        next(generator)
    assert stopped.value.value == 7
    assert outcomes(sent, 1) == [("", False, 3)]
    attributes = spans_of(sent, 1)[0].attributes
    assert (attributes["gen_ai.request.stream"], attributes["monitor.tokens_estimated"]) == (True, True)


def test_generator_that_is_talked_to(sent: Any) -> None:
    @monitor.inference("m")
    def answer() -> Generator[str, str, None]:
        heard = yield "first"
        try:
            yield heard.upper()
        except EngineError:
            yield "caught"

    generator = answer()
    assert [next(generator), generator.send("und"), generator.throw(EngineError())] == ["first", "UND", "caught"]
    with pytest.raises(StopIteration):
        next(generator)
    assert outcomes(sent, 1) == [("", False, 3)]


@pytest.mark.parametrize("way", ["close", "drop", "break"])
def test_generator_is_left(sent: Any, way: str) -> None:
    cleaned: list[str] = []

    @monitor.inference("m")
    def answer() -> Iterator[str]:
        try:
            yield from ("a", "b", "c")
        finally:
            cleaned.append(monitor.current_call().trace_id)
            monitor.current_call().finish(input_tokens=5)

    generator: Any = answer()
    if way == "break":
        for _ in generator:
            break
    else:
        next(generator)
    if way == "close":
        generator.close()
    del generator
    gc.collect()
    assert outcomes(sent, 1) == [("", True, 1)]
    # Its cleaning up belongs to the call, and may still tell numbers.
    assert spans_of(sent, 1)[0].attributes["gen_ai.usage.input_tokens"] == 5
    assert cleaned == [f"{spans_of(sent, 1)[0].context.trace_id:032x}"]


def test_async_generator(sent: Any) -> None:
    @monitor.inference("m")
    async def answer() -> AsyncGenerator[str, str]:
        call = monitor.current_call()
        heard = yield "first"
        assert monitor.current_call() is call
        try:
            yield heard.upper()
        except EngineError:
            yield "caught"
        call.finish(output_tokens=40)

    async def main() -> list[str]:
        generator = answer()
        said = [await anext(generator)]
        assert trace.get_current_span() is trace.INVALID_SPAN
        said += [await generator.asend("und"), await generator.athrow(EngineError())]
        return said + [item async for item in generator]

    assert inspect.isasyncgenfunction(answer)
    assert asyncio.run(main()) == ["first", "UND", "caught"]
    assert outcomes(sent, 1) == [("", False, 40)]


@pytest.mark.parametrize("way", ["aclose", "drop", "cancel"])
def test_async_generator_is_left(sent: Any, way: str) -> None:
    cleaned: list[bool] = []

    @monitor.inference("m")
    async def answer() -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.sleep(30)
            yield "b"
        finally:
            cleaned.append(True)

    async def read() -> None:
        async for _ in answer():
            pass

    async def main() -> None:
        if way == "cancel":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read(), 0.02)
            return
        generator: Any = answer()
        await anext(generator)
        if way == "aclose":
            await generator.aclose()

    asyncio.run(main())
    gc.collect()
    assert outcomes(sent, 1) == [("", True, 1)]
    assert cleaned == [True]


def test_decorated_before_init_and_without(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    sdk.shutdown()

    @monitor.inference("m")
    def answer() -> str:
        return monitor.current_call().trace_id

    # A decorator is read when modules are imported; that alone is no reason to complain.
    assert not caplog.records
    answer()
    assert "without a running monitor.init()" in caplog.text
    exporter = InMemorySpanExporter()
    sdk.init(service="svc", exporter=exporter)
    trace_id = answer()
    assert sdk.flush()
    assert [f"{span.context.trace_id:032x}" for span in exporter.get_finished_spans()] == [trace_id]


def test_current_call_where_there_is_none(sent: Any) -> None:
    call = monitor.current_call()
    assert (call.trace_id, call.span_id) == ("", "")
    call.finish(output_tokens=3)
    call.first_token()
    call.error("x")
    assert list(call.stream(iter("abc"))) == ["a", "b", "c"]
    with call.step("part"):
        pass
    assert [span.name for span in sent.spans()] == ["part"]
    assert sdk.stats().started == 0


def test_current_call_is_the_innermost(sent: Any) -> None:
    with monitor.inference("outer") as outer:
        assert monitor.current_call() is outer
        with monitor.inference("inner") as inner:
            assert monitor.current_call() is inner
            seen: list[str] = []
            threading.Thread(target=lambda: seen.append(monitor.current_call().trace_id)).start()
        assert monitor.current_call() is outer
    assert monitor.current_call() not in (outer, inner)
    assert seen == [""]


def test_a_finished_call_is_not_kept_alive(sent: Any) -> None:
    gc.disable()
    try:
        with monitor.inference("m") as call:
            reference = weakref.ref(call)
        del call
        assert reference() is None
    finally:
        gc.enable()


def test_steps(sent: Any) -> None:
    with monitor.inference("m") as call:
        with call.step("retrieve", documents=4, nothing=None, **{"gen_ai.data_source.id": "d"}) as step:
            step.set(hits=2)
            with call.step("rank"):
                assert monitor.current_call() is call
        with call.step("think"):
            pass
    rank, retrieve, think, chat = sent.spans()
    assert [span.name for span in (rank, retrieve, think, chat)] == ["rank", "retrieve", "think", "chat m"]
    assert rank.parent.span_id == retrieve.context.span_id
    assert retrieve.parent.span_id == think.parent.span_id == chat.context.span_id
    assert {span.context.trace_id for span in (rank, retrieve, think)} == {chat.context.trace_id}
    # No number: only inferences are counted.
    assert dict(retrieve.attributes) == {"documents": 4, "gen_ai.data_source.id": "d", "hits": 2}
    assert (chat.attributes["monitor.seq"], sdk.stats().last_seq, sdk.stats().exported) == (1, 1, 4)
    assert chat.start_time <= retrieve.start_time <= rank.start_time <= rank.end_time <= retrieve.end_time
    assert think.end_time <= chat.end_time


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("error", "kind", "cancelled"),
    [(EngineError("secret"), f"{__name__}.EngineError", None), (asyncio.CancelledError(), None, True)],
)
def test_step_fails(
    sent: Any, asynchronous: bool, error: BaseException, kind: str | None, cancelled: bool | None
) -> None:
    async def fail(call: monitor.Call) -> None:
        if asynchronous:
            async with call.step("part"):
                raise error
        with call.step("part"):
            raise error

    async def main() -> None:
        with monitor.inference("m") as call, pytest.raises(type(error)) as caught:
            await fail(call)
        assert caught.value is error

    asyncio.run(main())
    part, chat = sent.spans()
    assert (part.attributes.get("error.type"), part.attributes.get("monitor.cancelled")) == (kind, cancelled)
    assert part.status.description is None
    assert (part.status.status_code is StatusCode.ERROR) == (kind is not None)
    assert "error.type" not in chat.attributes


def test_step_reports_an_error_that_was_handled(sent: Any) -> None:
    with monitor.inference("m") as call, call.step("search") as step:
        step.error("timeout")
    assert sent.spans()[0].attributes["error.type"] == "timeout"


def test_step_in_another_thread_and_after_the_with(sent: Any) -> None:
    with monitor.inference("m") as call:
        stream = call.stream(iter("ab"))

    def work() -> None:
        with call.step("elsewhere"):
            pass

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    list(stream)
    elsewhere, chat = sent.spans()
    assert elsewhere.parent.span_id == chat.context.span_id


def test_step_that_is_open_when_the_process_ends(sent: Any) -> None:
    call = monitor.inference("m")
    call.__enter__()
    step = call.step("part")
    step.__enter__()
    sdk.shutdown()
    part, chat = sent.exporter.get_finished_spans()
    assert (part.name, part.attributes["monitor.cancelled"]) == ("part", True)
    assert chat.attributes["monitor.cancelled"] is True
    step.__exit__(None, None, None)
    call.__exit__(None, None, None)
    assert len(sent.exporter.get_finished_spans()) == 2


def test_step_is_good_for_one_with(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    with monitor.inference("m") as call:
        step = call.step("part")
        for _ in range(2):
            with step:
                pass
    assert len(sent.spans()) == 2
    assert "good for one" in caplog.text


WAYS = st.lists(
    st.tuples(
        st.sampled_from(["plain", "coroutine", "generator", "asyncgenerator"]),
        st.sampled_from(["read", "fail", "leave", "drop", "cancel", "unread"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(ways=WAYS)
def test_each_way_out_ends_each_span_once(ways: list[tuple[str, str, bool]]) -> None:
    exporter = InMemorySpanExporter()
    sdk.shutdown()
    sdk.init(service="svc", exporter=exporter)
    runs = steps = 0
    for kind, way, with_step in ways:
        # A generator that nobody reads has not begun.
        begun = not (kind in ("generator", "asyncgenerator") and way == "unread")
        runs += begun
        steps += begun and with_step
        asyncio.run(_go(kind, way, with_step))
    gc.collect()
    assert sdk.flush()
    spans = exporter.get_finished_spans()
    stats = sdk.stats()
    assert (stats.started, stats.ended, stats.open, stats.last_seq) == (runs, runs, 0, runs)
    assert len(spans) == len({span.context.span_id for span in spans}) == runs + steps
    assert trace.get_current_span() is trace.INVALID_SPAN
    sdk.shutdown()


async def _go(kind: str, way: str, with_step: bool) -> None:
    def work() -> Iterator[int]:
        yield 1
        if way == "fail":
            raise EngineError
        yield 2

    def watched(items: Iterator[int]) -> Iterator[int]:
        if not with_step:
            yield from items
            return
        with monitor.current_call().step("part"):
            yield from items

    @monitor.inference("m")
    def plain() -> list[int]:
        return list(watched(work()))

    @monitor.inference("m")
    async def coroutine() -> list[int]:
        found = list(watched(work()))
        await asyncio.sleep(0)
        return found

    @monitor.inference("m")
    def generator() -> Iterator[int]:
        yield from watched(work())

    @monitor.inference("m")
    async def asyncgenerator() -> AsyncIterator[int]:
        for item in watched(work()):
            await asyncio.sleep(0)
            yield item

    async def use() -> None:
        if kind == "plain":
            plain()
        elif kind == "coroutine":
            await coroutine()
        elif kind == "generator":
            _read(generator(), way)
        else:
            await _aread(asyncgenerator(), way)

    task = asyncio.ensure_future(use())
    if way == "cancel":
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _read(items: Any, way: str) -> None:
    if way == "unread":
        return
    for _ in items:
        if way == "leave":
            items.close()
        if way in ("leave", "drop"):
            return


async def _aread(items: Any, way: str) -> None:
    if way == "unread":
        return
    async for _ in items:
        if way == "leave":
            await items.aclose()
        if way in ("leave", "drop"):
            return
        if way == "cancel":
            await asyncio.sleep(30)
