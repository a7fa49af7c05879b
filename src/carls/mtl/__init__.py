"""Multi-task learning: related problems on private data, coupled by a regularizer.

The estimators need `pip install 'carls[mtl]'` (scikit-learn, scipy); all else needs numpy alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from carls.errors import CarlsError
from carls.mtl.losses import LeastSquares, Logistic, Loss, Smooth, SquaredHinge
from carls.mtl.node import TaskNode
from carls.mtl.nodes import TaskNodes
from carls.mtl.participant import NodeProgress, Participant
from carls.mtl.simulation import Simulation
from carls.mtl.task import Task
from carls.mtl.tasks import make_task
from carls.specs import (
    L1,
    L21,
    DouglasRachford,
    ElasticNet,
    ForwardBackward,
    Graph,
    MeanRegularized,
    Nuclear,
    Regularizer,
    Ridge,
    SparseRows,
    Sum,
)

if TYPE_CHECKING:
    from carls.mtl.classifier import MultiTaskClassifier
    from carls.mtl.classifier_cv import MultiTaskClassifierCV
    from carls.mtl.regressor import MultiTaskRegressor
    from carls.mtl.regressor_cv import MultiTaskRegressorCV

__all__ = [
    "L1",
    "L21",
    "DouglasRachford",
    "ElasticNet",
    "ForwardBackward",
    "Graph",
    "LeastSquares",
    "Logistic",
    "Loss",
    "MeanRegularized",
    "MultiTaskClassifier",
    "MultiTaskClassifierCV",
    "MultiTaskRegressor",
    "MultiTaskRegressorCV",
    "NodeProgress",
    "Nuclear",
    "Participant",
    "Regularizer",
    "Ridge",
    "Simulation",
    "Smooth",
    "SparseRows",
    "SquaredHinge",
    "Sum",
    "Task",
    "TaskNode",
    "TaskNodes",
    "make_task",
]

_ESTIMATORS = {
    "MultiTaskClassifier": "classifier",
    "MultiTaskClassifierCV": "classifier_cv",
    "MultiTaskRegressor": "regressor",
    "MultiTaskRegressorCV": "regressor_cv",
}


def __getattr__(name: str) -> Any:
    # Nodes have no need of scikit-learn: estimators are imported when they are asked for.
    if name not in _ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"carls.mtl.{_ESTIMATORS[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("sklearn", "scipy", "joblib"):
            raise CarlsError(
                f"carls.mtl.{name} needs scikit-learn and scipy: pip install 'carls[mtl]'"
            ) from error
        raise
