"""Step `language`: which language a text is in, found on a sample of it, and which languages are kept.

A linear model over the hashed n-grams of a text's words, of our own (benchmarks/train_language.py made the weights, and says
from what). As in fastText (Joulin et al. 2017) each bucket holds a short vector, and one matrix turns what the vectors add up to
into a logit a language:

    " the cat "  ->  t h e  th he  " t" "e "  the  " th" ...  cat ...  ->  buckets  ->  sum of rows (D)  ->  logits (L)

The sum is over the root of the number of n-grams, where fastText takes the mean: a long text is surer than a word.

N-grams stay within a word and see its ends, so that word order, which word lists cannot teach, plays no part; each whole
word is one feature more. All of it is a dozen numpy calls a document, whatever its script.
"""

from __future__ import annotations

import math
import unicodedata
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import safe_open

from groundup.corpus.steps import Seen, Verdict, judge
from groundup.errors import RequestError
from groundup.recipe.cleaning.language import Language as Settings

WEIGHTS = "language.safetensors"
UNDETERMINED = "und"  # ISO 639-2: a text without letters
LONGEST = 5  # characters of an n-gram
ALSO = {"no": ("nb", "nn"), "fil": ("tl",), "cmn": ("zh",), "hbs": ("bs", "hr", "sr")}  # other names for some
SPACE = 32
GOLDEN = np.uint32(2654435769)  # 2^32 / golden ratio: multiplicative hashing (Knuth, TAOCP 3, 6.4)
STEP = np.uint32(0x01000193)  # FNV's prime

Codes = npt.NDArray[np.uint32]


class Guess(NamedTuple):
    """The most likely language of a text, and its probability."""

    language: str
    score: float


class Language:
    """The step."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keep: set[str] = set()
        for given in settings.keep:
            code = given.split("-")[0].lower()
            codes = ALSO.get(code, (code,))
            if not set(codes) <= set(load().languages):
                known = ", ".join(sorted(load().languages))
                raise RequestError(f"language '{given}' is not known", where="clean.language.keep", do=f"take some of: {known}")
            self.keep.update(codes)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return judge(batch, "language", self._judge)

    def _judge(self, seen: Seen) -> Verdict:
        language, score = identify(sample(seen.text, self.settings.sample_characters))
        reason = None
        if self.keep:
            if language == UNDETERMINED:
                reason = "no letters"
            elif language not in self.keep:
                reason = "language not kept"
            elif score < self.settings.min_score:
                reason = "language uncertain"
        return Verdict(seen.text, reason, score, {language: 1}, language)


def sample(text: str, characters: int) -> str:
    """The text, or where it is longer as many characters of it: a third each from its beginning, middle and end."""
    if len(text) <= characters:
        return text
    part, middle = characters // 3, len(text) // 2
    return f"{text[:part]} {text[middle - part // 2 : middle - part // 2 + part]} {text[-part:]}"


def identify(text: str) -> Guess:
    """The language of a text by all of its words, as ISO 639-1 where there is a code, else 639-3.

    >>> identify("Wie spät ist es?").language
    'de'
    """
    model = load()
    buckets = features(words(text), model.bits)
    if not len(buckets):
        return Guess(UNDETERMINED, 0.0)
    pooled = np.ones(len(buckets), np.float32) @ model.vectors.take(buckets, 0) / math.sqrt(len(buckets))
    logits = pooled @ model.matrix + model.bias
    best = int(logits.argmax())
    return Guess(model.languages[best], float(1 / np.exp(logits - logits[best]).sum()))


def words(text: str) -> Codes:
    """The code points of the words in small letters, one space before, between and behind them; nothing where there are none."""
    codes = np.frombuffer(f" {text} ".encode("utf-32-le", "replace"), np.uint32)
    codes = letters()[codes]
    blank = codes == SPACE
    kept = ~blank
    kept[:-1] |= kept[1:]  # of blanks in a row the last, before a word
    kept[-1] = True
    said: Codes = codes[kept]
    return said if len(said) > 1 else said[:0]


def features(codes: Codes, bits: int) -> npt.NDArray[np.intp]:
    """The buckets of a text's n-grams and words."""
    return grams(codes, bits)[1]


def grams(codes: Codes, bits: int) -> tuple[list[npt.NDArray[np.intp]], npt.NDArray[np.intp]]:
    """Where the n-grams begin, a list for each length and one for whole words; the buckets of all, in that order."""
    if not len(codes):
        return [], np.zeros(0, np.intp)
    blank = codes == SPACE
    inner = blank  # whether the n-gram from here has a space in it that is not at its ends; a space alone is none either
    hashes, starts = codes, [np.flatnonzero(~inner)]
    found = [hashes[starts[0]]]
    for length in range(2, min(LONGEST, len(codes)) + 1):
        hashes = hashes[:-1] * STEP + codes[length - 1 :]
        inner = inner[:-1] | blank[length - 2 : -1] if length > 2 else np.zeros(len(hashes), bool)
        starts.append(np.flatnonzero(~inner))
        found.append(hashes.take(starts[-1]))
    ends = np.flatnonzero(blank)
    starts.append(ends[:-1])
    found.append(np.add.reduceat((codes * _places(codes, ends))[:-1], ends[:-1], dtype=np.uint32))
    joined = np.concatenate(found)
    joined ^= joined >> np.uint32(15)
    joined *= GOLDEN
    return starts, (joined >> np.uint32(32 - bits)).astype(np.intp)


def _places(codes: Codes, ends: npt.NDArray[np.intp]) -> Codes:
    """A factor for each code point by its place in its word, so that a word's sum depends on the order."""
    lengths = np.diff(ends, append=len(codes))
    places = np.arange(len(codes)) - np.repeat(ends, lengths)
    return factors()[np.minimum(places, len(factors()) - 1)]


class Model(NamedTuple):
    """Shapes: B buckets, D dimensions, L languages."""

    languages: list[str]
    vectors: npt.NDArray[np.float32]
    """(B, D)."""
    matrix: npt.NDArray[np.float32]
    """(D, L)."""
    bias: npt.NDArray[np.float32]
    """(L)."""

    @property
    def bits(self) -> int:
        """Of a bucket's number."""
        return len(self.vectors).bit_length() - 1


@cache
def load() -> Model:
    """The weights that come with the package; the vectors are kept as bytes with a scale each dimension."""
    with (
        resources.as_file(resources.files(__package__) / WEIGHTS) as path,
        safe_open(path, "numpy") as file,
    ):
        tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        languages = file.metadata()["languages"].split()
    vectors = tensors["vectors"].astype(np.float32) * tensors["scale"]
    return Model(languages, vectors, tensors["matrix"], tensors["bias"])


@cache
def factors() -> Codes:
    """Odd factors for the places of a word; letters after the last share one."""
    return np.array([pow(int(GOLDEN), n + 1, 1 << 32) | 1 for n in range(32)], np.uint32)


@cache
def letters() -> Codes:
    """What each code point counts as: letters and marks as their small letter, all others as a space."""
    table = np.full(0x110000, SPACE, np.uint32)
    for code in range(0x323B0):  # the last letter of Unicode 16 is U+323AF
        character = chr(code)
        if character.isalpha() or unicodedata.category(character)[0] == "M":
            small = character.lower()
            table[code] = ord(small) if len(small) == 1 else code
    return table

