"""The weights of the language step, from word lists: writes src/groundup/corpus/steps/language.safetensors (15 CPU minutes).

    python benchmarks/train_language.py --sources DIR --out FILE [--dimensions 24 --bits 18 --samples 2800000]

DIR holds clones (bare ones too, as `owner+name/repo`) of what the model learns from, and the LibreOffice packages unpacked:

    tesseract-ocr/langdata_lstm, tesseract-ocr/langdata    word lists of the web, most frequent first     Apache-2.0
    hermitdave/FrequencyWords                              words of subtitles, with counts                CC BY-SA 4.0
    MicrosoftTranslator/NTREX                              1,997 news sentences a language; the first     CC BY-SA 4.0
                                                           1,500 are learned, the others are for testing
    libreoffice-l10n-{st,ts} (Debian; dpkg -x)             menus and messages                             MPL-2.0
    lingua_language_detector-1.4.2-py3-none-any.whl        n-gram counts of Ganda, Sotho and Tsonga,      Apache-2.0
                                                           for which there is little else: words are
                                                           drawn from them letter by letter

so the weights are under CC BY-SA 4.0. Lingua's test data is in none of it.

N-grams of the step stay within words, so a text is the bag of its words, and the words' features are found once. A sample is
one word, two, or up to fifteen drawn by frequency; long ones in other languages than English get some English, as web pages do.
"""

from __future__ import annotations

import argparse
import gettext
import json
import random
import subprocess
import time
import zipfile
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import numpy as np
import torch
from safetensors.numpy import save_file

from groundup.corpus.steps.language import SPACE, grams, words

# code: Tesseract's lists, FrequencyWords' folders, NTREX's files
SOURCES = """
af afr af afr | am amh - amh | ar ara ar arb | as asm - - | az aze - aze-Latn | be - - bel | bg bul bg bul | bn ben bn ben
bo bod - bod | br bre br - | bs bos bs bos | ca cat ca cat | cs ces cs ces | cy cym - cym | da dan da dan | de deu de deu
dv div - div | el ell el ell | en eng en eng-US,eng-GB | eo epo eo - | es spa es spa,spa-MX | et est et est | eu eus eu eus
fa fas fa fas,prs | fi - fi fin | fo fao - fao | fr fra fr fra,fra-CA | fy fry - - | ga gle - gle | gd gla - - | gl glg gl glg
gu guj - guj | he heb he heb | hi hin hi hin | hr hrv hr hrv | hu - hu hun | hy - hy hye | id ind id ind | is isl is isl
it ita it ita | ja jpn ja jpn | ka - ka kat | kk kaz kk kaz | km khm - khm | kn kan - kan | ko kor ko kor | ku kmr - kmr
ckb kur,kur_ara - ckb-Arab | ky - - kir | la lat - - | lb ltz - ltz | lg - - - | lo lao - lao | lt lit lt lit | lv lav lv lav
mi mri - mri | mk mkd mk mkd | ml mal ml mal | mn mon - mon | mr mar - mar | ms msa ms msa | mt mlt - mlt | my - - mya
nb nor no nob | ne nep - nep | nl - nl nld | nn - - nno | or ori - - | pa pan - pan | pl pol pl pol | ps pus - pus
pt por pt,pt_br por,por-BR | ro ron ro ron | ru - ru rus | sd snd - snd-Arab | si sin si sin | sk slk sk slk | sl slv sl slv
sn - - sna-Latn | so - - som | sq sqi sq sqi | sr srp sr srp-Cyrl | st - - - | sv swe sv swe | sw swa - swa
ta tam ta tam | te tel te tel | tg tgk - tgk-Cyrl | th tha th tha | ti tir - tir | tl tgl,fil tl fil | tn - - tsn
tr tur tr tur | ts - - - | tt tat - tat | ug uig - uig | uk - uk ukr | ur urd - urd | uz uzb,uzb_cyrl - uzb
vi vie vi vie | xh - - xho | yi yid - - | yo yor - yor | zh chi_sim,chi_tra zh_cn,zh_tw,zh zho-CN,zho-TW | zu - - zul
"""
RARE = frozenset("am as bo br ckb dv fo fy gd gl km kn ku lb lo ml mt my ne or ps sd si tg ti tt ug uz yi".split())
RARE_SHARE = 0.5  # of a sample's chance to be in one of these, beside the 75 that others know as well
DRAWN = ("lg", "st", "ts")
LEARNED_LINES = 1500  # of NTREX
WORDS = 60_000  # a language
START_SHARPNESS = 1.5  # of the log-odds of n-grams, which are not independent: naive Bayes would take the root of their number
ZIPF = 2.7  # words of a list without counts: 1 / (rank + 2.7) (Mandelbrot)


