"""From a base model to an assistant: conversations, their template, supervised tuning, the chat."""

from groundup.dialogue.chat import ask, chat
from groundup.dialogue.template import Message, Template
from groundup.dialogue.tune import tune

__all__ = ["Message", "Template", "ask", "chat", "tune"]
