"""How many tokens a text will be, before it has been turned into any."""

from __future__ import annotations

from groundup.run import Run, read_json

BYTES_PER_TOKEN = 4.0
"""OpenAI's rule of thumb for English: about four characters a token (help.openai.com, "What are tokens and how to count them?")."""


def bytes_per_token(run: Run) -> tuple[float, str]:
    """Bytes of text a token stands for, and where that figure is from: the run's own tokenizer if it learned from this corpus."""
    cleaned, learned = run.manifest("corpus/clean"), run.manifest("tokenizer")
    path = run.path / "tokenizer" / "report.json"
    if cleaned and learned and learned["inputs"].get("clean") == cleaned["digest"] and path.is_file():
        found = read_json(path).get("bytes_per_token")
        if found:
            return float(found), f"the tokenizer of the run {run.recipe.name}"
    return BYTES_PER_TOKEN, "a rule of thumb for English"
