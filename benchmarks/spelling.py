"""The spelling step: typos corrected, good words harmed, speed; beside SymSpell, pyspellchecker and Norvig's method.

    python benchmarks/spelling.py --data ../shared/data [--peers PYTHON] [--json] [--quick]

`--peers`: an interpreter with symspellpy and pyspellchecker. Each typo of a set is given alone. "always" answers for every word, the
best guess; "step" is what the step does with the word in English prose: nothing, unless it is sure. Edits were learned
from the half of codespell's typos that is not measured here, and words from the odd documents of the corpora: harm is counted on
the even ones, where every change counts as harm, those of true misprints too.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from train_spelling import teaches, typos

from groundup.corpus.steps.noisy_channel import ALPHABET, english
from groundup.corpus.steps.spelling import SpellingStep
from groundup.recipe.cleaning.spelling import Spelling

CORPORA = ["openstax", "gov_posts_recipes_manuals", "wiki_demo", "classic_books", "debian_docs_text", "nltk_mix", "web_samples"]
CONFIDENCES = (0.7, 0.8, 0.9)
SLOW = 270  # typos given to the two that try all strings two edits away
Pairs = list[tuple[str, str]]

PEER = """
import json, sys, time
name, words = sys.argv[1], json.load(sys.stdin)
if name == "symspellpy":
    from importlib.resources import files
    from symspellpy import SymSpell, Verbosity
    speller = SymSpell(max_dictionary_edit_distance=2)
    speller.load_dictionary(str(files("symspellpy") / "frequency_dictionary_en_82_765.txt"), 0, 1)
    def correct(word):
        found = speller.lookup(word, Verbosity.TOP, max_edit_distance=2, include_unknown=True)
        return found[0].term
else:
    from spellchecker import SpellChecker
    speller = SpellChecker()
    correct = lambda word: speller.correction(word) or word
