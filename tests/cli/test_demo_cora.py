"""The Cora loader: where it looks, what it downloads, what it refuses."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from carls.cli.demo.graphs.cora import cora, load
from carls.cli.demo.graphs.cora_archive import DIGEST, download, parse
from carls.cli.demo.graphs.cora_splits import nsl_split, planetoid_split
from carls.errors import CarlsError

CONTENT = "\n".join(
    [
        "31336\t0\t1\t1\tNeural_Networks",
        "7\t1\t0\t0\tTheory",
        "1061127\t0\t0\t1\tCase_Based",
        "40\t1\t1\t1\tTheory",
    ]
)
#: Once in each direction, a paper that cites itself, and a link given twice.
CITES = "7\t31336\n31336\t7\n40\t40\n1061127\t40\n1061127\t40\n"


def archive(members):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


SMALL = archive({"cora/README": "papers", "cora/cora.content": CONTENT + "\n", "cora/cora.cites": CITES})


@contextmanager
def serving(body, status=200):
    """A web server on loopback; gives its URL and the list of requested paths."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/cora.tgz", requests
        finally:
            server.shutdown()
            thread.join(10)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No data anywhere; gives the cache folder."""
    monkeypatch.delenv("CARLS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "carls"


def expect_small(arrays):
    assert arrays.words.tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 1, 1]]
    assert arrays.labels.tolist() == [2, 6, 0, 6]
    assert arrays.edges.tolist() == [[0, 1], [2, 3]]


def test_the_original_is_parsed():
    expect_small(parse(SMALL))


def test_digest_is_of_the_bytes_of_all_arrays():
    arrays = parse(SMALL)
    raw = bytes([0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1])
    raw += b"".join(int(n).to_bytes(8, "little") for n in [2, 6, 0, 6, 0, 1, 2, 3])
    assert arrays.digest() == hashlib.sha256(raw).hexdigest()


def test_download_is_kept_in_the_cache_and_used_from_there(nowhere):
    digest = parse(SMALL).digest()
    with serving(SMALL) as (url, requests):
        expect_small(load(url, digest))
        expect_small(load(url, digest))
    assert requests == ["/cora.tgz"]
    assert [path.name for path in nowhere.iterdir()] == ["cora.npz"]


def test_data_with_another_checksum_is_not_used(nowhere):
    with serving(SMALL) as (url, _):
        with pytest.raises(CarlsError, match=f"{parse(SMALL).digest()}: expected {DIGEST}"):
            load(url)
    assert not nowhere.exists()


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 404, "404"),
        (b"<html>not here</html>", 200, "not an archive"),
        (SMALL[: len(SMALL) // 2], 200, "not an archive"),
        (archive({"cora/cora.content": CONTENT}), 200, "cora.cites"),
        (archive({"cora/cora.content": "1\t0\tPoetry\n", "cora/cora.cites": "1\t1\n"}), 200, "Poetry"),
        (archive({"cora/cora.content": CONTENT, "cora/cora.cites": "1\t2\n"}), 200, "not an archive"),
        (gzip.compress(bytes(65 << 20)), 200, "unpacked"),
        (bytes(5 << 20), 200, "more than"),
    ],
)
def test_what_is_no_cora_is_refused_with_a_remedy(nowhere, body, status, message):
    with serving(body, status) as (url, _):
        with pytest.raises(CarlsError, match=message) as caught:
            load(url)
    assert "CARLS_DATA" in str(caught.value)
    assert not nowhere.exists()


def test_members_that_point_outside_are_never_written(nowhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil = archive(
        {"../evil": "x", "/tmp/carls-evil": "x", "cora/cora.content": CONTENT, "cora/cora.cites": CITES}
    )
    before = sorted(tmp_path.rglob("*"))
    expect_small(parse(evil))
    assert sorted(tmp_path.rglob("*")) == before


def test_an_address_where_nobody_answers_is_named(nowhere):
    with pytest.raises(CarlsError, match=r"http://127\.0\.0\.1:1/"):
        download("http://127.0.0.1:1/cora.tgz")


def test_a_damaged_file_is_named(nowhere):
    nowhere.mkdir(parents=True)
    (nowhere / "cora.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(CarlsError, match=r"cora\.npz cannot be read"):
        load()


def test_given_data_is_cora_with_the_known_splits(data_folder):
    arrays = load()
    assert arrays.digest() == DIGEST
    train, test = nsl_split(len(arrays.words))
    with np.load(data_folder / "cora" / "cora.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(train, file["nsl_train"])
        np.testing.assert_array_equal(test, file["nsl_test"])
        train, test = planetoid_split()
        np.testing.assert_array_equal(train, np.sort(file["planetoid_train"]))
        np.testing.assert_array_equal(test, np.sort(file["planetoid_test"]))


def test_real_data_written_as_the_original_is_read_back(data_folder):
    arrays = load()
    names = ["Case_Based", "Genetic_Algorithms", "Neural_Networks", "Probabilistic_Methods"]
    names += ["Reinforcement_Learning", "Rule_Learning", "Theory"]
    lines = [
        "\t".join([f"id{i}", *map(str, words), names[label]])
        for i, (words, label) in enumerate(zip(arrays.words.tolist(), arrays.labels, strict=True))
    ]
    cites = "".join(f"id{b}\tid{a}\n" for a, b in arrays.edges)
    original = archive({"cora/cora.content": "\n".join(lines), "cora/cora.cites": cites})
    with serving(original) as (url, _):
        assert download(url).digest() == DIGEST


@pytest.mark.parametrize(("split", "labelled", "tested"), [("nsl", 2155, 553), ("planetoid", 140, 1000)])
def test_problem_keeps_test_papers_out_of_the_labels(data_folder, split, labelled, tested):
    problem = cora(seed=0, split=split, neighbours="links")
    assert problem.features.shape == (2708, 1433)
    assert len(problem.labelled) == labelled
    assert len(problem.test_labels) == tested
    test = (nsl_split(2708) if split == "nsl" else planetoid_split())[1]
    assert (problem.known_labels[test] == -1).all()
    assert (problem.known_labels >= 0).sum() == labelled
    np.testing.assert_array_equal(problem.test_features, problem.features[test])


def test_neighbours_are_drawn_from_the_links_or_ranked(data_folder):
    linked = {tuple(edge) for edge in load().edges.tolist()}
    links = cora(seed=0, split="nsl", neighbours="links").neighbours
    ranked = cora(seed=0, split="nsl", neighbours="pagerank").neighbours
    for lists, most in ((links, 5), (ranked, 32)):
        assert np.diff(lists.offsets).max() == most
        assert len(lists) == 2708
    for vertex in range(2708):
        near = links.neighbours.integers[links.offsets[vertex] : links.offsets[vertex + 1]].tolist()
        assert len(set(near)) == len(near)
        assert all((min(vertex, n), max(vertex, n)) in linked for n in near)
    assert len(ranked.neighbours) > 5 * len(links.neighbours)
