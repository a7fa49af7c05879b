"""Gaussian memories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank
from carls.client import GaussianMemory as Memory
from carls.testing.memories import PlainMemory

DIM = 5
POLICY: dict[str, Any] = {
    "dim": DIM,
    "buffer_size": 4,
    "distance_threshold": 6.0,
    "max_clusters": 12,
    "bootstrap_steps": 1,
    "min_variance": 1e-3,
}
GAUSSIAN = POLICY | {"distance": "gaussian", "distance_threshold": 0.4}
BOTH = pytest.mark.parametrize("policy", [POLICY, GAUSSIAN], ids=["squared_l2", "gaussian"])

BAD_POINTS: list[tuple[Any, str]] = [
    (np.ones((2, DIM - 1), np.float32), "shape"),
    (np.ones(DIM, np.float32), "shape"),
    (np.ones((0, DIM), np.float32), "at least 1"),
    (np.ones((2, DIM), np.float64), "float64"),
    (np.ones((2, DIM), np.float16), "float16"),
    (np.full((1, DIM), np.nan, np.float32), "nan"),
    (np.array([[1, 2, 3, 4, np.inf]], np.float32), "element 4"),
    (np.full((1, DIM), 2e15, np.float32), "at most 1e"),
    ([["a"] * DIM], "numbers"),
]
BAD_CONTENTS: list[dict[str, Any]] = [
    {"points": np.ones((3, DIM + 1), np.float32)},
    {"points": np.ones((3, DIM))},
    {"points": np.full((3, DIM), np.inf, np.float32)},
    {"points": np.ones((2, DIM), np.float32)},
    {"points": None},
    {"cluster": np.array([0, 2, 2])},
    {"cluster": np.array([1, 1, 1])},
    {"cluster": np.array([0, -1, 0])},
    {"cluster": np.array([0, 1, 0])},
    {"cluster": np.array([0, 0, 0], np.int32)},
    {"counts": np.array([1, 2, 3])},
    {"counts": np.array([1, 2, 3, -4])},
    {"counts": np.array([1, 2, 3, 2**63 - 1])},
    {"points": np.ones((70, DIM), np.float32), "cluster": np.arange(70)},
    {"points": np.ones((30, DIM), np.float32), "cluster": np.arange(30)},
    {"points": np.ones((5, DIM), np.float32), "cluster": np.zeros(5, np.int64)},
]


class GaussianMemories:
    """Gaussian memories."""

    @BOTH
    def test_memories_follow_the_rules(self, bank: Bank, policy: dict[str, Any]) -> None:
        memory = bank.gaussian_memory("m", **policy)
        plain = PlainMemory(**{"distance": "squared_l2"} | policy)
        modes = ["read", "grow", "read", "update", "grow", "grow", "read", "update", "grow", "read"]
        for points, mode in zip(_batches(len(modes)), modes, strict=True):
            found = memory.lookup(points, mode)
            cluster, mean, variance, distance = plain.lookup(points, mode)
            np.testing.assert_array_equal(found.cluster, cluster)
            np.testing.assert_allclose(found.mean, mean, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found.variance, variance, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found.distance, distance, rtol=1e-5, atol=1e-5)
            assert found.cluster.dtype == np.int64
            assert found.distance.dtype == np.float32
            assert len(found) == len(points)
            assert not found.mean.flags.writeable
        told = memory.statistics().memory
        assert told is not None
        assert (told.clusters, told.calls, told.points) == (len(plain.buffers), plain.calls, plain.points)
        assert told.refused_bootstrap == plain.refused_bootstrap > 0
        assert told.refused_full == plain.refused_full > 0
        assert len(memory) == told.clusters == 12

    def test_an_empty_memory_is_far_from_everything(self, bank: Bank) -> None:
        for policy, farthest in ((POLICY, np.inf), (GAUSSIAN, 0.0)):
            memory = bank.gaussian_memory(f"m{farthest}", **policy)
            found = memory.lookup(np.ones((2, DIM), np.float32))
            assert found.cluster.tolist() == [-1, -1]
            assert (found.mean == 0).all()
            assert (found.variance == 1).all()
            assert found.distance.tolist() == [farthest] * 2
            assert memory.score(np.ones((2, DIM), np.float32)).tolist() == [np.inf] * 2

    @BOTH
    def test_scores_rise_with_the_distance(self, bank: Bank, policy: dict[str, Any]) -> None:
        memory = bank.gaussian_memory("m", **policy)
        memory.lookup(np.random.default_rng(0).normal(size=(50, DIM)).astype(np.float32), "update")
        away = np.array([[0.0], [3.0], [30.0], [1e6], [1e12]], np.float32) * np.ones(DIM, np.float32)
        score = memory.score(away)
        assert score.dtype == np.float64
        assert (np.diff(score) > 0).all()
        assert np.isfinite(score).all()

    def test_reading_changes_nothing(self, bank: Bank) -> None:
        memory = bank.gaussian_memory("m", **POLICY)
        for points in _batches(4):
            memory.lookup(points, "grow")
        before = memory.export()
        memory.lookup(_all(3, 50.0), "read")
        memory.score(_all(3, 50.0))
        _same(memory.export(), before)
        counters = memory.statistics().counters
        assert (counters.lookups, counters.looked_up, counters.writes) == (2, 6, 4)

    def test_points_that_cannot_be_change_nothing(self, bank: Bank) -> None:
        memory = bank.gaussian_memory("m", **POLICY)
        memory.lookup(_all(1, 1.0), "grow")
        before = memory.export()
        for points, message in BAD_POINTS:
            for mode in ("read", "update", "grow"):
                with pytest.raises(carls.InvalidValueError, match=message):
                    memory.lookup(points, mode)
        with pytest.raises(carls.InvalidRequestError, match="expected one of"):
            memory.lookup(_all(1, 1.0), "forget")
        _same(memory.export(), before)

    def test_batches_are_one_call_and_have_a_limit(self, bank: Bank) -> None:
        memory = bank.gaussian_memory("m", **POLICY | {"dim": 1024, "buffer_size": 1})
        points = np.ones((4097, 1024), np.float32)
        with pytest.raises(carls.RequestTooLargeError, match="4096"):
            memory.lookup(points, "update")
        assert memory.lookup(points[:4096], "update").cluster.max() == 0
        assert len(memory.lookup(points)) == 4097
        told = memory.statistics().memory
        assert told is not None
        assert (told.calls, told.points) == (1, 4096)

    def test_memories_are_read_and_changed_in_the_background(self, bank: Bank) -> None:
        memory, plain = bank.gaussian_memory("m", **POLICY), PlainMemory(**POLICY, distance="squared_l2")
        batches = _batches(6)
        changes = [memory.lookup_async(points, "grow") for points in batches]
        for points, change in zip(batches, changes, strict=True):
            np.testing.assert_array_equal(change.result(30).cluster, plain.lookup(points, "grow")[0])
        read = memory.lookup_async(batches[0]).result(30)
        np.testing.assert_array_equal(read.cluster, plain.lookup(batches[0], "read")[0])
        with pytest.raises(carls.InvalidValueError):
            memory.lookup_async(np.ones((1, 1), np.float32), "grow")

    @BOTH
    def test_a_loaded_memory_goes_on_as_the_exported_one(
        self, bank: Bank, policy: dict[str, Any], tmp_path: Path
    ) -> None:
        memory = bank.gaussian_memory("m", **policy)
        for points in _batches(5):
            memory.lookup(points, "grow")
        content = memory.export()
        assert set(content) == {"points", "cluster", "counts"}
        assert content["counts"].tolist()[:2] == [5, 5 * 15]
        memory.to_safetensors(tmp_path / "m.safetensors")
        with pytest.raises(carls.InvalidRequestError, match="there already"):
            memory.to_safetensors(tmp_path / "m.safetensors")
        memory.to_safetensors(tmp_path / "m.safetensors", overwrite=True)
        others = [bank.gaussian_memory(name, **policy) for name in ("by-file", "by-arrays")]
        sources: list[Any] = [tmp_path / "m.safetensors", content]
        for other, source in zip(others, sources, strict=True):
            other.lookup(_all(1, 9.0), "update")  # is forgotten
            other.load(source)
            _same(other.export(), content)
        for points, mode in zip(_batches(4, seed=1), ("read", "update", "grow", "read"), strict=True):
            expected = memory.lookup(points, mode)
            for other in others:
                found = other.lookup(points, mode)
                for name in ("cluster", "mean", "variance", "distance"):
                    np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))

    def test_large_memories_travel_in_parts(self, bank: Bank) -> None:
        policy = POLICY | {"dim": 1024, "buffer_size": 100, "max_clusters": 60}
        memory, other = (bank.gaussian_memory(name, **policy) for name in ("m", "o"))
        for seed in range(2):  # 24 MB
            x = np.random.default_rng(seed).normal(size=(3000, 1024)).astype(np.float32)
            content = {
                "points": x,
                "cluster": np.repeat(np.arange(30), 100),
                "counts": np.array([7, 8, 9, 10]),
            }
            memory.load(content)
            _same(memory.export(), content)
        other.load(memory.export())
        _same(other.export(), memory.export())

    def test_an_empty_memory_can_be_loaded(self, bank: Bank) -> None:
        memory = bank.gaussian_memory("m", **POLICY)
        nothing = memory.export()
        memory.lookup(_all(2, 1.0), "grow")
        memory.load(nothing)
        assert len(memory) == 0
        _same(memory.export(), nothing)

    def test_contents_that_cannot_be_change_nothing(self, bank: Bank) -> None:
        memory = bank.gaussian_memory("m", **POLICY)
        memory.lookup(_all(1, 1.0), "grow")
        before = memory.export()
        content: dict[str, Any] = {
            "points": _all(3, 1.0),
            "cluster": np.array([0, 0, 1]),
            "counts": np.array([1, 2, 3, 4]),
        }
        for change in BAD_CONTENTS:
            with pytest.raises(carls.InvalidValueError):
                memory.load(content | change)
        _same(memory.export(), before)
        memory.load(content)
        _same(memory.export(), content)

    def test_files_that_cannot_be_change_nothing(self, bank: Bank, tmp_path: Path) -> None:
        memory = bank.gaussian_memory("m", **POLICY)
        (tmp_path / "damaged").write_bytes(b"not safetensors")
        for name in ("damaged", "missing"):
            with pytest.raises(carls.InvalidValueError, match=name):
                memory.load(tmp_path / name)
        with pytest.raises(carls.InvalidRequestError, match="cannot be written"):
            memory.to_safetensors(tmp_path / "no folder" / "m")

    def test_memories_that_cannot_be(self, bank: Bank) -> None:
        for change in ({"dim": 0}, {"distance": "cosine"}, {"min_variance": 0.0}, {"max_clusters": 2**21}):
            with pytest.raises(carls.InvalidSpecError, match=next(iter(change))):
                bank.gaussian_memory("m", **POLICY | change)
        assert bank.tables() == []

    def test_memories_are_tables_of_their_own_kind(self, bank: Bank) -> None:
        memory = bank.gaussian_memory("m", **POLICY)
        assert memory.spec == carls.GaussianMemorySpec(**POLICY)
        opened = bank.open("m")
        assert isinstance(opened, Memory)
        assert opened.spec == memory.spec
        with pytest.raises(carls.SpecMismatchError, match="buffer_size"):
            bank.gaussian_memory("m", **POLICY | {"buffer_size": 3})
        with pytest.raises(carls.SpecMismatchError):
            bank.embeddings("m", dim=DIM)
        memory.lookup(_all(3, 1.0), "update")
        info = bank.describe("m")
        assert info.rows == 1
        assert info.nbytes > 0
        bank.drop("m")
        assert bank.tables() == []


def _all(n: int, value: float) -> Any:
    return np.full((n, DIM), value, np.float32)


def _batches(count: int, seed: int = 0) -> list[Any]:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, DIM)) * 4
    return [
        (centres[draw.integers(0, 20, 15)] + draw.normal(size=(15, DIM))).astype(np.float32)
        for _ in range(count)
    ]


def _same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])
