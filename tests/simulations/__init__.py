"""Data, traffic and histories whose truth is known: tests decide on them, and benchmarks measure on them."""
