"""Random operations against the plain-dict oracle, in process and over a socket."""

from __future__ import annotations

import carls
from carls.testing import bank_machine

TestInProcess = bank_machine(lambda: carls.connect(producer="tester")).TestCase
