"""The original Cora archive: download, check, and what is in it."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carls.errors import CarlsError

URL = "https://linqs-data.soe.ucsc.edu/public/lbc/cora.tgz"
#: `CoraArrays.digest()` of the published data.
DIGEST = "8cd82ce5b8cc69a582b4202b327f20f289192243d6635ca45d7770dda922cc59"

_CLASSES = (
    "Case_Based",
    "Genetic_Algorithms",
    "Neural_Networks",
    "Probabilistic_Methods",
    "Reinforcement_Learning",
    "Rule_Learning",
    "Theory",
)
_MAX_DOWNLOAD = 4 << 20
_MAX_UNPACKED = 64 << 20
_TIMEOUT_S = 30.0


@dataclass(frozen=True, eq=False)
class CoraArrays:
    """Papers in the order of cora.content.

    Attributes:
        words: (n, d) uint8, 1 where the paper has the word.
        labels: (n,) int64, index of the class in alphabetical order.
        edges: (m, 2) int64, links between papers a < b, each once, in ascending order.
    """

    words: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int64]

    def digest(self) -> str:
        """SHA-256, as 64 hex digits, of words (uint8), labels (int64) and edges (int64, little endian)."""
        sha = hashlib.sha256(np.ascontiguousarray(self.words).tobytes())
        for array in (self.labels, self.edges):
            sha.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        return sha.hexdigest()


def download(url: str = URL, digest: str = DIGEST) -> CoraArrays:
    """Fetch the archive at `url` and take it apart in memory; nothing is unpacked to disk.

    The checksum is of what was read from the archive, which is what the demo learns from.

    Raises:
        CarlsError: no answer, no such archive, or data with another checksum than `digest`.
    """
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            archive = response.read(_MAX_DOWNLOAD + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise CarlsError(f"Cora cannot be downloaded from {url}: {error}") from None
    if len(archive) > _MAX_DOWNLOAD:
        raise CarlsError(f"{url} has more than {_MAX_DOWNLOAD} bytes: expected Cora's 0.2 MB")
    arrays = parse(archive)
    if arrays.digest() != digest:
        raise CarlsError(
            f"Cora from {url} has the checksum {arrays.digest()}: expected {digest}. It was not used"
        )
    return arrays


def parse(archive: bytes) -> CoraArrays:
    """The papers in a .tgz with cora/cora.content and cora/cora.cites.

    Raises:
        CarlsError: it is no such archive.
    """
    try:
        with gzip.open(io.BytesIO(archive)) as stream:
            unpacked = stream.read(_MAX_UNPACKED + 1)
        if len(unpacked) > _MAX_UNPACKED:
            raise ValueError(f"more than {_MAX_UNPACKED} bytes unpacked")
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
            return _parse_lines(_lines(tar, "cora/cora.content"), _lines(tar, "cora/cora.cites"))
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, KeyError, IndexError) as error:
        raise CarlsError(f"not an archive of Cora: {error}") from None


def _lines(tar: tarfile.TarFile, name: str) -> list[list[str]]:
    member = tar.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is not a file")
    return [line.split("\t") for line in member.read().decode("ascii").splitlines()]


def _parse_lines(content: list[list[str]], cites: list[list[str]]) -> CoraArrays:
    place = {line[0]: i for i, line in enumerate(content)}
    unknown = {line[-1] for line in content} - set(_CLASSES)
    if unknown:
        raise ValueError(f"classes {sorted(unknown)} of papers: expected some of {_CLASSES}")
    links = np.array([sorted((place[cited], place[citing])) for cited, citing in cites], np.int64)
    links = np.unique(links[links[:, 0] != links[:, 1]], axis=0)
    return CoraArrays(
        words=np.array([line[1:-1] for line in content]).astype(np.uint8),
        labels=np.array([_CLASSES.index(line[-1]) for line in content], np.int64),
        edges=links,
    )
