"""Every way out of a call ends its span once, with the right outcome."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from monitor import sdk


class EngineError(Exception):
    """An error with a module."""


def tokens(count: int, error: BaseException | None = None) -> Iterator[str]:
    for number in range(count):
        yield str(number)
    if error is not None:
        raise error


async def atokens(count: int, error: BaseException | None = None) -> AsyncIterator[str]:
    for number in range(count):
        await asyncio.sleep(0)
        yield str(number)
    if error is not None:
        raise error


def outcome(sent: Any) -> tuple[bool, str, bool, int | None]:
    """Error status, error type, cancelled, output tokens of the only span; and nothing is left open."""
    span = sent.one()
    found = span.attributes
    assert sdk.stats().open == 0
    assert sdk.stats().started == sdk.stats().ended == 1
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert (span.status.status_code is StatusCode.ERROR) == ("error.type" in found)
    return (
        span.status.status_code is StatusCode.ERROR,
        found.get("error.type", ""),
        found.get("monitor.cancelled", False),
        found.get("gen_ai.usage.output_tokens"),
    )


FINE, CANCELLED = (False, "", False), (False, "", True)


def test_finished(sent: Any) -> None:
    with sdk.inference("m") as call:
        call.finish(output_tokens=7)
        call.finish(finish_reason="stop")
    call.finish(output_tokens=9)
    call.error("late")
    assert outcome(sent) == (*FINE, 7)


def test_left_without_finish(sent: Any) -> None:
    with sdk.inference("m"):
        pass
    assert outcome(sent) == (*FINE, None)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("x"), "ValueError"),
        (EngineError("x"), f"{__name__}.EngineError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_exception(sent: Any, error: Exception, name: str) -> None:
    with pytest.raises(type(error)) as caught, sdk.inference("m"):
        raise error
    assert caught.value is error
    assert outcome(sent) == (True, name, False, None)


def test_exception_with_a_broken_text(sent: Any) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(Broken), sdk.inference("m"):
        raise Broken
    assert outcome(sent)[0]


@pytest.mark.parametrize(
    "error",
    [
        GeneratorExit(),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(),
        concurrent.futures.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_somebody_stopped_waiting(sent: Any, error: BaseException) -> None:
    with pytest.raises(type(error)), sdk.inference("m"):
        raise error
    assert outcome(sent) == (*CANCELLED, None)


def test_reported_error(sent: Any) -> None:
    with sdk.inference("m") as call:
        try:
            raise EngineError("x")
        except EngineError as error:
            call.error(error)
    assert outcome(sent) == (True, f"{__name__}.EngineError", False, None)


def test_reported_error_by_name_and_cancel(sent: Any) -> None:
    with sdk.inference("m") as call:
        call.cancel()
        call.error("503")
    assert outcome(sent) == (True, "503", False, None)


def test_reported_cancellation(sent: Any) -> None:
    with sdk.inference("m") as call:
        call.error(asyncio.CancelledError())
    assert outcome(sent) == (*CANCELLED, None)


def test_stream_read_to_its_end(sent: Any) -> None:
    with sdk.inference("m") as call:
        assert list(call.stream(tokens(5))) == ["0", "1", "2", "3", "4"]
    assert outcome(sent) == (*FINE, 5)


def test_stream_left_by_break(sent: Any) -> None:
    with sdk.inference("m") as call:
        for item in call.stream(tokens(5)):
            if item == "2":
                break
    assert outcome(sent) == (*CANCELLED, 3)


def test_stop_word_is_no_abort(sent: Any) -> None:
    with sdk.inference("m") as call:
        for item in call.stream(tokens(5)):
            if item == "2":
                break
        call.finish(finish_reason="stop")
    assert outcome(sent) == (*FINE, 3)


def test_stop_word_while_the_stream_is_held(sent: Any) -> None:
    with sdk.inference("m") as call:
        stream = call.stream(tokens(5))
        next(stream)
        call.finish(output_tokens=1)
    assert outcome(sent) == (*FINE, 1)
    assert len(list(stream)) == 4
    assert sdk.stats().ended == 1


def test_stream_fails(sent: Any) -> None:
    with pytest.raises(EngineError), sdk.inference("m") as call:
        list(call.stream(tokens(2, EngineError())))
    assert outcome(sent) == (True, f"{__name__}.EngineError", False, 2)


def test_stream_fails_and_the_error_is_handled(sent: Any) -> None:
    with sdk.inference("m") as call:
        try:
            list(call.stream(tokens(2, EngineError())))
        except EngineError:
            call.finish(finish_reason="error")
    assert outcome(sent) == (True, f"{__name__}.EngineError", False, 2)


def test_second_try_succeeds(sent: Any) -> None:
    with sdk.inference("m") as call:
        try:
            list(call.stream(tokens(0, EngineError())))
        except EngineError:
            list(call.stream(tokens(2)))
    assert outcome(sent) == (*FINE, 2)


def test_generator_of_the_user_is_closed(sent: Any) -> None:
    def serve() -> Iterator[str]:
        with sdk.inference("m") as call:
            yield from call.stream(tokens(5))

    answer: Any = serve()
    next(answer)
    answer.close()
    assert outcome(sent) == (*CANCELLED, 1)


def test_generator_of_the_user_is_forgotten(sent: Any) -> None:
    def serve() -> Iterator[str]:
        with sdk.inference("m") as call:
            for item in call.stream(tokens(5)):
                yield item.upper()

    answer = serve()
    next(answer)
    del answer
    gc.collect()
    assert outcome(sent) == (*CANCELLED, 1)


def test_stream_outlives_the_with(sent: Any) -> None:
    with sdk.inference("m") as call:
        stream = call.stream(tokens(3))
    assert sdk.stats().open == 1
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert list(stream) == ["0", "1", "2"]
    assert outcome(sent) == (*FINE, 3)


def test_prefilled_finish_does_not_end_a_stream_that_comes_later(sent: Any) -> None:
    with sdk.inference("m") as call:
        call.finish(input_tokens=3)
        stream = call.stream(tokens(3))
    list(stream)
    assert outcome(sent) == (*FINE, 3)


def test_first_chunk_is_read_inside_and_the_rest_outside(sent: Any) -> None:
    with sdk.inference("m") as call:
        stream = call.stream(tokens(3))
        next(stream)
    list(stream)
    assert outcome(sent) == (*FINE, 3)


def test_outliving_stream_fails(sent: Any) -> None:
    with sdk.inference("m") as call:
        stream = call.stream(tokens(3, EngineError()))
    with pytest.raises(EngineError):
        list(stream)
    assert outcome(sent) == (True, f"{__name__}.EngineError", False, 3)


def test_outliving_stream_is_closed(sent: Any) -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(9)
        finally:
            closed.append(True)

    with sdk.inference("m") as call:
        stream = call.stream(source())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert outcome(sent) == (*CANCELLED, 1)


def test_stream_that_nobody_reads(sent: Any) -> None:
    with sdk.inference("m") as call:
        stream = call.stream(tokens(3))
    del stream
    gc.collect()
    assert outcome(sent) == (*CANCELLED, None)


def test_source_of_an_outliving_stream_runs_inside_the_span(sent: Any) -> None:
    seen = []

    def source() -> Iterator[int]:
        for number in range(2):
            seen.append(trace.get_current_span().get_span_context().span_id)
            yield number

    with sdk.inference("m") as call:
        stream = call.stream(source())
    list(stream)
    assert [f"{span_id:016x}" for span_id in seen] == [call.span_id] * 2
    assert outcome(sent) == (*FINE, 2)


def test_async_with(sent: Any) -> None:
    async def main() -> None:
        async with sdk.inference("m") as call:
            assert [item async for item in call.stream(atokens(3))] == ["0", "1", "2"]
            call.finish(output_tokens=8)

    asyncio.run(main())
    assert outcome(sent) == (*FINE, 8)


def test_async_exception(sent: Any) -> None:
    async def main() -> None:
        async with sdk.inference("m") as call:
            async for _ in call.stream(atokens(2, EngineError())):
                pass

    with pytest.raises(EngineError):
        asyncio.run(main())
    assert outcome(sent) == (True, f"{__name__}.EngineError", False, 2)


def test_async_break(sent: Any) -> None:
    async def main() -> None:
        async with sdk.inference("m") as call:
            async for _ in call.stream(atokens(2)):
                break

    asyncio.run(main())
    assert outcome(sent) == (*CANCELLED, 1)


@pytest.mark.parametrize("wait_in", ["source", "consumer"])
def test_task_is_cancelled(sent: Any, wait_in: str) -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(30 if wait_in == "source" else 0)
        yield 2

    async def serve(started: asyncio.Event) -> None:
        async with sdk.inference("m") as call:
            async for _ in call.stream(source()):
                started.set()
                if wait_in == "consumer":
                    await asyncio.sleep(30)

    async def main() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(serve(started))
        await started.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert outcome(sent) == (*CANCELLED, 1)


def test_timeout_around_a_call_is_a_cancellation(sent: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(0.02):
            async with sdk.inference("m"):
                await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert outcome(sent) == (*CANCELLED, None)


def test_async_generator_closed_in_another_task(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def serve() -> AsyncIterator[str]:
        with sdk.inference("m") as call:
            async for item in call.stream(atokens(9)):
                yield item

    async def main() -> None:
        answer = serve()
        await asyncio.create_task(anext(answer))  # type: ignore[arg-type]
        await asyncio.create_task(answer.aclose())  # type: ignore[attr-defined]

    asyncio.run(main())
    assert outcome(sent) == (*CANCELLED, 1)
    assert not caplog.records


def test_async_stream_outlives_the_with(sent: Any) -> None:
    async def main() -> None:
        async with sdk.inference("m") as call:
            stream = call.stream(atokens(3))
        assert [item async for item in stream] == ["0", "1", "2"]

    asyncio.run(main())
    assert outcome(sent) == (*FINE, 3)


def test_async_stream_closed(sent: Any) -> None:
    async def main() -> None:
        async with sdk.inference("m") as call:
            stream = call.stream(atokens(3))
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert outcome(sent) == (*CANCELLED, 1)


def test_shutdown_ends_what_is_open(sent: Any) -> None:
    with sdk.inference("m") as call:
        stream = call.stream(tokens(3))
        next(stream)
        sdk.shutdown()
        assert sdk.stats().open == 0
    list(stream)
    (span,) = sent.exporter.get_finished_spans()
    assert span.attributes["monitor.cancelled"] is True
    assert (sdk.stats().started, sdk.stats().ended, sdk.stats().exported) == (1, 1, 1)


def test_one_call_is_good_for_one_with(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    with sdk.inference("m") as call:
        pass
    with call:
        pass
    assert outcome(sent) == (*FINE, None)
    assert "good for one" in caplog.text


def test_error_wins_over_a_later_cancellation(sent: Any) -> None:
    def serve() -> None:
        with sdk.inference("m") as call:
            call.error("503")
            raise GeneratorExit

    with pytest.raises(GeneratorExit):
        serve()
    assert outcome(sent) == (True, "503", False, None)


def test_closed_after_all_was_delivered(sent: Any) -> None:
    def serve() -> None:
        with sdk.inference("m") as call:
            list(call.stream(tokens(2)))
            call.finish(output_tokens=2)
            raise GeneratorExit

    with pytest.raises(GeneratorExit):
        serve()
    assert outcome(sent) == (*FINE, 2)


def test_many_threads_and_numbers_without_gaps(sent: Any) -> None:
    threads_count, calls_each = 8, 100

    def work() -> None:
        for number in range(calls_each):
            try:
                with sdk.inference("m") as call:
                    for item in call.stream(tokens(3, EngineError() if number % 5 == 0 else None)):
                        if number % 7 == 0 and item == "1":
                            break
            except EngineError:
                pass

    threads = [threading.Thread(target=work) for _ in range(threads_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = sent.spans()
    total = threads_count * calls_each
    numbers = [span.attributes["monitor.seq"] for span in spans]
    assert sorted(numbers) == list(range(1, total + 1))
    assert len({span.context.span_id for span in spans}) == total
    stats = sdk.stats()
    assert (stats.started, stats.ended, stats.open) == (total, total, 0)
    assert (stats.last_seq, stats.offered, stats.exported) == (total, total, total)
    assert (stats.dropped, stats.failed, stats.waiting) == (0, 0, 0)
    assert {span.resource.attributes["monitor.emitter"] for span in spans} == {stats.emitter}


def test_many_tasks_at_once(sent: Any) -> None:
    async def serve(number: int) -> None:
        async with sdk.inference("m", session=str(number)) as call:
            async for _ in call.stream(atokens(number % 5)):
                assert trace.format_span_id(trace.get_current_span().get_span_context().span_id) == call.span_id

    async def main() -> None:
        await asyncio.gather(*(serve(number) for number in range(200)))

    asyncio.run(main())
    spans = sent.spans()
    assert all(span.parent is None for span in spans)
    assert {
        int(span.attributes["session.id"]): span.attributes.get("gen_ai.usage.output_tokens", 0) for span in spans
    } == {number: number % 5 for number in range(200)}