begun = time.process_time()
answers = [correct(word) for word in words]
print(json.dumps({"answers": answers, "seconds": time.process_time() - begun}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of the text")
    given = parser.parse_args()
    found = sets(given.data / "labels/spelling")
    english().readings = cache(english().readings)  # type: ignore[method-assign]  # three levels ask for the same words
    result: dict[str, Any] = {
        "always_corrected": {name: always(pairs, given.peers) for name, pairs in found.items()},  # first: its times are of fresh words
        "step_corrected": {str(level): {name: gated(pairs, level) for name, pairs in found.items()} for level in CONFIDENCES},
        "jfleg_dev_second_half": {str(level): jfleg(given.data / "labels/spelling/jfleg_dev", level) for level in CONFIDENCES},
        "harmed": {str(level): harm(given.data, level, 300_000 if given.quick else 3_000_000) for level in CONFIDENCES},
        "foreign": foreign(given.data),
    }
    print(json.dumps(result, indent=None if given.json else 2))


def sets(folder: Path) -> dict[str, Pairs]:
    """Typos and what they should be. Of codespell 1,000 of the half that taught nothing."""
    norvig = ast.literal_eval((folder / "norvig_spell_testset1.txt").read_text().partition("=")[2].strip())
    noisy = [line.split()[:2] for line in (folder / "symspell_noisy_query_en_1000.txt").read_text(encoding="utf-8-sig").splitlines()]
    codespell = [pair for pair in typos(folder / "codespell_dictionary.txt.gz") if not teaches(pair[1])]
    return {
        "norvig 1": [(typo, word) for word, wrong in norvig.items() for typo in wrong.split()],
        "symspell noisy": [(typo, word) for typo, word in noisy],
        "codespell, other half": random.Random(0).sample(codespell, 1000),
    }


def always(pairs: Pairs, peers: Path | None) -> dict[str, Any]:
    """Share corrected by ours and others, and words a second."""
    ours = english()
    ours.readings("warm")
    answers: dict[str, tuple[list[str], float]] = {
        "groundup": timed(ours.correct, pairs),
        "norvig's method": timed(Norvig().correct, pairs[:SLOW]),
    }
    for name in ("symspellpy", "pyspellchecker") if peers else ():
        words = [typo for typo, _ in pairs[: SLOW if name == "pyspellchecker" else None]]
        done = subprocess.run([str(peers), "-c", PEER, name], input=json.dumps(words), capture_output=True, text=True)
        if done.returncode == 0:
            said = json.loads(done.stdout)
            answers[name] = said["answers"], said["seconds"]
        else:
            print(f"{name}: skipped ({done.stderr.strip().splitlines()[-1]})", file=sys.stderr)
    return {
        name: {
            "of": len(given), "share": round(sum(answer == word for answer, (_, word) in zip(given, pairs, strict=False)) / len(given), 4),
            "words_per_second": round(len(given) / max(seconds, 1e-9)),
        }
        for name, (given, seconds) in answers.items()
    }


def timed(correct: Callable[[str], str], pairs: Pairs) -> tuple[list[str], float]:
    begun = time.process_time()
    return [correct(typo) for typo, _ in pairs], time.process_time() - begun


class Norvig:
    """The method of norvig.com/spell-correct.html: known words first, then those one edit away, then two; the most frequent."""

    def __init__(self) -> None:
        self.counts = {word: count for word in english().known if (count := english().count(word)) > 1}

    def correct(self, word: str) -> str:
        near = self.one(word)
        for candidates in ({word}, near, (far for edit in near for far in self.one(edit))):
            if known := {candidate for candidate in candidates if candidate in self.counts}:
                return max(known, key=lambda each: self.counts[each])
        return word

    def one(self, word: str) -> set[str]:
        halves = [(word[:place], word[place:]) for place in range(len(word) + 1)]
        return (
            {a + b[1:] for a, b in halves if b} | {a + b[1] + b[0] + b[2:] for a, b in halves if len(b) > 1}
            | {a + letter + b[1:] for a, b in halves if b for letter in ALPHABET} | {a + letter + b for a, b in halves for letter in ALPHABET}
        )  # fmt: skip


def gated(pairs: Pairs, confidence: float) -> dict[str, float]:
    """What the step makes of each typo, in a sentence of its own."""
    step = SpellingStep(Spelling(on=True, confidence=confidence))
    right = wrong = 0
    for typo, word in pairs:
        said = step.correct(f"This is what they said about the word {typo} and it was all that we have.", sure_of_language=True)[0].split()[8]
        right += said == word
        wrong += said not in (typo, word)
    return {"right": round(right / len(pairs), 4), "wrong": round(wrong / len(pairs), 4)}


def jfleg(folder: Path, confidence: float) -> dict[str, Any]:
    """Word changes of learners' sentences against its spell-checked version, second half, lines of as many words."""
    step = SpellingStep(Spelling(on=True, confidence=confidence))
    read = {name: (folder / f"dev.{name}").read_text(encoding="utf-8").splitlines() for name in ("src", "spellchecked.src", "ref0", "ref1", "ref2", "ref3")}
    half = range(len(read["src"]) // 2, len(read["src"]))
    misspelt = changed = both = same = good = words = 0
    for line in half:
        said = step.correct(read["src"][line], sure_of_language=True)[0].split()
        source, checked = read["src"][line].split(), read["spellchecked.src"][line].split()
        if len(source) != len(checked):
            continue
        wanted = {word.lower() for name in ("ref0", "ref1", "ref2", "ref3") for word in read[name][line].split()}
        words += len(source)
        for before, after, ours in zip(source, checked, said, strict=True):
            error = before.lower() != after.lower()
            misspelt += error
            changed += ours != before
            both += error and ours != before
            same += error and ours.lower() == after.lower()
            good += ours != before and (ours.lower() == after.lower() or ours.lower() in wanted)
    return {
        "words": words, "misspelt": misspelt, "changed": changed, "detection_precision": round(both / max(changed, 1), 4),
        "detection_recall": round(both / misspelt, 4), "corrected_as_checked_or_as_a_human": round(good / max(changed, 1), 4),
    }  # fmt: skip


def harm(data: Path, confidence: float, characters: int) -> dict[str, Any]:
    """Changes per 100 words of good prose, the corpora's even documents; the commonest changes; speed."""
    result: dict[str, Any] = {}
    for name in CORPORA:
        step = SpellingStep(Spelling(on=True, confidence=confidence))
        step.correct("Warm up with a mispelt word in this English sentence of ours.")
        sample, size = [], 0
        for number, text in enumerate(texts(data / f"pretrain/{name}.jsonl.zst")):
            if number % 2 == 0 and size < characters:
                sample.append(text[:300_000])
                size += len(sample[-1])
        begun = time.process_time()
        counts: Counter[str] = Counter()
        for text in sample:
            counts.update(step.correct(text)[1])
        seconds = time.process_time() - begun
        words = sum(len(text.split()) for text in sample)
        result[name] = {
            "words": words, "changed_percent": round(100 * sum(counts.values()) / words, 4), "mb_per_second": round(size / 1e6 / seconds, 2),
            "most": [f"{change} ({times})" for change, times in counts.most_common(8)],
        }  # fmt: skip
    return result


def foreign(data: Path) -> dict[str, Any]:
    """Changes in sentences of other languages, without their language being told."""
    step = SpellingStep(Spelling(on=True))
    changed: Counter[str] = Counter()
    words = 0
    for record in records(data / "labels/langid/lingua_testdata.jsonl.zst"):
        language = record.get("language") or record.get("lang")
        text = record["text"]
        if str(language).lower() in ("en", "eng", "english") or len(text.split()) < 3:
            continue
        words += len(text.split())
        changed.update(step.correct(text)[1])
    return {"words": words, "changed_percent": round(100 * sum(changed.values()) / max(words, 1), 5), "changes": dict(changed.most_common(10))}


def records(path: Path) -> Iterator[dict[str, Any]]:
    with pa.CompressedInputStream(str(path), "zstd") as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            yield json.loads(line)


def texts(path: Path) -> Iterator[str]:
    return (record["text"] for record in records(path))


if __name__ == "__main__":
    main()
