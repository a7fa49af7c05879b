"""What moving rows needs beside a bank: keys of all kinds, other packages, files, faults."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from carls import _core
from carls.client.parquet import GROUP_NBYTES, write_parquet
from carls.errors import InvalidRequestError, InvalidValueError, SpecMismatchError
from carls.specs import Optimizer
from carls.testing import Fault, connect_with_faults

ALL_OPTIMIZERS = [one() for one in (carls.SGD, carls.Momentum, carls.Adagrad, carls.RowwiseAdagrad)] + [
    carls.Adam(),
    carls.FTRL(),
]
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
KEYS = st.one_of(
    *(st.lists(one, min_size=1, max_size=20, unique=True) for one in (INT64, TEXT, st.binary(max_size=8)))
)
META = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(-1, 2**63 - 1),
    st.text("ab", max_size=2),
)


@pytest.fixture
def table() -> Any:
    with carls.connect(producer="me") as bank:
        yield bank.embeddings("t", dim=2, optimizer=carls.Adagrad(lr=0.1))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), keys=KEYS)
def test_any_keys_values_and_metadata_survive(data: st.DataObject, keys: list[Any]) -> None:
    n = len(keys)
    told = data.draw(st.lists(META, min_size=n, max_size=n))
    floats = st.floats(-(2.0**49), 2.0**49, width=32)
    values = np.array(data.draw(st.lists(floats, min_size=2 * n, max_size=2 * n)), np.float32)
    sums = np.abs(values[::-1])
    vector = pa.list_(pa.float32(), 2)
    version, count, step, producer = (list(column) for column in zip(*told, strict=True))
    with carls.connect() as bank:
        source = bank.embeddings("out", dim=2, optimizer=carls.Adagrad())
        source.lookup(keys)
        made = source.to_arrow(state=True).schema
        rows = pa.table(
            {
                "key": keys,
                "value": pa.FixedSizeListArray.from_arrays(pa.array(values), type=vector),
                "state": pa.FixedSizeListArray.from_arrays(pa.array(sums), type=vector),
                "version": pa.array(version, pa.uint32()),
                "count": pa.array(count, pa.uint32()),
                "step": pa.array(step, pa.int64()),
                "written": pa.array([1_700_000_000_000_000] * n, pa.timestamp("us", "UTC")),
                "producer": pa.array(producer, pa.string()),
            }
        ).cast(made)
        table = bank.embeddings("in", dim=2, optimizer=carls.Adagrad())
        assert table.load(rows, state=True) == n
        found = table.to_arrow(state=True)
        places = {key: at for at, key in enumerate(found["key"].to_pylist())}
        again = found.take([places[key] for key in keys])
        assert again.drop(["written"]).equals(rows.drop(["written"]))
        assert table.lookup(keys, create=False).version.tolist() == version


@pytest.mark.parametrize("optimizer", ALL_OPTIMIZERS, ids=lambda one: one.name)
def test_slots_are_as_large_as_the_core_keeps(optimizer: Optimizer) -> None:
    facts = optimizer.to_json()
    name = facts.pop("name")
    parameters = {key: float(value) for key, value in facts.items() if value is not None}
    rows = _core.EmbeddingTable(True, 7, 0, "constant", 0.0, 0.0, name, parameters)
    assert rows.record_floats == 7 + optimizer.state_floats(7)


def test_pandas_reads_the_file_and_goes_in(table: carls.EmbeddingTable, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    keys = [f"k{i}" for i in range(100)]
    values = table.lookup(keys).values
    table.to_parquet(tmp_path / "t.parquet", metadata=True)
    read = pandas.read_parquet(tmp_path / "t.parquet").set_index("key").loc[keys]
    np.testing.assert_array_equal(np.stack(read["value"].to_list()), values)
    assert read["count"].tolist() == [1] * 100
    assert str(read["written"].dtype) == "datetime64[us, UTC]"
    frame = table.to_pandas(metadata=True)
    assert sorted(frame["key"]) == sorted(keys)
    copy = table.bank.embeddings("copy", dim=2)
    assert copy.load(frame, metadata=True) == 100
    np.testing.assert_array_equal(copy.lookup(keys, create=False).values, values)


def test_polars_reads_the_file_and_goes_in(table: carls.EmbeddingTable, tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    keys = [f"k{i}" for i in range(100)]
    values = table.lookup(keys).values
    table.to_parquet(tmp_path / "t.parquet", metadata=True)
    frame = polars.read_parquet(tmp_path / "t.parquet")
    found = dict(zip(frame["key"].to_list(), frame["value"].to_list(), strict=True))
    np.testing.assert_array_equal(np.array([found[key] for key in keys], np.float32), values)
    copy = table.bank.embeddings("copy", dim=2)
    assert copy.load(frame, metadata=True) == 100
    np.testing.assert_array_equal(copy.lookup(keys, create=False).values, values)
    features = table.bank.features("f", {"near": "list<string>", "text": "string"})
    assert features.load(polars.DataFrame({"key": [1], "near": [["a", "b"]], "text": ["x"]})) == 1
    assert features.lookup([1])["near"][0] == ["a", "b"]


def test_without_pandas_the_error_says_what_to_install(
    table: carls.EmbeddingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="pip install pandas"):
        table.to_pandas()


def test_half_precision_and_narrow_integers_go_in(table: carls.EmbeddingTable) -> None:
    halves = pa.array(np.array([1.5, 2.5, 0.1, -4], np.float16))
    values = pa.FixedSizeListArray.from_arrays(halves, 2)
    rows = pa.table({"key": pa.array([1, 2], pa.uint8()), "value": values})
    assert table.load(rows) == 2
    expected = np.array([[1.5, 2.5], [0.1, -4]], np.float16).astype(np.float32)
    np.testing.assert_array_equal(table.lookup([1, 2]).values, expected)


def test_a_schema_that_says_nonsense_is_refused(table: carls.EmbeddingTable) -> None:
    table.lookup([1])
    rows = table.to_arrow()
    for said in (b"[]", b"{", b'{"format": 99}', b'{"format": 1, "table": "t", "spec": {"kind": "x"}}'):
        with pytest.raises(InvalidValueError, match="does not describe a table"):
            table.load(rows.replace_schema_metadata({b"carls": said}))
    features = table.bank.features("f", {"value": "list<float32>"})
    with pytest.raises(SpecMismatchError, match="kind"):
        features.load(rows)


def test_a_stream_that_goes_wrong_keeps_what_came_before(table: carls.EmbeddingTable) -> None:
    values = [pa.array([row], pa.list_(pa.float32(), 2)) for row in ([1.0, 2.0], [np.nan, 0.0])]
    batches = [pa.record_batch({"key": [at], "value": one}) for at, one in enumerate(values)]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    with pytest.raises(InvalidValueError, match=r"rows 1 to 1 of the RecordBatchReader: .*nan"):
        table.load(reader)
    assert table.lookup([0, 1], create=False).found.tolist() == [True, False]


def test_a_failed_export_leaves_nothing_behind(tmp_path: Path) -> None:
    schema = pa.schema([("key", pa.int64())])

    def batches() -> Any:
        yield pa.record_batch({"key": np.arange(10)}, schema=schema)
        raise carls.UnavailableError("gone")

    with pytest.raises(carls.UnavailableError, match="gone"):
        write_parquet(tmp_path / "t", pa.RecordBatchReader.from_batches(schema, batches()), overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    schema = pa.schema([("key", pa.int64())])

    def batches() -> Any:
        yield pa.record_batch({"key": np.arange(10)}, schema=schema)
        (tmp_path / "t").write_text("theirs")

    with pytest.raises(InvalidRequestError, match="already"):
        write_parquet(tmp_path / "t", pa.RecordBatchReader.from_batches(schema, batches()), overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    assert (tmp_path / "t").read_text() == "theirs"


def test_files_have_row_groups_of_bounded_size(table: carls.EmbeddingTable, tmp_path: Path) -> None:
    wide = table.bank.embeddings("wide", dim=4096)
    wide.lookup(np.arange(3000))  # 48 MiB
    wide.to_parquet(tmp_path / "t.parquet")
    metadata = pq.ParquetFile(tmp_path / "t.parquet").metadata
    sizes = [metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups)]
    assert len(sizes) >= 2
    assert max(sizes) < 2 * GROUP_NBYTES
    assert metadata.num_rows == 3000


def test_a_load_is_applied_once_whatever_gets_lost() -> None:
    with carls.connect() as other:
        source = other.embeddings("t", dim=2, optimizer=carls.Adagrad(lr=0.1))
        source.lookup(np.arange(20_000))
        rows = source.to_arrow(state=True)
    faults = [Fault.LOSE_REPLY, Fault.NONE, Fault.LATE, Fault.LOSE_REPLY]
    with connect_with_faults(None, faults) as bank:
        table = bank.embeddings("t", dim=2, optimizer=carls.Adagrad(lr=0.1))
        loaded = False
        while not loaded:
            try:
                table.flush()
                loaded = table.load(rows, state=True) == 20_000
            except (carls.OutcomeUnknownError, carls.DeadlineExceededError, carls.UnavailableError):
                continue  # what is of unknown outcome is settled by the next flush
        found = table.to_arrow(state=True).drop(["written"]).sort_by("key")
        assert found.equals(rows.drop(["written"]).sort_by("key"))
        assert table.load(rows.select(["key", "value"])) == 20_000
        assert (table.lookup(np.arange(20_000)).version == 1).all()


def test_migration_stops_after_its_passes_and_says_so(table: carls.EmbeddingTable) -> None:
    table.lookup(np.arange(10))
    target = table.bank.embeddings("new", dim=2)
    assert carls.migrate(table, target, passes=1) == carls.Migration((10,), 0, False, False)
    assert carls.migrate(table, target, passes=1) == carls.Migration((0,), 0, False, True)


def test_migration_catches_up_with_what_is_written_meanwhile(table: carls.EmbeddingTable) -> None:
    table.lookup(np.arange(5000))
    target = table.bank.embeddings("new", dim=2, optimizer=carls.Adagrad(lr=0.2))
    left = [3, 2, 1]
    page = table._page

    def push_then_page(*arguments: Any) -> Any:
        found = page(*arguments)
        if left and found[2] < 0:  # the last page was read: too late for this pass
            rows = left.pop()
            table.push_gradients(np.arange(rows), np.ones((rows, 2), np.float32))
        return found

    table._page = push_then_page  # type: ignore[method-assign]
    told = carls.migrate(table, target)
    assert told == carls.Migration((5000, 1, 2, 3, 0), 0, True, True)
    one, two = (t.to_arrow(state=True).drop(["written"]).sort_by("key") for t in (table, target))
    assert one.equals(two)
