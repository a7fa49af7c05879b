"""Frozen value objects that describe tables and their policies; JSON in and out."""

from carls.specs.aggregation import Aggregation, Lazy
from carls.specs.embeddings import EmbeddingSpec
from carls.specs.eviction import FIFO, LFU, LRU, TTL, Admission, Eviction
from carls.specs.features import FeatureSpec
from carls.specs.indexes import IVF
from carls.specs.initializers import Constant, Initializer, Normal, Uniform, Zeros
from carls.specs.kinds import spec_from_json
from carls.specs.memories import GaussianMemorySpec
from carls.specs.optimizers import FTRL, SGD, Adagrad, Adam, Momentum, Optimizer, RowwiseAdagrad, Slot
from carls.specs.sampling import Frequency, LogUniform, Strategy, UniformSampling
from carls.specs.search import METRICS, Where, check_metric
from carls.specs.tables import KeyedSpec, TableSpec, check_name

__all__ = [
    "FIFO",
    "FTRL",
    "IVF",
    "LFU",
    "LRU",
    "METRICS",
    "SGD",
    "TTL",
    "Adagrad",
    "Adam",
    "Admission",
    "Aggregation",
    "Constant",
    "EmbeddingSpec",
    "Eviction",
    "FeatureSpec",
    "Frequency",
    "GaussianMemorySpec",
    "Initializer",
    "KeyedSpec",
    "Lazy",
    "LogUniform",
    "Momentum",
    "Normal",
    "Optimizer",
    "RowwiseAdagrad",
    "Slot",
    "Strategy",
    "TableSpec",
    "Uniform",
    "UniformSampling",
    "Where",
    "Zeros",
    "check_metric",
    "check_name",
    "spec_from_json",
]
