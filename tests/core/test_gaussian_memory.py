"""The core's Gaussian memory against the rules written down plainly."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carls import _core
from carls.testing.memories import PlainMemory

DISTANCES = ("squared_l2", "gaussian")


def core(distance="squared_l2", **policy):
    return _core.GaussianMemory(**policy, gaussian=distance == "gaussian")


def agree(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    for mine, its in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-5)


@st.composite
def streams(draw):
    """A policy and a stream of (points, mode), whose points lie in groups."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    dim = draw(st.sampled_from([1, 2, 3, 8, 17, 40]))
    distance = draw(st.sampled_from(DISTANCES))
    policy = {
        "dim": dim,
        "buffer_size": draw(st.integers(1, 6)),
        "distance_threshold": draw(
            st.sampled_from([0.0, 0.3, 0.7] if distance == "gaussian" else [0.0, dim, 9.0 * dim])
        ),
        "max_clusters": draw(st.sampled_from([1, 3, 50])),
        "bootstrap_steps": draw(st.integers(0, 3)),
        "min_variance": draw(st.sampled_from([1e-6, 1e-2, 1.0])),
    }
    scale = draw(st.sampled_from([1e-3, 1.0, 1e3]))
    offset = draw(st.sampled_from([0.0, 100.0]))
    centres = rng.normal(size=(draw(st.integers(1, 60)), dim)) * draw(st.sampled_from([0.0, 1.0, 10.0]))
    sizes = draw(st.lists(st.sampled_from([1, 1, 2, 7, 40]), min_size=1, max_size=8))
    modes = draw(
        st.lists(
            st.sampled_from(["read", "update", "grow", "grow"]), min_size=len(sizes), max_size=len(sizes)
        )
    )
    batches = [
        ((centres[rng.integers(0, len(centres), n)] + rng.normal(size=(n, dim)) + offset) * scale).astype(
            np.float32
        )
        for n in sizes
    ]
    return distance, policy, list(zip(batches, modes, strict=True))


@settings(max_examples=150, deadline=None)
@given(streams())
def test_agrees_with_the_plain_rules_on_random_streams(stream):
    distance, policy, calls = stream
    memory, plain = core(distance, **policy), PlainMemory(**policy, distance=distance)
    for points, mode in calls:
        agree(memory.lookup(points, mode), plain.lookup(points, mode))
        assert len(memory) == len(plain.buffers)
        assert memory.counts() == (plain.calls, plain.points, plain.refused_bootstrap, plain.refused_full)


@pytest.mark.parametrize("distance", DISTANCES)
def test_more_clusters_and_points_than_a_block(distance):
    rng = np.random.default_rng(0)
    policy = {"dim": 5, "buffer_size": 3, "max_clusters": 150, "bootstrap_steps": 0, "min_variance": 0.1}
    policy["distance_threshold"] = 0.8 if distance == "gaussian" else 0.2
    memory, plain = core(distance, **policy), PlainMemory(**policy, distance=distance)
    for mode in ("grow", "grow", "grow", "update", "read"):
        points = rng.normal(size=(100, 5)).astype(np.float32)
        agree(memory.lookup(points, mode), plain.lookup(points, mode))
    assert len(memory) == 150


