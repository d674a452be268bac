"""`python -m benchmarks`: ours and the peer in turn within one run, medians of rounds, a table and build/bench.json."""
