"""Makers for the tests, at the top of a module so that they can be sent to a process."""

from __future__ import annotations

import os
import signal

import numpy as np

from carls.makers import KnowledgeMaker, Write

DIM = 3


class Scale(KnowledgeMaker):
    """Row of key k: (k, k, k) times the checkpoint's "factor"."""

    def make(self, model, keys):
        values = np.repeat(keys.integers[:, None], DIM, axis=1) * model.tensors["factor"]
        return [Write("rows", keys, values.astype(np.float32))]


class Features(KnowledgeMaker):
    """Writes a feature table and an embedding table."""

    def make(self, model, keys):
        columns = {"label": keys.integers % 2, "near": [[int(k) + 1] for k in keys.integers]}
        return [Write("facts", keys, columns), *Scale().make(model, keys)]


class Broken(KnowledgeMaker):
    """Works for step 0 and fails at the next checkpoint."""

    def make(self, model, keys):
        if model.step > 0:
            raise ZeroDivisionError(f"step {model.step} is too much")
        return Scale().make(model, keys)


class Unsendable(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {len(second)} keys")


class BrokenOddly(KnowledgeMaker):
    """Fails with an exception that pickle cannot rebuild."""

    def make(self, model, keys):
        raise Unsendable(model.name, keys.tolist())


class Dying(KnowledgeMaker):
    def make(self, model, keys):
        os._exit(len(keys))


class WrongValues(KnowledgeMaker):
    """Gives columns to an embedding table."""

    def make(self, model, keys):
        return [Write("rows", keys, {"label": [model.step] * len(keys)})]


class DiesMidWalk(KnowledgeMaker):
    """Makes the checkpoint of step 1, and dies in the second batch of the next."""

    def __init__(self):
        self.batches = 0

    def make(self, model, keys):
        if model.step > 1:
            self.batches += 1
            if self.batches == 2:
                os._exit(7)
        return Scale().make(model, keys)


class StopsItself(KnowledgeMaker):
    """Stops its own process once, in the midst of a batch of step 2, until somebody continues it."""

    def __init__(self):
        self.stopped = False

    def make(self, model, keys):
        if model.step == 2 and not self.stopped:
            self.stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return Scale().make(model, keys)


#: Classes of the tables of predictions below.
CLASSES = 3


class Table:
    """Predictions that a checkpoint carries itself: its tensor "probabilities", a row for each key."""

    def __init__(self, labels=None):
        self._labels = labels

    def predict(self, model, keys):
        return model.tensors["probabilities"][keys.integers]

    def labels(self, keys):
        return self._labels[keys.integers]


def encode_twice(model, keys):
    """Of key k two rows: k times the checkpoint's "factor", and that backwards and twice as wide."""
    rows = np.repeat(keys.integers[:, None], DIM, axis=1) * model.tensors["factor"]
    return rows, np.concatenate([-rows, -rows], axis=1)


class Encoder:
    """A row for each text key, turned by the checkpoint's tensor "turn"."""

    def __init__(self, keys, vectors):
        self._rows = dict(zip(keys, vectors, strict=True))

    def embed(self, model, keys):
        return np.array([self._rows[key] for key in keys]) @ model.tensors["turn"]
