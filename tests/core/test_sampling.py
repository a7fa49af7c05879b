"""The kernels that draw candidates, against numpy and brute force."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from carls.bank.embeddings import EmbeddingTable
from carls.keys import Keys
from carls.messages import AgeBound
from carls.specs import EmbeddingSpec

#: A right kernel fails a test by chance once in a million changes of its seeds.
UNLIKELY = 1e-6
STRATEGIES = [("uniform", 0.0), ("log_uniform", 0.0), ("frequency", 0.75), ("frequency", 2.0)]


def population(counts: list[int], keys: Any = None) -> Any:
    """Of rows 0, 1, 2, ... that were looked up so many times."""
    table = EmbeddingTable("t", EmbeddingSpec(dim=1))
    batch = Keys.of(list(range(len(counts))) if keys is None else keys)
    table.assign(batch, np.zeros((len(counts), 1), np.float32), -1, 0, 1)
    for turn in range(max(counts)):
        again = np.flatnonzero(np.array(counts) > turn)
        table.lookup(batch.take(again), True, AgeBound(), 1, "me")
    return table._rows.population(1)


def hash_of(key: Any) -> int:
    """As the docs fix it: MurmurHash3's finalizer of integers, XXH64 of strings."""
    if not isinstance(key, int):
        return xxhash.xxh64_intdigest(key.encode() if isinstance(key, str) else key)
    x = key % 2**64
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        x = (x ^ x >> 33) * factor % 2**64
    return x ^ x >> 33


def weigh(counts: list[int], kind: str, alpha: float) -> Any:
    """Weights by rank, the oracle's."""
    ranked = np.sort(np.array(counts, np.float64))[::-1]
    if kind == "uniform":
        return np.ones(len(counts))
    if kind == "log_uniform":
        r = np.arange(len(counts))
        return np.log((r + 2) / (r + 1)) / np.log(len(counts) + 1)
    return np.maximum(ranked, 1) ** alpha


def draw(
    weights: Any, n: int, positives: Any = ((),), excluded: Any = (), unique: bool = False, **seed: Any
) -> Any:
    """Ranks and expected counts; `positives` by rank, -1 for one that has none."""
    starts = np.cumsum([0, *map(len, positives)])
    ranks = np.array([rank for row in positives for rank in row], np.int64)
    stream = {"seed": 0, "counter": 0} | seed
    return weights.draw(n, starts, ranks, np.array(sorted(excluded), np.int64), unique, **stream)


def inclusion(weights: Any, m: int) -> Any:
    """Probabilities in proportion to the weights, m in all, none above 1: by taking the largest out."""
    certain = np.zeros(len(weights), bool)
    while True:
        left = m - certain.sum()
        rest = weights[~certain].sum()
        shares = np.where(certain, 1.0, weights * (left / rest if rest else 0))
        if not (shares > 1 + 1e-12).any():
            return np.minimum(shares, 1)
        certain |= shares > 1


@pytest.mark.parametrize(
    "keys", [[5, -3, 9, 7, 2], ["b", "a", "", "ab", "a\0"], [b"\xff", b"x", b"", b"xyzxyzxyzA", b"xyzxyzxyz"]]
)
def test_ranks_follow_counts_and_then_hashes(keys: Any) -> None:
    counts = [2, 0, 7, 2, 0]
    ranked = population(counts, keys)
    batch = Keys.of(keys)
    order = sorted(range(5), key=lambda i: (-counts[i], hash_of(keys[i])))
    ranks = ranked.ranks(batch.integers, batch.offsets, batch.data)
    assert ranks.tolist() == [order.index(i) for i in range(5)]
    first, data = ranked.keys(np.arange(5))
    told = Keys(batch.type, integers=first) if data is None else Keys(batch.type, offsets=first, data=data)
    assert told == batch.take(order)
    assert (len(ranked), ranked.total) == (5, 11)
    other = Keys.of([1] if batch.type == "int64" else [b"other"])
    assert ranked.ranks(other.integers, other.offsets, other.data).tolist() == [-1]


