"""What a model is: every number needed to build it, and nothing about how it is trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.model import Activation, Family, Init, Norm, Parallel, Position, Residual
from groundup.recipe.strict import Strict

Kind = Literal["decoder", "encoder", "encoder-decoder", "permutation"]
KINDS: dict[str, Kind] = {"bert": "encoder", "transformer": "encoder-decoder", "t5": "encoder-decoder", "xlnet": "permutation"}
GATED = ("reglu", "geglu", "geglu_tanh", "swiglu")


_DECODERS_ALONE = (
    "embedding_rank", "embedding_norm", "ngram_rows", "ngram_dropout", "shortcut", "value_embeddings", "softcap", "zero_output", "experts",
    "attention_bias", "qk_norm_scale", "rope_wavelengths",
)  # fmt: skip
UNUSED: dict[Kind, tuple[str, ...]] = {
    "encoder": (*_DECODERS_ALONE, "embedding_scale", "logits_scale", "decoder_layers"),
    "encoder-decoder": (*_DECODERS_ALONE, "parallel", "residual", "windows", "token_types", "dropout_by_depth"),
    "permutation": (
        *_DECODERS_ALONE, "embedding_scale", "logits_scale", "decoder_layers", "parallel", "residual", "windows", "token_types", "head_size",
        "attention_softcap", "attention_scale", "qk_norm", "dropout_by_depth",
    ),
    "decoder": ("decoder_layers", "token_types"),
}  # fmt: skip
"""Fields that a kind makes nothing of, and so refuses."""


class ModelConfig(Strict):
    """A fully resolved architecture; saved as `config.json` beside the weights."""

    family: Family = "llama"
    vocabulary: int
    """Tokens in the embedding and the head."""
    context: int
    """Positions the model sees at once (tokens)."""
    layers: int
    """Of an encoder-decoder: the encoder's."""
    decoder_layers: int | None = None
    """Encoder-decoder: the decoder's; as many as the encoder's when not given."""
    causal: bool = True
    """Whether a token sees only what comes before it (decoders), or all of its document (encoders)."""
    token_types: int = 0
    """Kinds of token with an embedding of their own (BERT: first and second sentence)."""
    width: int
    heads: int
    kv_heads: int
    head_size: int | None = None
    """Width of one head; the width over the heads when not given (PaLM's are wider or narrower)."""
    feedforward: int
    """Inner width of the feed-forward sublayer."""
    activation: Activation = "swiglu"
    bias: bool = False
    """Biases in the layers' linear maps (GPT-1, GPT-2, BERT)."""
    attention_bias: Literal["qkv", "all"] | None = None
    """Biases in the attention's maps where the other maps have none: of queries, keys and values (Qwen 2), or of the output too."""
    norm: Norm = "rms"
    norm_scale: bool = True
    """Learned scale (and shift, but in RMSNorm) of the norms."""
    norm_bias: bool = True
    """LayerNorm: the learned shift beside the scale (PaLM has none)."""
    norm_place: Literal["pre", "post"] = "pre"
    """Before each sublayer (GPT-2), or after its sum with the stream (Vaswani et al. 2017, GPT-1)."""
    parallel: Parallel = "no"
    """Attention and feed-forward side by side on the same stream, behind one norm (PaLM, Falcon 7B) or two (Falcon 40B)."""
    residual: Residual = "plain"
    """What a sublayer's output is added to and how: x + f; x + a f with a learned from 0 (ReZero); c x + f (DeepNet); x + f / depth
    (CompleteP)."""
    position: Position = "rotary"
    rope_base: float = 10_000.0
    """Base of the rotary frequencies (Su et al. 2021)."""
    rope_scaling: float = 1.0
    """Positions are divided by it (Chen et al. 2023: longer contexts)."""
    rope_wavelengths: tuple[float, float] | None = None
    """Llama 3.1: pairs that turn once in at most the first number of tokens keep their speed, those that take the second or more are
    slowed down by `rope_scaling`, those between by a part of it; all are when not given."""
    relative_buckets: int = 32
    """T5's relative positions: buckets."""
    relative_distance: int = 128
    """T5's relative positions: distance from which all share a bucket."""
    windows: tuple[int, ...] = ()
    """Tokens a layer looks back at most, by layer, repeated to the end; 0 is all; empty: all layers see all."""
    attention_scale: float | None = None
    """Factor on the scores; 1/sqrt(head width) when not given (T5: 1)."""
    attention_softcap: float = 0.0
    """Attention scores are softcap * tanh(scores / softcap); 0 is off."""
    qk_norm: bool = False
    """RMSNorm on each head's queries and keys after rotation."""
    qk_norm_scale: bool = False
    """RMSNorm with a learned scale on each head's queries and keys before rotation (Qwen 3), in place of `qk_norm`."""
    experts: int = 0
    """Feed-forward sublayers to choose from, a token at a time; 0: one that all tokens take."""
    experts_a_token: int = 2
    """How many of them a token takes."""
    shared_experts: int = 0
    """Further ones that all tokens take (DeepSeekMoE)."""
    expert_capacity: float | None = None
    """Places an expert has, as a multiple of its fair share of the batch's tokens; what finds none skips the sublayer.
    Not given: as many as come (dropless)."""
    embedding_norm: bool = False
    """The norm without scale on the embedding's output."""
    embedding_scale: float = 1.0
    """Factor on the embedding (Vaswani et al. 2017: the root of the width)."""
    embedding_rank: int | None = None
    """Factorised embedding: tables of this width, then a projection (ALBERT)."""
    logits_scale: float = 1.0
    """Factor on the head's input (PaLM: one over the root of the width)."""
    softcap: float = 0.0
    """Logits are softcap * tanh(logits / softcap); 0 is off."""
    shortcut: bool = False
    """Each layer starts from a * x + b * embedding, both learned scalars."""
    value_embeddings: bool = False
    """Every other layer, the last one included, adds a gated embedding of the token to its values."""
    ngram_rows: tuple[int, ...] = ()
    """Rows of the tables that embed the token with the one before it, the two before it, ...; empty is off."""
    ngram_dropout: float = 0.0
    """Probability of leaving out an n-gram's vector in training."""
    zero_output: bool = False
    """Projections back into the residual stream and the head start at zero."""
    tied: bool = True
    embedding_dropout: float = 0.0
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0
    dropout_by_depth: bool = False
    """Residual dropout rises linearly from 0 in the first layer to its value in the last (LIMA)."""
    norm_eps: float = 1e-5
    init: Init = "gpt2"
    init_std: float = 0.02
    base_width: int = 128
    """muP: the width whose learning rates are carried over to this one."""
    base_layers: int = 4
    """residual=depth: the layers whose sublayers count in full."""

    @model_validator(mode="after")
    def _sensible(self) -> ModelConfig:
        if self.head_size is None and self.width % self.heads:
            raise PydanticCustomError("heads", "width {w} is not divisible by {h} heads", {"w": self.width, "h": self.heads})
        if self.position == "rotary" and self.head_width % 2:
            raise PydanticCustomError("heads", "head width {h} is odd; rotary positions need pairs", {"h": self.head_width})
        if self.heads % self.kv_heads:
            raise PydanticCustomError(
                "kv_heads", "{h} heads cannot share {k} kv_heads evenly", {"h": self.heads, "k": self.kv_heads}
            )
        if self.norm == "none" and self.residual == "plain" and self.init != "t-fixup":
            raise PydanticCustomError("norm", "without a norm a plain residual diverges; set residual=rezero or init=t-fixup")
        if self.parallel != "no" and self.norm_place == "post":
            raise PydanticCustomError("parallel", "parallel sublayers read the stream through norms before them; norm_place must be pre")
        if self.residual == "deepnet" and self.norm_place != "post":
            raise PydanticCustomError("residual", "deepnet scales what a norm after the sum evens out; norm_place must be post")
        if self.experts and not 0 < self.experts_a_token <= self.experts:
            raise PydanticCustomError(
                "experts", "{k} experts a token of {n} there are", {"k": self.experts_a_token, "n": self.experts}
            )
        if self.init == "mup" and self.kind != "decoder":
            raise PydanticCustomError("init", "muP is worked out for decoders here; choose another init")
        for name in UNUSED.get(self.kind, ()):
            if getattr(self, name) != ModelConfig.model_fields[name].default:
                raise PydanticCustomError("kind", "a model of the {f} family has no {n}", {"f": self.family, "n": name})
        if self.kind == "encoder-decoder" and self.position not in ("sinusoidal", "relative", "none"):
            raise PydanticCustomError("position", "encoder-decoders have sinusoidal, relative or no positions")
        if self.kind == "permutation" and (self.norm, self.norm_place, self.position) != ("layer", "post", "none"):
            raise PydanticCustomError("norm", "xlnet's layers are post-norm with LayerNorm, its positions its own distances")
        if self.qk_norm and self.qk_norm_scale:
            raise PydanticCustomError("qk_norm", "qk_norm and qk_norm_scale are two norms of the same queries and keys; set one")
        if self.rope_wavelengths is not None and not 0 < self.rope_wavelengths[0] < self.rope_wavelengths[1]:
            raise PydanticCustomError("rope_wavelengths", "two rising numbers of tokens")
        if self.windows and self.position == "relative":
            raise PydanticCustomError("windows", "T5's relative positions and windows do not go together; choose another position")
        return self

    @property
    def kind(self) -> Kind:
        """Which class builds it."""
        return KINDS.get(self.family, "decoder")

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.head_size or self.width // self.heads

    @property
    def gated(self) -> bool:
        """Whether the feed-forward sublayer multiplies two projections."""
        return self.activation in GATED

    @property
    def portable(self) -> bool:
        """Whether a stock Hugging Face class computes the same."""
        from groundup.models.huggingface.stock import misfits  # which reads this file

        return not misfits(self)

    @property
    def qkv_bias(self) -> bool:
        """Whether queries, keys and values have biases."""
        return self.bias or self.attention_bias is not None

    @property
    def out_bias(self) -> bool:
        """Whether the attention's output has one."""
        return self.bias or self.attention_bias == "all"

    def window(self, layer: int) -> int:
        """Tokens a layer looks back at most, 0-based; 0: all."""
        return self.windows[layer % len(self.windows)] if self.windows else 0

    def has_value_embedding(self, layer: int) -> bool:
        """Every other layer, the last one included (nanochat)."""
        return self.value_embeddings and (self.layers - 1 - layer) % 2 == 0

    def residual_dropout_at(self, layer: int) -> float:
        """The residual dropout of a layer, 0-based."""
        return self.residual_dropout * (layer / max(1, self.layers - 1) if self.dropout_by_depth else 1.0)


