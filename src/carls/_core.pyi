"""The core of carls: keyed rows with optimizers inside. Use carls.bank instead."""

from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Vectors = Floats | Halves

class TableFull(Exception): ...
class BatchTooLarge(Exception): ...
class ForgedColumn(Exception): ...

def encode_keys(keys: list[Any] | tuple[Any, ...]) -> tuple[str, npt.NDArray[Any], Bytes | None]: ...
def unique_integers(keys: Int64s) -> tuple[Int64s, Int64s]: ...
def unique_bytes(offsets: Int32s | None, data: Bytes | None) -> tuple[Int64s, Int64s]: ...
def hash_bytes(offsets: Int32s | None, data: Bytes | None) -> Int64s: ...
def read_columns(schema: Any, array: Any, /) -> list[Any]: ...
def export_columns(values: list[Any], /) -> Batch: ...

class Batch:
    @property
    def address(self) -> int: ...

def xxh64(data: bytes) -> int: ...
def to_halves(array: Floats) -> Halves: ...
def to_floats(array: Halves) -> Floats: ...
def all_within(array: Vectors, limit: float) -> bool: ...
def normal_quantile(p: float) -> float: ...

class Weights:
    @property
    def nbytes(self) -> int: ...
    def draw(
        self,
        n: int,
        starts: Int64s,
        positives: Int64s,
        excluded: Int64s,
        unique: bool,
        seed: int,
        counter: int,
        round: int = 0,
        hits: bool = False,
    ) -> tuple[Int64s, Floats] | tuple[int, int, int]: ...

class Population:
    @property
    def total(self) -> int: ...
    @property
    def oldest(self) -> int: ...
    @property
    def lookups(self) -> int: ...
    @property
    def changes(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def ranks(self, integers: Int64s | None, offsets: Int32s | None, data: Bytes | None) -> Int64s: ...
    def keys(self, ranks: Int64s) -> tuple[npt.NDArray[Any], Bytes | None]: ...
    def weights(self, kind: str, alpha: float = 0.0) -> Weights: ...

class Reader:
    def __init__(self) -> None: ...
    def count_points(self, n: int, missed: int) -> None: ...
    def counts(self) -> dict[str, Any]: ...

class _Table:
    def erase(
        self, integers: Int64s | None, offsets: Int32s | None, data: Bytes | None, now: int, /
    ) -> Bytes: ...
    def scan(self, cursor: int, limit: int) -> tuple[npt.NDArray[Any], Bytes | None, int]: ...
    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

class EmbeddingTable(_Table):
    def __init__(
        self,
        integers: bool,
        dim: int,
        seed: int,
        initializer: str,
        a: float,
        b: float,
        optimizer: str,
        parameters: dict[str, float],
        half: bool = False,
        max_rows: int = ...,
        max_bytes: int = ...,
        eviction: str = "none",
        ttl: int = 0,
        admit_after: int = 0,
        admission_window: int = 0,
        lazy: bool = False,
        max_pending: int = 0,
        max_delay: int = 0,
        outlier_factor: float = 0.0,
        drop_outliers: bool = False,
    ) -> None: ...
    def growth(self) -> tuple[int, int, int]: ...
    def pending(self) -> tuple[int, int, int, int]: ...
    def settle(self) -> None: ...
    def settle_due(self, now: int) -> None: ...
    def set_lr(self, lr: float) -> None: ...
    def lookup(
        self,
        integers: Int64s | None,
        offsets: Int32s | None,
        data: Bytes | None,
        create: bool,
        min_step: int,
        max_age: float,
        now: int,
        values: Vectors,
        meta: Bytes,
        reader: Reader | None = None,
        at_step: int | None = None,
    ) -> None: ...
    def assign(
        self,
        integers: Int64s | None,
        offsets: Int32s | None,
        data: Bytes | None,
        values: Vectors,
        step: int,
        producer: int,
        now: int,
        /,
    ) -> tuple[int, int, int]: ...
    def push(
        self,
        integers: Int64s | None,
        offsets: Int32s | None,
        data: Bytes | None,
        gradients: Floats,
        step: int,
        producer: int,
        now: int,
        /,
    ) -> tuple[int, int, int]: ...
    @property
    def record_floats(self) -> int: ...
    def read_records(
        self,
        integers: Int64s | None,
        offsets: Int32s | None,
        data: Bytes | None,
        now: int,
        records: Floats,
        meta: Bytes,
        /,
    ) -> None: ...
    def restore(
        self,
        integers: Int64s | None,
        offsets: Int32s | None,
        data: Bytes | None,
        records: Floats,
        meta: Bytes,
        now: int,
        /,
    ) -> tuple[int, int, int]: ...
    @property
    def lookups(self) -> int: ...
    @property
    def changes(self) -> int: ...
    def expired(self, written: int, now: int) -> bool: ...
    def population(self, now: int) -> Population: ...
    def present(
        self, integers: Int64s | None, offsets: Int32s | None, data: Bytes | None, now: int, /
    ) -> Bytes: ...
    def nearest(
        self,
        queries: Floats,
        metric: str,
        k: int,
        integers: Int64s | None,
        offsets: Int32s | None,
        data: Bytes | None,
        ends: Int32s | None,
        features: FeatureTable | None,
        column: int,
        value_offsets: Int32s | None,
        value_data: Bytes | None,
        now: int,
        threads: int,
        index: InvertedFile | None = None,
    ) -> tuple[npt.NDArray[Any], Bytes | None, Floats, Int32s]: ...

class InvertedFile:
    def __init__(self, table: EmbeddingTable, metric: str, lists: int, probes: int) -> None: ...
    def build(self, now: int) -> bool: ...
    def refresh(self, now: int) -> int: ...
    def stop(self) -> None: ...
    @property
    def changed(self) -> int: ...
    @property
    def indexed(self) -> int: ...
    @property
    def lists(self) -> int: ...

class FeatureTable(_Table):
    def __init__(self, integers: bool, columns: list[tuple[str, int]]) -> None: ...
    def assign(
        self,
        integers: Int64s | None,
        offsets: Int32s | None,
        data: Bytes | None,
        arrays: list[tuple[Bytes, Int32s | None, Int32s | None]],
        step: int,
        producer: int,
        now: int,
        /,
    ) -> None: ...
    def restore(
        self,
        integers: Int64s | None,
        offsets: Int32s | None,
        data: Bytes | None,
        arrays: list[tuple[Bytes, Int32s | None, Int32s | None]],
        meta: Bytes,
        now: int,
        /,
    ) -> None: ...
    def lookup(
        self,
        integers: Int64s | None,
        offsets: Int32s | None,
        data: Bytes | None,
        min_step: int,
        max_age: float,
        now: int,
        meta: Bytes,
        reader: Reader | None = None,
        at_step: int | None = None,
    ) -> list[tuple[Bytes, Int32s | None, Int32s | None]]: ...

class GaussianMemory:
    def __init__(
        self,
        dim: int,
        buffer_size: int,
        distance_threshold: float,
        max_clusters: int,
        bootstrap_steps: int,
        min_variance: float,
        gaussian: bool,
    ) -> None: ...
    def lookup(self, points: Floats, mode: str) -> tuple[Int64s, Floats, Floats, Floats]: ...
    def save(self) -> tuple[Floats, Int64s, tuple[int, int, int, int]]: ...
    def load(
        self,
        points: Floats,
        cluster: Int64s,
        calls: int,
        absorbed: int,
        refused_bootstrap: int,
        refused_full: int,
    ) -> None: ...
    def counts(self) -> tuple[int, int, int, int]: ...
    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
