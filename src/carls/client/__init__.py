"""Banks and tables, as trainers and makers use them."""

from carls.client.bank import Bank
from carls.client.connect import connect
from carls.client.drift import DriftLimit
from carls.client.embeddings import EmbeddingTable
from carls.client.features import FeatureTable
from carls.client.leases import Lease
from carls.client.memories import GaussianMemory, NearestClusters
from carls.client.migration import Migration, migrate
from carls.client.models import Models
from carls.client.results import FeatureRows, Model, Neighbours, Ragged, Rows, Samples, Surveyed
from carls.client.tasks import TaskTable

__all__ = [
    "Bank",
    "DriftLimit",
    "EmbeddingTable",
    "FeatureRows",
    "FeatureTable",
    "GaussianMemory",
    "Lease",
    "Migration",
    "Model",
    "Models",
    "NearestClusters",
    "Neighbours",
    "Ragged",
    "Rows",
    "Samples",
    "Surveyed",
    "TaskTable",
    "connect",
    "migrate",
]
