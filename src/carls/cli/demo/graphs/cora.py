"""Cora: 2708 papers, the words that they use, and who cites whom."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from carls.cli.demo.data_file import DataFile, read_arrays
from carls.cli.demo.graphs.cora_archive import DIGEST, URL, CoraArrays, download
from carls.cli.demo.graphs.graph import linked_neighbours
from carls.cli.demo.graphs.problem import Problem
from carls.errors import CarlsError

FILE = DataFile("Cora", Path("cora") / "cora.npz")


def cora(seed: int) -> Problem:
    """The papers with the split of the neural-structured-learning example.

    All papers are vertices; of the 553 test papers the words and the links are known, not the
    labels. Of a paper with more than 5 links, 5 are drawn by `seed`.
    """
    arrays = load()
    words = arrays.words.astype(np.float32)
    train, test = arrays.split()
    neighbours = linked_neighbours(arrays.edges, len(words), seed)
    return Problem(
        features=words,
        labels=arrays.labels,
        labelled=train,
        neighbours=neighbours,
        weights=[np.ones(len(near), np.float32) for near in neighbours],
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
