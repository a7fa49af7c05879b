"""The bank server: an engine behind Arrow Flight. No table logic lives here."""

from carls.service.limits import ServiceLimits
from carls.service.process import BankProcess
from carls.service.server import BankServer

__all__ = ["BankProcess", "BankServer", "ServiceLimits"]
