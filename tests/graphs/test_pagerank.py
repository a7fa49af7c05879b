"""Personalised PageRank against a dense solve and, where it is installed, networkx."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carls.errors import InvalidKeyError, InvalidRequestError
from carls.graphs import Graph, pagerank_neighbours

VERTICES = 9
EDGES = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.floats(0.125, 4, width=32)), min_size=0, max_size=30
)


def dense(graph, teleport):
    """(n, n) personalised PageRank: row s of teleport (I - (1 - teleport) P_s)^-1."""
    n = len(graph)
    weights = np.zeros((n, n))
    weights[np.repeat(np.arange(n), np.diff(graph.offsets)), graph.targets] = graph.weights
    degrees = weights.sum(axis=1)
    rows = []
    for source in range(n):
        step = weights / np.where(degrees > 0, degrees, 1)[:, None]
        step[degrees == 0, source] = 1.0
        rows.append(teleport * np.linalg.inv(np.eye(n) - (1 - teleport) * step)[source])
    return np.array(rows)


def matrix(lists, n):
    found = np.zeros((len(lists), n))
    vertex = np.repeat(np.arange(len(lists)), np.diff(lists.offsets))
    found[vertex, lists.neighbours.integers] = lists.weights
    return found


def random_graph(edges, build):
    ends = [(a, b) for a, b, _ in edges]
    return build(ends, [w for *_, w in edges], np.arange(VERTICES))


@settings(deadline=None, max_examples=30)
@given(EDGES, st.sampled_from([0.1, 0.5]), st.sampled_from([1e-2, 1e-4]))
def test_estimates_keep_the_bound_of_the_paper(edges, teleport, epsilon):
    graph = random_graph(edges, Graph.undirected)
    found = matrix(pagerank_neighbours(graph, VERTICES, teleport=teleport, epsilon=epsilon), VERTICES)
    exact = dense(graph, teleport)
    np.fill_diagonal(exact, 0)
    missing = exact - found
    assert (missing >= -1e-7).all()
    assert (missing <= epsilon * np.where(graph.degrees > 0, graph.degrees, 1) + 1e-7).all()


@settings(deadline=None, max_examples=30)
@given(EDGES)
def test_small_epsilons_are_exact_on_directed_graphs_with_dead_ends(edges):
    graph = random_graph(edges, Graph.directed)
    found = matrix(pagerank_neighbours(graph, VERTICES, epsilon=1e-9), VERTICES)
    exact = dense(graph, 0.15)
    np.fill_diagonal(exact, 0)
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_networkx_agrees():
    networkx = pytest.importorskip("networkx")
    theirs = networkx.karate_club_graph()
    edges = [(a, b) for a, b in theirs.edges]
    graph = Graph.undirected(edges, [theirs.edges[edge]["weight"] for edge in edges], sorted(theirs))
    found = matrix(pagerank_neighbours(graph, 40, epsilon=1e-9), len(theirs))
    for source in (0, 16, 33):
        exact = networkx.pagerank(theirs, alpha=0.85, personalization={source: 1}, tol=1e-12, max_iter=500)
        expected = np.array([exact[vertex] for vertex in sorted(theirs)])
        expected[source] = 0
        np.testing.assert_allclose(found[source], expected, atol=1e-6)


def test_the_best_k_come_first_and_a_vertex_is_none_of_its_own():
    draw = np.random.default_rng(0)
    graph = Graph.undirected(draw.integers(0, 40, (70, 2)), vertices=np.arange(40))
    lists = pagerank_neighbours(graph, 5, epsilon=1e-7)
    exact = dense(graph, 0.15)
    np.fill_diagonal(exact, 0)
    for vertex in range(40):
        here = slice(lists.offsets[vertex], lists.offsets[vertex + 1])
        expected = np.sort(exact[vertex])[::-1][: here.stop - here.start]
        np.testing.assert_allclose(lists.weights[here], expected, atol=1e-4)
        np.testing.assert_allclose(exact[vertex][lists.neighbours.integers[here]], expected, atol=1e-4)
        assert len(expected) == min(5, np.count_nonzero(exact[vertex]))


def test_blocks_of_sources_change_nothing(monkeypatch):
    draw = np.random.default_rng(1)
    graph = Graph.undirected(draw.integers(0, 100, (300, 2)), vertices=np.arange(100))
    whole = pagerank_neighbours(graph, 8)
    monkeypatch.setattr("carls.graphs.pagerank._BLOCK", 700)
    parts = pagerank_neighbours(graph, 8)
    np.testing.assert_array_equal(parts.neighbours.integers, whole.neighbours.integers)
    np.testing.assert_allclose(parts.weights, whole.weights, rtol=1e-6)


def test_text_keys_and_chosen_sources():
    graph = Graph.undirected([("a", "b"), ("b", "c"), ("c", "d"), ("x", "y")])
    lists = pagerank_neighbours(graph, 2, epsilon=1e-8, sources=["d", "x"])
    assert lists.keys.tolist() == ["d", "x"]
    assert lists.neighbours.tolist() == ["c", "b", "y"]
    assert lists.weights[0] > lists.weights[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0"),
        ({"teleport": 1.0}, "teleport=1.0"),
        ({"teleport": 0.0}, "teleport=0.0"),
        ({"epsilon": 0.0}, "epsilon=0.0"),
        ({"epsilon": float("nan")}, "epsilon=nan"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, message):
    with pytest.raises(InvalidRequestError, match=message):
        pagerank_neighbours(Graph.undirected([(1, 2)]), **options)


def test_a_source_that_is_no_vertex_is_refused():
    with pytest.raises(InvalidKeyError, match="source 5"):
        pagerank_neighbours(Graph.undirected([(1, 2)]), sources=[1, 5])
