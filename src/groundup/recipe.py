"""What a build is: one YAML file, typed and strict.

A recipe names its sources and leaves the rest to defaults. A value of `null` (None) means "derive it": from
the data, the machine and the budget, once, with the reason printed and kept in the run folder. Sources of the
defaults stand beside them. Any value can be overridden on the command line as `section.key=value`.

    name: my-model
    sources:
      - {kind: files, path: ~/texts}
    training: {minutes: 30}
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from groundup.errors import RequestError


class Strict(BaseModel):
    """A recipe section: frozen, and an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.0)
                    raise PydanticCustomError(
                        "unknown_key", "unknown key '{key}'; the nearest known key is '{near}'", {"key": key, "near": near[0]}
                    )
        return data


class FilesSource(Strict):
    """Local files: txt, md, html, jsonl(.gz/.zst), parquet, warc(.gz), epub; folders are read recursively."""

    kind: Literal["files"] = "files"
    """Which source this is."""
    name: str = "files"
    """Name of the source in reports and in the `source` column."""
    path: str
    """A file or a folder; `~` is expanded, a relative path counts from the recipe's folder."""
    text_field: str = "text"
    """The field of a JSON line or Parquet row that holds the document."""


class CrawlSource(Strict):
    """Pages of a website, fetched politely over HTTP into WARC files."""

    kind: Literal["crawl"] = "crawl"
    """Which source this is."""
    name: str = "crawl"
    """Name of the source in reports and in the `source` column."""
    seeds: Annotated[list[str], Field(min_length=1)]
    """The addresses to start from (http or https)."""
    hosts: list[str] = []
    """Hosts that may be visited (exact names); empty: the seeds' own."""
    path_prefix: str = "/"
    """Only addresses whose path starts so are visited."""
    max_depth: Annotated[int, Field(ge=0)] = 10
    """Links followed from a seed at most."""
    max_pages: Annotated[int, Field(ge=1)] = 10_000
    """Pages fetched at most; the crawl then ends well."""
    max_page_bytes: Annotated[int, Field(ge=1024)] = 10_000_000
    """A longer body is cut there and marked as truncated in the WARC (bytes)."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Limit for one whole fetch (seconds)."""
    delay_seconds: Annotated[float, Field(ge=0)] = 1.0
    """Pause between two requests to one host (seconds); a longer Crawl-delay in robots.txt wins."""
    connections_per_host: Annotated[int, Field(ge=1, le=16)] = 1
    """Requests in flight to one host at once."""
    user_agent: str = "groundup/0.1 (language model corpus builder)"
    """Sent with each request and matched against robots.txt."""
    allow_private: bool = False
    """Allow private, loopback and link-local addresses. Off: such an address is refused after DNS, at connect."""


class PythonDocsSource(Strict):
    """Python's own reference: pydoc pages served on loopback, then crawled like any website. Needs no network."""

    kind: Literal["python-docs"] = "python-docs"
    """Which source this is."""
    name: str = "python-docs"
    """Name of the source in reports and in the `source` column."""
    max_pages: Annotated[int, Field(ge=1)] = 10_000
    """Pages fetched at most."""


Source = Annotated[FilesSource | CrawlSource | PythonDocsSource, Field(discriminator="kind")]


class Duplicates(Strict):
    """Exact duplicates: of equal pieces the first in document order is kept."""

    documents: bool = True
    """Drop a document whose normalised text is already there."""
    paragraphs: bool = False
    """Drop a paragraph (block between blank lines) that is already there, in any document."""
    lines: bool = False
    """Drop a line that is already there, in any document."""
    min_characters: Annotated[int, Field(ge=1)] = 40
    """Shorter paragraphs and lines are never dropped: they are structure, not copies (characters)."""


