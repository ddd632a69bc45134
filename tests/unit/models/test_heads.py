"""Classifier heads: ArcFace and CosFace against their formulas, softmax as it was."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ifr.models import build_model, make_head

MARGINS = {"arcface": 0.5, "cosface": 0.35}


def oracle(features, weight, labels, kind, margin, scale):
    """The logits face by face and class by class, in float64."""
    result = np.empty((len(features), len(weight)))
    for n, face in enumerate(features):
        for c, row in enumerate(weight):
            cosine = face @ row / (np.linalg.norm(face) * np.linalg.norm(row))
            if c == labels[n] and kind == "cosface":
                cosine -= margin
            elif c == labels[n]:
                theta = math.acos(cosine)
                if theta < math.pi - margin:
                    cosine = math.cos(theta + margin)
                else:  # beyond it cos(θ + m) would rise again: a straight line instead
                    cosine -= margin * math.sin(margin)
            result[n, c] = scale * cosine
    return result


@pytest.mark.parametrize("kind", MARGINS)
@pytest.mark.parametrize("margin", [None, 0.2])
def test_a_margin_head_is_the_formula(kind, margin):
    torch.manual_seed(0)
    head = make_head(kind, 6, 5, margin=margin, scale=16.0).double()
    features, labels = torch.randn(40, 6, dtype=torch.float64), torch.arange(40) % 5
    with torch.no_grad():
        features[0] = -head.weight[0]  # θ = π: beyond π - m
    margin = MARGINS[kind] if margin is None else margin
    expected = oracle(
        features.numpy(), head.weight.detach().numpy(), labels.numpy(), kind, margin, 16.0
    )
    assert np.allclose(head(features, labels).detach().numpy(), expected)
    plain = oracle(features.numpy(), head.weight.detach().numpy(), [-1] * 40, kind, margin, 16.0)
    assert np.allclose(head(features).detach().numpy(), plain)  # no labels: no margin


@pytest.mark.parametrize("kind", MARGINS)
def test_the_margin_makes_the_own_class_harder_and_the_gradient_stays_finite(kind):
    torch.manual_seed(1)
    head = make_head(kind, 8, 4)
    features = torch.cat([torch.randn(6, 8), head.weight[:1].detach(), torch.zeros(1, 8)])
    features.requires_grad_()
    labels = torch.zeros(8, dtype=torch.long)
    with_margin, without = head(features, labels), head(features)
    assert (with_margin[:, 0] < without[:, 0]).all()
    assert torch.equal(with_margin[:, 1:], without[:, 1:])
    F.cross_entropy(with_margin, labels).backward()
    assert torch.isfinite(features.grad).all() and torch.isfinite(head.weight.grad).all()


@pytest.mark.parametrize("kind", MARGINS)
@pytest.mark.parametrize("length", [0.0, 1e-20, 1e-9])
def test_a_row_of_zeros_leaves_the_gradient_of_a_margin_head_as_it_is(kind, length):
    torch.manual_seed(2)
    head, labels = make_head(kind, 8, 4), torch.arange(5) % 4
    features = torch.randn(5, 8)
    features[0] *= length
    head.weight.data[1] *= length
    features.requires_grad_()
    logits = head(features, labels)
    assert torch.equal(head(features)[0], torch.zeros(4))
    F.cross_entropy(logits, labels).backward()
    assert torch.equal(features.grad[0], torch.zeros(8)) and features.grad[1:].abs().max() < 100
    assert torch.equal(head.weight.grad[1], torch.zeros(8)) and head.weight.grad.abs().max() < 1e4


def test_a_margin_head_computes_in_fp32_under_autocast():
    head, features = make_head("arcface", 8, 4), torch.randn(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(features.bfloat16(), torch.arange(3))
    assert found.dtype == torch.float32


def test_the_softmax_head_is_a_linear_layer_and_takes_no_notice_of_labels():
    model = build_model(width=0.125, num_filters=16, num_classes=5).eval()
    features, head = torch.randn(3, 16), model.classifier
    linear = F.linear(features, head.weight, head.bias)
    assert torch.equal(model.classify(features, torch.arange(3)), linear)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(kind="sphereface"), "unknown head 'sphereface': choose one of softmax, arcface"),
        (dict(kind="softmax", margin=0.5), "softmax has no margin"),
        (dict(kind="arcface", margin=-0.1), "margin"),
        (dict(kind="cosface", scale=0.0), "scale"),
    ],
)
def test_wrong_heads_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_head(features=8, classes=4, **options)


def test_a_network_with_a_margin_head_classifies_with_and_without_labels():
    torch.manual_seed(0)
    model = build_model(width=0.125, num_filters=16, num_classes=5, head="cosface", head_scale=8.0)
    features, labels = torch.randn(4, 16), torch.arange(4)
    harder, plain = model.eval().classify(features, labels), model.classify(features)
    rows = torch.arange(4)
    assert torch.allclose(plain[rows, labels] - harder[rows, labels], torch.tensor(8 * 0.35))
    factors = torch.full((4, 16), 2.0)  # a factor changes no cosine
    assert torch.allclose(model.classify(features, dropout_mask=factors), plain, atol=1e-5)
