"""Graph and its links against Python's own sets and loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carls
from carls.errors import InvalidKeyError, InvalidRequestError, InvalidValueError
from carls.graphs import Graph, neighbour_columns

EDGES = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.floats(0.125, 4, width=32)), min_size=0, max_size=30
)


def as_dict(lists):
    """vertex -> {neighbour: weight}."""
    near, weights = lists.neighbours.tolist(), lists.weights.tolist()
    return {
        key: dict(zip(near[start:end], weights[start:end], strict=True))
        for key, start, end in zip(lists.keys.tolist(), lists.offsets[:-1], lists.offsets[1:], strict=True)
    }


@settings(deadline=None, max_examples=30)
@given(EDGES, st.booleans(), st.booleans())
def test_links_equal_the_loop(edges, both_ways, as_text):
    name = str if as_text else int
    vertices = [name(v) for v in range(9)]
    expected = {vertex: {} for vertex in vertices}
    for a, b, w in edges:
        for source, target in [(a, b), (b, a)] if both_ways else [(a, b)]:
            if source != target:
                near = expected[name(source)]
                near[name(target)] = max(near.get(name(target), 0.0), w)
    build = Graph.undirected if both_ways else Graph.directed
    graph = build([(name(a), name(b)) for a, b, _ in edges], [w for *_, w in edges], vertices)
    assert as_dict(graph.links()) == expected
    assert graph.degrees.tolist() == pytest.approx([sum(near.values()) for near in expected.values()])
    for vertex, near in as_dict(graph.links(k=2)).items():
        ranked = sorted(expected[vertex].items(), key=lambda edge: (-edge[1], edge[0]))
        assert list(near.items()) == ranked[:2]


def test_vertices_come_in_order_of_first_appearance():
    graph = Graph.undirected([("b", "a"), ("c", "b")])
    assert graph.keys.tolist() == ["b", "a", "c"]
    assert Graph.undirected(np.array([[7, 3], [3, 9]])).keys.tolist() == [7, 3, 9]


@pytest.mark.parametrize("vertices", [[5, 6, 7], ["x", "y", "z"]])
def test_lists_go_into_a_feature_table_as_they_are(vertices):
    lists = Graph.undirected([vertices[:2]], [2.0], vertices).links()
    with carls.connect() as bank:
        table = bank.features("graph", lists.types)
        table.assign(lists.keys, lists.columns)
        rows = table.lookup(vertices)
    assert list(rows["neighbours"]) == [[vertices[1]], [vertices[0]], []]
    assert list(rows["weights"]) == [[2.0], [2.0], []]


@pytest.mark.parametrize(
    ("edges", "options", "message"),
    [
        ([], {}, "no edges and no vertices"),
        ([(1, 2, 3)], {}, r"\(1, 2, 3\): expected a pair"),
        ([1, 2], {}, "edge 1: expected a pair"),
        (["ab", "bc"], {}, "edge 'ab': expected a pair"),
        (np.arange(6), {}, r"\(6,\)"),
        ([(1, "a")], {}, "str"),
        ([(1, 2)], {"vertices": [1, 3]}, "edge of 2"),
        ([(1, 2)], {"vertices": [1, 2, 1]}, "each key once"),
    ],
)
def test_edges_that_cannot_be_are_refused(edges, options, message):
    with pytest.raises(InvalidKeyError, match=message):
        Graph.undirected(edges, **options)


@pytest.mark.parametrize("weights", [[0.0], [-1.0], [float("inf")], [1.0, 2.0], ["x"]])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(InvalidValueError, match="above 0"):
        Graph.undirected([(1, 2)], weights)


def test_other_arguments_that_cannot_be_are_refused():
    for k in (0, 1.5, "x", float("inf")):
        with pytest.raises(InvalidRequestError, match=f"k={k!r}"):
            Graph.undirected([(1, 2)]).links(k=k)
    with pytest.raises(InvalidRequestError, match="bytes"):
        neighbour_columns("bytes")
