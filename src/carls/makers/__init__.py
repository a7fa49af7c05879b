"""Makers: processes beside the trainers that infer knowledge and write it to the bank."""

from carls.makers.label_quality import LabelQualityMaker
from carls.makers.labels import LabelMaker
from carls.makers.maker import KnowledgeMaker, Write
from carls.makers.process import MakerProcess
from carls.makers.progress import Progress
from carls.makers.runner import MakerRunner
from carls.makers.schedules import AllKeys, Schedule, StalestFirst

__all__ = [
    "AllKeys",
    "KnowledgeMaker",
    "LabelMaker",
    "LabelQualityMaker",
    "MakerProcess",
    "MakerRunner",
    "Progress",
    "Schedule",
    "StalestFirst",
    "Write",
]
