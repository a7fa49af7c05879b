"""Algorithms of asynchronous multi-task learning: what a node evaluates, and how a push is relaxed.

Both minimise sum_t l_t(w_t) + rho * g(W) with a matrix V (dim, tasks). A pull of task t gives
w = [prox_{(rho/mu) g}(V)]_t and v = V_t; a push moves V_t by a relaxation times

    correction = w - v - y / mu,    y = gradient of l_t at a point x,

which is 0 for all tasks at the optimum. The algorithms differ in x, in mu and in the relaxation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, NamedTuple

from carls.errors import InvalidSpecError
from carls.specs.policies import Policy, resolve
from carls.specs.regularizer import Regularizer

#: mu may be off by this factor before it is changed.
TOLERATED = 1.5


class Profile(NamedTuple):
    """What a node tells about its task once, when it joins.

    Attributes:
        ridge_norm: Euclidean norm of the task's own ridge solution, at least 0.
        lipschitz: of the gradient of its loss; infinity where nobody knows.
    """

    ridge_norm: float
    lipschitz: float


def ridge_norm(profiles: Iterable[Profile]) -> float:
    """The Frobenius norm of all tasks' own ridge solutions."""
    return math.sqrt(sum(profile.ridge_norm**2 for profile in profiles))


class Delays(NamedTuple):
    """How late pushes have been.

    Attributes:
        longest: pushes of any task between a pull and its push, the most seen of late.
        recent_s: mean of the task's last five delays, in seconds of the bank's clock.
    """

    longest: int
    recent_s: float


@dataclass(frozen=True)
class Algorithm(Policy):
    """Base of the algorithms.

    Attributes:
        synchronous: V changes only when all tasks have pushed, by all of their pushes at once;
            for comparison.
    """

    #: Whether x = argmin l_t(x) + mu/2 |x - (2w - v)|^2; else x = w.
    implicit: ClassVar[bool]
    home: ClassVar[str] = "carls.mtl"
    _: KW_ONLY
    synchronous: bool = False

    @staticmethod
    def of(value: Any) -> Algorithm:
        """The algorithm itself, or the one named or described by `value`."""
        return resolve(value, Algorithm, _CHOICES)

    @staticmethod
    def kinds() -> list[type[Algorithm]]:
        """The classes of all algorithms that there are."""
        return list(_CHOICES.values())

    def scale(self, regularizer: Regularizer, rho: float, dim: int, profiles: Sequence[Profile]) -> float:
        """mu of the tasks with those profiles, > 0."""
        raise NotImplementedError

    def rescaled(self, mu: float, points: float, gradients: float) -> float:
        """mu, or a better one, from Frobenius norms at the points evaluated last: (dim, tasks) each.

        V moves with mu so that W stays, and so does the optimum.
        """
        del points, gradients
        return mu

    def relaxation(self, tasks: int, delays: Delays, guard: float) -> float:
        """What a correction is multiplied by.

        Args:
            tasks: how many there are.
            delays: how late pushes have been.
            guard: 1, or less where epochs were found to diverge.
        """
        raise NotImplementedError

    def diverged(self, squares: float, best: float) -> bool:
        """Whether an epoch's sum of squared corrections, after a best one of `best`, halves the guard."""
        del squares, best
        return False


@dataclass(frozen=True)
class DouglasRachford(Algorithm):
    """Douglas-Rachford splitting (Lions, Mercier 1979), its columns relaxed as they arrive.

    x = argmin l_t(x) + mu/2 |x - (2w - v)|^2, so that the correction is x - w.
    mu begins as stiffness * rho * slope / sqrt(sum of squared ridge norms), where `slope` is the
    regularizer's, and becomes stiffness * |gradients|_F / |points|_F, which is near the best constant
    mu for all regularizers, whenever it is off by more than a factor of 1.5; the bank looks after
    1, 2, 4, 8, ... epochs.
    The relaxation is `eta`. Each epoch (all tasks have pushed) is guarded: where the sum of squared
    corrections exceeds `divergence` times its best, eta is halved, but not below
    1 / (2 * longest / sqrt(tasks) + 1), with which asynchronous coordinate updates of an operator
    that averages converge (Peng, Xu, Yan, Yin 2016). After 8 epochs that go well, then 16, 32, ..., it
    is doubled again, up to what it was.
    """

    name: ClassVar[str] = "douglas_rachford"
    implicit: ClassVar[bool] = True
    _: KW_ONLY
    eta: float = 1.5
    stiffness: float = 3.0
    divergence: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 < self.eta < 2, "eta", "0 < eta < 2")
        self.require(self.stiffness > 0, "stiffness", "a number > 0")
        self.require(self.divergence > 1, "divergence", "a number > 1")

    def scale(self, regularizer: Regularizer, rho: float, dim: int, profiles: Sequence[Profile]) -> float:
        norm = ridge_norm(profiles)
        if norm == 0:
            return rho
        return max(self.stiffness * rho * regularizer.slope(norm, dim, len(profiles)) / norm, 1e-12 * rho)

    def rescaled(self, mu: float, points: float, gradients: float) -> float:
        wanted = self.stiffness * gradients / points if points and gradients else mu
        return wanted if not 1 / TOLERATED <= wanted / mu <= TOLERATED else mu

    def relaxation(self, tasks: int, delays: Delays, guard: float) -> float:
        floor = 1 / (2 * delays.longest / math.sqrt(tasks) + 1)
        return self.eta if guard == 1 else max(self.eta * guard, min(floor, self.eta))

    def diverged(self, squares: float, best: float) -> bool:
        return squares > self.divergence * best


@dataclass(frozen=True)
class ForwardBackward(Algorithm):
    """The paper's algorithm (Baytas, Yan, Jain, Zhou 2016, arXiv 1609.09563).

    x = w, so that the correction is (w - gradient / mu) - v. mu is the largest of the tasks'
    Lipschitz constants. The relaxation is c / (2 * longest / sqrt(tasks) + 1); `adaptive` ones are
    log(max(mean of the task's last five delays in seconds, 10)) times that, at most 1: the paper has no
    such limit, and diverges where delays are short. Where it is synchronous the relaxation is 1: this
    is proximal gradient descent.
    """

    name: ClassVar[str] = "forward_backward"
    implicit: ClassVar[bool] = False
    _: KW_ONLY
    c: float = 0.9
    adaptive: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 < self.c < 1, "c", "0 < c < 1")

    def scale(self, regularizer: Regularizer, rho: float, dim: int, profiles: Sequence[Profile]) -> float:
        del regularizer, dim
        largest = max((profile.lipschitz for profile in profiles), default=0.0)
        if not math.isfinite(largest):
            raise InvalidSpecError(
                "algorithm 'forward_backward': a task does not know the Lipschitz constant of its gradient: "
                "give its loss one, or use 'douglas_rachford'"
            )
        return largest or rho

    def relaxation(self, tasks: int, delays: Delays, guard: float) -> float:
        del guard
        if self.synchronous:
            return 1.0
        step = self.c / (2 * delays.longest / math.sqrt(tasks) + 1)
        return min(step * math.log(max(delays.recent_s, 10)), 1.0) if self.adaptive else step


_CHOICES: dict[str, type[Algorithm]] = {
    algorithm.name: algorithm for algorithm in (DouglasRachford, ForwardBackward)
}
