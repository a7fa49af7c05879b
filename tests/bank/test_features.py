"""Feature tables and pages of scans keep to their limits, also for raw requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import carls
from carls.bank import Engine
from carls.bank.columns import MAX_ROW_BYTES, arrow_schema, row_nbytes
from carls.messages import (
    AgeBound,
    DescribeTable,
    FeatureAssign,
    FeatureLookup,
    FeatureScan,
    Lookup,
    OpenTable,
    Scan,
    WriteId,
)
from carls.specs import EmbeddingSpec, FeatureSpec, TableSpec
from carls.wire.limits import MAX_REQUEST_BYTES

MIB = 1 << 20
LISTS = FeatureSpec(columns=(("a", "list<int32>"), ("b", "list<string>"), ("c", "string"), ("d", "int64")))


class Raw:
    """An engine with one table, and requests to it that no client has looked at."""

    def __init__(self, spec: TableSpec) -> None:
        self.engine = Engine()
        self.spec = spec
        self.engine.handle(OpenTable("t", spec.to_json()))
        self.sequence = 0

    def assign(self, keys: Any, rows: list[dict[str, Any]]) -> None:
        assert isinstance(self.spec, FeatureSpec)
        self.sequence += 1
        columns = pa.RecordBatch.from_pylist(rows, schema=arrow_schema(self.spec))
        write = WriteId("client", self.sequence, self.sequence == 1)
        self.engine.handle(FeatureAssign("t", carls.Keys.of(keys), columns, -1, "p", write))

    def lookup(self, keys: Any) -> Any:
        return self.engine.handle(FeatureLookup("t", carls.Keys.of(keys), AgeBound(), 0, "me"))


def row(a: Any = (), b: Any = (), c: str = "", d: int = 0) -> dict[str, Any]:
    return {"a": a, "b": b, "c": c, "d": d}


def test_a_lookup_of_too_many_bytes_is_refused_with_both_numbers() -> None:
    raw = Raw(LISTS)
    raw.assign([1], [row(a=np.zeros(3 * MIB, np.int32))])  # 12 MiB
    assert len(raw.lookup([1] * 5).meta) == 5
    with pytest.raises(carls.RequestTooLargeError, match=rf"take 7\d{{7}} bytes.*{64 * MIB}"):
        raw.lookup([1] * 6)


def test_columns_without_lists_count_too() -> None:
    raw = Raw(FeatureSpec(columns={f"c{i}": "int64" for i in range(200)}))  # type: ignore[arg-type]
    with pytest.raises(carls.RequestTooLargeError, match=str(200 * 8 * 50_000)):
        raw.lookup(np.zeros(50_000, np.int64))


def test_an_embedding_lookup_of_too_many_bytes_is_refused_with_both_numbers() -> None:
    engine = Engine()
    engine.handle(OpenTable("t", EmbeddingSpec(dim=4096).to_json()))
    keys = carls.Keys.of(np.zeros(70_000, np.int64))
    with pytest.raises(carls.RequestTooLargeError, match=rf"{70_000 * (4 * 4096 + 32)}.*{1 << 30}"):
        engine.handle(Lookup("t", keys, True, AgeBound(), 0, "me"))
    assert engine.handle(DescribeTable("t")).rows == 0


@pytest.mark.parametrize(
    ("big", "size"),
    [
        (row(a=np.zeros(4 * MIB, np.int32)), 16 * MIB + 20),
        (row(b=[""] * 4 * MIB), 16 * MIB + 20),
        (row(c="x" * 16 * MIB), 16 * MIB + 20),
        (row(a=np.zeros(2 * MIB, np.int32), c="x" * 8 * MIB), 16 * MIB + 20),
    ],
    ids=["list", "strings", "string", "together"],
)
def test_a_row_of_too_many_bytes_changes_nothing(big: dict[str, Any], size: int) -> None:
    raw = Raw(LISTS)
    with pytest.raises(carls.InvalidValueError, match=f"row 1 .*{size} bytes.*{MAX_ROW_BYTES}"):
        raw.assign([1, 2], [row(d=1), big])
    assert not raw.lookup([1, 2]).meta["found"].any()


def test_a_row_just_within_the_limit() -> None:
    raw = Raw(LISTS)
    text = "x" * (MAX_ROW_BYTES - 20)
    raw.assign([1], [row(c=text)])
    assert raw.lookup([1]).columns.column("c")[0].as_py() == text


def test_sizes_of_rows_are_what_they_hold() -> None:
    rng = np.random.default_rng(0)
    rows = [
        row(
            a=[1] * int(rng.integers(0, 5)),
            b=["ä" * int(rng.integers(0, 4)) for _ in range(int(rng.integers(0, 4)))],
            c="y" * int(rng.integers(0, 6)),
        )
        for _ in range(50)
    ]
    expected = [
        # Three offsets, an int64, and what the lists and texts hold.
        3 * 4 + 8 + 4 * len(r["a"]) + sum(4 + len(text.encode()) for text in r["b"]) + len(r["c"])
        for r in rows
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=arrow_schema(LISTS))
    for start, stop in ((0, 50), (7, 31), (49, 50)):
        assert row_nbytes(LISTS, batch.slice(start, stop - start)).tolist() == expected[start:stop]


def test_pages_of_long_keys_are_short() -> None:
    raw = Raw(LISTS)
    keys = [f"{i:04d}".ljust(65_536, "k") for i in range(1100)]
    raw.assign(keys, [row(d=i) for i in range(1100)])
    seen: list[str] = []
    sizes, cursor = [], 0
    while cursor >= 0:
        page: Any = raw.engine.handle(FeatureScan("t", cursor, 65_536, 0))
        seen += page.keys.tolist()
        sizes.append(len(page.keys))
        cursor = page.cursor
    assert sizes == [1024, 76]
    assert sorted(seen) == keys


def test_pages_of_wide_rows_are_short() -> None:
    engine = Engine()
    engine.handle(OpenTable("t", EmbeddingSpec(dim=4096).to_json()))
    engine.handle(Lookup("t", carls.Keys.of(np.arange(4200)), True, AgeBound(), 0, "me"))
    page: Any = engine.handle(Scan("t", 0, 65_536, 0))
    assert len(page.keys) == 64 * MIB // (4 * 4096 + 32)
    rest: Any = engine.handle(Scan("t", page.cursor, 65_536, 0))
    assert rest.cursor == -1
    assert sorted(page.keys.tolist() + rest.keys.tolist()) == list(range(4200))


def test_requests_of_uneven_rows_keep_to_the_limit() -> None:
    with carls.connect() as bank:
        table = bank.features("t", {"a": "list<int32>"})
        sent: list[int] = []
        transport: Any = bank._transport
        call = transport.call

        def counted(request: Any, timeout_s: float) -> Any:
            if isinstance(request, FeatureAssign):
                sent.append(request.keys.nbytes + request.columns.nbytes)
            return call(request, timeout_s)

        transport.call = counted
        lengths = [10, 3 * MIB, 5, MIB, 2 * MIB, 0, 3 * MIB + MIB // 2, 1] + [7] * 1000
        table.assign(range(len(lengths)), {"a": [np.full(n, n, np.int32) for n in lengths]})
        assert len(sent) > 2
        assert max(sent) <= MAX_REQUEST_BYTES
        assert table.lookup(range(len(lengths)))["a"].lengths.tolist() == lengths
