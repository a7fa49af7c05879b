"""Makers: processes beside the trainers that infer knowledge and write it to the bank."""

from carls.makers.graph import GraphMaker
from carls.makers.intervals import EveryCheckpoint, Interval, Stretching
from carls.makers.label_quality import LabelQualityMaker
from carls.makers.labels import LabelMaker
from carls.makers.maker import KnowledgeMaker, Write
from carls.makers.process import MakerProcess
from carls.makers.progress import Progress
from carls.makers.runner import MakerRunner
from carls.makers.schedules import AllKeys, MostRequested, Schedule, StalestFirst
from carls.makers.towers import TowerMaker
from carls.makers.vertices import VertexEmbeddingMaker

__all__ = [
    "AllKeys",
    "EveryCheckpoint",
    "GraphMaker",
    "Interval",
    "KnowledgeMaker",
    "LabelMaker",
    "LabelQualityMaker",
    "MakerProcess",
    "MakerRunner",
    "MostRequested",
    "Progress",
    "Schedule",
    "StalestFirst",
    "Stretching",
    "TowerMaker",
    "VertexEmbeddingMaker",
    "Write",
]
