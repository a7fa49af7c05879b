"""What every handler of the server does about errors."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow.flight as fl

from carls.errors import CarlsError, InternalError
from carls.wire.failures import to_flight

_log = logging.getLogger("carls.service")
_Handler = TypeVar("_Handler", bound=Callable[..., Any])


def answers_errors(handler: _Handler) -> _Handler:
    """Wrap a handler: errors are logged here and cross the wire as JSON, never as a traceback."""

    @functools.wraps(handler)
    def answering(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except CarlsError as error:
            _log.info("%s: %s: %s", handler.__name__, type(error).__name__, error)
            raise to_flight(error) from None
        except fl.FlightCancelledError:
            raise
        except Exception:
            _log.exception("%s failed", handler.__name__)
            fault = "the bank failed to answer; its log says why. Please report it with that log"
            raise to_flight(InternalError(fault)) from None

    return answering  # type: ignore[return-value]
