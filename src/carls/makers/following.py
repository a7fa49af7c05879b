"""Following: one maker makes one key set from the checkpoints of one model."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from carls.client import Bank, Model
from carls.client.leases import check_lease
from carls.errors import InvalidRequestError
from carls.keys import Int64s, Keys
from carls.makers.budget import Budget, check_rate
from carls.makers.intervals import Interval
from carls.makers.maker import KnowledgeMaker
from carls.makers.outputs import Outputs, Table
from carls.makers.progress import Journal
from carls.makers.schedules import Schedule
from carls.makers.shares import LeasedShares, Shares
from carls.makers.standing import DueKeys, KeySurvey
from carls.makers.stopping import Stopping
from carls.specs import check_name

#: Longest wait for something new before looking whether to stop, in seconds.
_POLL_S = 0.25


@dataclass(frozen=True, eq=False)
class Work:
    """What a runner does, as `MakerRunner` takes it.

    Raises:
        InvalidRequestError: an argument that cannot be.
    """

    maker: KnowledgeMaker
    model: str
    keys: Any
    schedule: Any
    batch_size: int
    rows_per_s: float | None
    interval: Any
    share: str | None
    lease_s: float

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InvalidRequestError(f"batch_size={self.batch_size!r}: expected an integer >= 1")
        check_name("model", self.model)
        check_rate(self.rows_per_s)
        check_lease(self.lease_s)
        if self.share is not None:
            check_name("share", self.share)
        object.__setattr__(self, "keys", Keys.of(self.keys))
        object.__setattr__(self, "schedule", Schedule.of(self.schedule))
        object.__setattr__(self, "interval", Interval.of(self.interval))


class Following:
    """Makes rows from checkpoints, from knowing nothing until it is stopped or something interrupts it.

    Args:
        bank: with the model and the tables.
        outputs: of the maker.
        work: what to do.
        journal: to be kept.
        stopping: when to stop.
    """

    def __init__(
        self, bank: Bank, outputs: Outputs, work: Work, journal: Journal, stopping: Stopping
    ) -> None:
        self._bank = bank
        self._outputs = outputs
        self._work = work
        self._journal = journal
        self._stopping = stopping
        self._budget = Budget(work.rows_per_s)
        self._model: Model | None = None
        self._interval = 1
        self._made = np.full(len(work.keys), -1, np.int64)
        self._written: set[str] = set()
        self._announced: dict[tuple[str, int], int] = {}
        self._survey = KeySurvey(work.keys, self._tables)
        self._shares = Shares(len(work.keys))
        if work.share is not None:
            self._shares = LeasedShares(bank, work.share, work.model, work.keys, work.lease_s)

    def run(self) -> None:
        """Make rows until it has to stop."""
        try:
            while not self._stopping.now:
                self._turn()
                if not self._shares.held.any():
                    self._stopping.wait(_POLL_S)
                    continue
                model = self._look()
                due = np.array([], np.int64) if model is None else self._due(model)
                if model is not None and len(due):
                    self._walk(model, due)
        finally:
            self._shares.close()
            self._journal.note(shares=0)

    def _turn(self) -> None:
        """Share with the others; what changes hands is made anew."""
        changed = self._shares.turn()
        for part in changed:
            self._made[self._shares.parts[part]] = -1
        if changed:
            self._announced = {at: step for at, step in self._announced.items() if at[1] not in changed}
            self._journal.note(shares=self._shares.leased)

    def _look(self) -> Model | None:
        """The checkpoint to work from; waits a little for a newer one where there is nothing to do."""
        last = self._model
        newer_than, after = (None, None) if last is None else (last.step + self._interval - 1, last.version)
        wait_s = _POLL_S if last is None or not len(self._due(last)) else 0.0
        model = self._bank.models.latest(self._work.model, newer_than, wait_s, after=after)
        if model is None:
            return last
        if last is not None:
            self._interval = self._work.interval.after(self._interval, last.tensors, model.tensors)
        self._model = model
        self._journal.note(checkpoint_step=model.step, interval_steps=self._interval)
        return model

    def _due(self, model: Model) -> Int64s:
        return np.flatnonzero(self._shares.held & (self._made < model.step))

    def _walk(self, model: Model, due: Int64s) -> None:
        """Make the keys that the schedule chooses; leaves early if told to stop."""
        began, before = time.monotonic(), self._journal.progress
        order = due[self._work.schedule.choose(DueKeys(model.step, due, self._made, self._survey))]
        size = self._budget.batch(self._work.batch_size)
        for start in range(0, len(order), size):
            self._wait_for_budget()
            if self._stopping.now:
                return
            self._turn()
            chosen = order[start : start + size]
            chosen = chosen[self._shares.held[chosen]]
            if len(chosen):
                self._make(model, chosen)
        self._announce()
        rows = self._journal.progress.rows_written - before.rows_written
        self._journal.note(passes=before.passes + 1, rows_per_s=rows / max(time.monotonic() - began, 1e-9))

    def _tables(self) -> list[Table]:
        return [self._outputs.table(name) for name in sorted({*self._work.maker.tables, *self._written})]

    def _make(self, model: Model, chosen: Int64s) -> None:
        written = 0
        for write in self._work.maker.make(model, self._work.keys.take(chosen)):
            rows = self._outputs.write(write, model.step, before=self._shares.cover)
            self._written.add(write.table)
            self._journal.note(rows_written=self._journal.progress.rows_written + rows)
            written += rows
        self._made[chosen] = model.step
        self._budget.spend(written)

    def _wait_for_budget(self) -> None:
        while (left_s := self._budget.wait_s()) > 0 and not self._stopping.now:
            self._turn()
            self._stopping.wait(min(left_s, _POLL_S))

    def _announce(self) -> None:
        """Announce the step of the oldest key of each part, to each table that does not know it yet."""
        parts = self._shares.parts
        oldest = {part: int(self._made[parts[part]].min()) for part in self._shares.mine}
        for table in sorted(self._written):
            news: defaultdict[int, list[int]] = defaultdict(list)
            for part, step in oldest.items():
                if step > self._announced.get((table, part), -1):
                    news[step].append(part)
            for step, those in sorted(news.items()):
                self._outputs.announce(table, step, those, len(parts))
                self._announced.update({(table, part): step for part in those})
