"""How the schools' models are related."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from carls.cli.demo.school.pupils import Floats, Pupils


@dataclass(frozen=True, eq=False)
class Relations:
    """Correlations of tasks, those that are alike beside each other.

    Attributes:
        order: the schools, as they are ordered, (schools,) int64.
        correlation: in that order, (schools, schools), -1 to 1.
    """

    order: npt.NDArray[np.int64]
    correlation: Floats


def relations(models: Floats, pupils: Pupils) -> Relations:
    """Correlate the schools' deviations from the mean model, ordered by clusters of average distance.

    The models' own numbers have the features' units. So the correlation is that of what the deviations
    predict for the pupils of all schools.

    Args:
        models: a column for each school, (28, schools).
        pupils: of all schools.
    """
    deviations = models - models.mean(axis=1, keepdims=True)
    spread = deviations.T @ np.cov(np.concatenate(pupils.features), rowvar=False) @ deviations
    size = np.sqrt(np.maximum(np.diag(spread), np.finfo(np.float64).tiny))
    correlation = np.clip(spread / np.outer(size, size), -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    distances = squareform(1 - correlation, checks=False)
    order = leaves_list(linkage(distances, "average", optimal_ordering=True))
    return Relations(np.asarray(order, np.int64), correlation[np.ix_(order, order)])
