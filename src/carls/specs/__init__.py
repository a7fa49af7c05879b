"""Frozen value objects that describe tables and their policies; JSON in and out."""

from carls.specs.aggregation import Aggregation, Lazy
from carls.specs.algorithms import Algorithm, DouglasRachford, ForwardBackward, Profile
from carls.specs.embeddings import EmbeddingSpec
from carls.specs.eviction import FIFO, LFU, LRU, TTL, Admission, Eviction
from carls.specs.features import FeatureSpec
from carls.specs.indexes import IVF
from carls.specs.initializers import Constant, Initializer, Normal, Uniform, Zeros
from carls.specs.kinds import spec_from_json
from carls.specs.memories import GaussianMemorySpec
from carls.specs.norms import L1, L21, Nuclear, SparseRows
from carls.specs.optimizers import FTRL, SGD, Adagrad, Adam, Momentum, Optimizer, RowwiseAdagrad, Slot
from carls.specs.quadratics import Graph, MeanRegularized, Ridge
from carls.specs.regularizer import Regularizer
from carls.specs.regularizers import ElasticNet, Sum
from carls.specs.sampling import Frequency, LogUniform, Strategy, UniformSampling
from carls.specs.search import METRICS, Where, check_metric
from carls.specs.tables import KeyedSpec, TableSpec, check_name
from carls.specs.tasks import TaskSpec

__all__ = [
    "FIFO",
    "FTRL",
    "IVF",
    "L1",
    "L21",
    "LFU",
    "LRU",
    "METRICS",
    "SGD",
    "TTL",
    "Adagrad",
    "Adam",
    "Admission",
    "Aggregation",
    "Algorithm",
    "Constant",
    "DouglasRachford",
    "ElasticNet",
    "EmbeddingSpec",
    "Eviction",
    "FeatureSpec",
    "ForwardBackward",
    "Frequency",
    "GaussianMemorySpec",
    "Graph",
    "Initializer",
    "KeyedSpec",
    "Lazy",
    "LogUniform",
    "MeanRegularized",
    "Momentum",
    "Normal",
    "Nuclear",
    "Optimizer",
    "Profile",
    "Regularizer",
    "Ridge",
    "RowwiseAdagrad",
    "Slot",
    "SparseRows",
    "Strategy",
    "Sum",
    "TableSpec",
    "TaskSpec",
    "Uniform",
    "UniformSampling",
    "Where",
    "Zeros",
    "check_metric",
    "check_name",
    "spec_from_json",
]
