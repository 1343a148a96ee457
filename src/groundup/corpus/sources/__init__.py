"""Where text comes from: files, crawled sites, Python's own reference."""
