"""The recipe's steps on single documents, in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from groundup.corpus.chain import Named
from groundup.corpus.reference import texts
from groundup.corpus.steps.bias import Bias
from groundup.corpus.steps.c4 import C4
from groundup.corpus.steps.classifier import Quality as Classifier
from groundup.corpus.steps.emoji import Emoji
from groundup.corpus.steps.fineweb import FineWeb
from groundup.corpus.steps.gopher import Quality, Repetition
from groundup.corpus.steps.html import Html
from groundup.corpus.steps.language import Language
from groundup.corpus.steps.perplexity import Perplexity, learn
from groundup.corpus.steps.personal_data import PersonalDataStep
from groundup.corpus.steps.rules import RulesStep, Urls
from groundup.corpus.steps.spelling import SpellingStep
from groundup.corpus.steps.text import Length, Unicode
from groundup.corpus.steps.toxicity import Toxicity
from groundup.progress import say
from groundup.recipe import Clean
from groundup.recipe.cleaning.quality import Perplexity as Settings
from groundup.recipe.strict import Strict
from groundup.run import digest, digest_file, digest_folder

EXTRACTION = ("urls", "html")  # make text of what was read: their result is kept as the documents of the store


def steps(recipe: Clean, models: Path) -> list[Named]:
    """The steps that a recipe turns on. What one learns first (a reference model) is kept in the folder `models`.

    Raises RequestError for a file or function of the recipe that is not there.
    """
    found: list[Named] = []

    def add(name: str, settings: Strict, make: Callable[[], Any], *files: str | None, on: bool = True) -> None:
        if on and getattr(settings, "on", True):
            contents = {path: digest_file(Path(path)) for path in files if path}
            found.append(Named(name, make(), {**settings.model_dump(), "contents": contents}))

    rules = recipe.rules
    blocks = bool(rules.blocked_urls or rules.blocked_domains or rules.blocked_url_words)
    add("urls", rules, lambda: Urls(rules), *rules.blocked_urls, on=blocks)
    add("html", recipe.html, lambda: Html(recipe.html.main_content, recipe.html.format))
    add("unicode", recipe.unicode, lambda: Unicode(recipe.unicode))
    add("language", recipe.language, lambda: Language(recipe.language))
    add("bias_before", recipe.bias, lambda: Bias("bias_before", recipe.bias.window))
    add("gopher_repetition", recipe.gopher_repetition, lambda: Repetition(recipe.gopher_repetition))
    add("gopher_quality", recipe.gopher_quality, lambda: Quality(recipe.gopher_quality))
    add("c4", recipe.c4, lambda: C4(recipe.c4))
    add("fineweb", recipe.fineweb, lambda: FineWeb(recipe.fineweb))
    classifier = recipe.classifier
    add("classifier", classifier, lambda: Classifier(Path(classifier.model or ""), classifier.threshold), classifier.model)
    if recipe.perplexity.on:
        model = _reference_model(recipe.perplexity, models)
        step = Perplexity(model, recipe.perplexity.max_bits_per_byte)
        found.append(Named("perplexity", step, {**recipe.perplexity.model_dump(), "contents": model.stem}))
    toxicity = recipe.toxicity
    own_list = Path(toxicity.word_list) if toxicity.word_list else None
    judge = lambda: Toxicity(toxicity.threshold, toxicity.worst, toxicity.words_per_thousand, own_list)  # noqa: E731
    add("toxicity", toxicity, judge, toxicity.word_list)
    add("spelling", recipe.spelling, lambda: SpellingStep(recipe.spelling), recipe.spelling.words)
    add("rules", rules, lambda: RulesStep(rules), on=bool(rules.substitutions or rules.functions))
    add("personal_data", recipe.personal_data, lambda: PersonalDataStep(recipe.personal_data))
    add("emoji", recipe.emoji, lambda: Emoji(recipe.emoji))
    add("length", recipe.length, lambda: Length(recipe.length))
    add("bias_after", recipe.bias, lambda: Bias("bias_after", recipe.bias.window))
    return found


def _reference_model(settings: Settings, models: Path) -> Path:
    """The n-gram model of the recipe's reference text, learned where it is not there yet; its name follows from what it was learned from."""
    reference = Path(settings.reference or "")
    contents = digest_folder(reference) if reference.is_dir() else digest_file(reference) if reference.exists() else ""
    learned = settings.model_dump(exclude={"on", "reference", "max_bits_per_byte"})
    path = models.absolute() / f"perplexity-{digest(learned, contents)[:16]}.safetensors"
    if not path.exists():
        models.mkdir(parents=True, exist_ok=True)
        say(f"clean: learning what good text is from {reference}")
        learn(texts(reference), settings, path)
    return path
