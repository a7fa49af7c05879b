"""DataFile: a file of arrays that a demo learns from, and where it may be."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from carls.errors import CarlsError


@dataclass(frozen=True)
class DataFile:
    """An .npz file without pickles: $CARLS_DATA/`place`, else its name in the cache folder.

    The cache folder is $XDG_CACHE_HOME/carls, by default ~/.cache/carls.

    Attributes:
        title: what it is, such as "Fashion-MNIST".
        place: below $CARLS_DATA.
    """

    title: str
    place: Path

    @property
    def cached(self) -> Path:
        """Its path in the cache folder."""
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carls" / self.place.name

    def find(self) -> Path | None:
        """The first place where it is; None: nowhere."""
        given = os.environ.get("CARLS_DATA")
        places = [*([Path(given) / self.place] if given else []), self.cached]
        return next((path for path in places if path.exists()), None)

    def read(self, names: Sequence[str], origin: str) -> dict[str, npt.NDArray[Any]]:
        """Its arrays of these names.

        Args:
            origin: where it comes from, a sentence for whoever has to get it.

        Raises:
            CarlsError: it is in neither place, or what is there cannot be read.
        """
        path = self.find()
        if path is None:
            raise CarlsError(
                f"{self.title} is not there: set CARLS_DATA to a folder with {self.place}, or put that file "
                f"at {self.cached}. {origin}"
            )
        return read_arrays(path, names)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an .npz file.

    Raises:
        CarlsError: the file cannot be read, or has not all of them.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CarlsError(f"{path} cannot be read ({error}): remove it or replace it") from None
