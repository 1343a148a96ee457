"""The weights of the language step, from word lists: writes src/groundup/corpus/steps/language.safetensors.

    python benchmarks/train_language.py --sources DIR --out FILE [--dimensions 16 --bits 18 --samples 12000000]

DIR holds clones (bare ones too, as `owner+name/repo`) of what the model learns from, and the LibreOffice packages unpacked:

    tesseract-ocr/langdata_lstm, tesseract-ocr/langdata    word lists of the web, most frequent first     Apache-2.0
    hermitdave/FrequencyWords                              words of subtitles, with counts                CC BY-SA 4.0
    MicrosoftTranslator/NTREX                              1,997 news sentences a language; the first     CC BY-SA 4.0
                                                           1,500 are learned, the others are for testing
    libreoffice-l10n-{st,ts} (Debian; dpkg -x)             menus and messages                             MPL-2.0

so the weights are under CC BY-SA 4.0. Lingua's test data is in none of it.

N-grams of the step stay within words, so a text is the bag of its words, and the words' features are found once. A sample is
one word, two, or up to thirty drawn by frequency; long ones in other languages than English get some English, as web pages do.
"""

from __future__ import annotations

import argparse
import gettext
import subprocess
import time
from collections import Counter
from pathlib import Path

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
ckb kur,kur_ara - ckb-Arab | ky - - kir | la lat - - | lb ltz - ltz | lo lao - lao | lt lit lt lit | lv lav lv lav
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
LEARNED_LINES = 1500  # of NTREX
WORDS = 60_000  # a language
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
    total: Counter[str] = Counter()
    for counted in lists:
        whole = sum(counted.values())
        for word, weight in counted.items():
            total[word] += weight / whole / len(lists)  # type: ignore[assignment]
    return dict(total.most_common(WORDS))


class Words:
    """All languages' words, with their features (rows of a ragged array) and what draws them."""

    def __init__(self, vocabularies: dict[str, dict[str, float]], bits: int) -> None:
        self.languages = list(vocabularies)
        buckets, lengths, self.first, self.frequent, self.flat = [], [], [0], [], []
        for known in vocabularies.values():
            codes = words(" ".join(known))
            pieces = grams(codes, bits)
            word = (np.cumsum(codes == SPACE) - 1)[np.concatenate([starts for starts, _ in pieces])]
            order = np.argsort(word, kind="stable")
            buckets.append(np.concatenate([numbers for _, numbers in pieces])[order].astype(np.int32))
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
        count = np.where((kind := generator.random(size)) < 0.4, 1, np.where(kind < 0.6, 2, generator.integers(3, 31, size)))
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


def train(known: Words, bits: int, dimensions: int, samples: int, batch: int = 2048) -> dict[str, np.ndarray]:
    """The weights: Adagrad, whose steps suit n-grams of all frequencies, decaying to nothing."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    bag = torch.nn.EmbeddingBag(1 << bits, dimensions, mode="mean", sparse=True)
    torch.nn.init.uniform_(bag.weight, -1 / dimensions, 1 / dimensions)
    head = torch.nn.Linear(dimensions, len(known.languages))
    optimizer = torch.optim.Adagrad([{"params": bag.parameters(), "lr": 0.3}, {"params": head.parameters(), "lr": 0.05}])
    begun, rates, seen, right = time.time(), [group["lr"] for group in optimizer.param_groups], 0, 0
    steps = samples // batch
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - step / steps)
        buckets, starts, language = known.draw(generator, batch)
        logits = head(bag(buckets, starts))
        loss = torch.nn.functional.cross_entropy(logits, language)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen, right = seen + batch, right + int((logits.argmax(1) == language).sum())
        if step % 200 == 199:
            print(f"{step + 1}/{steps} loss {loss.item():.3f} right {right / seen:.4f} {time.time() - begun:.0f} s", flush=True)
            seen = right = 0
    vectors = bag.weight.detach().numpy()
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
    parser.add_argument("--dimensions", type=int, default=16)
    parser.add_argument("--samples", type=int, default=12_000_000)
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
    licence = "CC BY-SA 4.0; from word lists of Tesseract (Apache-2.0), FrequencyWords and NTREX (CC BY-SA 4.0), LibreOffice (MPL-2.0)"
    save_file(tensors, options.out, {"languages": " ".join(known.languages), "licence": licence})


if __name__ == "__main__":
    main()
