"""Documents to tokens: tokenizer, shards, packed batches."""
