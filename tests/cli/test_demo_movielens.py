"""`carls demo movielens`: the protocol against loops, and the demo as its users run it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import carls
from carls.cli.demo.films.ratings import HISTORY, Ratings, load
from carls.cli.demo.films.recipe import FilmRecipe
from carls.cli.demo.films.recommenders import BankRecommender, OwnRecommender, Popularity, Recommender
from carls.cli.demo.films.trial import Trial, ranks_of_last, run_trial, steps_of
from carls.errors import CarlsError
from carls.service import BankProcess
from demo_runs import carls_demo, figures, is_png

NAMES = [f"film {i}" for i in range(40)]


@pytest.fixture(autouse=True)
def single_thread():
    """As in the demo: on layers this small more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ratings_of(*users):
    films = np.concatenate([np.asarray(films, np.int64) for films in users])
    return Ratings(films, np.cumsum([0, *map(len, users)]), NAMES)


SOME = ratings_of([3, 1, 4], range(30), [7, 2, 9, 3])


def test_the_last_film_is_held_out():
    known = SOME.without_last()
    assert known.users == 3
    assert [known.films[a:b].tolist() for a, b in zip(known.starts, known.starts[1:], strict=False)] == [
        [3, 1],
        list(range(29)),
        [7, 2, 9],
    ]
    assert SOME.films[SOME.lasts].tolist() == [4, 29, 3]
    assert SOME.of_first(1).films.tolist() == [3, 1, 4]


def test_batches_hold_what_was_seen_before():
    places = SOME.examples()
    assert len(places) == len(SOME.films) - 3
    batch = SOME.batch(places)
    at = 0
    for i, place in enumerate(places):
        user = int(np.flatnonzero(SOME.starts <= place)[-1])
        before = SOME.films[SOME.starts[user] : place][::-1][:HISTORY]
        assert batch.user[i] == user
        assert batch.film[i] == SOME.films[place]
        assert batch.sizes[i] == len(before)
        assert batch.seen[at : at + len(before)].tolist() == before.tolist()
        falling = 0.5 ** np.arange(len(before))
        np.testing.assert_allclose(
            batch.weights(0.5)[at : at + len(before)], falling / falling.sum(), rtol=1e-6
        )
        at += len(before)
    assert at == len(batch.seen)


class Fixed(Recommender):
    def __init__(self, scores):
        self._scores = torch.tensor(scores, dtype=torch.float32)

    def step(self, batch, step):
        raise AssertionError

    def scores(self, batch):
        return self._scores


def test_ranks_are_among_films_not_seen_before():
    scores = np.random.default_rng(0).integers(0, 6, (3, len(NAMES))).astype(np.float32)
    ranks = ranks_of_last(Fixed(scores), SOME)
    for user in range(3):
        films = SOME.films[SOME.starts[user] : SOME.starts[user + 1]]
        others = np.setdiff1d(np.arange(len(NAMES)), films)
        assert ranks[user] == (scores[user, others] >= scores[user, films[-1]]).sum()


def test_hit_rate_and_gain_are_their_definitions():
    trial = Trial(np.zeros((1, 2)), np.array([0, 9, 10, 400]), 0.0)
    assert trial.hit_rate == 50.0
    assert trial.gain == pytest.approx(100 * (1 + 1 / np.log2(11)) / 4)


def test_popularity_counts():
    scores = Popularity(SOME).scores(SOME.batch(SOME.lasts))
    assert scores.shape == (3, len(NAMES))
    assert scores[1].tolist() == np.bincount(SOME.films, minlength=len(NAMES)).tolist()


@pytest.mark.parametrize("kind", ["bank", "own"])
def test_recommenders_learn_a_rule(kind):
    """Each film is followed by the next number; a user's last film follows too."""
    sequences = [[(start + i) % 40 for i in range(12)] for start in range(40)]
    ratings = ratings_of(*sequences)
    recipe = FilmRecipe(dim=16, epochs=25, batch=64, sampled=30, decay=0.3)
    with carls.connect() as bank:
        recommender = (
            BankRecommender(bank, "t", ratings, recipe, 0)
            if kind == "bank"
            else OwnRecommender(ratings, recipe, 0)
        )
        steps = []
        trial = run_trial(recommender, ratings, recipe, 0, lambda: steps.append(1))
        assert len(steps) == steps_of(ratings, recipe)
        assert trial.curve[0, 1] < 60
        assert trial.hit_rate > 95
        assert len(trial.curve) == recipe.epochs + 1
        if kind == "bank":
            assert len(bank.tables()) == 3
            recommender.close()
            assert bank.tables() == []


def test_short_demo_writes_table_plot_and_figures(tmp_path, data_folder):
    with BankProcess() as server, carls.connect(server.url) as bank:
        done = carls_demo(
            "movielens",
            "--quick",
            "--bank",
            server.url,
            "--json",
            "out/m.json",
            "--plot",
            "out/m.png",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert bank.tables() == []
    assert is_png(tmp_path / "out" / "m.png")
    document, results = figures(tmp_path / "out" / "m.json")
    assert document["results"][0]["case"] == "carls"
    assert document["results"][0]["metric"] == "HR@10"
    assert {case for case, _ in results} == {"carls", "baseline", "synchronous"}
    assert results["carls", "HR@10"]["against"] == "baseline"
    for word in ("HR@10", "NDCG@10", "most popular", "full softmax"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", 0], "--epochs 0: expected 1 or more"),
        (["--seeds", 0], "--seeds 0: expected 1 or more"),
        (["--bank", "memory://"], "memory://"),
        (["--plot", "plot.txt"], "plot.txt"),
    ],
)
def test_wrong_input_is_one_line_before_any_work(tmp_path, arguments, message):
    done = carls_demo("movielens", *arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr


def test_ratings_that_are_not_there_are_one_line_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("CARLS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(CarlsError, match="set CARLS_DATA"):
        load()
    broken = tmp_path / "movielens_small" / "ml_latest_small_2016.npz"
    broken.parent.mkdir()
    broken.write_bytes(b"no ratings")
    with pytest.raises(CarlsError, match="cannot be read"):
        load()


def test_the_ratings_are_those_of_october_2016(data_folder):
    ratings = load()
    assert (ratings.users, len(ratings.films), len(ratings.names)) == (671, 100_004, 9_066)
    assert len(set(ratings.names)) == len(ratings.names)
    for user in (0, 670):
        films = ratings.films[ratings.starts[user] : ratings.starts[user + 1]]
        assert len(set(films.tolist())) == len(films)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_movielens_reaches_the_goal(tmp_path, data_folder):
    done = carls_demo("movielens", "--json", "m.json", cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    _, results = figures(tmp_path / "m.json")
    assert results["carls", "HR@10"]["value"] >= 8.5
    assert results["carls", "HR@10"]["value"] >= 1.5 * results["baseline", "HR@10"]["value"]
    assert re.search(r"baseline \(the most popular\)", done.stdout)