class HeldOut(Strict):
    """The part of the text that no model is trained on."""

    fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of the clean bytes."""
    unit: Literal["auto", "document", "tail"] = "auto"
    """`document`: whole documents, drawn by a hash of their id; `tail`: the end of each document;
    `auto`: documents where there are 20 or more and none is most of the text; else tails."""


class Clean(Strict):
    """From pages and files to clean, deduplicated documents."""

    main_content: bool = True
    """Of HTML, keep the main content only (menus and footers dropped)."""
    unicode: bool = True
    """NFC, control characters removed, line ends and blank space normalised."""
    min_characters: Annotated[int, Field(ge=1)] = 100
    """Shorter documents are dropped (characters after normalisation)."""
    max_document_characters: Annotated[int, Field(ge=10_000)] = 1_000_000
    """Longer documents are cut into parts at line, else word borders; nothing is lost (characters)."""
    duplicates: Duplicates = Duplicates()
    """What is dropped as a copy."""
    held_out: HeldOut = HeldOut()
    """What is set aside."""


class Tokens(Strict):
    """Tokenizer and shards."""

    kind: Literal["bpe", "characters", "bytes"] = "bpe"
    """`bpe`: byte-level BPE; `characters`: one token a character; `bytes`: one token a byte."""
    vocabulary: Annotated[int, Field(ge=300)] | None = None
    """Size of a BPE vocabulary, special tokens included; derived from the amount of text when not given."""
    sample_bytes: Annotated[int, Field(ge=1_000_000)] = 1_000_000_000
    """Text the tokenizer is trained on at most (bytes). 1 GB is enough: huggingface/tokenizers#316."""


class Dropout(Strict):
    """Shares of values set to zero in training. A bare number sets all three."""

    embedding: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On the embedding."""
    attention: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On the attention weights."""
    residual: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On each sublayer's output before it is added to the stream."""
    by_depth: bool = False
    """Residual dropout rises linearly from 0 in the first layer to its value in the last (LIMA, Zhou et al. 2023: to 0.3)."""

    @model_validator(mode="before")
    @classmethod
    def _number(cls, data: Any) -> Any:
        return {"embedding": data, "attention": data, "residual": data} if isinstance(data, int | float) else data


