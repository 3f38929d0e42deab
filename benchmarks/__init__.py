"""Benchmarks: `bench_<concern>.py` are asv suites of our own figures, `peers` puts each claim beside its peer."""
