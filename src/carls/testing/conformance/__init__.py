"""The conformance suite: what a user of any bank may rely on, one behaviour a test."""

from __future__ import annotations

from carls.testing.conformance.aggregation import LazyAggregation
from carls.testing.conformance.asynchrony import Asynchrony
from carls.testing.conformance.bad_input import BadInput
from carls.testing.conformance.drift import DriftLimits
from carls.testing.conformance.features import Features
from carls.testing.conformance.growth import Growth
from carls.testing.conformance.halves import HalfPrecision
from carls.testing.conformance.keys import KeyTypes
from carls.testing.conformance.learning_rates import LearningRates
from carls.testing.conformance.leases import Leases
from carls.testing.conformance.memories import GaussianMemories
from carls.testing.conformance.models import ModelCheckpoints
from carls.testing.conformance.moving import Moving
from carls.testing.conformance.rows import Rows
from carls.testing.conformance.sampling import Sampling
from carls.testing.conformance.search import Search
from carls.testing.conformance.statistics import Statistics
from carls.testing.conformance.surveys import Surveys
from carls.testing.conformance.tables import Tables
from carls.testing.conformance.tasks import TaskTables


class BankConformance(
    Tables,
    Rows,
    HalfPrecision,
    Growth,
    LearningRates,
    LazyAggregation,
    KeyTypes,
    Sampling,
    BadInput,
    Asynchrony,
    Features,
    GaussianMemories,
    TaskTables,
    ModelCheckpoints,
    Moving,
    DriftLimits,
    Leases,
    Surveys,
    Search,
    Statistics,
):
    """Subclass it with a fixture `bank` that gives an empty bank; see `carls.testing`."""


__all__ = ["BankConformance"]
