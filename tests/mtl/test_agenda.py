"""Agenda: who is due first, who waits, and how it ends."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from carls.mtl.agenda import Agenda


def test_all_are_due_at_once_and_then_when_they_were_put_back_for() -> None:
    agenda = Agenda("abc")
    taken = [agenda.take() for _ in range(3)]
    assert taken == ["a", "b", "c"]
    agenda.put_back("a", 0.05)
    agenda.put_back("b", 0.0)
    agenda.put_back("c", 0.0)
    assert [agenda.take() for _ in range(3)] == ["b", "c", "a"]


def test_a_thread_that_waits_is_woken_by_what_is_due_earlier() -> None:
    agenda = Agenda(["slow", "quick"])
    assert [agenda.take(), agenda.take()] == ["slow", "quick"]
    agenda.put_back("slow", 3600.0)
    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.append(agenda.take()))
    thread.start()
    agenda.put_back("quick", 0.0)
    thread.join(10.0)
    assert taken == ["quick"]


def test_when_the_time_is_up_all_who_wait_are_let_go() -> None:
    agenda = Agenda("a")
    agenda.take()
    taken: list[Any] = []
    waiting = [threading.Thread(target=lambda: taken.append(agenda.take())) for _ in range(2)]
    waiting.append(threading.Thread(target=lambda: taken.append(agenda.pause(3600.0))))
    for thread in waiting:
        thread.start()
    agenda.until(time.monotonic() + 0.05)
    for thread in waiting:
        thread.join(10.0)
    assert taken == [None] * 3
    assert agenda.over
    agenda.put_back("a", 0.0)
    assert agenda.take() is None
    agenda.until(math.inf)
    assert agenda.take() == "a"