def git(sources: Path, repository: str, path: str) -> str:
    """A file of a clone, or nothing."""
    for folder in (sources / repository.replace("/", "+") / "repo", sources / repository.split("/")[1]):
        if folder.exists():
            shown = subprocess.run(["git", "-C", str(folder), "show", f"HEAD:{path}"], capture_output=True)
            return shown.stdout.decode("utf-8", "replace") if shown.returncode == 0 else ""
    raise SystemExit(f"{repository}: not in {sources}")


def vocabulary(sources: Path, code: str, tesseract: list[str], subtitles: list[str], news: list[str]) -> dict[str, float]:
    """The words of a language with their share."""
    lists: list[Counter[str]] = []

    def add(pairs: list[tuple[str, float]]) -> None:
        counted: Counter[str] = Counter()
        for text, weight in pairs:
            simple = text.isalpha() and "İ" not in text  # whose small letter is two
            for word in [text.lower()] if simple else bytes(words(text)).decode("utf-32-le").split():
                counted[word] += weight  # type: ignore[assignment]
        if counted:
            lists.append(counted)

    for name in tesseract:
        for repository in ("tesseract-ocr/langdata_lstm", "tesseract-ocr/langdata"):
            if found := git(sources, repository, f"{name}/{name}.wordlist"):
                add([(line, 1 / (rank + ZIPF)) for rank, line in enumerate(found.split("\n")[:120_000])])
                break
    for name in subtitles:
        found = git(sources, "hermitdave/FrequencyWords", f"content/2018/{name}/{name}_50k.txt") or git(
            sources, "hermitdave/FrequencyWords", f"content/2016/{name}/{name}_50k.txt"
        )
        rows = [line.split() for line in found.split("\n")]
        add([(row[0], float(row[1])) for row in rows if len(row) == 2])
    for name in news:
        text = git(sources, "MicrosoftTranslator/NTREX", f"NTREX-128/newstest2019-ref.{name}.txt") or git(
            sources, "MicrosoftTranslator/NTREX", f"NTREX-128/newstest2019-src.{name}.txt"
        )
        add([(line, 1.0) for line in text.split("\n")[:LEARNED_LINES]])
    for path in sources.rglob(f"resource/{code}/LC_MESSAGES/*.mo"):
        with path.open("rb") as stream:
            messages = gettext.GNUTranslations(stream)._catalog.items()  # type: ignore[attr-defined]
        add([(said, 1.0) for asked, said in messages if asked and said and said not in str(asked)])
    if code in DRAWN:
        add(drawn(next(sources.glob("lingua_language_detector-1*.whl")), code))
    total: Counter[str] = Counter()
    for counted in lists:
        whole = sum(counted.values())
        for word, weight in counted.items():
            total[word] += weight / whole / len(lists)  # type: ignore[assignment]
    return dict(total.most_common(WORDS))


