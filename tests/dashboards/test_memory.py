"""What is kept of answers: no longer than said, no more than said."""

from __future__ import annotations

import time

from dashboards.memory import Memory


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