@pytest.mark.parametrize(("kind", "alpha"), STRATEGIES)
def test_expected_counts_are_those_of_the_formula(kind: str, alpha: float) -> None:
    counts = [9, 7, 7, 3, 1, 0, 0]
    p = weigh(counts, kind, alpha) / weigh(counts, kind, alpha).sum()
    ranks, expected = draw(population(counts).weights(kind, alpha), 50)
    np.testing.assert_allclose(expected[0], 50 * p[ranks[0]], rtol=1e-6)
    ranks, expected = draw(population(counts).weights(kind, alpha), 50, [[2, -1, 4]], excluded=[0, 4])
    left = np.isin(np.arange(7), [0, 2, 4], invert=True)
    np.testing.assert_allclose(expected[0, 3:], 47 * p[ranks[0, 3:]] / p[left].sum(), rtol=1e-6)
    new = weigh([*counts, 0], kind, alpha)[-1] / weigh([*counts, 0], kind, alpha)[0] * p[0]
    for place, mine in enumerate([p[2], new, p[4]]):
        assert expected[0, place] == pytest.approx(47 * mine / (p[left].sum() + mine), rel=1e-6)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_draws_keep_to_what_was_asked(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=12), "counts")
    kind, alpha = data.draw(st.sampled_from(STRATEGIES), "strategy")
    ranks_of = st.integers(0, len(counts) - 1)
    positives = data.draw(
        st.lists(st.lists(ranks_of | st.just(-1), max_size=4), min_size=1, max_size=4), "positives"
    )
    excluded = data.draw(st.sets(ranks_of, max_size=len(counts)), "excluded")
    n = data.draw(st.integers(max(1, *map(len, positives)), 16), "n")
    unique = data.draw(st.booleans(), "unique")
    weights = weigh(counts, kind, alpha)
    drawn = draw(
        population(counts).weights(kind, alpha),
        n,
        positives,
        excluded,
        unique,
        seed=data.draw(st.integers(0, 2**63)),
    )
    free = [set(range(len(counts))) - excluded - set(row) for row in positives]
    wanted = [n - len(row) for row in positives]
    short = [
        c for c in range(len(free)) if wanted[c] > (len(free[c]) if unique else 0) and (unique or not free[c])
    ]
    if short:
        assert drawn == (short[0], wanted[short[0]], len(free[short[0]]))
        return
    ranks, expected = drawn
    for c, row in enumerate(positives):
        negatives = ranks[c, len(row) :]
        assert (ranks[c, : len(row)] == -1).all()
        assert set(negatives.tolist()) <= free[c]
        mine = np.array(sorted(free[c]), int)
        if unique:
            assert len(set(negatives.tolist())) == wanted[c]
            shares = dict(zip(mine.tolist(), inclusion(weights[mine], wanted[c]), strict=True))
            np.testing.assert_allclose(
                expected[c, len(row) :], [shares[r] for r in negatives.tolist()], rtol=1e-6
            )
        for place, rank in enumerate(row):
            weight = (
                weights[rank]
                if rank >= 0
                else weigh([*counts, 0], kind, alpha)[-1] * _scale(kind, len(counts))
            )
            beside = np.append(weights[mine], weight)
            share = inclusion(beside, wanted[c])[-1] if unique else wanted[c] * weight / beside.sum()
            assert expected[c, place] == pytest.approx(share, rel=1e-6)


def _scale(kind: str, n: int) -> float:
    return math.log(n + 2) / math.log(n + 1) if kind == "log_uniform" else 1.0


def counted(weights: Any, size: int, n: int, **options: Any) -> tuple[Any, Any]:
    """How often each rank was drawn in 20,000 contexts, and how often that was expected."""
    contexts, positives = 20_000, options.pop("positives", [])
    ranks, expected = draw(weights, n, [positives] * contexts, **options)
    negatives, of_them = ranks[:, len(positives) :], expected[:, len(positives) :]
    told = np.zeros(size)
    told[negatives.ravel()] = of_them.ravel()
    assert (told[negatives] == of_them).all()
    return np.bincount(negatives.ravel(), minlength=size), contexts * told


