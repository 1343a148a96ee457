"""From documents to rows of tokens: sections `clean` and `tokens`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.cleaning.bias import Bias
from groundup.recipe.cleaning.decontaminate import Decontaminate
from groundup.recipe.cleaning.duplicates import Duplicates, needs_classifier
from groundup.recipe.cleaning.html import Html
from groundup.recipe.cleaning.language import Language
from groundup.recipe.cleaning.personal_data import PersonalData
from groundup.recipe.cleaning.quality import (
    C4,
    FineWeb,
    GopherQuality,
    GopherRepetition,
    Perplexity,
    QualityClassifier,
)
from groundup.recipe.cleaning.rules import Rules
from groundup.recipe.cleaning.spelling import Spelling
from groundup.recipe.cleaning.text import Emoji, Length, Unicode
from groundup.recipe.cleaning.toxicity import Toxicity
from groundup.recipe.strict import Strict


class HeldOut(Strict):
    """The part of the text that no model is trained on."""

    fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of the clean bytes."""
    unit: Literal["auto", "document", "tail"] = "auto"
    """`document`: whole documents, drawn by a hash of their id; `tail`: the end of each document;
    `auto`: documents where there are 20 or more and none is most of the text; else tails."""


class Clean(Strict):
    """From pages and files to clean, deduplicated documents. The steps on single documents run in the order in which they stand here."""

    rules: Rules = Rules()
    """The user's own: blocked addresses (before all else); patterns and functions (after `spelling`)."""
    html: Html = Html()
    unicode: Unicode = Unicode()
    language: Language = Language()
    gopher_repetition: GopherRepetition = GopherRepetition()
    gopher_quality: GopherQuality = GopherQuality()
    c4: C4 = C4()
    fineweb: FineWeb = FineWeb()
    classifier: QualityClassifier = QualityClassifier()
    perplexity: Perplexity = Perplexity()
    toxicity: Toxicity = Toxicity()
    bias: Bias = Bias()
    """Counted before the first of the steps that drop documents and after the last."""
    spelling: Spelling = Spelling()
    personal_data: PersonalData = PersonalData()
    emoji: Emoji = Emoji()
    length: Length = Length()
    max_document_characters: Annotated[int, Field(ge=10_000)] = 1_000_000
    """Longer documents are cut into parts at line, else word borders; nothing is lost (characters)."""
    seconds_per_document: Annotated[float, Field(gt=0)] = 10.0
    """Processor time that one step may take for one document; what takes longer is dropped and named (seconds). A page takes 3 ms;
    4.5 MB of nothing but table cells, the slowest page known, 6 s."""
    duplicates: Duplicates = Duplicates()
    """What is dropped as a copy."""
    held_out: HeldOut = HeldOut()
    """What is set aside."""
    decontaminate: Decontaminate = Decontaminate()
    """What is taken out of the rest because it stands in the held-out part or in a test."""

    @model_validator(mode="after")
    def _ranked(self) -> Clean:
        needs_classifier(self.duplicates, classifier=self.classifier.on)
        return self


class Tokens(Strict):
    """Tokenizer, shards, and how documents become rows."""

    kind: Literal["bpe", "unigram", "wordpiece", "characters", "bytes"] = "bpe"
    """`bpe`: byte-level BPE (GPT-2, LLaMA 3); `unigram`: T5's and XLNet's; `wordpiece`: BERT's, which does not keep blanks;
    `characters`: one token a character; `bytes`: one token a byte."""
    pattern: Literal["gpt2", "llama3", "qwen2"] = "qwen2"
    """How byte-level BPE cuts text into words and numbers; llama.cpp knows these three by name."""
    tokenizer: str | None = None
    """An existing tokenizer.json, or its folder, to use instead of learning one; relative to the recipe's folder."""
    vocabulary: Annotated[int, Field(ge=300)] | None = None
    """Tokens, special ones included. Not given: for BPE the largest with which the planned model reads a byte of text at next to
    the least cost, for the others the most that the text can teach."""
    sample_bytes: Annotated[int, Field(ge=1_000_000)] = 1_000_000_000
    """Text the tokenizer is trained on at most (bytes). 1 GB is enough: huggingface/tokenizers#316."""
    compare: list[str] = []
    """Tokenizers to count the same text with, for the report: tokenizer.json, .tiktoken, or a folder with GPT-2's two
    files; relative to the recipe's folder."""
    packing: Literal["concatenate", "best-fit", "one-document"] = "concatenate"
    """How documents become rows: cut from one stream; none cut that fits into a row; one a row."""
    separate_documents: bool = True
    """Attention stays within a document and positions restart with it (LLaMA 3)."""
    fill_in_the_middle: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the documents whose middle is moved to their end (Bavarian et al. 2022: 0.5 costs nothing)."""
    span_corruption: bool = False
    """Blank spans out and ask for them alone (T5: 15 % in spans of 3)."""
    sentinels: Annotated[int, Field(ge=0)] = 0
    """Special tokens for blanks; with span corruption 100 (T5) when not given."""

    @model_validator(mode="after")
    def _settled(self) -> Tokens:
        if self.span_corruption and self.fill_in_the_middle:
            raise PydanticCustomError("transforms", "span_corruption and fill_in_the_middle exclude each other; choose one")
        return self

    @model_validator(mode="before")
    @classmethod
    def _blanks(cls, data: Any) -> Any:
        return {"sentinels": 100, **data} if isinstance(data, dict) and data.get("span_corruption") else data
