"""What modules share whose rows live in a table of a bank."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from carls.client import EmbeddingTable
from carls.errors import InvalidSpecError, SpecMismatchError
from carls.specs import spec_from_json


class TableModule(nn.Module):
    """A module over one embedding table: it pushes gradients there and holds no rows itself.

    Attributes:
        table: handle of the table.
        step: the trainer's step, stamped on pushes; set it in the training loop (-1: not said).
    """

    def __init__(self, table: EmbeddingTable) -> None:
        super().__init__()
        self.table = table
        self.step = -1

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the bank has applied all gradients pushed so far.

        Raises:
            CarlsError: what went wrong with a push in the background.
            DeadlineExceededError: not done within `timeout_s` seconds (default: the bank's).
        """
        self.table.flush(timeout_s=timeout_s)

    def get_extra_state(self) -> dict[str, Any]:
        """Where the rows are, for `state_dict`; the rows themselves stay in the bank."""
        return {"bank": self.table.bank.url, "table": self.table.name, "spec": self.table.spec.to_json()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Check that a loaded state is of this table; the bank may have moved.

        Raises:
            SpecMismatchError: it was saved with another table or another spec.
        """
        saved = spec_from_json(state["spec"])
        spec = self.table.spec
        if state["table"] != self.table.name or not (spec.accepts(saved) or saved.accepts(spec)):
            raise SpecMismatchError(
                f"the state was saved with table {state['table']!r} of spec {state['spec']}, and this module "
                f"uses table {self.table.name!r} of spec {spec.to_json()}: build it on the saved table",
                bank=self.table.bank.url,
                table=self.table.name,
            )

    def _trains(self) -> bool:
        """Whether a forward pass now is for training.

        Raises:
            InvalidSpecError: it is, and the table has no optimizer.
        """
        if not (self.training and torch.is_grad_enabled()):
            return False
        if self.table.spec.optimizer is None:
            raise InvalidSpecError(
                f"table {self.table.name!r} has no optimizer, so its rows cannot be trained: open it with "
                "optimizer=carls.Adagrad(lr=...), or read it in eval mode or under torch.no_grad()",
                table=self.table.name,
            )
        return True