def drawn(wheel: Path, code: str, number: int = 40_000) -> list[tuple[str, float]]:
    """Words as Lingua's n-gram counts would have them: each letter by the four before it."""
    after: dict[str, tuple[list[str], list[float]]] = {}
    with zipfile.ZipFile(wheel) as archive:
        for order in ("unigrams", "bigrams", "trigrams", "quadrigrams", "fivegrams"):
            packed = archive.read(f"lingua/language-models/{code}/{order}.json.br")
            for share, grams_of_it in json.loads(brotli.decompress(packed))["ngrams"].items():
                for gram in grams_of_it.split():
                    letters, shares = after.setdefault(gram[:-1], ([], []))
                    letters.append(gram[-1])
                    shares.append(float(Fraction(share)))
    generator = random.Random(0)
    said: Counter[str] = Counter()
    for _ in range(number):
        word = ""
        for _ in range(generator.randint(2, 10)):
            if word[-4:] not in after:
                break
            word += generator.choices(*after[word[-4:]])[0]
        said[word] += 1
    return [(word, float(count)) for word, count in said.items()]


class Words:
    """All languages' words, with their features (rows of a ragged array) and what draws them."""

    def __init__(self, vocabularies: dict[str, dict[str, float]], bits: int) -> None:
        self.languages = list(vocabularies)
        buckets, lengths, self.first, self.frequent, self.flat = [], [], [0], [], []
        for known in vocabularies.values():
            codes = words(" ".join(known))
            starts, numbers = grams(codes, bits)
            word = (np.cumsum(codes == SPACE) - 1)[np.concatenate(starts)]
            buckets.append(numbers[np.argsort(word, kind="stable")].astype(np.int32))
            lengths.append(np.bincount(word, minlength=len(known)))
            assert len(lengths[-1]) == len(known)
            self.first.append(self.first[-1] + len(known))
            share = np.array(list(known.values()))
            self.frequent.append(np.cumsum(share / share.sum()))
            self.flat.append(np.cumsum(np.sqrt(share) / np.sqrt(share).sum()))
        self.lengths = np.concatenate(lengths)
        self.offsets = np.cumsum(self.lengths) - self.lengths
        self.buckets = np.concatenate(buckets)
        share = np.array([RARE_SHARE if language in RARE else 1.0 for language in self.languages])
        self.share = share / share.sum()

    def draw(self, generator: np.random.Generator, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Samples: buckets, where each sample begins, and its language."""
        language = generator.choice(len(self.languages), size, p=self.share)
        count = np.where((kind := generator.random(size)) < 0.4, 1, np.where(kind < 0.6, 2, generator.integers(3, 16, size)))
        sample = np.repeat(np.arange(size), count)
        spoken = language[sample].copy()
        english = self.languages.index("en")
        spoken[(count[sample] > 4) & (generator.random(len(sample)) < 0.2 * (generator.random(size) < 0.3)[sample])] = english
        chance = generator.random(len(sample))
        word = np.empty(len(sample), np.int64)
        for number in range(len(self.languages)):
            for table, chosen in ((self.flat, count == 1), (self.frequent, count > 1)):
                here = np.flatnonzero((spoken == number) & chosen[sample])
                found = np.minimum(np.searchsorted(table[number], chance[here]), len(table[number]) - 1)
                word[here] = self.first[number] + found
        lengths = self.lengths[word]
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1]) - np.repeat(ends - lengths - self.offsets[word], lengths)
        starts = np.r_[0, ends[np.cumsum(count)[:-1] - 1]]
        return torch.from_numpy(self.buckets[places].astype(np.int64)), torch.from_numpy(starts), torch.from_numpy(language)


class Bag(torch.autograd.Function):
    """Sums of rows over the root of their number; backwards as one scatter, three times as fast here as torch's own, which sorts."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, buckets: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        ctx.rows = len(weight)
        lengths = torch.diff(starts, append=torch.tensor([len(buckets)]))
        ctx.save_for_backward(buckets, lengths)
        return torch.nn.functional.embedding_bag(buckets, weight, starts, mode="sum") / lengths.sqrt()[:, None]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        buckets, lengths = ctx.saved_tensors
        each = (gradients[0] / lengths.sqrt()[:, None]).repeat_interleave(lengths, 0)
        return torch.zeros(ctx.rows, each.shape[1]).index_add_(0, buckets, each), None, None


def associations(known: Words, bits: int, dimensions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A start that is naive Bayes already: how much likelier a bucket is in each language than in all, as the product of two
    matrices of the rank allowed (Eckart and Young 1936, rows weighed by how often they occur)."""
    counts = np.empty((1 << bits, len(known.languages)), np.float32)
    for number, share in enumerate(known.share):
        rows = slice(known.first[number], known.first[number + 1])
        weight = np.diff(known.flat[number], prepend=0) + np.diff(known.frequent[number], prepend=0)
        places = slice(known.offsets[rows][0], known.offsets[rows][-1] + known.lengths[rows][-1])
        column = np.bincount(known.buckets[places], np.repeat(weight, known.lengths[rows]), 1 << bits)
        counts[:, number] = share * column / column.sum()
    total = counts.sum(1, keepdims=True) + 1e-9
    logs = np.log((counts + 1e-7 * known.share) / known.share) - np.log(total + 1e-7)
    logs -= logs.mean(1, keepdims=True)
    rows = torch.from_numpy(logs.astype(np.float32))
    _, basis = torch.linalg.eigh((rows * torch.from_numpy(total.astype(np.float32)).sqrt()).T @ rows)
    basis = basis[:, -dimensions:].contiguous()
    return rows @ basis, basis


def train(known: Words, bits: int, dimensions: int, samples: int, batch: int = 4096) -> dict[str, np.ndarray]:
    """The weights: Adagrad, whose steps suit n-grams of all frequencies, decaying to nothing."""
    generator = np.random.default_rng(0)
    start, basis = associations(known, bits, dimensions)
    weight = torch.nn.Parameter(start)
    head = torch.nn.Linear(dimensions, len(known.languages))
    with torch.no_grad():
        head.weight.copy_(basis * START_SHARPNESS)
        head.bias.zero_()
    optimizer = torch.optim.Adagrad([{"params": [weight], "lr": 0.3}, {"params": head.parameters(), "lr": 0.05}])
    begun, rates, seen, right = time.time(), [group["lr"] for group in optimizer.param_groups], 0, 0
    steps = samples // batch
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - step / steps)
        buckets, starts, language = known.draw(generator, batch)
        logits = head(Bag.apply(weight, buckets, starts))
        loss = torch.nn.functional.cross_entropy(logits, language)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen, right = seen + batch, right + int((logits.argmax(1) == language).sum())
        if step % 25 == 24 or step < 2:
            print(f"{step + 1}/{steps} loss {loss.item():.3f} right {right / seen:.4f} {time.time() - begun:.0f} s", flush=True)
            seen = right = 0
    vectors = weight.detach().numpy()
    scale = np.quantile(np.abs(vectors), 0.9999, axis=0) / 127
    return {
        "vectors": np.clip(np.rint(vectors / scale), -127, 127).astype(np.int8),
        "scale": scale.astype(np.float32),
        "matrix": head.weight.detach().numpy().T.copy(),
        "bias": head.bias.detach().numpy(),
    }


def main() -> None:
    """Gather, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bits", type=int, default=18)
    parser.add_argument("--dimensions", type=int, default=24)
    parser.add_argument("--samples", type=int, default=2_800_000)
    options = parser.parse_args()
    vocabularies = {}
    for entry in SOURCES.replace("\n", "|").split("|"):
        if entry.strip():
            code, *names = entry.split()
            vocabularies[code] = vocabulary(options.sources, code, *[name.split(",") if name != "-" else [] for name in names])
            print(code, len(vocabularies[code]), *list(vocabularies[code])[:8], flush=True)
    known = Words(vocabularies, options.bits)
    print(f"{len(known.lengths):,} words, {len(known.buckets):,} features", flush=True)
    tensors = train(known, options.bits, options.dimensions, options.samples)
    licence = "CC BY-SA 4.0; from word lists of Tesseract and n-gram counts of Lingua (Apache-2.0), FrequencyWords and NTREX (CC BY-SA 4.0), LibreOffice (MPL-2.0)"
    save_file(tensors, options.out, {"languages": " ".join(known.languages), "licence": licence})


if __name__ == "__main__":
    main()
