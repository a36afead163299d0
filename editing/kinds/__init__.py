"""Kinds: failures that many corrections share, each with a detector, and a change of the network where that fires.

sight       what detectors of kinds of image look at: statistics of early stages, whitened by control images
concepts    what detectors of kinds of concept look at: features, as slots do
grouping    corrections gathered into groups, and a detector for each
batch_norm  a kind's own batch-norm statistics
tail        the layers that a kind tunes
find        all of it: the kinds of given corrections, and a model with kinds
graft       the tails of kinds in an ONNX graph
"""
