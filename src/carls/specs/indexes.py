"""Indexes: how a large embedding table is searched without looking at every row."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from carls.errors import InvalidRequestError, InvalidSpecError
from carls.specs.policies import Policy, resolve
from carls.specs.search import METRICS


@dataclass(frozen=True)
class IVF(Policy):
    """An inverted file: rows in lists around centroids, of which a query looks at a few.

    A search finds the nearest rows of those lists; rows that were written since they were put into
    their lists are looked at by every search. More `probes` find more and take longer.

    Attributes:
        metric: of the searches that use it: "dot", "cosine" or "squared_l2".
        probes: lists that a query looks at, 1 to 65536.
        lists: how many there are, 1 to 65536; None: sqrt(rows) when they are made.
    """

    name: ClassVar[str] = "ivf"
    metric: str = "dot"
    probes: int = 8
    lists: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or self.metric not in METRICS:
            raise InvalidSpecError(f"IVF(metric={self.metric!r:.60}): expected one of {list(METRICS)}")
        for field in ("probes", "lists"):
            value = getattr(self, field)
            if field == "lists" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidSpecError(f"IVF({field}={value!r:.60}): expected an integer")
            self.require(1 <= value <= 65536, field, "an integer from 1 to 65536")

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self)}

    @staticmethod
    def of(value: Any) -> IVF:
        """The index itself, or the one named or described by `value`.

        Raises:
            InvalidRequestError: it is none.
        """
        try:
            return resolve(value, IVF, {IVF.name: IVF})
        except InvalidSpecError as error:
            raise InvalidRequestError(error.message) from None
