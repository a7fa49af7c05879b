"""The writer: order, background, unknown outcomes, closing. The bank is a function here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from carls.client.writer import QUEUE_CAPACITY, Writer
from carls.errors import (
    ClosedError,
    DeadlineExceededError,
    InternalError,
    InvalidValueError,
    OutcomeUnknownError,
    UnavailableError,
)
from carls.keys import Keys
from carls.messages import Done, Erase, Reply, Request, WriteId


class FakeBank:
    """Remembers what was sent; fails where told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bool]] = []
        self.failures: list[BaseException] = []
        self.open = threading.Event()
        self.open.set()

    def send(self, request: Request, timeout_s: float) -> Reply:
        assert isinstance(request, Erase)
        if not self.open.wait(timeout_s):
            raise OutcomeUnknownError("late")
        self.sent.append((request.table, request.write.sequence, request.write.first))
        if self.failures:
            raise self.failures.pop(0)
        return Done()


def erase(name: str):
    return [lambda write: Erase(name, Keys.of([1]), write)]


@contextmanager
def writing(bank: FakeBank) -> Iterator[Writer]:
    writer = Writer("table 't'", bank.send)
    try:
        yield writer
    finally:
        writer.close(5)


def test_writes_are_numbered_in_order() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        for i in range(5):
            (writer.write if i % 2 else writer.write_async)(erase(f"{i}"), 5)
        writer.flush(5)
    assert bank.sent == [("0", 1, True), ("1", 2, False), ("2", 3, False), ("3", 4, False), ("4", 5, False)]


def test_an_unknown_outcome_is_repeated_first_under_its_number() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [OutcomeUnknownError("lost")]
        with pytest.raises(OutcomeUnknownError):
            writer.write(erase("a"), 5)
        writer.write(erase("b"), 5)
    assert bank.sent == [("a", 1, True), ("a", 1, True), ("b", 2, False)]


def test_flush_settles_an_unknown_outcome() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [OutcomeUnknownError("lost"), OutcomeUnknownError("lost again")]
        with pytest.raises(OutcomeUnknownError):
            writer.write(erase("a"), 5)
        with pytest.raises(DeadlineExceededError, match="still unknown"):
            writer.flush(5)
        writer.flush(5)
        writer.flush(5)
    assert bank.sent == [("a", 1, True)] * 3


def test_nothing_new_is_sent_while_an_outcome_stays_unknown() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [OutcomeUnknownError("lost"), UnavailableError("gone")]
        with pytest.raises(OutcomeUnknownError):
            writer.write(erase("a"), 5)
        with pytest.raises(DeadlineExceededError, match="sent nothing of its own"):
            writer.write(erase("b"), 5)
    assert [name for name, _, _ in bank.sent] == ["a", "a", "a"]  # the last by close


def test_a_settled_write_may_turn_out_refused() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [OutcomeUnknownError("lost"), InvalidValueError("nan")]
        with pytest.raises(OutcomeUnknownError):
            writer.write(erase("a"), 5)
        with pytest.raises(InvalidValueError):
            writer.flush(5)
        writer.write(erase("b"), 5)
    assert bank.sent == [("a", 1, True), ("a", 1, True), ("b", 2, True)]


def test_background_errors_are_raised_once_more() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [InvalidValueError("nan")]
        future = writer.write_async(erase("a"), 5)
        assert isinstance(future.exception(5), InvalidValueError)
        with pytest.raises(InvalidValueError):
            writer.raise_background_error()
        writer.raise_background_error()
        writer.write(erase("b"), 5)


def test_a_full_queue_makes_the_next_write_wait_until_its_deadline() -> None:
    bank = FakeBank()
    bank.open.clear()
    with writing(bank) as writer:
        # One is on its way, so one more than the queue holds has to wait for the first to leave it.
        futures = [writer.write_async(erase(f"{i}"), 20) for i in range(QUEUE_CAPACITY + 1)]
        with pytest.raises(DeadlineExceededError, match="queued"):
            writer.write_async(erase("too many"), 0.05)
        bank.open.set()
        for future in futures:
            assert future.result(5) == [Done()]


def test_closing_waits_for_the_queue() -> None:
    bank = FakeBank()
    writer = Writer("table 't'", bank.send)
    futures = [writer.write_async(erase(f"{i}"), 5) for i in range(QUEUE_CAPACITY)]
    writer.close(5)
    writer.close(5)
    assert all(future.done() for future in futures)
    with pytest.raises(ClosedError):
        writer.write(erase("late"), 5)


def test_closing_is_bounded_and_tells_what_was_not_sent() -> None:
    bank = FakeBank()
    bank.open.clear()
    writer = Writer("table 't'", bank.send)
    first, second = (writer.write_async(erase(name), 0.5) for name in "ab")
    with pytest.raises(DeadlineExceededError):
        writer.close(0.05)
    assert isinstance(second.exception(5), ClosedError | OutcomeUnknownError | DeadlineExceededError)
    bank.open.set()
    first.exception(5)


def test_a_new_identity_starts_from_one() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        writer.write(erase("a"), 5)
        writer.renew()
        writer.write(erase("b"), 5)
    assert bank.sent == [("a", 1, True), ("b", 1, True)]


