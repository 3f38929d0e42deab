"""Comparisons with peers: `python -m benchmarks.peers.<concern>` for one, `python -m benchmarks.peers` for all."""
