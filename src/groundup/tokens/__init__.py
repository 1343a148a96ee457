"""From clean documents to batches: the tokenizer, the tokens on disk, packed rows."""
