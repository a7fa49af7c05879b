"""The bank in this process: requests go straight to its engine."""

from __future__ import annotations

import os

from carls.bank import Engine
from carls.client.process import check_process
from carls.messages import Reply, Request


class LocalTransport:
    """Hands requests to an engine that lives as long as the transport.

    There is no deadline to watch: nothing here waits for anybody but `LatestModel`,
    `LatestKnowledge` and `PullTask`, which bound their own waits.
    """

    url = "memory://"

    def __init__(self) -> None:
        self._engine = Engine()
        self._process = os.getpid()
        self.bank_id = self._engine.id

    def for_bank(self, bank_id: str) -> LocalTransport:  # noqa: ARG002
        """This one: the bank here is never replaced."""
        return self

    def call(self, request: Request, timeout_s: float) -> Reply:  # noqa: ARG002
        """The engine's reply."""
        check_process(self._process, "a bank in memory")
        return self._engine.handle(request)

    def close(self) -> None:
        """Close the engine; its rows are gone."""
        self._engine.close()
