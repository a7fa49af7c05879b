"""Cora: 2708 papers, the words that they use, and who cites whom."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from carls.cli.demo.data_file import DataFile, read_arrays
from carls.cli.demo.graphs.cora_archive import DIGEST, URL, CoraArrays, download
from carls.cli.demo.graphs.cora_splits import nsl_split, planetoid_split
from carls.cli.demo.graphs.graph import linked_neighbours, ranked_neighbours
from carls.cli.demo.graphs.problem import Problem
from carls.errors import CarlsError

FILE = DataFile("Cora", Path("cora") / "cora.npz")


#: The splits, and the neighbours that suit them.
SPLITS = {"nsl": "links", "planetoid": "pagerank"}
NEIGHBOURS = ("links", "pagerank")


def cora(seed: int, split: str, neighbours: str) -> Problem:
    """The papers, all of which are vertices; of the test papers the words and the links are known.

    Args:
        seed: draws 5 links of a paper that has more, for "links".
        split: "nsl": 2155 labelled papers, tested on the other 553; "planetoid": 140 labelled papers,
            tested on 1000.
        neighbours: "links" or "pagerank".
    """
    arrays = load()
    words, n = arrays.words.astype(np.float32), len(arrays.words)
    train, test = nsl_split(n) if split == "nsl" else planetoid_split()
    linked = neighbours == "links"
    return Problem(
        features=words,
        labels=arrays.labels,
        labelled=train,
        neighbours=linked_neighbours(arrays.edges, n, seed) if linked else ranked_neighbours(arrays.edges, n),
        test_features=words[test],
        test_labels=arrays.labels[test],
        classes=int(arrays.labels.max()) + 1,
    )


def load(url: str = URL, digest: str = DIGEST) -> CoraArrays:
    """Cora, from where `DataFile` says, else downloaded into the cache folder.

    Raises:
        CarlsError: it is in none of these places, or what is there cannot be read.
    """
    if (path := FILE.find()) is not None:
        return _read(path)
    try:
        arrays = download(url, digest)
    except CarlsError as error:
        raise CarlsError(
            f"{error}. Set CARLS_DATA to a folder with {FILE.place}, or put that file at {FILE.cached}"
        ) from None
    _write(FILE.cached, arrays)
    return arrays


def _read(path: Path) -> CoraArrays:
    arrays = read_arrays(path, ("x_shape", "x_indptr", "x_indices", "labels", "edges"))
    try:
        words = np.zeros(arrays["x_shape"], np.uint8)
        rows = np.repeat(np.arange(len(words)), np.diff(arrays["x_indptr"]))
        words[rows, arrays["x_indices"]] = 1
        return CoraArrays(words, arrays["labels"].astype(np.int64), arrays["edges"].astype(np.int64))
    except (ValueError, IndexError) as error:
        raise CarlsError(f"{path} cannot be read ({error}): remove it or replace it") from None


def _write(path: Path, arrays: CoraArrays) -> None:
    """Write the file whole or not at all."""
    rows, columns = np.nonzero(arrays.words)
    unfinished = path.with_suffix(f".{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            unfinished,
            x_shape=np.array(arrays.words.shape),
            x_indptr=np.searchsorted(rows, np.arange(len(arrays.words) + 1)),
            x_indices=columns,
            labels=arrays.labels,
            edges=arrays.edges,
        )
        unfinished.replace(path)
    except OSError as error:
        raise CarlsError(f"Cora was downloaded but cannot be kept at {path}: {error}") from None
