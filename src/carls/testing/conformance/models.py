"""Checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import carls
from carls.client import Bank


class ModelCheckpoints:
    """Checkpoints."""

    def test_models_are_published_whole(self, bank: Bank) -> None:
        assert bank.models.latest("encoder") is None
        tensors = {
            "w": np.arange(6, dtype=np.float32).reshape(2, 3).T,
            "n": np.int64(4),
            "e": np.zeros((0, 3)),
        }
        bank.models.publish("encoder", tensors, step=10)
        model = bank.models.latest("encoder")
        assert model is not None
        assert (model.version, model.step, model.producer) == (1, 10, bank.producer)
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(model.tensors[name], tensor)
            assert model.tensors[name].dtype == np.asarray(tensor).dtype
        assert bank.models.latest("encoder", newer_than=10) is None
        assert bank.models.latest("encoder", newer_than=9) is not None
        assert [info.name for info in bank.models.list()] == ["encoder"]

    def test_large_models_travel_in_parts(self, bank: Bank) -> None:
        tensors = {"w": np.random.default_rng(0).standard_normal((5000, 1000)).astype(np.float32)}  # 20 MB
        bank.models.publish("large", tensors, step=1, keep=1)
        bank.models.publish("large", {"w": tensors["w"] + 1}, step=2, keep=1)
        model = bank.models.latest("large")
        assert model is not None
        assert model.version == 2
        np.testing.assert_array_equal(model.tensors["w"], tensors["w"] + 1)

    def test_waiting_for_a_model_ends(self, bank: Bank) -> None:
        assert bank.models.latest("m", wait_s=0.05) is None
        bank.models.publish("m", {"w": np.ones(1)}, step=1)
        assert bank.models.latest("m", newer_than=1, wait_s=0.05) is None

    @pytest.mark.parametrize(
        ("tensors", "step", "keep"),
        [
            ({}, 1, 1),
            ({"w": "text"}, 1, 1),
            ({"w": np.ones(1)}, -1, 1),
            ({"w": np.ones(1)}, 1, 0),
            ([], 1, 1),
        ],
        ids=str,
    )
    def test_models_that_cannot_be(self, bank: Bank, tensors: Any, step: int, keep: int) -> None:
        with pytest.raises(carls.InvalidRequestError):
            bank.models.publish("m", tensors, step=step, keep=keep)
        assert bank.models.latest("m") is None
