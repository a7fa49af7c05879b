"""The kinds of tables that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carls.errors import InvalidSpecError
from carls.specs.embeddings import EmbeddingSpec
from carls.specs.features import FeatureSpec
from carls.specs.memories import GaussianMemorySpec
from carls.specs.tables import TableSpec
from carls.specs.tasks import TaskSpec

#: The specs of all kinds, by kind.
KINDS: dict[Any, type[TableSpec]] = {
    spec.kind: spec for spec in (EmbeddingSpec, FeatureSpec, GaussianMemorySpec, TaskSpec)
}


def spec_from_json(facts: Mapping[str, Any]) -> TableSpec:
    """Build the spec that `TableSpec.to_json` described.

    Raises:
        InvalidSpecError: the facts describe no spec.
    """
    arguments = dict(facts)
    kind = arguments.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidSpecError(f"table kind {kind!r}: expected one of {sorted(KINDS)}")
    try:
        return KINDS[kind](**arguments)
    except TypeError as error:
        raise InvalidSpecError(f"{kind} spec {dict(facts)!r}: {error}") from None
