"""A whole build."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from groundup.recipe.assistant import Dialogue, Evaluation
from groundup.recipe.corpus import Corpus
from groundup.recipe.model import Model
from groundup.recipe.parallel import Parallel
from groundup.recipe.prepare import Clean, Tokens
from groundup.recipe.sources import Source
from groundup.recipe.strict import Strict
from groundup.recipe.training import Training


class Recipe(Strict):
    """A whole build."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the run folder."""
    seed: int = 1337
    """Of the split, the order of the data, the initialisation and the samples."""
    sources: Annotated[list[Source], Field(min_length=1)]
    corpus: Corpus = Corpus()
    clean: Clean = Clean()
    tokens: Tokens = Tokens()
    model: Model = Model()
    training: Training = Training()
    parallel: Parallel = Parallel()
    dialogue: Dialogue | None = None
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="before")
    @classmethod
    def _sentinels(cls, data: Any) -> Any:
        """T5's objective names its blanks."""
        if not isinstance(data, dict):
            return data
        model, training, tokens = ({} if not isinstance(data.get(name), dict) else data[name] for name in ("model", "training", "tokens"))
        asks = training.get("objective") or ("span-corruption" if model.get("family") == "t5" or str(model.get("like", "")).startswith("t5") else "")
        return {**data, "tokens": {"sentinels": 100, **tokens}} if asks == "span-corruption" else data

    @model_validator(mode="after")
    def _distinct_source_names(self) -> Recipe:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise PydanticCustomError("source_names", "two sources are named '{name}'; give each its own", {"name": name})
        weighted = [source.name for source in self.sources if source.weight is not None]
        if weighted and len(weighted) < len(names):
            missing = next(name for name in names if name not in weighted)
            raise PydanticCustomError("weights", "source '{name}' has no weight and others have; give all or none", {"name": missing})
        if weighted and not any(source.weight for source in self.sources):
            raise PydanticCustomError("weights", "all sources have weight 0")
        return self

    @property
    def weights(self) -> dict[str, float] | None:
        """Share of each source by name, where the recipe mixes them."""
        return {source.name: source.weight or 0.0 for source in self.sources} if self.sources[0].weight is not None else None
