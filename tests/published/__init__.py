"""Samples of the published tables, run as the benchmarks run them whole."""
