"""What is kept of answers: no longer than said, no more than said."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dashboards.memory import Memory, forget_all, remembered


def test_an_answer_holds_for_its_time() -> None:
    memory = Memory(ttl_s=0.05, entries_max=10)
    memory.put("how many", 7)
    assert memory.get("how many") == 7
    assert memory.get("how old", "unknown") == "unknown"
    time.sleep(0.06)
    assert memory.get("how many") is None
    memory.put("how old", 3)
    assert len(memory) == 1, "what has expired takes no room"


def test_the_oldest_answers_go_first() -> None:
    memory = Memory(ttl_s=60, entries_max=3)
    for number in range(5):
        memory.put(number, str(number))
    memory.put(2, "again")
    memory.put(5, "5")
    assert [memory.get(number) for number in range(6)] == [None, None, "again", None, "4", "5"]
    assert len(memory) == 3
    memory.clear()
    assert memory.get(5) is None


def test_what_is_being_asked_is_waited_for() -> None:
    """One asks, eight wait; nothing of the question is left but its answer."""
    memory, asked, go = Memory(ttl_s=60, entries_max=10), [], threading.Event()

    def ask() -> int:
        asked.append(go.wait(10))
        return 7

    with ThreadPoolExecutor(9) as pool:
        answers = [pool.submit(memory.answer, "how many", ask) for _ in range(9)]
        time.sleep(0.05)
        go.set()
        assert [each.result() for each in answers] == [7] * 9
    assert asked == [True]
    assert memory.answer("how many", lambda: 8) == 7
    assert not memory._asked


def test_a_failure_is_told_to_all_who_wait_and_not_kept() -> None:
    memory, go = Memory(ttl_s=60, entries_max=10), threading.Event()

    def ask() -> int:
        go.wait(10)
        raise ValueError("no store")

    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(memory.answer, "how many", ask) for _ in range(3)]
        time.sleep(0.05)
        go.set()
        for each in answers:
            with pytest.raises(ValueError, match="no store"):
                each.result()
    assert memory.answer("how many", lambda: 8) == 8


class ScriptEnded(BaseException):
    """As Streamlit ends a script that is not needed any more."""


def test_who_leaves_while_asking_leaves_it_to_the_next() -> None:
    memory, go = Memory(ttl_s=60, entries_max=10), threading.Event()

    def leave() -> int:
        go.wait(10)
        raise ScriptEnded

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(memory.answer, "how many", leave)
        time.sleep(0.05)
        second = pool.submit(memory.answer, "how many", lambda: 8)
        time.sleep(0.05)
        go.set()
        assert second.result() == 8
        assert isinstance(first.exception(), ScriptEnded)


def test_what_was_asked_before_a_change_is_not_kept() -> None:
    memory = Memory(ttl_s=60, entries_max=10)

    def ask() -> int:
        memory.clear()  # somebody changes something meanwhile
        return 7

    assert memory.answer("how many", ask) == 7
    assert memory.answer("how many", lambda: 8) == 8


def test_answers_are_copies_that_outlive_the_script() -> None:
    asked = []

    def script() -> Any:
        @remembered(ttl_s=60, entries_max=10)
        def numbers(start: int, *, step: int = 1) -> list[int]:
            asked.append(start)
            return [start, start + step]

        return numbers

    script()(1).append(5)
    assert script()(1) == [1, 2]
    assert script()(1, step=2) == [1, 3]
    assert asked == [1, 1]
    script().clear()
    assert script()(1) == [1, 2]
    forget_all()
    assert script()(1) == [1, 2]
    assert asked == [1, 1, 1, 1]


def test_what_is_too_much_to_keep_is_told_to_who_waits_alone() -> None:
    memory = Memory(ttl_s=60, entries_max=10)
    assert memory.answer("which", lambda: [1, 2, 3], keep=lambda answer: len(answer) < 3) == [1, 2, 3]
    assert memory.answer("which", lambda: [4], keep=lambda answer: len(answer) < 3) == [4]
    assert memory.answer("which", lambda: [5], keep=lambda answer: len(answer) < 3) == [4]


def test_who_comes_as_an_answer_arrives_asks_nothing() -> None:
    """Neither between being asked and being kept, nor ever else is a question nobody's."""
    memory = Memory(ttl_s=60, entries_max=10_000)
    asked: list[int] = []
    together = threading.Barrier(8)

    def ask_all() -> None:
        together.wait()
        for question in range(3000):
            memory.answer(question, lambda question=question: asked.append(question))  # type: ignore[misc]

    threads = [threading.Thread(target=ask_all) for _ in range(together.parties)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(asked) == list(range(3000))
