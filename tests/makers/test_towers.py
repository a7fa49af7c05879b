"""TowerMaker: both towers' rows come from one checkpoint, also out of a process of its own."""

from __future__ import annotations

import numpy as np
import pytest
from sample_makers import DIM, encode_twice

import carls
from carls.errors import InvalidRequestError, InvalidValueError
from carls.makers import MakerProcess, MakerRunner, TowerMaker

KEYS = np.arange(7)


def tables_of(bank):
    return [bank.embeddings("texts", dim=DIM), bank.embeddings("images", dim=2 * DIM)]


def test_a_process_writes_both_sides_from_each_checkpoint(bank, publish):
    texts, images = tables_of(bank)
    limit = carls.DriftLimit([texts, images], max_age_steps=0)
    with MakerProcess(
        bank.url, TowerMaker(encode_twice, texts, images), model="model", keys=KEYS, batch_size=3
    ):
        for step, factor in ((0, 1.0), (5, 3.0)):
            publish(bank, step, factor)
            limit.wait(step)
            for table, times in ((texts, 1), (images, -1)):
                rows = table.lookup(KEYS, create=False)
                assert set(rows.step) == {step}
                assert (rows.values == times * factor * KEYS[:, None]).all()


@pytest.mark.parametrize(
    ("encode", "says"),
    [
        (
            lambda model, keys: [np.ones((len(keys), DIM))],
            "encode gave 1 arrays: expected one for each of the 2",
        ),
        (
            lambda model, keys: (np.ones((len(keys), DIM)), np.ones((len(keys), DIM))),
            r"shape \(7, 3\) for 7 keys and table 'images': expected \(7, 6\)",
        ),
    ],
)
def test_what_does_not_fit_the_tables_ends_the_runner(publish, encode, says):
    with carls.connect() as bank:
        maker = TowerMaker(encode, *tables_of(bank))
        publish(bank, 0, 1.0)
        runner = MakerRunner(bank, maker, model="model", keys=KEYS)
        with pytest.raises(InvalidValueError, match=says):
            runner.run(deadline_s=30.0)
        assert len(bank.embeddings("texts", dim=DIM)) == 0


def test_tables_that_cannot_be_are_refused():
    with carls.connect() as bank:
        texts, _ = tables_of(bank)
        for tables, says in (
            ((), "expected a handle for each tower"),
            (("texts",), "expected a handle for each tower"),
            ((bank.features("facts", {"a": "int32"}),), "expected a handle for each tower"),
            ((texts, texts), "expected a table of its own"),
        ):
            with pytest.raises(InvalidRequestError, match=says):
                TowerMaker(encode_twice, *tables)
