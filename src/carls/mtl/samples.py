"""The private data of one task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from carls.errors import InvalidValueError
from carls.mtl.losses import Vector


@dataclass(frozen=True, eq=False)
class Samples:
    """Checked samples; `Samples.of` makes them.

    Attributes:
        features: (n, dim) float64, dense, or a scipy.sparse matrix in CSR form.
        targets: (n,) float64, finite.
        weights: (n,) float64, above 0.
    """

    features: Any
    targets: Vector
    weights: Vector

    @staticmethod
    def of(features: Any, targets: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Samples:
        """Samples without those whose target is NaN (missing) or whose weight is 0.

        Args:
            features: (n, dim), dense or scipy.sparse, finite.
            targets: (n,); NaN where missing.
            weights: (n,), finite, at least 0; all 1 by default.

        Raises:
            InvalidValueError: shapes that do not fit, infinite or NaN features, negative weights.
        """
        sparse = hasattr(features, "tocsr")
        try:
            table = features.tocsr().astype(np.float64) if sparse else np.asarray(features, np.float64)
            wanted = np.asarray(targets, np.float64)
            worth = np.ones(len(wanted)) if weights is None else np.asarray(weights, np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(f"features, targets and weights: expected numbers ({error})") from None
        if table.ndim != 2 or table.shape[1] < 1:
            raise InvalidValueError(f"features of shape {table.shape}: expected (samples, dim), dim >= 1")
        if wanted.shape != table.shape[:1] or worth.shape != wanted.shape:
            raise InvalidValueError(
                f"targets of shape {wanted.shape} and weights of shape {worth.shape}: "
                f"expected ({table.shape[0]},), one for each row of the features"
            )
        if not (np.isfinite(worth) & (worth >= 0)).all():
            raise InvalidValueError("weights: expected finite numbers >= 0")
        kept = ~np.isnan(wanted) & (worth > 0)
        table, wanted, worth = table[kept], wanted[kept], worth[kept]
        if not np.isfinite(wanted).all():
            raise InvalidValueError("targets: expected finite numbers, or NaN where a target is missing")
        if not np.isfinite(table.data if sparse else table).all():
            raise InvalidValueError("features: expected finite numbers; impute missing ones first")
        return Samples(table, wanted, worth)

    @property
    def dim(self) -> int:
        """Features of a sample."""
        return int(self.features.shape[1])

    @property
    def sparse(self) -> bool:
        """Whether the features are a scipy.sparse matrix."""
        return hasattr(self.features, "tocsr")

    def squares(self) -> Vector:
        """For each feature, the weighted sum of squares: (dim,)."""
        table = self.features.multiply(self.features) if self.sparse else self.features**2
        return np.asarray(table.T @ self.weights, np.float64).reshape(-1)
