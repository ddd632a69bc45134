import pytest
import torch
from benchmark_training import PARTS, drawn_faces, matrix_peak, training_cost

from ifr.profiles import get_profile


def test_the_cost_of_training_names_speed_shares_peak_and_memory():
    cost = training_cost(get_profile("smoke"), batch=4, identities=30, repeats=2, accelerator="cpu")
    assert cost.images == 8 and cost.classes == 30 and cost.seconds > 0
    assert tuple(cost.shares) == PARTS and sum(cost.shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in cost.shares.values())
    assert cost.memory > 1e8 and 0 < cost.flops / cost.seconds < cost.peak
    for word in (
        "images/s",
        "4 pairs, 30 identities",
        "x one with identity losses",
        "TFLOP/s",
        "warp",
        "peak memory",
    ):
        assert word in str(cost)


def test_the_operations_counted_grow_with_the_batch_and_the_classes():
    few = training_cost(get_profile("smoke"), batch=4, identities=30, repeats=1, accelerator="cpu")
    more = training_cost(get_profile("smoke"), batch=8, identities=30, repeats=1, accelerator="cpu")
    assert more.flops == pytest.approx(2 * few.flops, rel=0.02)
    wide = training_cost(
        get_profile("smoke"), batch=4, identities=10_030, repeats=1, accelerator="cpu"
    )
    # Forward, gradient of the weights and of the features: 3 products of 2 NKC operations.
    assert wide.flops - few.flops == pytest.approx(3 * 2 * 8 * 32 * 10_000, rel=0.02)


def test_drawn_faces_have_every_label_there_is_room_for():
    faces = drawn_faces(6, 4)
    assert faces.identity.max() == 3 and faces.images.shape == (6, 112, 112, 3)
    assert drawn_faces(6, 100).identity.max() == 99


def test_the_peak_is_positive():
    assert matrix_peak(torch.device("cpu"), torch.float32) > 1e8
