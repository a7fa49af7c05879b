"""VertexEmbeddingMaker and GraphMaker against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sample_makers import Encoder

import carls
from carls.errors import InvalidRequestError, InvalidValueError
from carls.graphs import Graph, neighbour_columns
from carls.keys import Keys
from carls.makers import GraphMaker, MakerProcess, MakerRunner, VertexEmbeddingMaker

N, DIM = 12, 3
INTEGERS = list(range(100, 100 + N))
TEXTS = [f"vertex {i}" for i in range(N)]
VECTORS = np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)
CHECKPOINT = carls.Model("net", 1, 7, 0.0, "", {})


@pytest.fixture
def local():
    with carls.connect() as bank:
        yield bank


def tables(bank, keys, written=range(N)):
    vertices = bank.embeddings("vertices", dim=DIM)
    written = list(written)
    if written:
        vertices.assign([keys[i] for i in written], VECTORS[written], step=1)
    kind = "int64" if isinstance(keys[0], int) else "string"
    return vertices, bank.features("graph", neighbour_columns(kind))


def make(maker, table, keys, batch=5):
    for start in range(0, len(keys), batch):
        for write in maker.make(CHECKPOINT, Keys.of(keys[start : start + batch])):
            table.assign(write.keys, write.values, step=CHECKPOINT.step)


def scores(metric, vectors=VECTORS):
    vectors = vectors.astype(np.float64)
    if metric == "squared_l2":
        return -((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    if metric == "cosine":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def brute_force(metric, keys, k, temperature):
    """vertex -> {neighbour: weight}."""
    expected = {}
    for i, row in enumerate(scores(metric)):
        near = sorted((j for j in range(N) if j != i), key=lambda j: -row[j])[:k]
        odds = [np.exp(row[j] / temperature) for j in near]
        expected[keys[i]] = {keys[j]: odd / sum(odds) for j, odd in zip(near, odds, strict=True)}
    return expected


def read(table, keys):
    rows = table.lookup(keys)
    assert rows.found.all()
    lists = zip(keys, rows["neighbours"], rows["weights"], strict=True)
    return {key: dict(zip(near, weights, strict=True)) for key, near, weights in lists}


def expect(found, expected):
    assert found.keys() == expected.keys()
    for key, near in expected.items():
        assert found[key] == pytest.approx(near, abs=1e-5)
        assert list(found[key].values()) == sorted(found[key].values(), reverse=True)


@pytest.mark.parametrize("metric", ["cosine", "dot", "squared_l2"])
@pytest.mark.parametrize("keys", [INTEGERS, TEXTS], ids=["int64", "string"])
def test_the_graph_is_that_of_brute_force(local, metric, keys):
    vertices, graph = tables(local, keys)
    make(GraphMaker(vertices, graph, k=4, metric=metric, temperature=0.3), graph, keys)
    expect(read(graph, keys), brute_force(metric, keys, 4, 0.3))


def test_vertices_nobody_has_embedded_yet_get_no_row(local):
    vertices, graph = tables(local, INTEGERS, written=range(6))
    make(GraphMaker(vertices, graph, k=3), graph, INTEGERS)
    assert graph.lookup(INTEGERS).found.tolist() == [True] * 6 + [False] * 6


def test_nothing_is_written_where_nothing_is_known(local):
    vertices, graph = tables(local, INTEGERS, written=[])
    assert GraphMaker(vertices, graph).make(CHECKPOINT, Keys.of(INTEGERS)) == []
    vertices.assign(INTEGERS[:1], VECTORS[:1])
    assert GraphMaker(vertices, graph).make(CHECKPOINT, Keys.of(INTEGERS)) == [], "no other vertex there"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("keys", [INTEGERS, TEXTS], ids=["int64", "string"])
def test_a_given_graph_is_mixed_in(local, share, keys):
    # The last vertex has no embedding, the first two no given neighbours.
    vertices, graph = tables(local, keys, written=range(N - 1))
    ring = [(keys[i], keys[i + 1]) for i in range(2, N - 1)]
    links = Graph.directed(ring, np.arange(1, N - 2), keys).links()
    given = local.features("given", links.types)
    given.assign(links.keys, links.columns)
    make(GraphMaker(vertices, graph, k=4, given=given, learned_share=share), graph, keys[:-1])
    plain = local.features("plain", links.types)
    make(GraphMaker(vertices, plain, k=4), plain, keys[:-1])
    learned = read(plain, keys[:-1])
    expected = {}
    for i, key in enumerate(keys[:-1]):
        near = {} if i < 2 else {keys[i + 1]: 1.0}
        part = share if near else 1.0
        both = {other: part * w for other, w in learned[key].items()}
        for other, w in near.items():
            both[other] = both.get(other, 0.0) + (1 - part) * w
        expected[key] = {other: w for other, w in both.items() if w > 0}
    expect(read(graph, keys[:-1]), expected)


def test_a_vertex_with_only_given_neighbours_gets_those(local):
    vertices, graph = tables(local, INTEGERS, written=[])
    links = Graph.undirected([(100, 101), (101, 102)], [3.0, 1.0]).links()
    given = local.features("given", links.types)
    given.assign(links.keys, links.columns)
    make(GraphMaker(vertices, graph, given=given), graph, INTEGERS)
    expect(
        read(graph, [100, 101, 102]),
        {100: {101: 1.0}, 101: {100: 0.75, 102: 0.25}, 102: {101: 1.0}},
    )
    assert not graph.lookup([103]).found[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0"),
        ({"k": "x"}, "k='x'"),
        ({"metric": "manhattan"}, "manhattan"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"learned_share": 1.5}, "learned_share=1.5"),
    ],
)
def test_arguments_that_cannot_be_are_refused(local, options, message):
    with pytest.raises(InvalidRequestError, match=message):
        GraphMaker(*tables(local, INTEGERS), **options)


def test_tables_of_other_kinds_are_refused(local):
    vertices, graph = tables(local, INTEGERS)
    with pytest.raises(InvalidRequestError, match="neighbour_columns"):
        GraphMaker(vertices, local.features("labels", {"label": "int32"}))
    with pytest.raises(InvalidRequestError, match="not a feature table"):
        GraphMaker(vertices, vertices)
    with pytest.raises(InvalidRequestError, match="not an embedding table"):
        VertexEmbeddingMaker(graph, lambda model, keys: None)


def test_outputs_that_do_not_fit_are_refused(local):
    vertices, _ = tables(local, INTEGERS)
    with pytest.raises(InvalidValueError, match=r"\(12, 3\)"):
        VertexEmbeddingMaker(vertices, lambda *_: VECTORS[:, :2]).make(CHECKPOINT, Keys.of(INTEGERS))
    wrong = VECTORS.copy()
    wrong[4, 1] = np.nan
    with pytest.raises(InvalidValueError, match="104"):
        VertexEmbeddingMaker(vertices, lambda *_: wrong).make(CHECKPOINT, Keys.of(INTEGERS))


def test_embeddings_and_their_graph_follow_checkpoints_in_processes(bank, server):
    """One process embeds, another finds neighbours, and neither waits for the other."""
    vertices = bank.embeddings("vertices", dim=DIM)
    graph = bank.features("graph", neighbour_columns("string"))
    maker = VertexEmbeddingMaker(vertices, Encoder(TEXTS, VECTORS).embed)
    limit = carls.DriftLimit(vertices, max_age_steps=0, timeout_s=30.0)
    linked = carls.DriftLimit(graph, max_age_steps=0, timeout_s=30.0)
    with MakerProcess(server.url, maker, model="net", keys=TEXTS, batch_size=5):
        for step in (1, 2):
            turn = np.random.default_rng(step).normal(size=(DIM, DIM)).astype(np.float32)
            bank.models.publish("net", {"turn": turn}, step=step)
            limit.wait(step)
        np.testing.assert_allclose(vertices.lookup(TEXTS).values, VECTORS @ turn, rtol=1e-5)
    finder = GraphMaker(vertices, graph, k=2, metric="dot")
    with MakerProcess(server.url, finder, model="net", keys=TEXTS, batch_size=5):
        linked.wait(2)
    rows = graph.lookup(TEXTS)
    assert rows.step.tolist() == [2] * N
    turned = scores("dot", VECTORS @ turn)
    np.fill_diagonal(turned, -np.inf)
    assert list(rows["neighbours"]) == [[TEXTS[j] for j in np.argsort(-row)[:2]] for row in turned]


def test_a_graph_maker_follows_in_a_thread(local):
    vertices, graph = tables(local, INTEGERS)
    local.models.publish("net", {"nothing": np.zeros(1)}, step=3)
    with MakerRunner(local, GraphMaker(vertices, graph, k=1), model="net", keys=INTEGERS):
        carls.DriftLimit(graph, max_age_steps=0, timeout_s=30.0).wait(3)
    assert graph.lookup(INTEGERS).step.tolist() == [3] * N
