"""The quality classifier and the perplexity filter against people's judgement of web pages, beside scikit-learn.

    python benchmarks/quality.py [--data ../shared/data] [--peers PYTHON] [--json]

DCLM's raters said of 250 web pages here whether they would keep them. Measured as ROC-AUC (the chance that a kept page scores
above another) and as Spearman's rank correlation with their 0 and 1:

    labels       ten-fold cross-validation on the labels themselves: learned from 225 pages, judged on the other 25
    folders      fitted on other text, never on the labels: textbooks and public handbooks good, raw web text and forum posts bad
    perplexity   a 5-gram model of the same good text; nothing bad is shown to it

The peer, run by PYTHON, is TF-IDF of words and pairs of words with logistic regression, scikit-learn's defaults but for
sublinear counts and classes that weigh the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from clean import unpacked

FOLDS = 10
PEER = """
import json, sys, time
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

data = json.load(open(sys.argv[1]))
build = lambda: make_pipeline(
    TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(class_weight="balanced", max_iter=300)
)
texts, labels, fold = data["texts"], data["labels"], data["folds"]
scores = [0.0] * len(texts)
for out in range(fold):
    inside = [n for n in range(len(texts)) if n % fold != out]
    model = build().fit([texts[n] for n in inside], [labels[n] for n in inside])
    for n in range(out, len(texts), fold):
        scores[n] = float(model.predict_proba([texts[n]])[0, 1])
began = time.perf_counter()
model = build().fit(data["good"] + data["bad"], [1] * len(data["good"]) + [0] * len(data["bad"]))
fitted = time.perf_counter()
other = model.predict_proba(texts)[:, 1].tolist()
print(json.dumps({"labels": scores, "folders": other, "fit": fitted - began, "judge": time.perf_counter() - fitted}))
"""


def rows(path: Path) -> list[dict[str, Any]]:
    """A packed file of JSON lines."""
    return [json.loads(line) for line in unpacked(path).decode().split("\n") if line]


def agreement(scores: list[float], labels: list[int]) -> dict[str, float]:
    """ROC-AUC and Spearman's rank correlation, equal scores sharing their ranks."""
    ranks = [shared_ranks(np.array(values, dtype=float)) for values in (scores, labels)]
    good = np.array(labels) == 1
    pairs = good.sum() * (~good).sum()
    auc = (ranks[0][good].sum() - good.sum() * (good.sum() + 1) / 2) / pairs
    return {"roc_auc": float(auc), "spearman": float(np.corrcoef(ranks)[0, 1])}


def shared_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values get the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data")
    parser.add_argument("--peers", type=Path, help="interpreter with scikit-learn; left out where not given")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    from groundup.corpus.classifier import fit
    from groundup.corpus.steps import Seen
    from groundup.corpus.steps.perplexity import Perplexity, learn
    from groundup.recipe.cleaning import quality

    judged = rows(arguments.data / "labels/quality/dclm_human_quality.jsonl.zst")
    texts, labels = [row["text"] for row in judged], [int(row["label"]) for row in judged]
    good = [row["text"] for name in ("openstax", "gov_posts_recipes_manuals") for row in rows(arguments.data / f"pretrain/{name}.jsonl.zst")]
    bad = [row["text"] for row in rows(arguments.data / "pretrain/web_samples.jsonl.zst") if row["source"] != "ag_news test"]
    result: dict[str, Any] = {"pages": len(texts), "kept_by_raters": sum(labels), "good": len(good), "bad": len(bad)}

    scores = [0.0] * len(texts)
    for out in range(FOLDS):
        sides = [[texts[n] for n in range(len(texts)) if n % FOLDS != out and labels[n] == label] for label in (1, 0)]
        model = fit(*sides)
        for number in range(out, len(texts), FOLDS):
            scores[number] = model(texts[number])
    result["labels"] = agreement(scores, labels)
    began = time.perf_counter()
    model = fit(good, bad)
    result |= {"fit_seconds": time.perf_counter() - began, "fit": model.figures}
    began = time.perf_counter()
    scores = [model(text) for text in texts]
    result["judge_milliseconds"] = 1000 * (time.perf_counter() - began) / len(texts)
    result["folders"] = agreement(scores, labels)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.safetensors"
        shuffled = [good[number] for number in np.random.default_rng(0).permutation(len(good))]
        result["perplexity_model"] = learn(shuffled, quality.Perplexity(), path)
        step = Perplexity(path)
        step._judge(Seen("loaded once"))
        began = time.perf_counter()
        verdicts = [step._judge(Seen(text)) for text in texts]
        result["perplexity_milliseconds"] = 1000 * (time.perf_counter() - began) / len(texts)
        result["perplexity"] = agreement([-verdict.score for verdict in verdicts], labels)
        for label, side in ((1, "good"), (0, "bad")):
            dropped = [verdict.reason is not None for verdict, said in zip(verdicts, labels, strict=True) if said == label]
            result["perplexity"][f"{side}_dropped"] = sum(dropped) / len(dropped)
        if arguments.peers:
            given = Path(name) / "given.json"
            given.write_text(json.dumps({"texts": texts, "labels": labels, "folds": FOLDS, "good": good, "bad": bad}))
            done = subprocess.run([str(arguments.peers), "-c", PEER, str(given)], capture_output=True, text=True, check=True)
            said = json.loads(done.stdout)
            result["scikit_learn"] = {how: agreement(said[how], labels) for how in ("labels", "folders")}
            result["scikit_learn"] |= {"fit_seconds": said["fit"], "judge_milliseconds": 1000 * said["judge"] / len(texts)}
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{len(texts)} pages, {sum(labels)} of them kept by the raters; folders: {len(good):,} good, {len(bad):,} bad documents")
    lines = [("classifier, ten-fold", result["labels"]), ("classifier, other folders", result["folders"]), ("perplexity", result["perplexity"])]
    if "scikit_learn" in result:
        lines += [("scikit-learn, ten-fold", result["scikit_learn"]["labels"]), ("scikit-learn, other folders", result["scikit_learn"]["folders"])]
    for name, found in lines:
        print(f"{name:28} ROC-AUC {found['roc_auc']:.3f}   rank correlation {found['spearman']:.3f}")
    print(f"fitted in {result['fit_seconds']:.1f} s, held-out AUC {result['fit']['auc']:.3f}; {result['judge_milliseconds']:.2f} ms a document")
    found = result["perplexity"]
    print(f"perplexity: drops {found['bad_dropped']:.0%} of the bad, {found['good_dropped']:.0%} of the good; {result['perplexity_milliseconds']:.2f} ms a document")


if __name__ == "__main__":
    main()
