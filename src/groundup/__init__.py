"""groundup builds a language model from the ground up: text in, a model you can talk to out."""

from importlib.metadata import version

__version__ = version("groundup")