def test_an_unused_write_id_is_not_reused() -> None:
    """A write that was refused keeps its number; the next one has a higher one."""
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [UnavailableError("gone")]
        with pytest.raises(UnavailableError):
            writer.write(erase("a"), 5)
        writer.write(erase("b"), 5)
    assert [number for _, number, _ in bank.sent] == [1, 2]
    assert WriteId("c", 1, True).first


# --- writes of several parts ---


def parts(*names: str):
    return [build for name in names for build in erase(name)]


def test_parts_after_an_unknown_one_are_sent_when_it_is_settled() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [OutcomeUnknownError("lost")]
        with pytest.raises(OutcomeUnknownError):
            writer.write(parts("a", "b", "c"), 5)
        writer.flush(5)
        writer.flush(5)
    assert bank.sent == [("a", 1, True), ("a", 1, True), ("b", 2, True), ("c", 3, True)]


@pytest.mark.parametrize("error", [UnavailableError("gone"), DeadlineExceededError("late")])
def test_a_write_that_is_half_applied_has_an_unknown_outcome(error: Exception) -> None:
    """Whoever repeated it would apply its first half twice."""
    bank = FakeBank()
    with writing(bank) as writer:
        failing = iter([None, error])

        def send(request: Request, timeout_s: float) -> Reply:
            failure = next(failing, None)
            if failure is not None:
                raise failure
            return bank.send(request, timeout_s)

        writer._sequence._send = send
        with pytest.raises(OutcomeUnknownError, match="1 of 3 parts"):
            writer.write(parts("a", "b", "c"), 5)
        writer.write(parts("d"), 5)
    assert [name for name, _, _ in bank.sent] == ["a", "b", "c", "d"]
    assert [number for _, number, _ in bank.sent] == [1, 2, 3, 4]


def test_nothing_follows_a_part_that_was_refused() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [OutcomeUnknownError("lost"), InvalidValueError("nan")]
        with pytest.raises(OutcomeUnknownError):
            writer.write(parts("a", "b"), 5)
        with pytest.raises(InvalidValueError, match=r"an earlier write.*nan"):
            writer.write(parts("c"), 5)
        writer.write(parts("d"), 5)
    assert [name for name, _, _ in bank.sent] == ["a", "a", "d"]


# --- what is told, and to whom ---


def test_an_unknown_outcome_in_the_background_is_no_error_of_the_next_write() -> None:
    """That write would seem to be kept, and was never sent."""
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [OutcomeUnknownError("lost")]
        future = writer.write_async(erase("a"), 5)
        assert isinstance(future.exception(5), OutcomeUnknownError)
        writer.raise_background_error()
        writer.write(erase("b"), 5)
        writer.flush(5)
    assert [name for name, _, _ in bank.sent] == ["a", "a", "b"]


def test_a_write_that_was_not_sent_is_told_though_one_before_it_is_settled() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [OutcomeUnknownError("lost"), UnavailableError("gone")]
        first, second = (writer.write_async(erase(name), 5) for name in "ab")
        assert isinstance(first.exception(5), OutcomeUnknownError)
        assert isinstance(second.exception(5), DeadlineExceededError)
        with pytest.raises(DeadlineExceededError, match="in the background"):
            writer.flush(5)
    assert [name for name, _, _ in bank.sent] == ["a", "a", "a"]


def test_a_bank_that_fails_at_a_write_settles_it() -> None:
    """Or the handle could never write again."""
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [OutcomeUnknownError("lost"), InternalError("a fault")]
        with pytest.raises(OutcomeUnknownError):
            writer.write(erase("a"), 5)
        with pytest.raises(InternalError):
            writer.flush(5)
        writer.write(erase("b"), 5)
    assert [name for name, _, _ in bank.sent] == ["a", "a", "b"]


def test_a_write_behind_another_is_sent_with_what_is_left_of_its_deadline() -> None:
    bank = FakeBank()
    bank.open.clear()
    left: list[float] = []
    with writing(bank) as writer:
        send = bank.send

        def timed(request: Request, timeout_s: float) -> Reply:
            left.append(timeout_s)
            return send(request, timeout_s)

        writer._sequence._send = timed
        first = writer.write_async(erase("a"), 20)
        waiting = threading.Thread(target=writer.write, args=(erase("b"), 10))
        waiting.start()
        with writer._changed:
            assert writer._changed.wait_for(lambda: len(writer._queue) == 1, 10)
        threading.Event().wait(0.1)  # so much of the deadline goes by
        bank.open.set()
        first.result(10)
        waiting.join(10)
    assert left[1] <= 9.9


def test_a_write_that_was_interrupted_is_kept_and_repeated() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [KeyboardInterrupt()]
        with pytest.raises(KeyboardInterrupt):
            writer.write(erase("a") + erase("b"), 5)
        writer.flush(5)
    assert [(name, number) for name, number, _ in bank.sent] == [("a", 1), ("a", 1), ("b", 2)]


def test_a_fault_of_this_side_is_not_repeated_for_ever() -> None:
    bank = FakeBank()
    with writing(bank) as writer:
        bank.failures = [KeyError("no such dtype")]
        with pytest.raises(KeyError):
            writer.write(erase("a"), 5)
        writer.write(erase("b"), 5)
        writer.flush(5)
    assert [name for name, _, _ in bank.sent] == ["a", "b"]
