"""Iterators that watch a stream of chunks go by: first one, count, gaps, and how it ended.

Classes and not generators, because a generator that was never started runs no code when it is thrown away,
and a stream that nobody reads must end its call as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from monitor.sdk.guard import swallow

if TYPE_CHECKING:
    from monitor.sdk.call import Call

T = TypeVar("T")


class _Watched(Generic[T]):
    """What both kinds share: one end, told to the call once."""

    _open = False

    def __init__(self, call: Call, tokens: Callable[[T], int] | None) -> None:
        self._call = call
        self._tokens = tokens
        self._open = True
        call.stream_opened()

    def _saw(self, item: T) -> None:
        try:
            if self._tokens is None:
                self._call.chunk()
            else:
                self._call.token(self._tokens(item))
        except Exception:
            swallow("counting a chunk")

    def _ended(self, exception: BaseException | None) -> None:
        if self._open:
            self._open = False
            self._call.stream_ended(exception)

    def __del__(self) -> None:
        """A loop left by `break`, or a response that was never read, shows only here."""
        self._ended(GeneratorExit())


class Stream(_Watched[T], Iterator[T]):
    """A watched iterator."""

    def __init__(self, call: Call, source: Iterable[T], tokens: Callable[[T], int] | None) -> None:
        self._iterator = iter(source)
        super().__init__(call, tokens)

    def __next__(self) -> T:
        """Return the next chunk as it is."""
        before = self._call.resume()
        try:
            item = next(self._iterator)
        except StopIteration:
            self._ended(None)
            raise
        except BaseException as exception:
            self._ended(exception)
            raise
        finally:
            self._call.suspend(before)
        self._saw(item)
        return item

    def close(self) -> None:
        """Stop early, and close the source if it can be closed: it may still have numbers to tell."""
        before = self._call.resume()
        try:
            close = getattr(self._iterator, "close", None)
            if close is not None:
                close()
        finally:
            self._ended(GeneratorExit())
            self._call.suspend(before)


class AsyncStream(_Watched[T], AsyncIterator[T]):
    """A watched asynchronous iterator."""

    def __init__(self, call: Call, source: AsyncIterable[T], tokens: Callable[[T], int] | None) -> None:
        self._iterator = aiter(source)
        super().__init__(call, tokens)

    async def __anext__(self) -> T:
        """Return the next chunk as it is."""
        before = self._call.resume()
        try:
            item = await anext(self._iterator)
        except StopAsyncIteration:
            self._ended(None)
            raise
        except BaseException as exception:
            self._ended(exception)
            raise
        finally:
            self._call.suspend(before)
        self._saw(item)
        return item

    async def aclose(self) -> None:
        """Stop early, and close the source if it can be closed: it may still have numbers to tell."""
        before = self._call.resume()
        try:
            aclose = getattr(self._iterator, "aclose", None)
            if aclose is not None:
                await aclose()
        finally:
            self._ended(GeneratorExit())
            self._call.suspend(before)
