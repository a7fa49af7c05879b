"""Makers: processes beside the trainers that infer knowledge and write it to the bank."""

from carls.makers.maker import KnowledgeMaker, Write
from carls.makers.process import MakerProcess
from carls.makers.progress import Progress
from carls.makers.runner import MakerRunner
from carls.makers.schedules import AllKeys, Schedule, StalestFirst

__all__ = [
    "AllKeys",
    "KnowledgeMaker",
    "MakerProcess",
    "MakerRunner",
    "Progress",
    "Schedule",
    "StalestFirst",
    "Write",
]