_GPT: dict[str, Any] = {"activation": "gelu_tanh", "norm": "layer", "position": "learned", "bias": True, "tied": True, "init": "gpt2"}
_FALCON: dict[str, Any] = {"activation": "gelu", "norm": "layer", "parallel": "one-norm", "tied": True}
FAMILIES: dict[Family, dict[str, Any]] = {
    # Touvron et al. 2023, arXiv 2302.13971
    "llama": {},
    # what small runs gain from, each documented in modded-nanogpt's records and nanochat's log: ReLU^2 (So et al. 2021),
    # QK-norm, zero-initialised outputs, embedding shortcut, value embeddings (Zhou et al. 2024); n-gram tables are derived
    "fast": {
        "activation": "relu2", "norm_scale": False, "qk_norm": True, "embedding_norm": True, "init": "fast",
        "shortcut": True, "value_embeddings": True, "zero_output": True, "tied": False,
    },
    # Radford et al. 2018: norms after the sums
    "gpt1": {**_GPT, "norm_place": "post", "init": "normal"},
    # Radford et al. 2019
    "gpt2": _GPT,
    # Brown et al. 2020; alternating dense and banded attention is an option: windows=[0, 256]
    "gpt3": _GPT,
    # Almazrouei et al. 2023, arXiv 2311.16867; 40B and 180B have parallel=two-norms
    "falcon": _FALCON,
    "falcon-rw": {**_FALCON, "parallel": "no", "position": "alibi", "bias": True},
    # Chowdhery et al. 2022, arXiv 2204.02311: one norm without shift, one kv-head, wide feed-forward, scaled logits
    "palm": {"norm": "layer", "norm_bias": False, "parallel": "one-norm", "tied": True, "init": "normal"},
    # Devlin et al. 2019, arXiv 1810.04805
    "bert": {
        "activation": "gelu", "norm": "layer", "norm_place": "post", "norm_eps": 1e-12, "position": "learned", "bias": True, "causal": False,
        "token_types": 2, "tied": True, "init": "normal",
    },
    # Vaswani et al. 2017, arXiv 1706.03762
    "transformer": {
        "activation": "relu", "norm": "layer", "norm_place": "post", "position": "sinusoidal", "bias": True, "tied": True, "init": "xavier",
    },
    # Raffel et al. 2020, arXiv 1910.10683
    "t5": {
        "activation": "relu", "norm_eps": 1e-6, "position": "relative", "tied": True, "attention_scale": 1.0, "init": "normal",
    },
    # Yang et al. 2019, arXiv 1906.08237
    "xlnet": {"activation": "gelu", "norm": "layer", "norm_place": "post", "norm_eps": 1e-12, "position": "none", "bias": True, "init": "normal"},
    # Mixtral (Jiang et al. 2024, arXiv 2401.04088): LLaMA's layers with eight experts, two a token
    "moe": {"experts": 8, "experts_a_token": 2},
}
"""What a family sets; a recipe may override each part."""


