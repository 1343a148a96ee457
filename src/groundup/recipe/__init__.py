"""What a build is: one YAML file, typed and strict.

A recipe names its sources and leaves the rest to defaults. A value of `null` (None) means "derive it": from
the data, the machine and the budget, once, with the reason printed and kept in the run folder. Sources of the
defaults stand beside them. Any value can be overridden on the command line as `section.key=value`.

    name: my-model
    sources:
      - {kind: files, path: ~/texts}
    training: {minutes: 30}
"""

from groundup.recipe.assistant import Dialogue, Evaluation
from groundup.recipe.cleaning.duplicates import Duplicates
from groundup.recipe.model import Dropout, Model
from groundup.recipe.parallel import Parallel
from groundup.recipe.prepare import Clean, HeldOut, Tokens
from groundup.recipe.reading import differences, dump, load, parse, shipped
from groundup.recipe.sources import CrawlSource, FilesSource, PythonDocsSource, Source, TokenFilesSource
from groundup.recipe.strict import Strict
from groundup.recipe.training import Phase, Training
from groundup.recipe.whole import Recipe

__all__ = [
    "Clean",
    "CrawlSource",
    "Dialogue",
    "Dropout",
    "Duplicates",
    "Evaluation",
    "FilesSource",
    "HeldOut",
    "Model",
    "Parallel",
    "Phase",
    "PythonDocsSource",
    "Recipe",
    "Source",
    "Strict",
    "TokenFilesSource",
    "Tokens",
    "Training",
    "differences",
    "dump",
    "load",
    "parse",
    "shipped",
]
