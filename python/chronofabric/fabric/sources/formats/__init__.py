"""How rows are read from files and streams, one format per module.

A reader yields `Line`s: either a row or what is wrong with it. It goes on after a broken row wherever the format allows
that, so whoever reads decides whether a broken row ends the reading.
"""
