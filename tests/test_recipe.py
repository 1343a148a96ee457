"""The recipe is strict, and its errors help."""

from pathlib import Path

import pytest

from groundup import recipe as recipes
from groundup.errors import RequestError

DATA = {"name": "x", "sources": [{"kind": "files", "path": "here"}]}


def parsed(**more: object) -> recipes.Recipe:
    return recipes.parse({**DATA, **more})


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"training: unknown key 'stpes'; the nearest known key is 'steps'"):
        parsed(training={"stpes": 5})
    with pytest.raises(RequestError, match=r"nearest known key is 'clean'"):
        parsed(claen={})
    with pytest.raises(RequestError, match=r"sources.0: unknown key 'pth'; the nearest known key is 'path'"):
        recipes.parse({"name": "x", "sources": [{"kind": "files", "pth": "here", "path": "there"}]})


def test_overrides_reach_nested_values_and_lists() -> None:
    recipe = recipes.parse(dict(DATA), ["training.minutes=2.5", "sources.0.name=mine", "clean.duplicates.lines=true"])
    assert recipe.training.minutes == 2.5
    assert recipe.sources[0].name == "mine"
    assert recipe.clean.duplicates.lines is True


def test_on_is_a_key_and_no_is_norwegian(tmp_path: Path) -> None:
    text = "name: x\nsources: [{kind: files, path: here}]\nclean:\n  language: {on: true, keep: [en, no]}\n  emoji: {on: yes}\n  unicode: {on: False}\n"
    (tmp_path / "x.yaml").write_text(text)
    recipe = recipes.load(tmp_path / "x.yaml", ["clean.c4.on=true", "clean.language.keep=[no, nn]"])
    clean = recipe.clean
    assert (clean.language.on, clean.emoji.on, clean.unicode.on, clean.c4.on) == (True, True, False, True)
    assert clean.language.keep == ["no", "nn"]
    (tmp_path / "y.yaml").write_text(recipes.dump(recipe))
    assert recipes.load(tmp_path / "y.yaml").clean == clean


@pytest.mark.parametrize("override", ["training.minutes", "=3", "sources.7.name=x", "name.first=x", "training.minutes=-1", "training.minuts=1"])
def test_a_wrong_override_is_a_request_error(override: str) -> None:
    with pytest.raises(RequestError):
        recipes.parse({"name": "x", "sources": [{"kind": "files", "path": "here"}]}, [override])


def test_a_dumped_recipe_reads_back_equal(tmp_path: Path) -> None:
    recipe = recipes.parse({"name": "x", "sources": [{"kind": "files", "path": str(tmp_path)}, {"kind": "crawl", "seeds": ["http://a/"]}]})
    (tmp_path / "recipe.yaml").write_text(recipes.dump(recipe))
    assert recipes.load(tmp_path / "recipe.yaml") == recipe


def test_relative_paths_count_from_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\nsources: [{kind: files, path: texts}]\n")
    source = recipes.load(tmp_path / "r.yaml").sources[0]
    assert isinstance(source, recipes.FilesSource)
    assert source.path == str(tmp_path / "texts")


def test_every_field_says_what_it_is() -> None:
    for section in recipes.Strict.__subclasses__():
        if section.__module__ == recipes.__name__ and section is not recipes.Recipe:
            for name, field in section.model_fields.items():
                assert field.description, f"{section.__name__}.{name} has no docstring"


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    assert recipes.load(path).name
    assert recipes.shipped(path.stem) == path
