"""Quality rules by name, the classifier fitted from two folders, and the perplexity filter: what section `clean` says of them.

The rules' defaults are the published thresholds, so that a corpus cleaned by them can be compared with the published ones:
Gopher (Rae et al. 2021, arXiv 2112.11446, table A1 and section A.1.1), C4 (Raffel et al. 2020, arXiv 1910.10683, section 2.2)
and FineWeb (Penedo et al. 2024, arXiv 2406.17557). They were set on English.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.strict import Strict

Share = Annotated[float, Field(ge=0, le=1)]


class GopherRepetition(Strict):
    """Drop documents that repeat themselves. Every field is the most that is allowed (Rae et al. 2021, table A1)."""

    on: bool = False
    """Whether the step runs."""
    duplicate_lines: Share = 0.30
    """Lines that are copies of an earlier line (share of lines)."""
    duplicate_line_characters: Share = 0.20
    """Characters of such lines (share of the text)."""
    duplicate_paragraphs: Share = 0.30
    """Paragraphs that are copies of an earlier one (share of paragraphs)."""
    duplicate_paragraph_characters: Share = 0.20
    """Characters of such paragraphs (share of the text)."""
    top_2_gram: Annotated[float, Field(ge=0)] = 0.20
    """Characters of the most frequent pair of words, as often as it occurs (share of the text; pairs overlap, so up to 2)."""
    top_3_gram: Annotated[float, Field(ge=0)] = 0.18
    """The same for three words (up to 3)."""
    top_4_gram: Annotated[float, Field(ge=0)] = 0.16
    """The same for four words (up to 4)."""
    duplicate_5_grams: Share = 0.15
    """Characters of copies of earlier sequences of five words (share of the text)."""
    duplicate_6_grams: Share = 0.14
    """The same for six words."""
    duplicate_7_grams: Share = 0.13
    """The same for seven words."""
    duplicate_8_grams: Share = 0.12
    """The same for eight words."""
    duplicate_9_grams: Share = 0.11
    """The same for nine words."""
    duplicate_10_grams: Share = 0.10
    """The same for ten words."""


class GopherQuality(Strict):
    """Drop documents that do not look like prose (Rae et al. 2021, section A.1.1)."""

    on: bool = False
    """Whether the step runs."""
    min_words: Annotated[int, Field(ge=0)] = 50
    """Words at least; symbols are none."""
    max_words: Annotated[int, Field(ge=1)] = 100_000
    """Words at most; symbols are none."""
    min_mean_word_length: Annotated[float, Field(ge=0)] = 3.0
    """Mean length of a word at least (characters)."""
    max_mean_word_length: Annotated[float, Field(gt=0)] = 10.0
    """Mean length of a word at most (characters)."""
    max_symbols_per_word: Annotated[float, Field(ge=0)] = 0.1
    """Hash signs, and ellipses, for each word at most."""
    max_bullet_lines: Share = 0.9
    """Lines that begin with a bullet at most (share of lines)."""
    max_ellipsis_lines: Share = 0.3
    """Lines that end with an ellipsis at most (share of lines)."""
    min_alphabetic_words: Share = 0.8
    """Words with a letter in them at least (share of words). The paper's words lie between blanks; datatrove's, which these
    decisions agree with, count punctuation too, so the same figure is stricter."""
    min_stop_words: Annotated[int, Field(ge=0)] = 2
    """Different stop words at least."""
    stop_words: list[str] = ["the", "be", "to", "of", "and", "that", "have", "with"]
    """The paper's eight."""
    stop_words_for: list[str] = ["en"]
    """Languages that the stop words are of (ISO 639-1). A document known to be in another is not judged by them; with [] all
    are, as datatrove does."""


