"""The engine of a bank: tables, models and who wrote what. No sockets here."""

from carls.bank.engine import Engine

__all__ = ["Engine"]
