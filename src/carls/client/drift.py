"""DriftLimit: how far a trainer may run ahead of the knowledge that it reads."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from carls.client.arguments import integer, seconds
from carls.client.handle import TableHandle
from carls.errors import DeadlineExceededError, InvalidRequestError
from carls.messages import KnowledgeInfo

#: What was seen of a table is asked for anew after this, so that its age can be told, in seconds.
_REFRESH_S = 1.0
_UNKNOWN = KnowledgeInfo(-1, 0, 0, "", 0.0)


class DriftLimit:
    """Lets a trainer wait until the newest knowledge in its tables is at most n steps old.

    How new a table is, its makers announce: `MakerRunner` after each walk, others by
    `table.announce(step=...)`. Call `wait(step)` after publishing and before reading:

        limit = carls.DriftLimit(labels, max_age_steps=4)
        for step in range(steps):
            if step % 5 == 0:
                bank.models.publish("encoder", encoder.state_dict(), step=step)
            limit.wait(step)
            rows = labels.lookup(keys)      # of step - 4 or newer

    0 is synchronous: publish at each step, and each waits for its maker. None never waits, so
    that staleness can be swept by one loop over (0, 1, 4, 16, None). A trainer has to publish at
    least every `max_age_steps + 1` steps. Rows that were prefetched before the wait may be older
    by as many steps as they were fetched ahead. Knowledge of a later step than the trainer's, as after
    it went back to an earlier checkpoint, is new enough: start its makers anew too. Thread-safe.

    Args:
        tables: handle of a table, or several.
        max_age_steps: steps that the trainer's may be above the knowledge's, >= 0; None: any.
        timeout_s: longest wait, in seconds.

    Raises:
        InvalidRequestError: arguments that cannot be.
    """

    def __init__(
        self,
        tables: TableHandle[Any] | Iterable[TableHandle[Any]],
        max_age_steps: int | None = 16,
        timeout_s: float = 30.0,
    ) -> None:
        several = [tables] if isinstance(tables, TableHandle) else list(tables)
        if not several or not all(isinstance(table, TableHandle) for table in several):
            raise InvalidRequestError(
                f"tables={tables!r:.80}: expected the handle of a table, as bank.embeddings(...) gives it, "
                "or several"
            )
        self.max_age_steps = None if max_age_steps is None else integer("max_age_steps", max_age_steps, 0)
        self.timeout_s = seconds("timeout_s", timeout_s)
        self._sights = [_Sight(table) for table in several]
        self._step: int | None = None

    def wait(self, step: int) -> float:
        """Wait until all tables have knowledge of `step - max_age_steps` or later, and any at all.

        Costs no call while what was seen last is new enough, but for one a second and table,
        by which `age_steps` stays true.

        Args:
            step: the trainer's, >= 0.

        Returns:
            Seconds waited; 0.0 where there was no need.

        Raises:
            DeadlineExceededError: no such knowledge within `timeout_s`; the message names the
                table, what is known, and what to look after.
            BankRestartedError: as for the table's own calls, once.
        """
        at = self._step = integer("step", step, 0)
        least = -1 if self.max_age_steps is None else max(at - self.max_age_steps, 0)
        began = time.monotonic()
        waited = 0.0
        for sight in self._sights:
            if sight.info.step >= least and sight.is_old:
                sight.ask(-1, 0.0)
            if sight.info.step >= least:
                continue
            info = sight.ask(least, max(began + self.timeout_s - time.monotonic(), 0.0))
            if info.step < least:
                raise self._overdue(sight.table, info, at, least)
            waited = time.monotonic() - began
        return waited

    @property
    def age_steps(self) -> int | None:
        """The step of the last `wait` less that of the oldest table's knowledge, as seen at most a
        second before; None before the first `wait` and while a table has no knowledge."""
        oldest = min(sight.info.step for sight in self._sights)
        return None if self._step is None or oldest < 0 else self._step - oldest

    def _overdue(
        self, table: TableHandle[Any], info: KnowledgeInfo, at: int, least: int
    ) -> DeadlineExceededError:
        known = f"knowledge of step {info.step}" if info.step >= 0 else "no knowledge"
        return DeadlineExceededError(
            f"table {table.name!r} of {table.bank.url} has {known}: step {at} with max_age_steps="
            f"{self.max_age_steps} needs that of step {least} or later, and none came within "
            f"{self.timeout_s:g} s. {_announced(info)}. Is a maker running? Is a checkpoint of step {least} "
            f"or later published? A trainer has to publish at least every {(self.max_age_steps or 0) + 1} "
            "steps, before it waits",
            bank=table.bank.url,
            table=table.name,
            details={"knowledge_step": info.step, "step": at, "needed_step": least},
        )


class _Sight:
    """What was last seen of a table's knowledge."""

    def __init__(self, table: TableHandle[Any]) -> None:
        self.table = table
        self._seen: tuple[KnowledgeInfo, str, float] | None = None

    @property
    def info(self) -> KnowledgeInfo:
        """As last seen; nothing known, if the bank was replaced since."""
        seen = self._seen
        return _UNKNOWN if seen is None or seen[1] != self.table._link.bank_id else seen[0]

    @property
    def is_old(self) -> bool:
        """Whether it was seen over a second ago, or never."""
        return self._seen is None or time.monotonic() - self._seen[2] > _REFRESH_S

    def ask(self, at_least: int, wait_s: float) -> KnowledgeInfo:
        """Ask the bank, and wait for step `at_least` up to `wait_s` seconds."""
        bank_id = self.table._link.bank_id
        info = self.table.knowledge(at_least, wait_s)
        self._seen = (info, bank_id, time.monotonic())
        return info


def _announced(info: KnowledgeInfo) -> str:
    if info.parts == 0:
        return "Nothing was ever announced for it"
    if info.step < 0:
        return f"Part {info.part} of {info.parts} was not announced yet"
    return f"Part {info.part} of {info.parts} was announced last by {info.producer!r}, {info.age:.1f} s ago"
