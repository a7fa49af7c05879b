"""Tables whose rows have keys."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from carls.client.handle import TableHandle
from carls.client.results import Surveyed
from carls.client.split import split
from carls.keys import Keys
from carls.messages import ROW_META, Bools, Erase, Erased, Survey, SurveyBatch
from carls.specs import KeyedSpec

S = TypeVar("S", bound=KeyedSpec)


class KeyedTable(TableHandle[S]):
    """What all tables can do with rows that have keys."""

    def erase(self, keys: Any, timeout_s: float | None = None) -> Bools:
        """Remove the rows of n keys; returns (n,) bool, whether each had one."""
        batch = Keys.of(keys)
        self._forget_rows()
        parts = [partial(Erase, self.name, batch[rows]) for rows in split(batch, 1)]
        replies = self._write(parts, timeout_s)
        return np.concatenate([cast("Erased", reply).found for reply in replies])

    def survey(self, keys: Any, timeout_s: float | None = None) -> Surveyed:
        """How old the rows of n keys are, who made them, and how much they are asked for, without their
        values.

        Nothing is created, and no look-up is counted. Gradients that wait for the rows are applied first, as
        by a look-up. Demand is counted from the table's first survey on, in look-ups with and without
        `create`; this costs the look-ups of that table a microsecond or two each, and ten for each 1024 keys
        that are texts.

        Args:
            keys: as for `lookup`.
            timeout_s: deadline, for each 16 MiB of a large batch; default the bank's.

        Raises:
            InvalidKeyError: keys of another type than the table's.
        """
        batch = Keys.of(keys)
        return self._read(timeout_s, lambda left: self._survey(batch, left))

    def survey_async(self, keys: Any, timeout_s: float | None = None) -> Future[Surveyed]:
        """As `survey`, in the background."""
        batch = Keys.of(keys)
        return self._read_async(timeout_s, lambda left: self._survey(batch, left))

    def _survey(self, keys: Keys, timeout_s: float) -> Surveyed:
        parts = [self._survey_part(keys[part], timeout_s) for part in split(keys, ROW_META.itemsize + 8)]
        if len(parts) == 1:
            return parts[0]
        meta = np.concatenate([part._meta for part in parts])
        return Surveyed(meta, parts[-1]._producers, np.concatenate([part.demand for part in parts]))

    def _survey_part(self, keys: Keys, timeout_s: float) -> Surveyed:
        producers = self.bank._producers
        known = producers.known
        batch = cast("SurveyBatch", self._send(Survey(self.name, keys, known), timeout_s))
        return Surveyed(batch.meta, producers.learn(known, batch.producers), batch.demand)
