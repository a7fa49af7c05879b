"""The watch over deadlines."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from carls.client.deadlines import Deadlines

FAR = 1000.0


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    watch = Deadlines("watch under test", lambda: None, FAR)
    yield watch
    watch.close(10)
    assert "watch under test" not in [thread.name for thread in threading.enumerate()]


def test_what_is_overdue_is_cancelled_in_order(deadlines: Deadlines) -> None:
    cancelled: list[str] = []
    last = threading.Event()
    now = time.monotonic()
    tokens = [
        deadlines.watch(now + FAR, lambda: cancelled.append("never")),
        deadlines.watch(now + 0.6, lambda: (cancelled.append("second"), last.set())),
        deadlines.watch(now + 0.5, lambda: cancelled.append("first")),
    ]
    assert last.wait(20)
    assert cancelled == ["first", "second"]
    assert [deadlines.met(token) for token in tokens] == [True, False, False]


def test_what_was_met_is_not_cancelled(deadlines: Deadlines) -> None:
    cancelled: list[str] = []
    later = threading.Event()
    now = time.monotonic()
    token = deadlines.watch(now + 0.5, lambda: cancelled.append("met"))
    assert deadlines.met(token)
    deadlines.watch(now + 0.6, later.set)
    assert later.wait(20)
    assert cancelled == []


def test_a_deadline_in_the_past_is_overdue_at_once(deadlines: Deadlines) -> None:
    cancelled = threading.Event()
    deadlines.watch(0.0, cancelled.set)
    assert cancelled.wait(20)


def test_it_tidies_while_it_watches() -> None:
    tidied = threading.Event()
    watch = Deadlines("tidy", tidied.set, 0.01)
    watch.watch(time.monotonic() + FAR, lambda: None)
    assert tidied.wait(20)
    watch.close(10)


def test_a_program_that_ends_may_still_send() -> None:
    """Python 3.12 starts no thread any more then; queued writes go out all the same."""
    program = (
        "import threading, time; from carls.client.deadlines import Deadlines\n"
        "d = Deadlines('x', lambda: None, 60.0)\n"
        "def start(self): raise RuntimeError('no new thread')\n"
        "threading.Thread.start = start\n"
        "d.met(d.watch(time.monotonic() + 60, print)); d.close(1.0); print('end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=60, capture_output=True, text=True, check=True
    )
    assert done.stdout == "end\n"


def test_a_program_that_forgets_to_close_still_ends() -> None:
    program = (
        "import time; from carls.client.deadlines import Deadlines; "
        "d = Deadlines('x', lambda: None, 60.0); d.met(d.watch(time.monotonic() + 60, print)); print('end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=60, capture_output=True, text=True, check=True
    )
    assert done.stdout == "end\n"
