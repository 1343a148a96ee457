"""From a base model to an assistant.

`tune.tune` is the stage, `template.Template` how a conversation becomes tokens, `chat.chat` the terminal,
`definitions` and `reference_pages` where questions and answers come from, `conversations` their one format and their batches.
"""
