"""Conversations and preferences: the records, and the readers of every shape that they are published in.

`record` is what they are here, `rows` how a file becomes numbered rows, `conversations` and `preferences` how a row becomes a record.
"""
