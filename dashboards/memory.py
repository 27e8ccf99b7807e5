"""What was asked a moment ago, kept for some seconds and shared by all sessions.

Streamlit's own cache keeps a lock for each question that was ever asked, and pages ask about another time every few seconds.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast

import streamlit as st

P = ParamSpec("P")
T = TypeVar("T")
_NOTHING: Final = object()


class Memory:
    """Answers by question; the oldest go first, and none is older than `ttl_s`. Safe for threads.

    Parameters
    ----------
    ttl_s : float
        Seconds for which an answer holds.
    entries_max : int
        Answers kept at most.
    """

    def __init__(self, *, ttl_s: float, entries_max: int) -> None:
        self._ttl_s, self._entries_max = ttl_s, entries_max
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._asked: dict[Hashable, Future[Any]] = {}

    def get(self, question: Hashable, otherwise: Any = None) -> Any:
        """The answer, or `otherwise`."""
        with self._lock:
            return self._get(question, otherwise)

    def put(self, question: Hashable, answer: Any) -> None:
        with self._lock:
            self._put(question, answer)

    def answer(self, question: Hashable, ask: Callable[[], T], *, keep: Callable[[T], bool] = lambda _: True) -> T:
        """The answer that is kept, or else `ask`'s; who asks what somebody else is asking just now waits for it.

        `keep` says whether an answer is to be kept for those who come later.
        """
        while True:
            with self._lock:
                answer = self._get(question, _NOTHING)
                if answer is not _NOTHING:
                    return cast(T, answer)
                others = self._asked.get(question)
                mine: Future[Any] = self._asked.setdefault(question, Future())
            if others is None:
                return self._ask(question, ask, mine, keep)
            with contextlib.suppress(_Left):
                return cast(T, others.result())

    def clear(self) -> None:
        """Keep nothing, nor what is being asked now."""
        with self._lock:
            self._kept.clear()
            self._asked.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def _get(self, question: Hashable, otherwise: Any) -> Any:
        until, answer = self._kept.get(question, (0.0, _NOTHING))
        return otherwise if until < time.monotonic() else answer

    def _put(self, question: Hashable, answer: Any) -> None:
        now = time.monotonic()
        self._kept[question] = now + self._ttl_s, answer
        self._kept.move_to_end(question)
        while len(self._kept) > self._entries_max or next(iter(self._kept.values()))[0] < now:
            self._kept.popitem(last=False)

    def _ask(self, question: Hashable, ask: Callable[[], T], mine: Future[Any], keep: Callable[[T], bool]) -> T:
        try:
            answer = ask()
            kept = keep(answer)
        except BaseException as error:
            with self._lock:
                self._leave(question, mine)
            # Streamlit ends a script that is not needed any more by such an exception, wherever it is: others are needed still.
            mine.set_exception(error if isinstance(error, Exception) else _Left())
            raise
        with self._lock:  # in one step: who comes in between would find neither an answer nor somebody who asks
            if self._leave(question, mine) and kept:
                self._put(question, answer)
        mine.set_result(answer)
        return answer

    def _leave(self, question: Hashable, mine: Future[Any]) -> bool:
        """No longer be who asks; returns whether that was so all the time."""
        return self._asked.get(question) is mine and bool(self._asked.pop(question))


class _Left(Exception):
    """Who asked has gone."""


class Remembered(Generic[P, T]):
    """A function whose answers are kept; each caller gets its own copy."""

    def __init__(self, function: Callable[P, T], memory: Memory, words: str) -> None:
        functools.update_wrapper(self, function)
        self._function, self._memory, self._words = function, memory, words

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        def ask() -> bytes:
            with st.spinner(self._words) if self._words else contextlib.nullcontext():
                return pickle.dumps(self._function(*args, **kwargs))

        return cast(T, pickle.loads(self._memory.answer(repr((args, sorted(kwargs.items()))), ask)))

    def clear(self) -> None:
        """Ask anew from here on."""
        self._memory.clear()


# Scripts of pages define their functions anew with each run.
_MEMORIES: Final[dict[tuple[str, str], Memory]] = {}


def remembered(
    *, ttl_s: float, entries_max: int, words: str = "", name: str = ""
) -> Callable[[Callable[P, T]], Remembered[P, T]]:
    """Keep a function's answers for some seconds, shared by all sessions.

    Parameters
    ----------
    ttl_s, entries_max
        As in `Memory`.
    words : str
        What to say while it takes long; else nothing is.
    name : str
        Tells functions apart that stand at the same place.

    Arguments are told apart by their `repr`; answers must be such as can be pickled.
    """

    def decorate(function: Callable[P, T]) -> Remembered[P, T]:
        place = (function.__code__.co_filename, name or function.__qualname__)
        memory = _MEMORIES.setdefault(place, Memory(ttl_s=ttl_s, entries_max=entries_max))
        return Remembered(function, memory, words)

    return decorate


def forget_all() -> None:
    """Ask everything anew."""
    for memory in _MEMORIES.values():
        memory.clear()