class Model(Strict):
    """The architecture. What is not given is the family's, or derived from the budget, the data and the measured machine."""

    family: Literal["llama", "fast"] = "llama"
    """`llama` (Touvron et al. 2023): pre-RMSNorm, rotary positions, SwiGLU, no biases; exports to stock classes.
    `fast`: what small budgets gain from (squared ReLU, QK-norm, learned shortcuts, n-gram and value
    embeddings); learns more in the same minutes and runs only here."""
    layers: Annotated[int, Field(ge=1)] | None = None
    """Transformer layers."""
    width: Annotated[int, Field(ge=8)] | None = None
    """Width of the residual stream."""
    heads: Annotated[int, Field(ge=1)] | None = None
    """Attention heads; they divide the width into even parts."""
    kv_heads: Annotated[int, Field(ge=1)] | None = None
    """Heads of keys and values; equal to `heads` when not given."""
    feedforward: Annotated[int, Field(ge=8)] | None = None
    """Inner width of the feed-forward sublayer; not given: 8/3 of the width rounded up to a multiple of 32 for SwiGLU
    (Shazeer 2020), 4 times the width for squared ReLU."""
    context: Annotated[int, Field(ge=8)] | None = None
    """Positions the model sees at once (tokens)."""
    tied: bool | None = None
    """Share the input embedding and the output head; llama: yes (at this scale the embedding is much of the model),
    fast: no."""
    activation: Literal["swiglu", "relu2"] | None = None
    """Of the feed-forward sublayer; llama: swiglu, fast: relu2."""
    norm: Literal["rms", "layer", "batch"] | None = None
    """Normalisation; both families: rms. `batch` depends on how a batch is cut into micro-batches."""
    qk_norm: bool | None = None
    """RMSNorm on queries and keys; fast: yes."""
    softcap: Annotated[float, Field(ge=0)] | None = None
    """Logits are kept within +-softcap by a tanh (Gemma 2: 30, nanochat: 15); 0 is off, as in both families."""
    shortcut: bool | None = None
    """Learned scalars mix the embedding into each layer's input; fast: yes."""
    value_embeddings: bool | None = None
    """A gated embedding of the token is added to the values of every other layer; fast: yes."""
    zero_output: bool | None = None
    """Output projections start at zero; fast: yes."""
    ngram_rows: list[Annotated[int, Field(ge=1)]] | None = None
    """Rows of the tables that embed a token with the one, two, ... tokens before it; derived for fast, none for llama."""
    ngram_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Probability of leaving out an n-gram's vector in training; more passes over the text want more of it."""
    dropout: Dropout = Dropout()
    """None by default: pretraining that sees its text a few times does not overfit (PaLM)."""
    rope_base: Annotated[float, Field(gt=1)] = 10_000.0
    """Base of the rotary frequencies (Su et al. 2021)."""
    init_std: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of the normal initialisation; projections back into the residual stream are scaled
    by 1/sqrt(2 layers) (GPT-2)."""


class Phase(Strict):
    """A part of the run with its own batch and context: small and short early learns more in the same time."""

    until: Annotated[float, Field(gt=0, le=1)]
    """Share of the run's tokens at which the phase ends; the last one's is 1."""
    batch_tokens: Annotated[int, Field(ge=8)] | None = None
    """Tokens an optimizer step sees; `training.batch_tokens` when not given."""
    context: Annotated[int, Field(ge=8)] | None = None
    """Row length (tokens), a divisor of the model's context; the model's when not given."""


class Training(Strict):
    """The budget and the optimizer of pretraining."""

    minutes: Annotated[float, Field(gt=0)] | None = 10.0
    """Training time the steps are derived from; ignored when `steps` is given (minutes)."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps, exactly."""
    batch_tokens: Annotated[int, Field(ge=8)] | Literal["auto"] | None = None
    """Tokens an optimizer step sees; accumulation is derived from it. `auto`: as many as one forward pass can hold, found
    by trying; not given: derived from the model's width."""
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Rows a forward pass sees; not given: the fastest known to fit; `auto`: the most that fit, found by trying."""
    phases: list[Phase] = []
    """Batch size and context on the way, in order; empty: the same all the way."""
    max_epochs: Annotated[float, Field(gt=0)] = 20.0
    """Passes over the text at most when steps are derived. Up to 4 repeats are nearly as good as new text, past
    about 16 they are worth little (Muennighoff et al. 2023, arXiv 2305.16264)."""
    optimizer: Literal["adamw", "adam", "sgd", "adafactor", "lion", "muon"] = "adamw"
    """`muon` (Jordan et al. 2024) moves the layers' matrices and AdamW the rest; `adafactor` (Shazeer & Stern 2018),
    `lion` (Chen et al. 2023); `adam` and `sgd` decay nothing by themselves (set l2)."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak; derived from the optimizer and the width when not given. With muon: AdamW's, for all but the matrices."""
    matrix_learning_rate: Annotated[float, Field(gt=0)] = 0.02
    """Muon's peak (Jordan et al. 2024; nanochat)."""
    embedding_factor: Annotated[float, Field(gt=0)] | None = None
    """Peak of the embeddings as a multiple of `learning_rate`; derived when not given: 1, and much more for the fast
    family, whose embedding is normalised."""
    sparse_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak of the n-gram tables' Adagrad; derived when not given: 0.1 where the run sees its text about once, 0.01 where it
    sees it more often, since what a table sees twice it knows by heart."""
    schedule: Literal["constant", "step", "exponential", "linear", "cosine", "inverse_sqrt", "wsd", "one_cycle"] = "cosine"
    """How the learning rate falls after the warm-up (cosine: GPT-3, LLaMA). See them: `groundup plan RECIPE --schedule`."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the run with a linear rise."""
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Learning rate at the end as a share of the peak (GPT-3, LLaMA: 0.1)."""
    cooldown: Annotated[float, Field(gt=0, le=1)] = 0.4
    """wsd: share of the run in which the rate falls (modded-nanogpt: 0.4 and more as runs get shorter)."""
    cooldown_shape: Literal["linear", "sqrt", "cosine"] = "linear"
    """wsd: how it falls; `sqrt` is 1 - sqrt(x) (Hägele et al. 2024)."""
    step_at: list[Annotated[float, Field(gt=0, lt=1)]] = [0.5, 0.75]
    """step: where on the way the rate drops (He et al. 2016)."""
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """step: by which factor (He et al. 2016)."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Adam's, AdamW's and Lion's (GPT-3, LLaMA)."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Adam's and AdamW's (GPT-3)."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """SGD's and Muon's, in Nesterov's form (Jordan et al. 2024)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled, on matrices only (GPT-3, LLaMA: 0.1)."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """True L2: the loss gains l2 / 2 times the sum of squared weights of matrices, before clipping and the optimizer."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    """L1: the loss gains l1 times the sum of the absolute weights of matrices."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target spread over the vocabulary (Szegedy et al. 2016; Vaswani et al. 2017: 0.1)."""
    z_loss: Annotated[float, Field(ge=0)] = 0.0
    """Weight of (ln Z)^2, which keeps logits from drifting (PaLM: 1e-4)."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a running average of the weights, which is then evaluated and kept; 0 is off (0.999 averages about 1,000
    steps; Polyak & Juditsky 1992)."""
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many evaluations in a row without a better one and keep the best; not given: never."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Norm the gradient is clipped to (GPT-3, LLaMA)."""
    spike_sigmas: Annotated[float, Field(gt=0)] | None = 6.0
    """A step whose loss or gradient norm lies so many standard deviations above the mean of the last 128 is skipped
    (OLMo-core's SkipStepAdamW: 6); null: only what is not a number."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 where the measured matrix product is at least 1.2 times fp32's."""
    compile: Literal["auto"] | bool = "auto"
    """`auto`: torch.compile where a C++ compiler is there and the run is long enough to pay for it."""
    evaluations: Annotated[int, Field(ge=0)] = 10
    """Times the held-out loss is measured on the way, evenly spaced."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Checkpoints kept, one each tenth of the run; the newest is always kept."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 15.0
    """Seconds between checkpoints; stretched so that writing them stays under 2 % of the time."""
    track: list[Literal["tensorboard", "wandb"]] = ["tensorboard"]
    """Where curves go beside log.jsonl: `tensorboard` writes event files into the run folder; `wandb` needs the `track`
    extra and follows WANDB_MODE (offline: into the run folder)."""

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        ends = [phase.until for phase in self.phases]
        if ends and (ends != sorted(set(ends)) or ends[-1] != 1):
            raise PydanticCustomError("phases", "phases end at {e}; they must rise and the last one end at 1", {"e": str(ends)})
        if self.schedule == "wsd" and self.warmup + self.cooldown > 1:
            raise PydanticCustomError("cooldown", "warmup and cooldown together are more than the whole run")
        if self.schedule == "exponential" and self.final_share == 0:
            raise PydanticCustomError("final_share", "an exponential schedule never reaches 0; set final_share above it")
        if self.schedule == "inverse_sqrt" and self.warmup == 0:
            raise PydanticCustomError("warmup", "inverse_sqrt falls from its warm-up; set warmup above 0")
        return self


class Dialogue(Strict):
    """Supervised tuning on question-answer pairs; the loss is on the answers alone."""

    pairs: list[str] = ["reference-pages"]
    """`reference-pages`: pairs derived from definition lists (signature, description) of the crawled training
    pages; or paths of JSON-lines files with `messages` or `question` and `answer`, relative ones counted from the
    recipe's folder."""
    minutes: Annotated[float, Field(gt=0)] | None = 1.0
    """Tuning time the steps are derived from, at the speed of pretraining; ignored when `steps` is given (minutes)."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps, exactly."""
    max_epochs: Annotated[float, Field(gt=0)] = 4.0
    """Passes over the pairs at most when steps are derived: small sets are learned by heart soon after."""
    learning_rate_share: Annotated[float, Field(gt=0)] = 0.3
    """Peak as a share of pretraining's peak; the demo's small model, which has facts to learn, takes 1."""
    questions: list[str] = []
    """Put to the model before and after tuning; the answers stand in the report."""


