"""Tasks: from files that people publish to requests that a model answers."""

from groundup.evaluation.tasks.catalogue import SUITES, read_task, suite
from groundup.evaluation.tasks.item import Item, Request, Task
from groundup.evaluation.tasks.rows import Data

__all__ = ["SUITES", "Data", "Item", "Request", "Task", "read_task", "suite"]
