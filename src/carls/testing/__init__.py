"""What every kind of bank must do, as tests that anybody can run over theirs.

Needs pytest and hypothesis (`pip install 'carls[testing]'`). In a test file:

    from carls.testing import BankConformance, bank_machine

    class TestMyBank(BankConformance):
        @pytest.fixture
        def bank(self):
            with carls.connect("grpc://127.0.0.1:7070") as bank:
                yield bank

    TestMyBankModel = bank_machine(lambda: carls.connect("grpc://127.0.0.1:7070")).TestCase
"""

from carls.testing.conformance import BankConformance
from carls.testing.faults import Fault, FaultyTransport, connect_with_faults
from carls.testing.machine import bank_machine
from carls.testing.oracle import OracleTable, initial_value
from carls.testing.proxy import Direction, FaultyProxy

__all__ = [
    "BankConformance",
    "Direction",
    "Fault",
    "FaultyProxy",
    "FaultyTransport",
    "OracleTable",
    "bank_machine",
    "connect_with_faults",
    "initial_value",
]
