"""Keys: encoded exactly, whatever they came as."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carls import InvalidKeyError, Keys
from carls.keys import concat

INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1)
TEXTS = st.lists(st.text(), min_size=1)
BYTES = st.lists(st.binary(), min_size=1)


@given(INTEGERS | TEXTS | BYTES)
def test_round_trip(keys: list[Any]) -> None:
    encoded = Keys.of(keys)
    assert len(encoded) == len(keys)
    assert encoded.tolist() == list(encoded) == keys
    assert [encoded[i] for i in range(len(keys))] == keys
    assert encoded[-1] == keys[-1]
    assert Keys.of(tuple(keys)) == Keys.of(encoded.to_arrow()) == encoded
    assert Keys.of(encoded) is encoded


@given(INTEGERS | TEXTS | BYTES, st.data())
def test_slices_and_takes(keys: list[Any], data: st.DataObject) -> None:
    encoded = Keys.of(keys)
    chosen = data.draw(st.slices(len(keys)))
    assert encoded[chosen].tolist() == keys[chosen]
    indices = data.draw(st.lists(st.integers(0, len(keys) - 1), min_size=1))
    assert encoded.take(indices).tolist() == [keys[i] for i in indices]
    assert concat([encoded, encoded.take(indices)]).tolist() == keys + [keys[i] for i in indices]


@given(
    st.lists(st.integers(-2, 2), min_size=1)
    | st.lists(st.sampled_from(["", "a", "b", "ab", "ä"]), min_size=1)
    | st.lists(st.sampled_from([b"", b"\0", b"\0\0"]), min_size=1)
)
def test_unique(keys: list[Any]) -> None:
    unique, inverse = Keys.of(keys).unique()
    assert unique.tolist() == list(dict.fromkeys(keys))
    assert unique.take(inverse).tolist() == keys


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, 2], np.int32),
        np.array([1, 2], np.uint64),
        np.array([1, 2])[::-1][::-1],
        pa.array([1, 2], pa.int16()),
        pa.chunked_array([[1], [2]]),
        range(1, 3),
        [np.int64(1), np.int32(2)],
    ],
    ids=lambda a: type(a).__name__,
)
def test_integers_of_all_sorts(array: Any) -> None:
    assert Keys.of(array).tolist() == [1, 2]
    assert Keys.of(array).type == "int64"


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", "ä"]),
        np.array(["a", "ä"], object),
        pa.array(["a", "ä"], pa.large_string()),
        pa.array(["x", "a", "ä"])[1:],
    ],
    ids=lambda a: str(getattr(a, "type", getattr(a, "dtype", ""))),
)
def test_strings_of_all_sorts(array: Any) -> None:
    assert Keys.of(array) == Keys.of(["a", "ä"])


def test_equal_keys_of_other_types_differ() -> None:
    assert Keys.of(["a"]) != Keys.of([b"a"])
    assert Keys.of([1]) != Keys.of(["1"])
    assert Keys.of([1]) != [1]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (np.array([[1]]), "one dimension"),
        (np.array([2**64 - 1], np.uint64), "18446744073709551615"),
        (np.array([1.5]), "float64"),
        (np.array([], np.int64), "empty"),
        (pa.array([1, None]), "1 nulls"),
        (pa.array([1.5]), "double"),
        ([1, 2.5], "key 1 is 2.5"),
        (["a", b"a"], "key 1 is b'a'"),
        ([b"a", None], "key 1 is None"),
        ([2**63], "9223372036854775808"),
        ([b"x" * 65537], "65537"),
        ("abc", r"\['abc'\]"),
    ],
    ids=str,
)
def test_messages_name_the_key(keys: Any, words: str) -> None:
    with pytest.raises(InvalidKeyError, match=words):
        Keys.of(keys)


def test_repr_is_short() -> None:
    assert repr(Keys.of(list(range(1000)))) == "Keys(int64, n=1000: 0, 1, 2, ...)"
