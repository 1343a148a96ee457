"""A recipe from a YAML file and overrides, checked; and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from groundup.errors import RequestError
from groundup.recipe.whole import Recipe

PATHS = (
    "sources.*.path", "sources.*.tokenizer", "clean.rules.blocked_urls.*", "clean.classifier.model", "clean.perplexity.reference",
    "clean.toxicity.word_list", "clean.spelling.words", "clean.decontaminate.files.*", "tokens.tokenizer", "tokens.compare.*", "dialogue.pairs.*",
    "dialogue.preferences.*", "dialogue.prompts.*", "evaluation.data", "evaluation.own_tasks.*", "evaluation.while_training.own_tasks.*",
)  # fmt: skip
"""What a recipe says as a path, which counts from the recipe's folder; an address (`s3://...`) counts from nowhere."""
NO_PATHS = ("reference-pages",)


class Words(yaml.SafeLoader):
    """YAML where `on`, `off`, `yes` and `no` are words, as in YAML 1.2: steps have a key `on`, and Norwegian is `no`."""


BOOL = "tag:yaml.org,2002:bool"
Words.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != BOOL] for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Words.add_implicit_resolver(BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def load(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file, apply `section.key=value` overrides, and check it.

    Relative paths are made absolute against the recipe's folder. Raises RequestError.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Words)
    except FileNotFoundError:
        raise RequestError("no such recipe", where=str(path), do="Give a recipe file or a folder of text.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"not valid YAML: {' '.join(str(error).split())}", where=str(path), do="Correct that line.") from None
    if not isinstance(data, dict):
        raise RequestError("a recipe is a mapping of sections", where=str(path), do="See recipes/ for ready ones.")
    for place in PATHS:
        _absolute(data, place.split("."), path.parent)
    return parse(data, overrides, where=str(path))


def _absolute(place: Any, keys: list[str], folder: Path) -> None:
    """Make the paths under dotted keys absolute; `*` stands for every entry of a list."""
    key, *rest = keys
    inside: list[Any] = list(range(len(place))) if key == "*" and isinstance(place, list) else [key] if isinstance(place, dict) and key in place else []
    for one in inside:
        if rest:
            _absolute(place[one], rest, folder)
        elif isinstance(place[one], str) and place[one] not in NO_PATHS and "://" not in place[one]:
            place[one] = str((folder / Path(place[one]).expanduser()).resolve())


def parse(data: dict[str, Any], overrides: list[str] | None = None, *, where: str = "recipe") -> Recipe:
    """Check a recipe given as plain data, after applying overrides. Raises RequestError naming key and cause."""
    if isinstance(data.get("dialogue"), list):  # so that what it leaves out can be overridden
        data["dialogue"] = {"stages": data["dialogue"]}
    for override in overrides or []:
        _apply(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("files", "crawl", "python-docs", "token-files"))
        raise RequestError(
            f"{place + ': ' if place else ''}{first['msg']}", where=where, do="Correct the recipe or the override."
        ) from None


def _apply(data: dict[str, Any], override: str) -> None:
    """Set one dotted key in nested mappings and lists; the value is read as YAML."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise RequestError(f"'{override}' is no override", do="Write section.key=value.")
    try:
        value = yaml.load(text, Words)
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


def differences(one: Any, other: Any, place: str = "") -> dict[str, tuple[Any, Any]]:
    """Where two sections in plain data differ: dotted key -> the value in each."""
    if isinstance(one, dict) and isinstance(other, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in [*one, *(key for key in other if key not in one)]:
            found |= differences(one.get(key), other.get(key), f"{place}.{key}" if place else str(key))
        return found
    return {} if one == other else {place: (one, other)}


def dump(recipe: Recipe) -> str:
    """The recipe as YAML with every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def shipped(name: str) -> Path | None:
    """The path of a ready recipe (`demo`, `books`, ...), or None if there is none of that name."""
    package = Path(__file__).parents[1]
    for folder in (package / "recipes", package.parents[1] / "recipes"):
        if (path := folder / f"{name}.yaml").is_file():
            return path
    return None
