"""`groundup import`: a Hugging Face folder becomes a run that can write and chat.

    runs/<name>/recipe.yaml, tokenizer/tokenizer.json, checkpoints/step-0000000/

Special tokens that its tokenizer lacks come after its own, each with the mean of all embeddings, so no score of a token it knew
changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groundup import recipe as recipes
from groundup.errors import RequestError
from groundup.models import huggingface
from groundup.models.build import parameters
from groundup.models.widen import widened
from groundup.run import Run, write_atomic
from groundup.tokens.tokenizer import Tokenizer
from groundup.tokens.trainers import adopt
from groundup.training import checkpoint
from groundup.training.optimizers import OptimizerSettings, optimizers


def bring_in(folder: Path, runs: Path, name: str) -> dict[str, Any]:
    """Write the run; returns `name`, `path`, `family`, `parameters`, `vocabulary`.

    Raises RequestError where the folder holds no model or tokenizer that is known, or the name is taken.
    """
    path = runs / name
    if path.exists():
        raise RequestError("there is a run of this name", where=str(path), do="Give another with --name.")
    model = huggingface.load(folder)
    text = adopt(folder)
    words = Tokenizer(text)
    if words.size > model.config.vocabulary:
        model = widened(model, words.size)
    recipe = recipes.parse({"name": name, "sources": [{"kind": "files", "path": str(folder.resolve())}]}, [], where=str(folder))
    run = Run.open(path, recipe)
    try:
        (path / "tokenizer").mkdir()
        write_atomic(path / "tokenizer" / "tokenizer.json", text)
        state = {"title": "import", "tokenizer": words.digest, "settings": {}, "guard": {}}
        checkpoint.save(path / "checkpoints", 0, model, model.config, optimizers(model, OptimizerSettings()), state)
        run.log("imported", folder=str(folder.resolve()))
    finally:
        run.close()
    config = model.config
    return {
        "name": name, "path": str(path), "family": config.family, "parameters": parameters(config), "vocabulary": config.vocabulary,
    }  # fmt: skip
