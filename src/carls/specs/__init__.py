"""Frozen value objects that describe tables and their policies; JSON in and out."""

from carls.specs.initializers import Constant, Initializer, Normal, Uniform, Zeros
from carls.specs.optimizers import SGD, Adagrad, Optimizer
from carls.specs.tables import (
    EmbeddingSpec,
    FeatureSpec,
    TableSpec,
    check_name,
    spec_from_json,
)

__all__ = [
    "SGD",
    "Adagrad",
    "Constant",
    "EmbeddingSpec",
    "FeatureSpec",
    "Initializer",
    "Normal",
    "Optimizer",
    "TableSpec",
    "Uniform",
    "Zeros",
    "check_name",
    "spec_from_json",
]
