"""Rows go out to Arrow and Parquet and come in again as they were."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import carls
from carls.client import Bank
from carls.errors import InvalidRequestError, InvalidValueError, SpecMismatchError

OPTIMIZERS = (
    None,
    carls.SGD(lr=0.1),
    carls.Momentum(lr=0.1, nesterov=True),
    carls.Adagrad(lr=0.1, initial_accumulator=0.1),
    carls.RowwiseAdagrad(lr=0.1),
    carls.Adam(lr=0.1),
    carls.FTRL(lr=0.1, l1=0.01),
)
COLUMNS = {"label": "int32", "near": "list<string>", "far": "list<float32>", "text": "string", "good": "bool"}


class Moving:
    """Rows go out to Arrow and Parquet and come in again as they were."""

    @pytest.mark.parametrize("keys", [[5, -7, 2**62], ["a", "", "ä"], [b"a", b"", b"\xff"]], ids=repr)
    def test_values_survive_a_parquet_file(self, bank: Bank, tmp_path: Path, keys: list[Any]) -> None:
        values = np.arange(6, dtype=np.float32).reshape(3, 2) / 7
        bank.embeddings("out", dim=2).assign(keys, values)
        assert bank.embeddings("out", dim=2).to_parquet(tmp_path / "t.parquet") == 3
        table = bank.embeddings("in", dim=2)
        assert table.load(tmp_path / "t.parquet", step=7) == 3
        rows = table.lookup(keys, create=False)
        np.testing.assert_array_equal(rows.values, values)
        assert rows.version.tolist() == [1, 1, 1]
        assert rows.step.tolist() == [7, 7, 7]
        assert rows.producer == [bank.producer] * 3

    def test_batches_have_keys_values_and_what_was_asked_for(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.Adam())
        keys = [f"k{i}" for i in range(10)]
        values = table.lookup(keys).values
        reader = table.to_batches(batch=4)
        assert reader.schema.names == ["key", "value"]
        batches = list(reader)
        assert max(batch.num_rows for batch in batches) <= 4
        pairs = {key: value for batch in batches for key, value in zip(*batch.columns, strict=True)}
        assert sorted(key.as_py() for key in pairs) == keys
        found = {key.as_py(): value.as_py() for key, value in pairs.items()}
        assert [found[key] for key in keys] == values.tolist()
        told = ["version", "count", "step", "written", "producer"]
        assert table.to_batches(metadata=True).schema.names == ["key", "value", *told]
        full = table.to_batches(state=True).schema
        assert full.names == ["key", "value", "state", *told]
        assert full.field("state").type.list_size == 5  # t, m, v
        assert b'"adam"' in full.metadata[b"carls"]

    def test_metadata_survives(self, bank: Bank) -> None:
        with carls.connect(bank.url, producer="other") if bank.url != "memory://" else carls.connect() as b:
            made = b.embeddings("out", dim=2, optimizer=carls.SGD(lr=0.1))
            made.lookup(["a", "b", "c"])
            made.lookup(["a"])
            made.push_gradients(["a", "b"], np.ones((2, 2), np.float32), step=9)
            made.push_gradients(["a"], np.ones((1, 2), np.float32), step=12)
            before, rows = made.lookup(["a", "b", "c"], create=False), made.to_arrow(metadata=True)
        start = time.monotonic()
        table = bank.embeddings("in", dim=2)
        table.load(rows, metadata=True)
        after = table.lookup(["a", "b", "c"], create=False)
        np.testing.assert_array_equal(after.values, before.values)
        assert after.version.tolist() == [2, 1, 0]
        assert after.count.tolist() == [2, 1, 1]
        assert after.step.tolist() == [12, 9, -1]
        assert after.producer == before.producer
        assert after.producer[2] == ""
        # By another bank's clock: no younger than before, but for rounding, and no older than that.
        assert (after.age >= before.age - 0.01).all()
        assert (after.age <= before.age + (time.monotonic() - start) + 5).all()

    def test_ages_from_before_the_bank_began_survive(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1)
        table.assign([1], [[2.0]])
        rows = table.to_arrow(metadata=True)
        at = rows.schema.get_field_index("written")
        now = np.asarray(rows["written"].cast(pa.int64()))
        yesterday = pa.array(now - 86_400_000_000).cast(rows["written"].type)
        table.load(rows.set_column(at, "written", yesterday), metadata=True)
        assert 86_400 <= table.lookup([1]).age[0] < 86_460

    @pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: "none" if o is None else o.name)
    def test_training_goes_on_as_if_nothing_had_been(
        self, bank: Bank, tmp_path: Path, optimizer: carls.Optimizer | None
    ) -> None:
        rng = np.random.default_rng(0)
        keys = [f"k{i}" for i in range(20)]
        batches = [(rng.choice(20, 8), rng.standard_normal((8, 3)).astype(np.float32)) for _ in range(20)]

        def train(table: carls.EmbeddingTable, first: int, end: int) -> None:
            for step in range(first, end if optimizer else first):
                chosen, gradients = batches[step]
                table.push_gradients([keys[i] for i in chosen], gradients, step=step)

        whole = bank.embeddings("whole", dim=3, optimizer=optimizer)
        whole.lookup(keys)
        train(whole, 0, 20)
        with carls.connect() as early:
            table = early.embeddings("t", dim=3, optimizer=optimizer)
            table.lookup(keys)
            train(table, 0, 10)
            table.to_parquet(tmp_path / "t.parquet", state=True)
        table = bank.embeddings("t", dim=3, optimizer=optimizer)
        table.load(tmp_path / "t.parquet", state=True)
        train(table, 10, 20)
        one, other = (t.to_arrow(state=True).sort_by("key") for t in (whole, table))
        same = [name for name in one.schema.names if name not in ("written", "producer")]
        assert one.select(same).equals(other.select(same))

    def test_rows_of_half_precision_move_as_float32(self, bank: Bank, tmp_path: Path) -> None:
        table = bank.embeddings("out", dim=3, dtype="float16", optimizer=carls.Adam(lr=0.1))
        keys = np.arange(50)
        table.push_gradients(keys, np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32))
        table.to_parquet(tmp_path / "t.parquet", state=True)
        assert pq.read_schema(tmp_path / "t.parquet").field("value").type.value_type == pa.float32()
        copy = bank.embeddings("in", dim=3, dtype="float16", optimizer=carls.Adam(lr=0.1))
        copy.load(tmp_path / "t.parquet", state=True)
        for one in (table, copy):
            one.push_gradients(keys, np.ones((50, 3), np.float32))
        whole, other = (t.to_arrow(state=True).sort_by("key").drop(["written"]) for t in (table, copy))
        assert whole.equals(other)
        wide = bank.embeddings("wide", dim=3, optimizer=carls.Adam(lr=0.1))
        assert carls.migrate(table, wide) == carls.Migration((50, 0), 0, True, True)
        values = wide.lookup(keys, create=False).values
        np.testing.assert_array_equal(values, table.lookup(keys, create=False).values.astype(np.float32))
        wide.assign([1], [[1e5, 0.0, 0.0]])
        with pytest.raises(InvalidValueError, match="float16"):
            carls.migrate(wide, copy)

    def test_feature_tables_survive(self, bank: Bank, tmp_path: Path) -> None:
        table = bank.features("out", COLUMNS)
        table.assign(
            [1, 2],
            {
                "label": [3, 4],
                "near": [["a", "ä"], []],
                "far": [[], [0.5, 1.5]],
                "text": ["x", ""],
                "good": [True, False],
            },
            step=5,
        )
        table.to_parquet(tmp_path / "t.parquet", metadata=True)
        copy = bank.features("in", COLUMNS)
        assert copy.load(tmp_path / "t.parquet", metadata=True) == 2
        one, other = (t.to_arrow(metadata=True).sort_by("key").drop(["written"]) for t in (table, copy))
        assert one.equals(other)
        assert copy.load(tmp_path / "t.parquet", step=6) == 2
        assert copy.lookup([1]).version.tolist() == [2]
        with pytest.raises(InvalidRequestError, match="no optimizer"):
            table.to_batches(state=True)

    def test_columns_named_as_ours_do_not_meet_them(self, bank: Bank) -> None:
        spec = {"key": "string", "version": "int32"}
        table = bank.features("out", spec)
        table.assign([1], {"key": ["a"], "version": [7]})
        rows = table.to_arrow(metadata=True)
        assert rows.schema.names[:3] == ["_key", "key", "version"]
        copy = bank.features("in", spec)
        copy.load(rows, metadata=True)
        assert copy.lookup([1])["version"].tolist() == [7]
        assert copy.lookup([1]).version.tolist() == [1]

    def test_what_does_not_fit_is_refused_and_changes_nothing(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2, optimizer=carls.Adagrad(lr=0.1))
        table.assign(["a"], [[1.0, 2.0]])
        before = table.to_arrow(state=True)
        with carls.connect() as other:
            wide = other.embeddings("t", dim=3)
            wide.lookup(["a"])
            numbers = other.embeddings("n", dim=2)
            numbers.lookup([1])
            adam = other.embeddings("o", dim=2, optimizer=carls.Adam())
            adam.lookup(["a"])
            unfit = [wide.to_arrow(), numbers.to_arrow(), adam.to_arrow(state=True)]
        for rows in unfit:
            with pytest.raises(SpecMismatchError, match="'t'"):
                table.load(rows, state=rows is unfit[2])
        keys = pa.array(["b", "c"])
        values = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4], pa.float32()), 2)
        wrong: dict[str, list[Any]] = {
            "missing": [pa.table({"key": keys}), pa.table({"value": values})],
            "nulls": [
                pa.table({"key": pa.array(["b", None]), "value": values}),
                pa.table({"key": keys, "value": pa.array([[1.0, 2.0], None], values.type)}),
                pa.table({"key": keys, "value": pa.array([[1.0, 2.0], [None, 4.0]], values.type)}),
            ],
            "numbers": [
                pa.table({"key": keys, "value": pa.array([[1.0, 2.0], [bad, 4.0]], values.type)})
                for bad in (np.nan, np.inf)
            ],
            "shapes": [
                pa.table({"key": keys, "value": pa.array([[1.0, 2.0], [3.0]], pa.list_(pa.float32()))}),
                pa.table({"key": keys, "value": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64()))}),
                pa.table({"key": keys, "value": pa.array([1.0, 2.0], pa.float32())}),
            ],
        }
        for rows in (rows for several in wrong.values() for rows in several):
            with pytest.raises(InvalidValueError, match="'t'"):
                table.load(rows)
        with pytest.raises(InvalidValueError, match="which optimizer"):
            table.load(before.replace_schema_metadata(None), state=True)
        at = before.schema.get_field_index("state")
        negative = pa.array([[-1.0, 0.0]], before["state"].type)
        with pytest.raises(InvalidValueError, match="'sum'"):
            table.load(before.set_column(at, before.schema.field(at), negative), state=True)
        with pytest.raises(InvalidRequestError, match="step=3"):
            table.load(before, state=True, step=3)
        with pytest.raises(InvalidRequestError, match="expected the path"):
            table.load([1, 2])
        after = table.to_arrow(state=True)
        assert after.drop(["written"]).equals(before.drop(["written"]))

    def test_damaged_files_are_refused_and_change_nothing(self, bank: Bank, tmp_path: Path) -> None:
        with carls.connect() as other:
            many = other.embeddings("t", dim=8)
            many.lookup(np.arange(10_000))
            many.to_parquet(tmp_path / "t.parquet")
        whole = (tmp_path / "t.parquet").read_bytes()
        table = bank.embeddings("t", dim=8)
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
        for damaged in (whole[:middle], whole[:-1], b"", flipped):
            (tmp_path / "t.parquet").write_bytes(damaged)
            with pytest.raises(InvalidValueError, match="cannot be read"):
                table.load(tmp_path / "t.parquet")
        with pytest.raises(InvalidRequestError, match="no such file"):
            table.load(tmp_path / "none.parquet")
        assert len(table) == 0

    def test_files_appear_whole_or_not_at_all(self, bank: Bank, tmp_path: Path) -> None:
        table = bank.embeddings("t", dim=2)
        table.assign([1], [[1.0, 2.0]])
        path = tmp_path / "t.parquet"
        table.to_parquet(path)
        table.assign([2], [[3.0, 4.0]])
        with pytest.raises(InvalidRequestError, match="already"):
            table.to_parquet(path)
        assert pq.read_table(path).num_rows == 1
        table.to_parquet(path, overwrite=True)
        assert pq.read_table(path).num_rows == 2
        with pytest.raises(InvalidRequestError, match="cannot be written"):
            table.to_parquet(tmp_path / "nowhere" / "t.parquet")
        bank.drop("t")
        with pytest.raises(carls.UnknownTableError):
            table.to_parquet(path, overwrite=True)
        assert [name for name in os.listdir(tmp_path) if "parquet" in name] == ["t.parquet"]
        assert pq.read_table(path).num_rows == 2

    def test_a_table_without_rows_moves(self, bank: Bank, tmp_path: Path) -> None:
        table = bank.embeddings("out", dim=2)
        assert table.to_parquet(tmp_path / "t.parquet", metadata=True) == 0
        assert bank.embeddings("in", dim=2).load(tmp_path / "t.parquet", metadata=True) == 0

    def test_errors_come_through_the_stream(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=2)
        table.lookup([1, 2, 3])
        reader = table.to_batches(batch=1)
        assert reader.read_next_batch().num_rows == 1
        bank.drop("t")
        with pytest.raises(carls.UnknownTableError):
            reader.read_next_batch()

    def test_a_stream_is_loaded_as_it_comes(self, bank: Bank) -> None:
        table = bank.embeddings("out", dim=2, optimizer=carls.Adagrad(lr=0.1))
        table.lookup(np.arange(10_000))
        copy = bank.embeddings("in", dim=2, optimizer=carls.Adagrad(lr=0.5))
        assert copy.load(table.to_batches(batch=1000, state=True), state=True) == 10_000
        keys = np.arange(0, 10_000, 7)
        np.testing.assert_array_equal(copy.lookup(keys).values, table.lookup(keys).values)

    def test_the_last_row_of_a_key_stays(self, bank: Bank) -> None:
        table = bank.embeddings("t", dim=1, keys="int64")
        values = pa.array([[1.0], [2.0], [3.0]], pa.list_(pa.float32()))
        assert table.load(pa.table({"key": [1, 2, 1], "value": values, "more": ["x", "y", "z"]})) == 3
        assert table.lookup([1, 2]).values.tolist() == [[3.0], [2.0]]

    @pytest.mark.parametrize("other", [carls.Adagrad(lr=0.5), carls.Adam()], ids=lambda o: o.name)
    def test_migration_takes_rows_and_alike_state(self, bank: Bank, other: carls.Optimizer) -> None:
        source = bank.embeddings("out", dim=2, optimizer=carls.Adagrad(lr=0.1))
        target = bank.embeddings("in", dim=2, optimizer=other)
        source.lookup(np.arange(5000))
        source.push_gradients(np.arange(100), np.ones((100, 2), np.float32), step=3)
        told = carls.migrate(source, target)
        alike = isinstance(other, carls.Adagrad)
        assert told == carls.Migration(copied=(5000, 0), erased=0, state=alike, settled=True)
        source.push_gradients([7, 8, 9999], np.ones((3, 2), np.float32), step=4)
        source.erase([1, 2])
        assert carls.migrate(source, target) == carls.Migration((3, 0), 2, alike, True)
        one, two = (t.to_arrow(state=alike, metadata=True).sort_by("key") for t in (source, target))
        assert one.drop(["written"]).equals(two.drop(["written"]))
        with pytest.raises(InvalidRequestError, match="one table"):
            carls.migrate(source, bank.embeddings("out", dim=2, optimizer=carls.Adagrad(lr=0.1)))
        with pytest.raises(SpecMismatchError, match="dim 3"):
            carls.migrate(source, bank.embeddings("wide", dim=3))

    def test_tables_open_by_name_and_by_spec(self, bank: Bank) -> None:
        one = bank.embeddings("t", dim=3, keys="string", optimizer=carls.Adam())
        assert bank.open("t").spec == one.spec
        assert bank.open("copy", one.spec).spec == one.spec
        assert isinstance(bank.open("f", bank.features("g", {"a": "int32"}).spec), carls.FeatureTable)
        with pytest.raises(carls.UnknownTableError):
            bank.open("none")
        with pytest.raises(carls.InvalidSpecError):
            bank.open("t", {"dim": 3})  # type: ignore[arg-type]
