"""Optimizers: how a pushed gradient changes a row, inside the bank.

All work on single rows: a row changes when a gradient for it is pushed, and only then. Its state
lies beside its value. In the formulas g is the row's gradient after `max_norm` and `weight_decay`.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

from carls.specs.policies import SMALLEST_FLOAT32, Policy, resolve

O = TypeVar("O", bound="Optimizer")  # noqa: E741


class Slot(NamedTuple):
    """A part of the state that an optimizer keeps beside each row's value.

    Attributes:
        name: of the part, as in the optimizer's formulas.
        per_element: whether it has a number for each element of the row, or one for the row.
        signed: whether its numbers may be negative.
    """

    name: str
    per_element: bool = True
    signed: bool = False

    def size(self, dim: int) -> int:
        """How many float32 numbers it is in a row of `dim` elements."""
        return dim if self.per_element else 1


@dataclass(frozen=True)
class Optimizer(Policy):
    """Base of the optimizers: what all of them share.

    Attributes:
        lr: learning rate, 0 to 1e6. The only part of a table's spec that may change while it is used.
        weight_decay: L2 penalty, 0 to 1: `weight_decay * value` is added to the gradient, after
            clipping, as torch's optimizers do. Rows decay when they are pushed to, not between.
        max_norm: gradients of a row whose L2 norm (over its `dim` elements, gradients of equal
            keys summed) is larger are scaled down to it. None: never.
    """

    #: The state of a row, in the order in which it is kept.
    slots: ClassVar[tuple[Slot, ...]] = ()

    lr: float = 0.1
    _: KW_ONLY
    weight_decay: float = 0.0
    max_norm: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        # With larger ones a few pushes could make rows infinite.
        self.require(0 <= self.lr <= 1e6, "lr", "0 <= lr <= 1e6")
        self.require(0 <= self.weight_decay <= 1, "weight_decay", "0 <= weight_decay <= 1")
        self.require(self.max_norm is None or self.max_norm > 0, "max_norm", "max_norm > 0, or None")

    @staticmethod
    def of(value: Any) -> Optimizer:
        """The optimizer itself, or the one named or described by `value`."""
        return resolve(value, Optimizer, _CHOICES)

    def with_lr(self: O, lr: float) -> O:
        """The same optimizer with another learning rate."""
        return replace(self, lr=lr)

    def state_floats(self, dim: int) -> int:
        """How many float32 numbers of state a row of `dim` elements has."""
        return sum(slot.size(dim) for slot in self.slots)

    def _require_share(self, field: str) -> None:
        self.require(0 <= getattr(self, field) < 1, field, f"0 <= {field} < 1")

    def _require_divisor(self, field: str) -> None:
        # Smaller ones are 0 in float32, and a gradient of 0 would be divided by 0.
        self.require(getattr(self, field) >= SMALLEST_FLOAT32, field, f"at least {SMALLEST_FLOAT32:.4g}")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: value -= lr * g."""

    name: ClassVar[str] = "sgd"


@dataclass(frozen=True)
class Momentum(Optimizer):
    """The heavy ball (Polyak 1964), as `torch.optim.SGD` with momentum and dampening 0:

    velocity = momentum * velocity + g; value -= lr * velocity; velocity starts at 0.
    With `nesterov` value -= lr * (g + momentum * velocity).
    """

    name: ClassVar[str] = "momentum"
    slots: ClassVar[tuple[Slot, ...]] = (Slot("velocity", signed=True),)
    _: KW_ONLY
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_share("momentum")


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan, Singer 2011), as `torch.optim.Adagrad` without decay of the rate:

    sum += g^2; value -= lr * g / (sqrt(sum) + eps); sum starts at `initial_accumulator`.
    """

    name: ClassVar[str] = "adagrad"
    slots: ClassVar[tuple[Slot, ...]] = (Slot("sum"),)
    _: KW_ONLY
    initial_accumulator: float = 0.0
    eps: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.initial_accumulator >= 0, "initial_accumulator", "a number >= 0")
        self._require_divisor("eps")


@dataclass(frozen=True)
class RowwiseAdagrad(Adagrad):
    """Adagrad with one accumulator a row, which is 4 bytes of state in place of 4 * dim:

    sum += mean(g^2) over the row; value -= lr * g / (sqrt(sum) + eps). This is the exact row-wise
    Adagrad of FBGEMM (`EXACT_ROWWISE_ADAGRAD`) and of DLRM (`RWSAdagrad`).
    """

    name: ClassVar[str] = "rowwise_adagrad"
    slots: ClassVar[tuple[Slot, ...]] = (Slot("sum", per_element=False),)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma, Ba 2015, algorithm 1), as `torch.optim.Adam`, row by row:

    m += (1 - beta1) * (g - m); v = beta2 * v + (1 - beta2) * g^2;
    value -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps); m, v and t start at 0.

    t counts the row's own updates, so a row that is first touched late gets the same first steps
    as one touched early. `torch.optim.SparseAdam` corrects every row by the number of steps of the
    whole table, and adds eps before the correction. m and v of rows that get no gradient do not
    decay, as there. t counts up to 2^24, where the corrections are 1.
    """

    name: ClassVar[str] = "adam"
    slots: ClassVar[tuple[Slot, ...]] = (Slot("t", per_element=False), Slot("m", signed=True), Slot("v"))
    lr: float = 0.001
    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_share("beta1")
        # The share of the new square and the last correction would be 0 or wrong in float32.
        self.require(0 <= self.beta2 <= 1 - 1e-6, "beta2", "0 <= beta2 <= 0.999999")
        self._require_divisor("eps")


@dataclass(frozen=True)
class FTRL(Optimizer):
    """FTRL-proximal (McMahan et al. 2013, algorithm 1), with the power of TensorFlow's `Ftrl`:

    sum' = sum + g^2; z += g - (sum'^p - sum^p) / lr * value, where p = -lr_power; then
    value = 0 where |z| <= l1, else (sign(z) * l1 - z) / ((beta + sum'^p) / lr + l2).
    sum starts at `initial_accumulator`, z at 0.

    The value follows from z and sum: what the initializer or `assign` put there counts for the share
    (sum'^p - sum^p) / sum'^p only. Use `Zeros`. TensorFlow's l2 is half of this one, which is the
    paper's. z is kept times lr, so that a change of lr changes the steps to come, not all values.
    """

    name: ClassVar[str] = "ftrl"
    slots: ClassVar[tuple[Slot, ...]] = (Slot("sum"), Slot("lr * z", signed=True))
    _: KW_ONLY
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    lr_power: float = -0.5
    initial_accumulator: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("beta", "l1", "l2", "initial_accumulator"):
            self.require(getattr(self, field) >= 0, field, f"{field} >= 0")
        self.require(-1 <= self.lr_power <= 0, "lr_power", "-1 <= lr_power <= 0")
        if self.initial_accumulator < SMALLEST_FLOAT32:
            self._require_divisor("beta")


_CHOICES: dict[str, type[Optimizer]] = {
    policy.name: policy for policy in (SGD, Momentum, Adagrad, RowwiseAdagrad, Adam, FTRL)
}
