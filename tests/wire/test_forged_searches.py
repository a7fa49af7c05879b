"""Searches that no client would send, and replies that no bank would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from carls import messages as m
from carls.errors import ProtocolError
from carls.keys import Keys
from carls.wire.frames import Frame
from carls.wire.streamed import STREAMED

REQUEST, REPLY = STREAMED[m.Nearest].request, STREAMED[m.Nearest].reply
GOOD = m.Nearest("t", np.ones((2, 2), np.float32), m.KeyLists.none(2), False, 1, "dot", "", False)


def _request(lists: pa.Array) -> Frame:
    frame = REQUEST.encode(GOOD)
    fields = [frame.batch.schema.field(0), pa.field("excluded", lists.type, nullable=False)]
    batch = pa.RecordBatch.from_arrays([frame.batch.column(0), lists], schema=pa.schema(fields))
    return Frame(batch, frame.facts)


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (pa.array([[1], None]), "nulls"),
        (pa.array([[1], [None]]), "nulls"),
        (pa.array([["a"], [None]]), "nulls"),
        (pa.array([["a" * 70_000], []]), "65536"),
    ],
)
def test_forged_lists_of_keys_are_refused(lists: pa.Array, expected: str) -> None:
    frame = _request(lists)
    with pytest.raises((ProtocolError, ValueError), match=expected):
        REQUEST.decode(frame, table="t")


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.int32()), pa.int64(), pa.large_list(pa.int64())]
)
def test_lists_of_anything_else_are_refused(kind: pa.DataType) -> None:
    schema = pa.schema(
        [REQUEST.encode(GOOD).batch.schema.field(0), pa.field("excluded", kind, nullable=False)]
    )
    with pytest.raises(ProtocolError, match="excluded"):
        REQUEST.check_schema(schema)


def test_forged_offsets_of_lists_are_refused() -> None:
    offsets = pa.py_buffer(np.array([0, 9, 1], np.int32))
    lists = pa.ListArray.from_buffers(pa.list_(pa.int64()), 2, [None, offsets], children=[pa.array([1])])
    with pytest.raises(ProtocolError, match="forged"):
        REQUEST.decode(_request(lists), table="t")


def test_lists_of_a_slice_are_read_from_their_first() -> None:
    lists = pa.array([["x"], ["a", "b"], ["c"]]).slice(1)
    frame = _request(lists)
    found = REQUEST.decode(frame, table="t").excluded
    assert found.keys == Keys.of(["a", "b", "c"])
    assert found.ends.tolist() == [0, 2, 3]


@pytest.mark.parametrize("counts", [b"[3]", b"[1,1,1]", b"[-1,3]", b"[true,1]", b'"x"', b"[1.0,1]", b"null"])
def test_replies_whose_counts_do_not_fit_are_refused(counts: Any) -> None:
    good = REPLY.encode(m.NeighbourBatch(Keys.of(["a", "b"]), np.ones(2, np.float32), (1, 1)))
    with pytest.raises(ProtocolError, match="counts"):
        REPLY.decode(Frame(good.batch, b'{"counts":' + counts + b"}"))
    with pytest.raises(ProtocolError, match="counts"):
        REPLY.decode(Frame(None, b'{"counts":' + counts + b"}"))
