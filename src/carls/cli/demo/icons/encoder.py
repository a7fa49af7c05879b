"""What the maker of the demo is given: the icons, and how a checkpoint sees them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from carls.cli.demo.icons.collection import Icons
from carls.cli.demo.icons.towers import Towers
from carls.client import Model
from carls.keys import Int64s, Keys
from carls.messages import Floats


class Encoder:
    """The words and images to learn from, for `TowerMaker`; an icon's key is its number in the collection.

    Args:
        icons: the collection.
        threads: that torch may compute with.
    """

    def __init__(self, icons: Icons, threads: int) -> None:
        self._words: Int64s = icons.words[icons.train]
        # A fourth of the size, on the way to the maker's process.
        self._images: npt.NDArray[np.uint8] = np.round(icons.images[icons.train] * 255).astype(np.uint8)
        self._keys: Int64s = icons.train
        self._threads = threads

    def encode(self, model: Model, keys: Keys) -> tuple[Floats, Floats]:
        """(n, 64) float32 of the texts and of the images of n icons, by a checkpoint of `Towers`."""
        rows = np.searchsorted(self._keys, np.array(keys.tolist()))
        towers = Towers().eval()
        towers.load_state_dict({name: torch.tensor(array) for name, array in model.tensors.items()})
        threads = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.no_grad():
                texts, images = towers(
                    torch.from_numpy(self._words[rows]), torch.from_numpy(self._images[rows]) / 255
                )
        finally:
            torch.set_num_threads(threads)
        return texts.numpy(), images.numpy()