@pytest.mark.parametrize(("kind", "alpha"), STRATEGIES)
@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("excluding", [False, True])
def test_all_rows_are_drawn_as_often_as_expected(
    kind: str, alpha: float, unique: bool, excluding: bool
) -> None:
    counts = [40, 30, 20, 20, 10, 5, 5, 5, 3, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    options = {"positives": [1, 6], "excluded": [3, 4, 5, 19]} if excluding else {}
    n = 7 if excluding else 5
    observed, expected = counted(
        population(counts).weights(kind, alpha), 20, n, unique=unique, seed=1, **options
    )
    assert (observed[[1, 6, 3, 4, 5, 19]] == 0).all() if excluding else (expected > 0).all()
    certain = expected == 20_000
    assert (observed[certain] == 20_000).all()
    free = (expected > 0) & ~certain
    assert expected.sum() == pytest.approx(20_000 * 5, rel=1e-6)
    # Counts of a design without replacement vary less than chi-square has it: the test errs on the safe side.
    assert (
        chisquare(observed[free], expected[free] * (observed[free].sum() / expected[free].sum())).pvalue
        > UNLIKELY
    )
    if unique:  # each count is that of independent trials
        deviation = np.sqrt(expected * (1 - expected / 20_000)) + 1e-9
        assert (np.abs(observed - expected)[free] < 5.5 * deviation[free]).all()


@pytest.mark.parametrize(("kind", "alpha"), STRATEGIES)
@pytest.mark.parametrize("unique", [False, True])
def test_positives_may_be_drawn_as_hits_and_tell_how_often(kind: str, alpha: float, unique: bool) -> None:
    """Each positive's count is that of the row among the drawn, which does not depend on the positives."""
    counts = [40, 30, 20, 20, 10, 5, 5, 5, 3, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    weights = population(counts).weights(kind, alpha)
    everything, m = list(range(20)), 6
    ranks, expected = draw(
        weights, 20 + m, [everything, [3] * 20], excluded=[4], unique=unique, hits=True, seed=3
    )
    free = weigh(counts, kind, alpha)
    free[4] = 0.0
    told = inclusion(free, m) if unique else m * free / free.sum()
    kept = np.arange(20) != 4
    np.testing.assert_allclose(expected[0, :20][kept], told[kept], rtol=1e-5)
    np.testing.assert_allclose(expected[1, :20], told[3], rtol=1e-5)
    for context in (0, 1):
        np.testing.assert_allclose(expected[context, 20:], told[ranks[context, 20:]], rtol=1e-5)
        assert not (ranks[context, 20:] == 4).any()
    drawn = draw(weights, 1 + m, [[0]] * 4000, unique=unique, hits=True, seed=4)[0][:, 1:]
    share = (drawn == 0).sum() / 4000
    chance = (
        inclusion(weigh(counts, kind, alpha), m)[0]
        if unique
        else m * (weigh(counts, kind, alpha) / weigh(counts, kind, alpha).sum())[0]
    )
    assert abs(share - chance) < 5 * np.sqrt(chance / 4000)


def test_rows_behind_excluded_ones_are_not_drawn_more_often() -> None:
    # Who takes the next free row for one that is excluded draws row 4 with 0.4, and row 8 with 0.2.
    weights = population([0] * 10).weights("uniform")
    for unique in (False, True):
        observed, expected = counted(weights, 10, 1, excluded=[1, 2, 3, 7], unique=unique)
        free = [0, 4, 5, 6, 8, 9]
        np.testing.assert_allclose(expected[free], 20_000 / 6, rtol=1e-6)
        assert chisquare(observed[free]).pvalue > UNLIKELY


def test_small_weights_stay_exact_behind_large_ones() -> None:
    counts = [1000] + [1] * 9
    weights = population(counts).weights("frequency", 10.0)  # 1e30, and ones
    for unique in (False, True):
        observed, expected = counted(weights, 10, 1, excluded=[0], unique=unique)
        np.testing.assert_allclose(expected[1:], 20_000 / 9, rtol=1e-6)
        assert chisquare(observed[1:]).pvalue > UNLIKELY


@pytest.mark.parametrize("size", [6, 3000])  # 3000: rows share blocks
def test_pairs_without_replacement_come_together(size: int) -> None:
    weights = population([0] * size).weights("uniform")
    m = size // 2
    ranks, _ = draw(weights, m, [[]] * 4000, unique=True)
    together = np.zeros((size, size)) if size == 6 else None
    if together is not None:
        for row in ranks:
            together[np.ix_(row, row)] += 1
        pairs = together[np.triu_indices(size, 1)]
        assert chisquare(pairs).pvalue > UNLIKELY
        return
    # Of two rows that share no block, as of any two drawn at random, each about as often as by chance.
    taken = np.zeros((4000, 40), bool)
    for column in range(40):
        taken[:, column] = (ranks == column).any(axis=1)
    both = (taken.T.astype(float) @ taken)[np.triu_indices(40, 1)] / 4000
    assert abs(both.mean() - 0.25) < 0.005
    assert both.min() > 0.2
    assert both.max() < 0.3


def test_orders_of_a_row_are_all_alike() -> None:
    ranks, _ = draw(population([8, 4, 0]).weights("frequency", 1.0), 3, [[]] * 12_000, unique=True)
    orders = [int((ranks == order).all(axis=1).sum()) for order in permutations(range(3))]
    assert chisquare(orders).pvalue > UNLIKELY


@pytest.mark.parametrize("unique", [False, True])
def test_a_stream_repeats_and_its_parts_differ(unique: bool) -> None:
    weights = population([3] * 200).weights("frequency", 0.75)

    def drawn(**seed: int) -> list[Any]:
        return draw(weights, 20, [[], []], unique=unique, **seed)[0].tolist()

    assert drawn(seed=5, counter=2) == drawn(seed=5, counter=2)
    streams = [
        drawn(seed=5),
        drawn(seed=6),
        drawn(seed=5, counter=1),
        drawn(seed=5, round=1),
        drawn(seed=2**63 - 1),
    ]
    rows = [tuple(row) for stream in streams for row in stream]
    assert len(set(rows)) == len(rows) == 10


@pytest.fixture
def many() -> Iterator[Any]:
    """More rows than blocks."""
    counts = np.minimum(np.random.default_rng(0).zipf(1.3, 20_000), 200).tolist()
    return counts, population(counts)


@pytest.mark.parametrize(("kind", "alpha"), STRATEGIES)
def test_many_rows(many: Any, kind: str, alpha: float) -> None:
    counts, ranked = many
    weights = weigh(counts, kind, alpha)
    excluded = np.random.default_rng(1).choice(20_000, 5000, replace=False)
    positives = [[7], [3, 19_000], []]
    ranks, expected = draw(ranked.weights(kind, alpha), 3000, positives, excluded, unique=True)
    for c, row in enumerate(positives):
        free = np.setdiff1d(np.arange(20_000), [*excluded, *row])
        shares = np.zeros(20_000)
        shares[free] = inclusion(weights[free], 3000 - len(row))
        negatives = ranks[c, len(row) :]
        assert len(set(negatives.tolist())) == len(negatives)
        assert (shares[negatives] > 0).all()
        np.testing.assert_allclose(expected[c, len(row) :], shares[negatives], rtol=1e-5)
        # Systematic: of any run of rows, here the more and the less frequent half, as many as expected.
        heavy = shares[:10_000].sum()
        assert abs((negatives < 10_000).sum() - heavy) < 6 * math.sqrt(heavy)


def test_arguments_that_would_be_unsafe_are_refused() -> None:
    ranked = population([1, 2, 3])
    weights = ranked.weights("uniform")
    numbers = np.array([0], np.int64)
    for bad in (
        lambda: ranked.keys(np.array([3])),
        lambda: ranked.keys(np.array([-1])),
        lambda: ranked.weights("other"),
        lambda: ranked.ranks(None, np.array([0, 1], np.int32), np.zeros(1, np.uint8)),
        lambda: weights.draw(1, np.array([0, 1]), np.array([3]), numbers, False, 0, 0),
        lambda: weights.draw(1, np.array([0, 1]), np.array([-2]), numbers, False, 0, 0),
        lambda: weights.draw(1, np.array([0, 2]), np.array([0, 1]), numbers, False, 0, 0),
        lambda: weights.draw(1, np.array([0, 1]), np.array([0, 1]), numbers, False, 0, 0),
        lambda: weights.draw(2, np.array([0, 2, 1]), np.array([0]), numbers, False, 0, 0),
        lambda: weights.draw(1, np.array([0, 0]), np.array([], np.int64), np.array([1, 1]), False, 0, 0),
        lambda: weights.draw(1, np.array([0, 0]), np.array([], np.int64), np.array([3]), False, 0, 0),
    ):
        with pytest.raises(ValueError):
            bad()
