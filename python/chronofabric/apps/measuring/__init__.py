"""Measuring what this machine does: rounds beside a peer, the noise meanwhile, and one function for each figure.

``chronofabric bench`` and the project's own comparisons (``benchmarks/peers``) take their figures from here. Nothing of
it is imported before something is measured.
"""
