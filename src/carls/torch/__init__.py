"""PyTorch modules over a bank; they know tables, never a transport."""

from carls.torch.contrastive import BankContrastiveLoss, ContrastiveRead
from carls.torch.curricula import Curriculum, Filter, Relabel, SoftWeights
from carls.torch.curriculum import CurriculumLoss, CurriculumRead
from carls.torch.embedding import DynamicEmbedding
from carls.torch.graph_forms import Contrastive, GraphForm, SquaredDistance
from carls.torch.losses import SampledSigmoidLoss, SampledSoftmaxLoss
from carls.torch.memory import Clusters, GaussianMemory
from carls.torch.negatives import Hardest, Negatives, Sampled, WholeBank
from carls.torch.normalization import DynamicNormalization
from carls.torch.regularizer import GraphRegularizer, NeighbourRead
from carls.torch.sparse_features import SparseFeatureEmbedding

__all__ = [
    "BankContrastiveLoss",
    "Clusters",
    "Contrastive",
    "ContrastiveRead",
    "Curriculum",
    "CurriculumLoss",
    "CurriculumRead",
    "DynamicEmbedding",
    "DynamicNormalization",
    "Filter",
    "GaussianMemory",
    "GraphForm",
    "GraphRegularizer",
    "Hardest",
    "Negatives",
    "NeighbourRead",
    "Relabel",
    "Sampled",
    "SampledSigmoidLoss",
    "SampledSoftmaxLoss",
    "SoftWeights",
    "SparseFeatureEmbedding",
    "SquaredDistance",
    "WholeBank",
]