class C4(Strict):
    """Drop lines, then documents with few sentences left (Raffel et al. 2020, section 2.2, and its code,
    tensorflow/datasets c4_utils.py). Kept lines lose the blanks at their ends; lines without words go, so every line is a paragraph."""

    on: bool = False
    """Whether the step runs."""
    terminal_punctuation: bool = False
    """Drop lines that do not end in one of . ? ! " '. The paper does; FineWeb does not: it costs 30 % of all tokens (section 3.5)."""
    min_sentences: Annotated[int, Field(ge=0)] = 5
    """Sentences in the lines that are kept at least. The paper says five; its code asks for three."""
    min_words_per_line: Annotated[int, Field(ge=0)] = 3
    """Shorter lines are dropped (words between blanks). The paper says three in its first version, five in later ones."""
    max_word_characters: Annotated[int, Field(ge=1)] = 1000
    """Lines with a longer word are dropped (characters; in the code, not in the paper)."""
    curly_bracket: bool = True
    """Drop documents with a curly bracket: code. Turn it off for pages about programming."""
    javascript: bool = True
    """Drop lines that mention JavaScript."""
    policy: bool = True
    """Drop lines on cookies, privacy and terms of use (in the code, not in the paper)."""
    citations: bool = True
    """Remove Wikipedia's marks such as [1], [edit] and [citation needed] from lines (in the code, not in the paper)."""


class FineWeb(Strict):
    """Drop documents that are lists, or lines cut up (Penedo et al. 2024, section 3.6; datatrove's FineWebQualityFilter)."""

    on: bool = False
    """Whether the step runs."""
    min_punctuated_lines: Share = 0.12
    """Lines that end in terminal punctuation at least (share of lines that are not blank)."""
    max_short_lines: Share = 0.67
    """Short lines at most (share of lines that are not blank)."""
    short_line_characters: Annotated[int, Field(ge=0)] = 30
    """What a short line is (characters at most)."""
    max_duplicate_line_characters: Share = 0.01
    """Characters of lines that are copies of an earlier line at most (share of the text). The paper's body says 0.1; its appendix
    and the code that made the corpus, datatrove 0.10.1, say 0.01, and so do we."""
    max_line_breaks_per_word: Annotated[float, Field(ge=0)] = 0.3
    """Line breaks for each word at most (in the code, not in the paper)."""


class QualityClassifier(Strict):
    """Drop documents that a linear classifier finds more like the bad than like the good it was fitted on (`groundup fit-quality`)."""

    on: bool = False
    """Whether the step runs."""
    model: str | None = None
    """The file that fitting wrote (.safetensors), relative to the recipe's folder."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least probability of being good that is kept. Fitting prints precision and recall for others; both classes count alike there."""

    @model_validator(mode="after")
    def _has_model(self) -> QualityClassifier:
        if self.on and self.model is None:
            raise PydanticCustomError("no_model", "set model to the file that `groundup fit-quality GOOD BAD OUT` wrote")
        return self


class Perplexity(Strict):
    """Drop documents that an n-gram model of good text finds surprising, as CCNet does (Wenzek et al. 2020, arXiv 1911.00359)."""

    on: bool = False
    """Whether the step runs."""
    reference: str | None = None
    """File or folder of good text to learn from, relative to the recipe's folder."""
    order: Annotated[int, Field(ge=2, le=7)] = 5
    """Bytes of an n-gram. CCNet's five are of word pieces; bytes need no tokenizer and know every language. Seven fit 64 bits."""
    reference_bytes: Annotated[int, Field(ge=100_000)] = 10_000_000
    """Text learned from at most (bytes): more than 10 MB of it changes little at order 5."""
    sample_bytes: Annotated[int, Field(ge=500)] = 2_000
    """What is judged of a document: so much from four places in all (bytes)."""
    max_bits_per_byte: Annotated[float, Field(gt=0)] | None = None
    """Documents that need more are dropped. Not given: as much as `keep` of the reference's own documents need that were not
    learned from, so that the default follows the reference and needs no corpus to be read before (CCNet's cuts into thirds do)."""
    keep: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Share of unseen reference text that the threshold lets through."""

    @model_validator(mode="after")
    def _has_reference(self) -> Perplexity:
        if self.on and self.reference is None:
            raise PydanticCustomError("no_reference", "set reference to a file or folder of good text")
        return self
