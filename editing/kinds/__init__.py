"""Kinds: failures that many corrections share, each with a detector, and a change of the network where that fires.

edits       the module that a model carries: detectors, and the tensors that each kind replaces
sight       what detectors look at: statistics of early stages, whitened by control images
grouping    corrections gathered into groups, and a detector for each
batch_norm  a kind's own batch-norm statistics
tail        the layers that a kind tunes
find        all of it: the kinds of given corrections, and a model with kinds
graft       the tails of kinds in an ONNX graph
"""
