"""CASIA-Net against Table 1, LMF against a plain loop, and the face network."""

import numpy as np
import pytest
import torch

from ifr.models import (
    EXTRACTOR,
    CasiaNet,
    NetworkSettings,
    build_model,
    l2_normalize_channels,
    large_magnitude_filter,
    load_weights,
)

# Table 1, output sizes (height, width, channels) with K = 320.
TABLE_1 = {
    "conv11": (96, 96, 32),
    "conv12": (96, 96, 64),
    "conv21": (48, 48, 64),
    "conv22": (48, 48, 64),
    "conv23": (48, 48, 128),
    "conv31": (24, 24, 128),
    "conv32": (24, 24, 96),
    "conv33": (24, 24, 192),
    "conv41": (12, 12, 192),
    "conv42": (12, 12, 128),
    "conv43": (12, 12, 256),
    "conv51": (6, 6, 256),
    "conv52": (6, 6, 160),
    "conv53": (6, 6, 320),
    "conv43-U": (24, 24, 256),
    "conv44": (24, 24, 192),
    "conv53-U": (24, 24, 320),
    "conv54": (24, 24, 192),
    "Φ": (24, 24, 576),
    "Ψ": (24, 24, 320),
    "AvgPool": (1, 1, 320),
}


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def tiny(**changes):
    torch.manual_seed(0)
    return build_model(**(dict(num_filters=16, width=0.125, num_classes=5) | changes))


def filter_oracle(response: torch.Tensor, keep: int) -> torch.Tensor:
    """LMF map by map: Python's sort is stable, so equal magnitudes stay in order of position."""
    out = torch.zeros_like(response)
    for n, k in np.ndindex(*response.shape[:2]):
        values = response[n, k].flatten().tolist()
        order = sorted(range(len(values)), key=lambda p: -abs(values[p]))
        for place in order[:keep]:
            out[n, k].view(-1)[place] = values[place]
    return out


# Large magnitude filtering, Sec. 3.1


@pytest.mark.parametrize(
    ("side", "rate", "keep"),
    [(24, 0, 576), (24, 0.75, 144), (24, 0.875, 72), (24, 0.9583, 24)]
    + [(12, 0, 144), (12, 0.75, 36), (12, 0.875, 18), (12, 0.9583, 6)],
)
def test_lmf_keeps_exactly_the_count_of_the_paper(side, rate, keep):
    response = draw(2, 3, side, side)
    kept = large_magnitude_filter(response, rate)
    assert ((kept != 0).sum(dim=(2, 3)) == keep).all()
    assert torch.equal(kept, filter_oracle(response, keep))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_lmf_breaks_ties_by_position(dtype):
    rng = np.random.default_rng(3)
    # Few distinct magnitudes, both signs and both zeros: ties everywhere.
    response = torch.from_numpy(rng.integers(-2, 3, (3, 5, 8, 8))).to(dtype) * -1.0
    for keep in (1, 7, 30, 63):
        kept = large_magnitude_filter(response, 1 - keep / 64)
        assert torch.equal(kept, filter_oracle(response, keep))
    constant = large_magnitude_filter(torch.ones(1, 1, 4, 4, dtype=dtype), 0.75)
    assert constant.flatten().tolist() == [1] * 4 + [0] * 12


def test_lmf_is_the_same_in_every_memory_layout_and_for_infinities():
    response = draw(2, 4, 6, 6)
    response[0, 0, 3, 3] = -torch.inf
    kept = large_magnitude_filter(response, 0.9)
    assert torch.equal(kept, filter_oracle(response, 4))
    last = response.to(memory_format=torch.channels_last)
    assert torch.equal(large_magnitude_filter(last, 0.9), kept)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_lmf_counts_a_nan_as_the_largest_and_sets_what_it_does_not_keep_to_0(dtype):
    response = draw(1, 1, 8, 8).to(dtype)
    response[0, 0, 2, 1] = torch.nan
    kept = large_magnitude_filter(response, 1 - 4 / 64)
    assert kept[0, 0, 2, 1].isnan() and kept.isnan().sum() == 1 and (kept != 0).sum() == 4
    response[0, 0, 5:7], response[0, 0, 7] = torch.inf, -torch.nan  # 16 infinities, 9 NaN
    for keep, nan, infinite in ((4, 4, 0), (16, 9, 7)):
        leaf = response.clone().requires_grad_()
        kept = large_magnitude_filter(leaf, 1 - keep / 64)
        kept.backward(torch.ones_like(kept))
        assert kept.isnan().sum() == nan and kept.isinf().sum() == infinite
        assert (kept != 0).sum() == keep and leaf.grad.sum() == keep


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", [10, 12, 100])
def test_lmf_searches_maps_of_any_size(side, dtype):
    """Those whose groups of four are searched, those too small for it, and those sorted whole."""
    response = draw(1, 2, side, side).to(dtype)
    for keep in (1, side * side // 8, side * side // 2):
        kept = large_magnitude_filter(response, 1 - keep / side**2)
        assert torch.equal(kept, filter_oracle(response, keep))


def test_lmf_passes_gradient_only_through_what_is_kept():
    response = draw(2, 3, 6, 6).requires_grad_()
    kept = large_magnitude_filter(response, 0.8)
    weight = draw(2, 3, 6, 6, seed=1)
    (kept * weight).sum().backward()
    assert torch.equal(response.grad, torch.where(kept != 0, weight, 0))
    value = draw(1, 2, 4, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: large_magnitude_filter(x, 0.75), value)


def test_lmf_of_a_batch_equals_the_loop_and_leaves_its_input_alone():
    response = draw(3, 2, 6, 6)
    before = response.clone()
    loop = torch.cat([large_magnitude_filter(image[None], 0.7) for image in response])
    assert torch.equal(large_magnitude_filter(response, 0.7), loop)
    assert torch.equal(response, before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: large_magnitude_filter([1.0]), TypeError, "list"),
        (lambda: large_magnitude_filter(torch.ones(1, 1, 2, 2).int()), TypeError, "int32"),
        (lambda: large_magnitude_filter(draw(2, 3, 4)), ValueError, r"got shape \(2, 3, 4\)"),
        (lambda: large_magnitude_filter(draw(1, 1, 4, 4), 95.83), ValueError, "rate=0.9583"),
        (lambda: large_magnitude_filter(draw(1, 1, 4, 4), -0.1), ValueError, "got -0.1"),
        (lambda: large_magnitude_filter(draw(1, 1, 4, 4), 1.0), ValueError, "got 1.0"),
        (lambda: large_magnitude_filter(draw(1, 1, 3, 3), 0.9583), ValueError, "at most 0.8889"),
    ],
)
def test_lmf_errors_say_what_was_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


