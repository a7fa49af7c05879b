"""All regularizers by name, and sums of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np

from carls.errors import InvalidSpecError
from carls.specs.norms import L1, L21, Norm, Nuclear, SparseRows
from carls.specs.quadratics import Graph, MeanRegularized, Quadratic, Ridge
from carls.specs.regularizer import CHOICES, Matrix, Regularizer


@dataclass(frozen=True)
class _NormAndRidge(Regularizer):
    """weight * norm(W) + ridge * |W|_F^2, with ridge > 0 or weight > 0."""

    weight: float
    norm: Norm
    ridge: float

    def __post_init__(self) -> None:
        """Whoever makes it has checked its parts."""

    def value(self, matrix: Matrix) -> float:
        return self.weight * self.norm.value(matrix) + self.ridge * Ridge().value(matrix)

    def prox(self, matrix: Matrix, step: float) -> Matrix:
        shrink = 1 + 2 * step * self.ridge
        return self.norm.prox(matrix / shrink, step * self.weight / shrink)

    def conjugate(self, matrix: Matrix, rho: float, radius: float) -> tuple[float, float]:
        if self.ridge == 0:
            return self.norm.conjugate(matrix, rho * self.weight, radius)
        # Where <Y, W> - rho * g(W) is largest: W = prox of norm at Y / (2 rho ridge).
        best = self.norm.prox(matrix / (2 * rho * self.ridge), self.weight / (2 * self.ridge))
        return 1.0, max(0.0, float(np.sum(matrix * best)) - rho * self.value(best))

    def slope(self, norm: float, dim: int, tasks: int) -> float:
        return self.weight * self.norm.slope(norm, dim, tasks) + self.ridge * Ridge().slope(norm, dim, tasks)


@dataclass(frozen=True)
class _QuadraticSum(Quadratic):
    """A weighted sum of quadratic regularizers, which is quadratic itself."""

    terms: tuple[tuple[float, Quadratic], ...]

    def __post_init__(self) -> None:
        """Whoever makes it has checked its parts."""

    def gram(self, tasks: int) -> Matrix:
        total = np.zeros((tasks, tasks))
        for weight, term in self.terms:
            total += weight * term.gram(tasks)
        return total


@dataclass(frozen=True)
class _Composed(Regularizer):
    """Base of those that stand for another regularizer."""

    @cached_property
    def whole(self) -> Regularizer:
        """The regularizer that it stands for."""
        raise NotImplementedError

    def value(self, matrix: Matrix) -> float:
        return self.whole.value(matrix)

    def prox(self, matrix: Matrix, step: float) -> Matrix:
        return self.whole.prox(matrix, step)

    def conjugate(self, matrix: Matrix, rho: float, radius: float) -> tuple[float, float]:
        return self.whole.conjugate(matrix, rho, radius)

    def slope(self, norm: float, dim: int, tasks: int) -> float:
        return self.whole.slope(norm, dim, tasks)


@dataclass(frozen=True)
class ElasticNet(_Composed):
    """l1_ratio * (sum of absolute values) + (1 - l1_ratio) * |W|_F^2 (Zou, Hastie 2005).

    The square has no half here, as in `Ridge`; scikit-learn's elastic net has one.
    """

    name: ClassVar[str] = "elastic_net"
    l1_ratio: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.l1_ratio <= 1, "l1_ratio", "0 <= l1_ratio <= 1")

    @cached_property
    def whole(self) -> Regularizer:
        return Ridge() if self.l1_ratio == 0 else _NormAndRidge(self.l1_ratio, L1(), 1 - self.l1_ratio)


@dataclass(frozen=True)
class Sum(_Composed):
    """sum of weight * regularizer, where the sum has a closed proximal map.

    These sums have one: any norm with `Ridge`; `L1` with `L21`, and with `Ridge` too; any of
    `Ridge`, `MeanRegularized` and `Graph`. Others are an error, such as `Nuclear` with `L1`.

    Attributes:
        terms: pairs (weight, regularizer), weights > 0; a regularizer may be given by its name.
    """

    name: ClassVar[str] = "sum"
    terms: tuple[tuple[float, Regularizer], ...]

    def __init__(self, terms: Sequence[tuple[float, Any]]) -> None:
        try:
            pairs = tuple((float(weight), Regularizer.of(term)) for weight, term in terms)
        except (TypeError, ValueError) as error:
            if isinstance(error, InvalidSpecError):
                raise
            raise InvalidSpecError(
                f"Sum(terms={terms!r:.80}): expected pairs (weight, regularizer) ({error})"
            ) from None
        for weight, term in pairs:
            if not 0 < weight < float("inf"):
                raise InvalidSpecError(
                    f"Sum: weight {weight!r} of {term.name!r}: expected a finite number > 0"
                )
        object.__setattr__(self, "terms", pairs)
        _ = self.whole  # sums without a closed map are refused here

    @cached_property
    def whole(self) -> Regularizer:
        flat = [
            (weight * share, part)
            for weight, term in self.terms
            for share, part in (_elastic_parts(term) if isinstance(term, ElasticNet) else [(1.0, term)])
        ]
        if flat and all(isinstance(term, Quadratic) for _, term in flat):
            return _QuadraticSum(tuple(cast("list[tuple[float, Quadratic]]", flat)))
        ridge = sum(weight for weight, term in flat if isinstance(term, Ridge))
        rest = [(weight, term) for weight, term in flat if not isinstance(term, Ridge)]
        if rest and all(isinstance(term, Nuclear) for _, term in rest):
            return _NormAndRidge(sum(weight for weight, _ in rest), Nuclear(), ridge)
        if rest and all(isinstance(term, (L1, L21, SparseRows)) for _, term in rest):
            l1 = sum(w * (t.l1 if isinstance(t, SparseRows) else isinstance(t, L1)) for w, t in rest)
            l21 = sum(w * (t.l21 if isinstance(t, SparseRows) else isinstance(t, L21)) for w, t in rest)
            if l1 and l21:
                return _NormAndRidge(1.0, SparseRows(l1, l21), ridge)
            return _NormAndRidge(l1 or l21, L1() if l1 else L21(), ridge)
        raise InvalidSpecError(
            f"Sum of {[term.name for _, term in self.terms]}: expected a sum with a closed "
            "proximal map: a norm with 'ridge', 'l1' with 'l21' (and 'ridge'), or any of 'ridge', "
            "'mean' and 'graph'"
        )

    def over(self, tasks: Sequence[str]) -> Sum:
        return Sum([(weight, term.over(tasks)) for weight, term in self.terms])

    def to_json(self) -> dict[str, Any]:
        """Its name and its terms, as [weight, regularizer]."""
        return {"name": self.name, "terms": [[weight, term.to_json()] for weight, term in self.terms]}


def _elastic_parts(net: ElasticNet) -> list[tuple[float, Regularizer]]:
    parts: list[tuple[float, Regularizer]] = [(net.l1_ratio, L1()), (1 - net.l1_ratio, Ridge())]
    return [(share, part) for share, part in parts if share > 0]


CHOICES.update(
    (regularizer.name, regularizer)
    for regularizer in (Nuclear, L21, L1, SparseRows, Ridge, ElasticNet, MeanRegularized, Graph, Sum)
)
