"""`@monitor.inference(…)`: each run of a function is a call, whichever of the four kinds of function it is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from monitor.sdk.stream import AsyncStream, Stream

if TYPE_CHECKING:
    from monitor.sdk.call import Call

F = TypeVar("F", bound=Callable[..., Any])


def decorated(function: F, make: Callable[[], Call]) -> F:
    """Return `function` with a call around each of its runs, and of the same kind.

    A generator's call begins when it is first asked for an item, as its code does, and ends when it is exhausted,
    fails, is closed or is forgotten; its items are counted as chunks.
    """
    kind = _kind(function)
    return cast(F, functools.wraps(function)(kind(function, make)))


def _kind(function: Callable[..., Any]) -> Callable[[Callable[..., Any], Callable[[], Call]], Callable[..., Any]]:
    # An object may be called by a method of any kind.
    called = function if inspect.isroutine(function) else type(function).__call__
    inner = function.func if isinstance(function, functools.partial) else called
    if inspect.isasyncgenfunction(inner):
        return _async_generator
    if inspect.isgeneratorfunction(inner):
        return _generator
    return _coroutine if inspect.iscoroutinefunction(inner) else _plain


def _plain(function: Callable[..., Any], make: Callable[[], Call]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with make():
            return function(*args, **kwargs)

    return run


def _coroutine(function: Callable[..., Any], make: Callable[[], Call]) -> Callable[..., Any]:
    async def run(*args: Any, **kwargs: Any) -> Any:
        with make():
            return await function(*args, **kwargs)

    return run


def _generator(function: Callable[..., Any], make: Callable[[], Call]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        # The `with` is left at once and the span lives on with the stream: it must not be the current one of
        # whoever reads, only of the generator's own code.
        with make() as call:
            stream = _Sent(call, function(*args, **kwargs), None)
        return (yield from stream)

    return run


def _async_generator(function: Callable[..., Any], make: Callable[[], Call]) -> Callable[..., Any]:
    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with make() as call:
            stream = _AsyncSent(call, function(*args, **kwargs), None)
        try:
            item = await anext(stream)
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    raise
                except BaseException as error:
                    item = await stream.athrow(error)
                else:
                    item = await (anext(stream) if sent is None else stream.asend(sent))
        except StopAsyncIteration:
            return
        finally:
            await stream.aclose()

    return run


class _Inside(AbstractContextManager[None]):
    """Runs a piece of a stream's source inside the call, and tells the stream if it ends there."""

    def __init__(self, call: Call, ended: Callable[[BaseException | None], None]) -> None:
        self._call = call
        self._ended = ended

    def __enter__(self) -> None:
        self._before = self._call.resume()

    def __exit__(self, exc_type: object, exc: BaseException | None, tb: object) -> None:
        if exc is not None:
            self._ended(None if isinstance(exc, StopIteration | StopAsyncIteration) else exc)
        self._call.suspend(self._before)


class _Sent(Stream[Any]):
    """A stream whose source is a generator, with all that a generator can be told."""

    def send(self, value: Any) -> Any:
        with _Inside(self._call, self._ended):
            item = cast(Generator[Any, Any, Any], self._iterator).send(value)
        self._saw(item)
        return item

    def throw(self, error: BaseException) -> Any:
        with _Inside(self._call, self._ended):
            item = cast(Generator[Any, Any, Any], self._iterator).throw(error)
        self._saw(item)
        return item


class _AsyncSent(AsyncStream[Any]):
    """The same for an asynchronous generator."""

    async def asend(self, value: Any) -> Any:
        with _Inside(self._call, self._ended):
            item = await cast(AsyncGenerator[Any, Any], self._iterator).asend(value)
        self._saw(item)
        return item

    async def athrow(self, error: BaseException) -> Any:
        with _Inside(self._call, self._ended):
            item = await cast(AsyncGenerator[Any, Any], self._iterator).athrow(error)
        self._saw(item)
        return item
