"""LabelMaker and LabelQualityMaker against loops over all checkpoints, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from sample_makers import CLASSES, Table

import carls
from carls.errors import CarlsError, InvalidRequestError, InvalidValueError
from carls.keys import Keys
from carls.makers import LabelMaker, LabelQualityMaker, MakerProcess, MakerRunner

N = 7
KEYS = np.arange(N)
GIVEN = np.array([0, 1, 2, 0, 1, 2, 0])
WITH_PROBABILITIES = {**LabelMaker.LABELS, "probabilities": "list<float32>"}


def predictions(checkpoints, seed=0):
    """(checkpoints, N, CLASSES) probabilities."""
    return np.random.default_rng(seed).dirichlet([0.5] * CLASSES, (checkpoints, N)).astype(np.float32)


def checkpoint(probabilities, step):
    return carls.Model("net", step + 1, step, 0.0, "", {"probabilities": probabilities})


def make(maker, bank, probabilities, step, keys=KEYS, batch=3):
    """What a runner does for one checkpoint, batch by batch."""
    for start in range(0, len(keys), batch):
        for write in maker.make(checkpoint(probabilities, step), Keys.of(keys[start : start + batch])):
            columns = LabelMaker.AVERAGES if write.table == "averages" else None
            columns = columns or dict(carls.FeatureSpec(**describe(bank, write.table)).columns)
            bank.features(write.table, columns).assign(write.keys, write.values, step=step)


def describe(bank, table):
    spec = bank.describe(table).spec
    return {"columns": spec["columns"], "keys": spec["keys"]}


def exponential_average(values, decay):
    """sum_j decay^(k-j) x_j / sum_j decay^(k-j), by a loop."""
    values = np.asarray(values, np.float64)
    weights = [decay ** (len(values) - 1 - j) for j in range(len(values))]
    return sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)


@pytest.fixture
def local():
    with carls.connect() as bank:
        yield bank


def label_tables(bank):
    return bank.features("labels", WITH_PROBABILITIES), bank.features("averages", LabelMaker.AVERAGES)


def quality_maker(bank, labels=GIVEN, **options):
    table = Table(labels)
    quality = bank.features("quality", LabelQualityMaker.QUALITY)
    return LabelQualityMaker(quality, table.predict, table.labels, **options)


# --- LabelMaker ---


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_labels_equal_the_formulas_over_all_checkpoints(local, decay, temperature):
    labels, averages = label_tables(local)
    seen = predictions(6)
    threshold = 0.6
    maker = LabelMaker(
        labels, averages, Table().predict, decay=decay, temperature=temperature, threshold=threshold
    )
    written = []
    for step, probabilities in enumerate(seen):
        make(maker, local, probabilities, step)
        average = exponential_average(seen[: step + 1], decay)
        sharp = average ** (1 / temperature)
        sharp /= sharp.sum(axis=1, keepdims=True)
        rows = labels.lookup(KEYS)
        np.testing.assert_allclose(list(rows["probabilities"]), sharp, atol=1e-5)
        np.testing.assert_allclose(rows["confidence"], sharp.max(axis=1), atol=1e-5)
        expected = np.where(sharp.max(axis=1) >= threshold, sharp.argmax(axis=1), -1)
        assert rows["label"].tolist() == expected.tolist()
        written += rows["label"].tolist()
        np.testing.assert_allclose(list(averages.lookup(KEYS)["probabilities"]), average, atol=1e-5)
        assert averages.lookup(KEYS)["checkpoints"].tolist() == [step + 1] * N
    assert set(written) > {-1}, "a threshold that decides nothing tests nothing"


def test_alignment_divides_by_the_mean_of_the_averages_before(local):
    labels, averages = label_tables(local)
    shares = np.array([0.2, 0.3, 0.5])
    maker = LabelMaker(labels, averages, Table().predict, decay=0.5, class_shares=shares)
    seen = predictions(4, seed=1)
    for step, probabilities in enumerate(seen):
        make(maker, local, probabilities, step)
        aligned = exponential_average(seen[: step + 1], 0.5)
        if step > 0:  # before, nothing is known of how often a class is predicted
            aligned = aligned * shares / exponential_average(seen[:step], 0.5).mean(axis=0)
            aligned /= aligned.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(list(labels.lookup(KEYS)["probabilities"]), aligned, atol=1e-5)


def test_alignment_brings_back_a_class_that_was_crowded_out(local):
    labels, averages = label_tables(local)
    lopsided = np.tile(np.array([[0.5, 0.45, 0.05]], np.float32), (N, 1))
    lopsided[0] = [0.9, 0.05, 0.05]
    plain = LabelMaker(labels, averages, Table().predict)
    make(plain, local, lopsided, 0)
    assert labels.lookup(KEYS)["label"].tolist() == [0] * N
    aligned = LabelMaker(labels, averages, Table().predict, class_shares=[0.45, 0.5, 0.05])
    make(aligned, local, lopsided, 1)
    assert labels.lookup(KEYS)["label"].tolist() == [0] + [1] * (N - 1)


def test_labels_without_a_column_of_probabilities(local):
    labels = local.features("labels", LabelMaker.LABELS)
    averages = local.features("averages", LabelMaker.AVERAGES)
    seen = predictions(1)[0]
    make(LabelMaker(labels, averages, Table().predict), local, seen, 0)
    assert labels.lookup(KEYS)["label"].tolist() == seen.argmax(axis=1).tolist()


def test_a_hard_temperature_of_many_small_probabilities_stays_finite(local):
    labels, averages = label_tables(local)
    even = np.full((N, CLASSES), 1 / 3, np.float32)
    make(LabelMaker(labels, averages, Table().predict, temperature=1e-3), local, even, 0)
    np.testing.assert_allclose(list(labels.lookup(KEYS)["probabilities"]), even, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": 1.0}, "decay=1.0"),
        ({"decay": -0.1}, "decay=-0.1"),
        ({"decay": float("nan")}, "decay=nan"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"class_shares": [0.5, 0.6]}, "with a sum of 1"),
        ({"class_shares": [1.0, 0.0]}, "above 0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(local, changes, message):
    with pytest.raises(InvalidRequestError, match=message):
        LabelMaker(*label_tables(local), Table().predict, **changes)


def test_tables_without_the_columns_are_refused(local):
    labels, averages = label_tables(local)
    with pytest.raises(InvalidRequestError, match=r"'labels' has the columns .*: expected .*checkpoints"):
        LabelMaker(labels, labels, Table().predict)
    with pytest.raises(InvalidRequestError, match="not a feature table"):
        LabelMaker("labels", averages, Table().predict)
    with pytest.raises(InvalidRequestError, match=r"expected .*agreement"):
        LabelQualityMaker(labels, Table().predict, Table(GIVEN).labels)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.full((N, CLASSES), 0.5), "sum to 1"),
        (np.full((N, CLASSES), np.nan), "sum to 1"),
        (np.tile([[1.5, -0.5, 0.0]], (N, 1)), "sum to 1"),
        (np.ones((N, 1)), "2 classes or more"),
        (np.ones(N), r"expected \(7, classes\)"),
        (np.full((N + 1, 2), 0.5), r"expected \(7, classes\)"),
    ],
)
def test_what_is_no_prediction_is_refused_and_changes_nothing(local, given, message):
    labels, averages = label_tables(local)
    maker = LabelMaker(labels, averages, lambda *_: given)
    with pytest.raises(InvalidValueError, match=message):
        maker.make(checkpoint(given, 0), Keys.of(KEYS))
    assert len(labels) == len(averages) == 0


def test_averages_of_another_number_of_classes_are_refused(local):
    tables = label_tables(local)
    make(LabelMaker(*tables, Table().predict), local, predictions(1)[0], 0)
    four = np.full((N, 4), 0.25, np.float32)
    with pytest.raises(InvalidValueError, match="averages of 3 classes, and predict gave 4"):
        LabelMaker(*tables, Table().predict).make(checkpoint(four, 1), Keys.of(KEYS))
    shared = LabelMaker(*tables, Table().predict, class_shares=[0.5, 0.5])
    with pytest.raises(InvalidValueError, match="class_shares of 2 classes, and predict gave 3"):
        shared.make(checkpoint(predictions(1)[0], 1), Keys.of(KEYS))


# --- LabelQualityMaker ---


@settings(max_examples=30, deadline=None)
@for_all(
    decay=st.sampled_from([0.0, 0.3, 0.9, 0.99]), checkpoints=st.integers(1, 8), seed=st.integers(0, 2**16)
)
def test_quality_equals_a_loop_over_all_checkpoints(decay, checkpoints, seed):
    seen = predictions(checkpoints, seed)
    with carls.connect() as bank:
        maker = quality_maker(bank, decay=decay)
        for step, probabilities in enumerate(seen):
            make(maker, bank, probabilities, step)
        rows = maker.quality.lookup(KEYS)
    agrees = seen.argmax(axis=2) == GIVEN
    np.testing.assert_allclose(
        rows["probability"], exponential_average(seen[:, KEYS, GIVEN], decay), atol=1e-5
    )
    np.testing.assert_allclose(rows["agreement"], exponential_average(agrees, decay), atol=1e-5)
    forgotten = [int((one[:-1] & ~one[1:]).sum()) for one in agrees.T]
    assert rows["forgotten"].tolist() == forgotten
    assert rows["agrees"].tolist() == agrees[-1].tolist()
    assert rows["given"].tolist() == GIVEN.tolist()
    assert rows["checkpoints"].tolist() == [checkpoints] * N


def test_a_checkpoint_counts_once(local):
    seen = predictions(2)
    maker = quality_maker(local)
    make(maker, local, seen[0], 0)
    make(maker, local, seen[1], 5)
    before = maker.quality.lookup(KEYS)
    make(quality_maker(local), local, seen[1], 5)
    after = maker.quality.lookup(KEYS)
    for column in LabelQualityMaker.QUALITY:
        np.testing.assert_array_equal(after[column], before[column])
    labels = LabelMaker(*label_tables(local), Table().predict)
    for _ in range(2):
        make(labels, local, seen[0], 3)
    assert labels.averages.lookup(KEYS)["checkpoints"].tolist() == [1] * N


def test_an_example_with_another_label_starts_anew(local):
    seen = predictions(3)
    make(quality_maker(local), local, seen[0], 0)
    make(quality_maker(local), local, seen[1], 1)
    changed = GIVEN.copy()
    changed[2] = 0
    maker = quality_maker(local, changed)
    make(maker, local, seen[2], 2)
    row = maker.quality.lookup(KEYS)
    assert row["checkpoints"].tolist() == [3, 3, 1, 3, 3, 3, 3]
    assert row["probability"][2] == pytest.approx(seen[2][2, 0], abs=1e-6)
    assert row["forgotten"][2] == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 2, 3, 0, 0, 0]), "given labels 0 to 3: expected 0 to 2"),
        (np.array([0, 1, 2, -1, 0, 0, 0]), "given labels -1"),
        (GIVEN.astype(np.float32), r"float32 of shape \(7,\)"),
    ],
)
def test_labels_that_cannot_be_are_refused(local, labels, message):
    maker = quality_maker(local, labels)
    with pytest.raises(InvalidValueError, match=message):
        maker.make(checkpoint(predictions(1)[0], 0), Keys.of(KEYS))


# --- beside a trainer ---


def publish(bank, probabilities, step):
    bank.models.publish("net", {"probabilities": probabilities}, step=step)


def test_a_process_that_takes_over_goes_on_with_the_averages(bank, server, until):
    seen = predictions(4, seed=3)
    quality = bank.features("quality", LabelQualityMaker.QUALITY, keys="int64")
    table = Table(GIVEN)
    maker = LabelQualityMaker(quality, table.predict, table.labels, decay=0.5)
    for first in (0, 2):  # the process of the first two checkpoints ends, another makes the rest
        with MakerProcess(server.url, maker, model="net", keys=KEYS, batch_size=4):
            for step in (first, first + 1):
                publish(bank, seen[step], step)
                until(lambda step=step: quality.knowledge().step == step)
    rows = quality.lookup(KEYS)
    assert rows.step.tolist() == [3] * N
    assert rows["checkpoints"].tolist() == [4] * N
    np.testing.assert_allclose(rows["probability"], exponential_average(seen[:, KEYS, GIVEN], 0.5), atol=1e-5)


def test_a_maker_that_starts_at_a_checkpoint_that_was_made_announces_it_all_the_same(local, until):
    maker = quality_maker(local)
    quality = maker.quality
    publish(local, predictions(1)[0], 4)
    for _ in range(2):
        with MakerRunner(local, maker, model="net", keys=KEYS) as runner:
            until(lambda runner=runner: runner.progress.passes == 1)
    assert quality.knowledge().step == 4
    assert quality.lookup(KEYS)["checkpoints"].tolist() == [1] * N


def test_rows_say_who_made_them_and_from_which_step(until):
    with carls.connect(producer="labeller") as bank:
        labels, averages = label_tables(bank)
        maker = LabelMaker(labels, averages, Table().predict)
        publish(bank, predictions(1)[0], 12)
        with MakerRunner(bank, maker, model="net", keys=KEYS):
            until(lambda: labels.knowledge().step == 12)
        for table in (labels, averages):
            rows = table.lookup(KEYS)
            assert rows.step.tolist() == [12] * N
            assert rows.producer == ["labeller"] * N


def test_an_error_of_predict_reaches_the_owner(local):
    publish(local, np.zeros((N, CLASSES), np.float32), 0)
    with pytest.raises(CarlsError, match="softmax"):
        with MakerRunner(local, quality_maker(local), model="net", keys=KEYS) as runner:
            runner._thread.join(30)
