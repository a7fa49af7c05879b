"""PyTorch modules over a bank; they know tables, never a transport."""

from carls.torch.embedding import DynamicEmbedding
from carls.torch.regularizer import GraphRegularizer, NeighbourRead

__all__ = ["DynamicEmbedding", "GraphRegularizer", "NeighbourRead"]