# CASIA-Net, Table 1


@pytest.mark.parametrize("table_order", [False, True])
def test_layers_have_the_sizes_of_table_1(table_order):
    assert CasiaNet(table_order=table_order).layer_shapes(96) == TABLE_1


def test_a_reduced_network_halves_every_size():
    shapes = CasiaNet(160, width=0.5).layer_shapes(48)
    halved = {name: tuple(max(1, n // 2) for n in size) for name, size in TABLE_1.items()}
    assert shapes == halved


@pytest.mark.parametrize("training", [True, False])
def test_convolving_before_upsampling_is_the_order_of_the_table(training):
    torch.manual_seed(0)
    fast = CasiaNet(12, width=0.125).double()
    table = CasiaNet(12, width=0.125, table_order=True).double()
    load_weights(table, fast.state_dict())
    images = draw(2, 3, 48, 48, dtype=torch.float64)
    one, two = fast.train(training)(images), table.train(training)(images)
    assert torch.allclose(one, two, atol=1e-9)
    load_weights(table, fast.state_dict())  # running statistics agree too


def test_responses_are_signed_and_hypercolumn_parts_have_length_one():
    model = tiny()
    images = draw(2, 3, 48, 48)
    response = model.response(images)
    assert response.shape == (2, 16, 12, 12) and (response < 0).any() and (response > 0).any()
    for part in model.backbone.hypercolumn(images).split(24, dim=1):
        assert torch.allclose(part.norm(dim=1), torch.ones(2, 12, 12), atol=1e-5)
    assert model.backbone.parts(images)[0].norm(dim=1).std() > 1e-3


def test_a_zero_column_stays_zero_with_a_finite_gradient():
    maps = torch.zeros(1, 4, 2, 2, requires_grad=True)
    unit = l2_normalize_channels(maps)
    unit.sum().backward()
    assert (unit == 0).all() and torch.isfinite(maps.grad).all()


def test_batch_norm_and_new_weights_follow_the_released_code():
    model = build_model(num_filters=64, width=0.25, num_classes=20)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 13 + 2 + 1  # every convolution but conv53
    assert {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.1)}
    named = {n.removeprefix("backbone."): p for n, p in model.named_parameters() if p.ndim > 1}
    new = [p.detach().flatten() for n, p in named.items() if n.split(".")[0] not in EXTRACTOR]
    assert len(new) == 4  # conv44, conv54, Ψ and the classifier
    assert torch.cat(new).abs().max() <= 0.04
    # A normal cut at two standard deviations keeps 0.8796 of its spread.
    assert torch.cat(new).std().item() == pytest.approx(0.02 * 0.8796, rel=0.01)
    assert not model.backbone.conv53.activation and not model.backbone.psi.activation


@pytest.mark.parametrize("size", [24, 40, 48])
def test_any_multiple_of_8_goes_in(size):
    assert tiny(rate=0.5).features(draw(1, 3, size, size)).shape == (1, 16)


@pytest.mark.parametrize("shape", [(1, 3, 50, 48), (1, 1, 48, 48), (3, 48, 48)])
def test_images_of_another_shape(shape):
    with pytest.raises(ValueError, match="multiples of 8"):
        tiny().response(draw(*shape))


def test_channels_last_and_bf16_give_nearly_the_same():
    model = tiny().eval()
    images = draw(2, 3, 48, 48)
    plain = model.response(images)
    last = model.to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
    assert torch.allclose(last.response(images), plain, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        response, features = last.response(images), last.features(images)
    assert response.dtype == torch.bfloat16 and features.dtype == torch.float32
    assert (response - plain).abs().mean() < 0.1 * plain.abs().mean()


def test_the_same_seed_gives_the_same_network():
    torch.manual_seed(7)
    first = build_model(num_filters=16, width=0.125, num_classes=5).state_dict()
    torch.manual_seed(7)
    again = build_model(num_filters=16, width=0.125, num_classes=5).state_dict()
    torch.manual_seed(8)
    other = build_model(num_filters=16, width=0.125, num_classes=5).state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name, tensor in first.items() if tensor.ndim > 1]
    assert len(drawn) == len(EXTRACTOR) + 4  # conv44, conv54, Ψ and the classifier
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_a_record_kept_with_weights_builds_its_network():
    record = dict(backbone="casianet", layers=None, num_filters=16, width=0.125, rate=0.9)
    record |= dict(num_classes=5, head="cosface", margin=0.2, head_scale=16.0, dropout=0.1)
    model = build_model(**record, feature_scale=2.0)
    assert isinstance(model.backbone, CasiaNet) and model.filters.shape[0] == 16
    assert (model.rate, model.feature_scale, model.dropout.p) == (0.9, 2.0, 0.1)
    head = model.classifier
    assert (head.kind, head.margin, head.scale, len(head.weight)) == ("cosface", 0.2, 16.0, 5)
    assert build_model(NetworkSettings(**record)).rate == 0.9


# The face network


def test_features_are_the_mean_of_the_filtered_responses():
    model, images = tiny(rate=0.9).eval(), draw(3, 3, 48, 48)
    response = model.response(images)
    expected = filter_oracle(response.detach(), 14).mean(dim=(2, 3))
    pooled, filtered = model.features_and_response(images)
    for features in (model(images), model.features(images), model.pool_lmf(response), pooled):
        assert torch.allclose(features, expected, atol=1e-6)
    assert torch.equal(filtered, model.lmf_response(images))
    assert torch.equal(filtered, filter_oracle(response.detach(), 14))
    assert torch.allclose(tiny(rate=0).pool_lmf(response), response.mean(dim=(2, 3)), atol=1e-6)


def test_dropout_acts_before_the_classifier_in_training_only():
    model, features = tiny(), torch.ones(1, 16)
    assert torch.equal(model.eval().classify(features), model.classifier(features))
    torch.manual_seed(1)
    assert not torch.equal(model.train().classify(features), model.classifier(features))


def test_the_feature_scale_acts_before_the_classifier_and_not_on_the_feature():
    plain, scaled = tiny().eval(), tiny(feature_scale=4.0).eval()
    images, features = draw(1, 3, 48, 48), draw(2, 16)
    assert torch.allclose(scaled.classify(features), plain.classify(4 * features))
    assert torch.equal(scaled(images), plain(images))


def test_a_network_without_classifier():
    model = tiny(num_classes=None)
    assert model(draw(1, 3, 48, 48)).shape == (1, 16)
    with pytest.raises(ValueError, match="num_classes"):
        model.classify(torch.ones(1, 16))


@pytest.mark.parametrize("rate", [1.0, -0.5, 95.83])
def test_a_rate_outside_its_range_fails_when_building(rate):
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\)"):
        tiny(rate=rate)


def test_the_extractor_alone_is_taken_over():
    source, target = tiny(), tiny(num_classes=9)
    with torch.no_grad():
        for tensor in source.state_dict().values():
            tensor.add_(1)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    target.load_extractor(source.state_dict())
    for name, tensor in target.state_dict().items():
        is_extractor = name.removeprefix("backbone.").split(".")[0] in EXTRACTOR
        expected = source.state_dict()[name] if is_extractor else before[name]
        assert torch.equal(tensor, expected), name
    target.load_extractor(source.backbone.state_dict())  # a bare CASIA-Net's names serve as well
    with pytest.raises(ValueError, match=r"conv11\.conv\.weight is \(8, 3, 3, 3\) there"):
        target.load_extractor(tiny(width=0.25).state_dict())


def test_weights_of_another_architecture_name_the_tensors():
    model = tiny()
    before = model.backbone.conv11.conv.weight.clone()
    state = tiny(num_filters=8).state_dict()
    with pytest.raises(ValueError, match=r"old\.safetensors: .*conv53\.conv\.weight is \(8, 20"):
        load_weights(model, state, source="old.safetensors")
    del state["backbone.conv11.conv.weight"]
    with pytest.raises(ValueError, match=r"conv11\.conv\.weight \(4, 3, 3, 3\) is missing"):
        load_weights(model, state)
    with pytest.raises(ValueError, match="extra is unknown here"):
        load_weights(model, model.state_dict() | {"extra": torch.ones(1)})
    assert torch.equal(model.backbone.conv11.conv.weight, before)


@pytest.mark.parametrize("wrong", [dict(num_filters=0), dict(width=0)])
def test_a_network_of_no_size(wrong):
    with pytest.raises(ValueError, match="num_filters must be at least 1"):
        tiny(**wrong)