def test_equal_distances_go_to_the_first_cluster():
    memory = core(
        dim=2, buffer_size=4, distance_threshold=0.5, max_clusters=9, bootstrap_steps=0, min_variance=1.0
    )
    corners = np.array([[0, 0], [4, 0], [0, 4], [4, 4]], np.float32)
    memory.lookup(corners[:1], "grow")
    memory.lookup(corners, "grow")
    centre = np.full((1, 2), 2, np.float32)
    assert memory.lookup(centre, "read")[0].tolist() == [0]
    assert memory.lookup(corners, "read")[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("distance", DISTANCES)
def test_small_spreads_far_from_zero_keep_their_digits(distance):
    rng = np.random.default_rng(1)
    policy = {"dim": 16, "buffer_size": 64, "max_clusters": 1, "bootstrap_steps": 0, "min_variance": 1e-12}
    memory = core(distance, distance_threshold=0.0, **policy)
    points = (1e4 + rng.normal(size=(500, 16)) * 0.01).astype(np.float32)
    # One that would spoil running sums, and has left the buffer long ago.
    points[100] = 1e15
    for start in range(0, 500, 50):
        found = memory.lookup(points[start : start + 50], "update")
    kept = points[-64:].astype(np.float64)
    np.testing.assert_allclose(found[1][0], kept.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(found[2][0], kept.var(axis=0), rtol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("size", [0.0, 1e-25, 1e15])
def test_the_nearest_is_found_where_float32_overflows_or_vanishes(distance, size):
    rng = np.random.default_rng(2)
    policy = {"dim": 33, "buffer_size": 2, "max_clusters": 40, "bootstrap_steps": 0, "min_variance": 1e-30}
    policy["distance_threshold"] = 1.0 if distance == "gaussian" else 0.0
    memory, plain = core(distance, **policy), PlainMemory(**policy, distance=distance)
    for mode in ("grow", "grow", "update", "read"):
        points = (rng.uniform(-1, 1, (60, 33)) * size).astype(np.float32)
        found, expected = memory.lookup(points, mode), plain.lookup(points, mode)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[3], expected[3], rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_loaded_memory_goes_on_as_the_saved_one(distance):
    rng = np.random.default_rng(3)
    policy = {"dim": 6, "buffer_size": 4, "max_clusters": 20, "bootstrap_steps": 1, "min_variance": 1e-3}
    policy["distance_threshold"] = 0.5 if distance == "gaussian" else 3.0
    saved, loaded = core(distance, **policy), core(distance, **policy)
    for _ in range(5):
        saved.lookup(rng.normal(size=(11, 6)).astype(np.float32), "grow")
    points, cluster, counts = saved.save()
    loaded.lookup(np.ones((3, 6), np.float32), "grow")
    loaded.load(points.reshape(-1, 6), cluster, *counts)
    assert loaded.counts() == saved.counts()
    for mode in ("read", "update", "grow", "read"):
        x = rng.normal(size=(30, 6)).astype(np.float32)
        for mine, its in zip(loaded.lookup(x, mode), saved.lookup(x, mode), strict=True):
            np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize(
    "cluster", [[1, 1, 1], [0, 2, 2], [0, 1, 0], [-1, 0, 0], [0, 0, 0], [0, 1, 2], [2**40, 0, 0]]
)
def test_clusters_that_cannot_be_are_refused_whole(cluster):
    memory = core(
        dim=1, buffer_size=2, distance_threshold=0, max_clusters=2, bootstrap_steps=0, min_variance=1
    )
    memory.lookup(np.ones((1, 1), np.float32), "grow")
    with pytest.raises(ValueError, match="expected"):
        memory.load(np.zeros((3, 1), np.float32), np.array(cluster), 1, 1, 0, 0)
    assert memory.lookup(np.zeros((1, 1), np.float32), "read")[3].tolist() == [1.0]


def test_many_threads_lose_no_point():
    memory = core(
        dim=4, buffer_size=8, distance_threshold=1.0, max_clusters=64, bootstrap_steps=0, min_variance=1e-3
    )
    failures = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for i in range(60):
            mode = ("read", "update", "grow")[i % 3]
            cluster, _, variance, distance = memory.lookup(rng.normal(size=(9, 4)).astype(np.float32), mode)
            known = len(memory)
            if not (cluster < known).all() or not (variance > 0).all() or np.isnan(distance).any():
                failures.append((cluster, variance, distance))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert memory.counts()[:2] == (160, 1440)
    assert sum(np.bincount(memory.save()[1]) > 8) == 0