class Evaluation(Strict):
    """How good it is: bits per byte beside baselines, samples, a quiz."""

    stride: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Step of the sliding window as a share of the context: at 0.5 each scored token has at least half a
    context before it (but at a document's start)."""
    baselines: bool = True
    """Byte n-gram (order 5, Kneser-Ney) and xz on the same bytes."""
    quiz_questions: Annotated[int, Field(ge=0)] = 200
    """Four-way questions made of held-out reference pages, at most; 0 where the corpus has none."""
    prompts: list[str] = []
    """Completed by the model for the report; taken from held-out text when empty."""


class Recipe(Strict):
    """A whole build."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the run folder."""
    seed: int = 1337
    """Of the split, the order of the data, the initialisation and the samples."""
    sources: Annotated[list[Source], Field(min_length=1)]
    clean: Clean = Clean()
    tokens: Tokens = Tokens()
    model: Model = Model()
    training: Training = Training()
    dialogue: Dialogue | None = None
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _distinct_source_names(self) -> Recipe:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise PydanticCustomError("source_names", "two sources are named '{name}'; give each its own", {"name": name})
        return self


def load(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file, apply `section.key=value` overrides, and check it.

    Relative source paths are made absolute against the recipe's folder. Raises RequestError.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError("no such recipe", where=str(path), do="Give a recipe file or a folder of text.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"not valid YAML: {' '.join(str(error).split())}", where=str(path), do="Correct that line.") from None
    if not isinstance(data, dict):
        raise RequestError("a recipe is a mapping of sections", where=str(path), do="See recipes/ for ready ones.")
    for source in data.get("sources") or []:
        if isinstance(source, dict) and isinstance(source.get("path"), str):
            source["path"] = str((path.parent / Path(source["path"]).expanduser()).resolve())
    dialogue = data.get("dialogue")
    if isinstance(dialogue, dict) and isinstance(dialogue.get("pairs"), list):
        dialogue["pairs"] = [
            str((path.parent / Path(name).expanduser()).resolve()) if isinstance(name, str) and name != "reference-pages" else name
            for name in dialogue["pairs"]
        ]
    return parse(data, overrides, where=str(path))


def parse(data: dict[str, Any], overrides: list[str] | None = None, *, where: str = "recipe") -> Recipe:
    """Check a recipe given as plain data, after applying overrides. Raises RequestError naming key and cause."""
    for override in overrides or []:
        _apply(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("files", "crawl", "python-docs"))
        raise RequestError(
            f"{place + ': ' if place else ''}{first['msg']}", where=where, do="Correct the recipe or the override."
        ) from None


def _apply(data: dict[str, Any], override: str) -> None:
    """Set one dotted key in nested mappings and lists; the value is read as YAML."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise RequestError(f"'{override}' is no override", do="Write section.key=value.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RequestError(f"the value of '{override}' is not valid YAML", do="Quote it.") from None
    *parents, last = dotted.split(".")
    place: Any = data
    for part in parents:
        place = _step(place, part, override)
    if isinstance(place, list):
        place[_index(place, last, override)] = value
    else:
        place[last] = value


def _step(place: Any, part: str, override: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, override)]
    if place.get(part) is None:
        place[part] = {}
    inner = place[part]
    if not isinstance(inner, dict | list):
        raise RequestError(f"'{override}': '{part}' is a value, not a section", do="Write section.key=value.")
    return inner


def _index(place: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise RequestError(f"'{override}': '{part}' is not one of the list's 0 to {len(place) - 1}", do="Count from 0.")
    return int(part)


def dump(recipe: Recipe) -> str:
    """The recipe as YAML with every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def shipped(name: str) -> Path | None:
    """The path of a ready recipe (`demo`, `books`, ...), or None if there is none of that name."""
    here = Path(__file__).parent
    for folder in (here / "recipes", here.parents[1] / "recipes"):
        if (path := folder / f"{name}.yaml").is_file():
            return path
    return None