def resolved(family: Family, **given: Any) -> ModelConfig:
    """The config of a family, with what is given in place of its own; what hangs on the width is worked out last.

    Raises pydantic's ValidationError on a mix that makes no sense.
    """
    parts = {**FAMILIES[family], **given}
    width, heads = parts["width"], parts["heads"]
    parts.setdefault("kv_heads", 1 if family in ("falcon", "palm") else heads)
    if family == "palm":  # Chowdhery et al. 2022, section 2: wide feed-forward, logits scaled
        parts.setdefault("feedforward", 4 * width)
        parts.setdefault("logits_scale", width**-0.5)
    if family == "t5" and parts["tied"]:  # Raffel et al. 2020: the tied head reads a scaled stream
        parts.setdefault("logits_scale", width**-0.5)
    if parts.get("init") == "mup":  # Yang et al. 2022, table 8: scores over the head width, logits over the width
        head = parts.get("head_size") or width // heads
        parts.setdefault("attention_scale", 8 / head if head > 8 else head**-0.5)
        parts.setdefault("logits_scale", parts.get("base_width", 128) / width)
    if family == "transformer":  # Vaswani et al. 2017, section 3.4
        parts.setdefault("embedding_scale", width**0.5)
    parts.setdefault("feedforward", default_feedforward(width, parts.get("activation", "swiglu")))
    return ModelConfig(family=family, **parts)


def default_feedforward(width: int, activation: str = "swiglu") -> int:
    """A gated sublayer's inner width: 8/3 of the width, as many parameters as a 4x plain layer (Shazeer 2020), to 32; else 4x."""
    return -(-(8 * width // 3) // 32) * 32 if activation in GATED else 4 * width
