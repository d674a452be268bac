"""`python -m benchmarks.peers`: the same work by other systems, each in processes of its own, in turn with ours."""
