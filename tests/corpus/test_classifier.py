"""The classifier: it learns what tells two folders apart, measures itself on what it has not seen, and is the same each time."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from groundup.corpus import classifier
from groundup.corpus.classifier import Classifier, figures, fit, fit_folders, minimise
from groundup.corpus.steps import Seen
from groundup.corpus.steps.classifier import Quality
from groundup.errors import GroundupError
from groundup.recipe.cleaning.quality import QualityClassifier


def texts(words: str, count: int, seed: int) -> list[str]:
    """Documents of common words with a few of their own."""
    rng = random.Random(seed)
    common = [f"word{number}" for number in range(200)]
    return [" ".join(rng.choice(common if rng.random() < 0.8 else words.split()) for _ in range(60)) for _ in range(count)]


GOOD, BAD = texts("river history theory because", 60, 0), texts("buy cheap click casino", 40, 1)


def test_it_tells_the_folders_apart() -> None:
    model = fit(GOOD, BAD)
    assert model.figures["auc"] > 0.99 and model.figures["held_out"] == 20
    assert (model.figures["documents_good"], model.figures["documents_bad"]) == (60, 40)
    new = [model(text) for text in texts("river history theory because", 20, 2)], [model(text) for text in texts("buy cheap click casino", 20, 3)]
    assert min(new[0]) > max(new[1])
    assert min(new[0]) > 0.5 > max(new[1])
    assert model("") == model(" \n ") == 0.0


def test_nothing_to_learn_is_not_learned() -> None:
    rows = texts("river buy history cheap", 400, 4)
    assert 0.3 < fit(rows[:200], rows[200:]).figures["auc"] < 0.7  # on unseen documents, not on those learned from


def test_the_same_folders_give_the_same_file(tmp_path: Path) -> None:
    for name, rows in (("good", GOOD), ("bad", BAD)):
        (tmp_path / name).mkdir()
        for number, text in enumerate(rows):
            (tmp_path / name / f"{number:03d}.txt").write_text(text)
    measured = [fit_folders(tmp_path / "good", tmp_path / "bad", tmp_path / f"{name}.safetensors") for name in "ab"]
    assert measured[0] == measured[1]
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded, fitted = Classifier.load(tmp_path / "a.safetensors"), fit(GOOD, BAD)
    assert [loaded(text) for text in BAD] == pytest.approx([fitted(text) for text in BAD], abs=1e-6)
    assert loaded.figures == json.loads(json.dumps(fitted.figures))
    step = pickle.loads(pickle.dumps(Quality(tmp_path / "a.safetensors", 0.5)))
    assert step._judge(Seen(GOOD[0])).reason is None
    verdict = step._judge(Seen(BAD[0]))
    assert verdict.reason == "more like the bad than like the good" and verdict.score == loaded(BAD[0])
    assert Quality(tmp_path / "a.safetensors", 0.0)._judge(Seen(BAD[0])).reason is None


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(GroundupError, match="too few"):
        fit(GOOD, BAD[:9])
    (tmp_path / "x").write_bytes(b"not a model")
    for path in (tmp_path / "x", tmp_path / "absent"):
        with pytest.raises(GroundupError, match="fit-quality"):
            Classifier.load(path)
    with pytest.raises(ValueError, match="fit-quality"):
        QualityClassifier(on=True)


def test_figures_are_counted_right() -> None:
    scores, labels = np.array([0.9, 0.6, 0.4, 0.4, 0.2, 0.1]), np.array([1.0, 1, 1, 0, 0, 1])
    found = figures(scores, labels)
    pairs = [(good > bad) + (good == bad) / 2 for good in scores[labels == 1] for bad in scores[labels == 0]]
    assert found["auc"] == pytest.approx(np.mean(pairs))
    half = next(row for row in found["thresholds"] if row["threshold"] == 0.4)
    assert (half["recall"], half["bad_kept"]) == (0.75, 0.5)
    assert half["precision"] == pytest.approx(0.75 / 1.25)  # as if there were as many good as bad
    flipped = figures(1 - scores, 1 - labels)
    assert flipped["auc"] == pytest.approx(found["auc"])


def test_the_fit_is_at_the_minimum() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(30, 30))
    curve = matrix @ matrix.T / 30 + np.eye(30)
    target = rng.normal(size=30)
    found = minimise(lambda x: (float(x @ curve @ x / 2 - target @ x), curve @ x - target), np.zeros(30))
    assert np.linalg.norm(curve @ found - target) <= 1e-3 * np.linalg.norm(target)
    assert found == pytest.approx(np.linalg.solve(curve, target), abs=0.01)


def test_both_sides_weigh_the_same() -> None:
    rows = texts("river buy history cheap", 420, 7)
    model = fit(rows[:350], rows[350:400])  # nothing tells them apart but how many there are
    assert np.mean([model(text) for text in rows[400:]]) < 0.8  # not 350 / 400


def test_features_do_not_depend_on_case_or_process() -> None:
    places, counts = classifier.features("The cat, the CAT")
    assert np.array_equal(places, classifier.features("the cat, THE cat")[0])
    assert len(places) == 3 + 3  # the, cat, comma; the cat, cat ",", "," the
    assert sorted(counts.tolist())[-3:] == pytest.approx([1 + np.log(2)] * 3)
