"""Rows and images some at a time give what all of them at once give."""

import warnings

import numpy as np
import torch

from errata.editing.batches import BLOCK, at_once
from errata.editing.tensors import ROWS, joined, mean_and_covariance, tensor_of


def test_mean_and_covariance_are_numpys() -> None:
    for count in (1, 2, 100, ROWS + 5):
        rows = torch.randn(count, 3, generator=torch.Generator().manual_seed(count)) * torch.tensor([1.0, 5.0, 0.1]) + 7
        mean, covariance = mean_and_covariance(rows)
        wide = rows.numpy().astype(np.float64)
        assert np.allclose(mean.numpy(), wide.mean(axis=0), rtol=1e-12)
        expected = np.cov(wide, rowvar=False) if count > 1 else np.zeros((3, 3))
        assert np.allclose(covariance.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_parts_are_joined_without_all_of_them_being_there() -> None:
    whole = torch.arange(30.0).reshape(10, 3)
    assert torch.equal(joined(iter(whole.split(4)), 10), whole)


def test_large_images_go_through_a_network_in_smaller_batches() -> None:
    assert at_once((8, 8, 1)) == at_once((32, 32, 3)) == BLOCK
    assert at_once((224, 224, 3)) * 224 * 224 * 3 <= 2**21
    assert at_once((10_000, 10_000, 3)) == 1


def test_a_tensor_of_read_only_images_is_in_their_place_and_warns_of_nothing() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = tensor_of(images)
    assert tensor.data_ptr() == images.ctypes.data
