"""PyTorch modules over a bank; they know tables, never a transport."""

from carls.torch.embedding import DynamicEmbedding
from carls.torch.losses import SampledSigmoidLoss, SampledSoftmaxLoss
from carls.torch.memory import Clusters, GaussianMemory
from carls.torch.normalization import DynamicNormalization
from carls.torch.regularizer import GraphRegularizer, NeighbourRead
from carls.torch.sparse_features import SparseFeatureEmbedding

__all__ = [
    "Clusters",
    "DynamicEmbedding",
    "DynamicNormalization",
    "GaussianMemory",
    "GraphRegularizer",
    "NeighbourRead",
    "SampledSigmoidLoss",
    "SampledSoftmaxLoss",
    "SparseFeatureEmbedding",
]
