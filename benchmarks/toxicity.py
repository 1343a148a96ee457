"""The toxicity step on texts that nothing was trained on, beside what one can install offline.

    python benchmarks/toxicity.py --data ../shared/data/labels/toxicity --ordinary ../shared/data/pretrain [--peers PYTHON] [--groups] [--json]

Ours at the recipe's defaults, alt-profanity-check (a linear SVM, trained among others on Davidson's tweets, all of them) and
better-profanity (a word list), over: the test tenth of each labelled set; neutral and hostile sentences about groups of people from
templates that were not trained on, with terms that our list of groups has and with others; and ordinary prose. --peers names a Python with
the two peers. Speed: one process, texts one after another, best of three.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from toxicity_data import labelled, ordinary
from train_toxicity import Unseen, area, figures

from groundup.corpus.hashed import plain
from groundup.corpus.steps.toxicity import WordList, model, probability
from groundup.recipe.cleaning.toxicity import Toxicity

PROSE = 150  # texts of a source: better-profanity takes 0.05 s for each
PEER = """
import json, sys, time
texts, pages = json.load(open(sys.argv[1]))
found = {}
try:
    from profanity_check import predict_prob
    scores = [float(score) for score in predict_prob(texts)]
    spent = []
    for _ in range(3):
        began = time.perf_counter(); [predict_prob([page]) for page in pages]; spent.append(time.perf_counter() - began)
    began = time.perf_counter(); predict_prob(pages * 5); batch = (time.perf_counter() - began) / 5
    found["alt-profanity-check"] = {"scores": scores, "seconds": min(spent), "seconds_in_one_call": batch, "threshold": 0.5}
except ImportError:
    pass
try:
    from better_profanity import profanity
    profanity.load_censor_words()
    scores = [float(profanity.contains_profanity(text)) for text in texts]
    began = time.perf_counter(); [profanity.contains_profanity(page) for page in pages[:4]]
    found["better-profanity"] = {"scores": scores, "seconds": (time.perf_counter() - began) * len(pages) / 4, "threshold": 0.5}
except ImportError:
    pass
print(json.dumps(found))
"""


def report(scores: np.ndarray, threshold: float, unseen: Unseen) -> dict[str, Any]:
    """One filter's figures, from its scores of all texts in order."""
    place = 0

    def take(many: int) -> np.ndarray:
        nonlocal place
        place += many
        return scores[place - many : place]

    found: dict[str, Any] = {"sets": {}}
    for domain, (texts, toxic) in unseen.sets.items():
        own = take(len(texts))
        found["sets"][domain] = {"area": area(toxic, own)} | figures(toxic, own >= threshold)
    neutral, unlisted, hostile = take(len(unseen.neutral)), take(len(unseen.unlisted)), take(len(unseen.hostile))
    by_group: dict[str, list[bool]] = defaultdict(list)
    for (group, _), score in zip(unseen.neutral, neutral, strict=True):
        by_group[group].append(bool(score >= threshold))
    found["neutral_blocked"], found["unlisted_blocked"] = float((neutral >= threshold).mean()), float((unlisted >= threshold).mean())
    found["hostile_blocked"] = float((hostile >= threshold).mean())
    found["hostile_above_neutral"] = area(np.repeat([True, False], [len(hostile), len(neutral)]), np.concatenate((hostile, neutral)))
    found["neutral_blocked_by_group"] = {group: float(np.mean(flags)) for group, flags in by_group.items()}
    found["ordinary_blocked"] = {source: float((take(len(texts)) >= threshold).mean()) for source, texts in unseen.ordinary.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ordinary", type=Path, required=True)
    parser.add_argument("--peers", default=None, help="a Python that has alt-profanity-check and better-profanity")
    parser.add_argument("--groups", action="store_true", help="print the share of neutral sentences blocked for each group")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    settings = Toxicity()
    assert settings.threshold is not None
    unseen = Unseen.of(labelled(arguments.data), ordinary(arguments.ordinary), "test")
    unseen = unseen._replace(ordinary={source: some[:PROSE] for source, some in unseen.ordinary.items()})
    texts = [text for some, _ in unseen.sets.values() for text in some] + [text for _, text in unseen.neutral] + unseen.unlisted + unseen.hostile
    prose = [text for some in unseen.ordinary.values() for text in some]
    texts += prose
    whole = " ".join(prose)
    pages = [whole[start : start + 4000] for start in range(0, min(len(whole), 200_000) - 3999, 4000)]
    size = sum(len(page.encode()) for page in pages)

    model()
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        for page in pages:
            probability(page, settings.worst)
        spent.append(time.perf_counter() - began)
    listed = WordList(model().words, model().word_weights)
    began = time.perf_counter()
    for page in pages:
        listed.found(plain(page))
    counting = time.perf_counter() - began
    filters: dict[str, dict[str, Any]] = {
        "groundup": {"scores": [probability(text, settings.worst) for text in texts], "seconds": min(spent), "threshold": settings.threshold},
        "groundup, word list at 8": {"scores": [listed.found(plain(text))[1] for text in texts], "seconds": counting, "threshold": 8.0},
    }
    if arguments.peers:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump([texts, pages], file)
            file.flush()
            done = subprocess.run([arguments.peers, "-c", PEER, file.name], stdout=subprocess.PIPE, check=True)
        filters |= json.loads(done.stdout)
    result = {}
    for name, found in filters.items():
        result[name] = report(np.array(found["scores"]), found["threshold"], unseen)
        result[name] |= {"milliseconds_a_page": 1000 * found["seconds"] / len(pages), "bytes_per_second": size / found["seconds"]}
    if arguments.json:
        json.dump(result, sys.stdout)
        print()
        return
    for name, row in result.items():
        print(f"{name}: {row['milliseconds_a_page']:.2f} ms a page of 4 kB, {row['bytes_per_second'] / 1e6:.2f} MB/s")
        for domain, one in row["sets"].items():
            print(f"  {domain:<11}" + "  ".join(f"{key} {value:.3f}" for key, value in one.items()))
        print(f"  neutral sentences blocked {row['neutral_blocked']:.2%}, of groups not listed {row['unlisted_blocked']:.2%}; hostile ones {row['hostile_blocked']:.1%};"
              f" a hostile one above a neutral one {row['hostile_above_neutral']:.3f}")  # fmt: skip
        print("  ordinary prose blocked: " + ", ".join(f"{source} {share:.2%}" for source, share in row["ordinary_blocked"].items()))
        if arguments.groups:
            print("  by group: " + ", ".join(f"{group} {share:.1%}" for group, share in sorted(row["neutral_blocked_by_group"].items())))


if __name__ == "__main__":
    main()
