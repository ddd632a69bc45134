"""The losses against hand-computed values and slow, plain, float64 loops."""

import itertools
import math

import numpy as np
import pytest
import torch

from ifr.losses import (
    feature_activation_diversity,
    feature_selection_mask,
    filter_diversity,
    gaussian_matrix,
    masked_identity_loss,
    response_cosines,
    response_diversity,
)

FORMS = ("paper", "released")


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    length = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / length if length else 0.0


def filter_oracle(weight: np.ndarray, form: str) -> float:
    """Eq. 1 as loops over filters and places."""
    count, _, height, width = weight.shape
    places = list(itertools.product(range(height), range(width)))
    if form == "paper":
        return sum(
            abs(sum(cosine(weight[i, :, y, x], weight[j, :, y, x]) for y, x in places))
            for i, j in itertools.permutations(range(count), 2)
        )
    pairs = list(itertools.combinations(places, 2))
    return (
        sum(
            sum(cosine(f[:, a, b], f[:, c, d]) ** 2 for (a, b), (c, d) in pairs) / len(pairs)
            for f in weight
        )
        / count
    )


def smooth_oracle(image: np.ndarray, sigma: float, size: int) -> np.ndarray:
    """Zero-padded Gaussian smoothing of one map, pixel by pixel."""
    if sigma == 0:
        return image
    half, out = size // 2, np.zeros_like(image)
    offsets = range(-half, half + 1)
    weight = {(a, b): math.exp(-(a * a + b * b) / (2 * sigma**2)) for a in offsets for b in offsets}
    for y, x in itertools.product(*map(range, image.shape)):
        for (a, b), w in weight.items():
            if 0 <= y + a < image.shape[0] and 0 <= x + b < image.shape[1]:
                out[y, x] += w * image[y + a, x + b]
    return out / sum(weight.values())


def response_oracle(response: np.ndarray, sigma: float, form: str, size: int) -> float:
    """Eq. 2 as loops over images and pairs of maps."""
    total, count = 0.0, response.shape[1]
    for maps in response:
        smooth = [smooth_oracle(m, sigma, size) for m in maps]
        pairs = itertools.permutations(range(count), 2)
        total += sum(cosine(smooth[i], smooth[j]) ** 2 for i, j in pairs)
    total /= len(response)
    return total if form == "paper" else total / (count * (count - 1))


# Filter loss, Eq. 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(4, 5, 3, 3), (3, 2, 1, 2), (1, 3, 2, 2)])
def test_filter_loss_equals_the_oracle(shape, form):
    weight = draw(*shape)
    assert filter_diversity(weight, form).item() == pytest.approx(
        filter_oracle(weight.numpy(), form)
    )


def test_filter_loss_by_hand():
    # Two filters of 2 channels at 1×2 places: columns (1,0),(0,1) and (2,0),(0,-3). The cosines at
    # the two places are 1 and -1: their sum is 0. Within each filter the columns are orthogonal.
    weight = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]], [[[2.0, 0.0]], [[0.0, -3.0]]]])
    assert filter_diversity(weight) == 0
    assert filter_diversity(weight, "released") == 0
    # Equal filters: |1 + 1| for each of the two ordered pairs.
    assert filter_diversity(weight[[0, 0]]) == pytest.approx(4)
    # All columns alike: cosine 1 everywhere, so every released pair is 1; paper 9 * K(K-1).
    ones = torch.ones(4, 5, 3, 3)
    assert filter_diversity(ones, "released") == pytest.approx(1)
    assert filter_diversity(ones) == pytest.approx(9 * 4 * 3)


@pytest.mark.parametrize("form", FORMS)
def test_filter_loss_ignores_the_length_of_columns(form):
    weight = draw(4, 5, 3, 3)
    scale = draw(4, 1, 3, 3, seed=1).abs() + 0.1
    assert torch.allclose(filter_diversity(weight * scale, form), filter_diversity(weight, form))


def test_the_released_filter_form_never_compares_two_filters():
    weight = draw(2, 5, 3, 3)
    alone = [filter_diversity(weight[[i]], "released") for i in (0, 1)]
    assert filter_diversity(weight, "released") == pytest.approx(float(sum(alone)) / 2)
    assert filter_diversity(weight[[0, 0]], "released") == pytest.approx(alone[0].item())


def test_orthogonal_filters_cost_nothing_in_the_paper_form():
    weight = torch.eye(6)[:, :, None, None].expand(6, 6, 3, 3)
    assert filter_diversity(weight) == 0


# Response loss, Eq. 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("sigma", "size"), [(0, 3), (1.5, 3), (1.5, 9), (0.7, 5)])
def test_response_loss_equals_the_oracle(sigma, size, form):
    response = draw(2, 4, 5, 6)
    expected = response_oracle(response.numpy(), sigma, form, size)
    for fast in (False, True):
        loss = response_diversity(response, sigma, form, kernel_size=size, fast=fast)
        assert loss.item() == pytest.approx(expected)


def test_response_loss_by_hand():
    # Without smoothing: maps e1, e1 + e2 and e3. Only the first pair meets: cos² = 1/2, twice.
    response = torch.zeros(1, 3, 1, 3)
    response[0, 0, 0, 0] = response[0, 1, 0, 0] = response[0, 1, 0, 1] = response[0, 2, 0, 2] = 1
    assert response_diversity(response, sigma=0) == pytest.approx(1)
    assert response_diversity(response, sigma=0, form="released") == pytest.approx(1 / 6)
    # Smoothing makes neighbours overlap: the loss of two adjacent peaks is no longer 0.
    apart = response[:, [0, 2]]
    assert response_diversity(apart, sigma=0) == 0
    assert response_diversity(apart) > 0.05


def test_constant_maps_are_as_alike_as_can_be():
    assert response_diversity(torch.ones(2, 5, 4, 4), form="released") == pytest.approx(1)
    assert response_diversity(torch.ones(2, 5, 4, 4)) == pytest.approx(20)


def test_response_loss_of_a_batch_is_the_mean_of_its_images():
    response = draw(3, 4, 5, 5)
    each = [response_diversity(image[None]) for image in response]
    assert torch.allclose(response_diversity(response), torch.stack(each).mean())


@pytest.mark.parametrize("form", FORMS)
def test_response_loss_ignores_sign_and_size_of_a_map(form):
    response, scale = draw(2, 4, 5, 5), torch.tensor([1e-4, -1.0, 30.0, -1e4], dtype=torch.float64)
    loss = response_diversity(response * scale[:, None, None], form=form)
    assert torch.allclose(loss, response_diversity(response, form=form))


def test_the_bands_of_the_loss_smooth_as_the_oracle():
    maps = draw(2, 3, 5, 7)
    height, width = (
        gaussian_matrix(side, 1.5, 5, maps.device, maps.dtype) for side in maps.shape[2:]
    )
    expected = np.stack([[smooth_oracle(m, 1.5, 5) for m in image] for image in maps.numpy()])
    assert torch.allclose(height @ maps @ width, torch.from_numpy(expected))


def test_a_kernel_wider_than_the_map_is_cut_at_its_border():
    response = draw(1, 3, 2, 3)
    expected = response_oracle(response.numpy(), 1.5, "paper", 9)
    assert response_diversity(response, kernel_size=9).item() == pytest.approx(expected)


# Feature loss, Eq. 4, its mask, and Eq. 5


def test_mask_by_count_takes_the_smallest_mean_differences():
    clean = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    occluded = torch.tensor([[3.0, -1.0, 0.0, 2.0], [0.0, 1.0, 5.0, -2.0]])
    # Mean |differences| are 1.5, 1, 2.5, 2; a signed mean would put the last first.
    assert feature_selection_mask(clean, occluded, keep=2).tolist() == [True, True, False, False]
    assert feature_selection_mask(clean, occluded, keep=3).tolist() == [True, True, False, True]
    by_value = feature_selection_mask(clean, occluded, threshold=1.5)
    assert by_value.tolist() == [False, True, False, False]  # strictly below t


def test_equal_differences_go_to_the_first_elements():
    clean, occluded = torch.zeros(2, 50), torch.ones(2, 50)
    mask = feature_selection_mask(clean, occluded, keep=17)
    assert mask.nonzero().flatten().tolist() == list(range(17))


@pytest.mark.parametrize("keep", [0, -1, 9])
def test_mask_of_more_features_than_there_are(keep):
    with pytest.raises(ValueError, match=r"keep must be between 1 and the 8 features"):
        feature_selection_mask(draw(2, 8), draw(2, 8, seed=1), keep=keep)


def test_feature_loss_by_hand_and_reductions():
    clean = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    occluded = torch.tensor([[0.5, 2.0, -3.0], [1.0, -1.0, 9.0]])
    mask = torch.tensor([True, True, False])
    assert feature_activation_diversity(clean, occluded, mask, reduction="none").tolist() == [
        0.5,
        2,
    ]
    assert feature_activation_diversity(clean, occluded, mask) == 1.25
    assert feature_activation_diversity(clean, occluded, mask, reduction="sum") == 2.5
    assert feature_activation_diversity(clean, clean, mask) == 0


def test_the_paper_and_the_released_feature_loss_are_one_number():
    clean, occluded = draw(5, 8), draw(5, 8, seed=1)
    mask = feature_selection_mask(clean, occluded, keep=6)
    released = (clean - occluded).abs().mean(dim=0).sort().values[:6].sum()
    assert torch.allclose(feature_activation_diversity(clean, occluded, mask), released)


def test_a_mask_of_each_pair_equals_the_loop():
    clean, occluded, mask = draw(3, 6), draw(3, 6, seed=1), draw(3, 6, seed=2) > 0
    loop = sum(
        abs(float(clean[n, i] - occluded[n, i])) for n in range(3) for i in range(6) if mask[n, i]
    )
    assert feature_activation_diversity(clean, occluded, mask).item() == pytest.approx(loop / 3)


def test_unselected_features_get_no_gradient():
    clean = draw(4, 6).requires_grad_()
    mask = feature_selection_mask(clean, draw(4, 6, seed=1), keep=4)
    assert not mask.requires_grad
    feature_activation_diversity(clean, draw(4, 6, seed=1), mask).backward()
    assert (clean.grad[:, ~mask] == 0).all() and (clean.grad[:, mask] != 0).all()


def test_masked_identity_loss_by_hand():
    features = torch.tensor([[2.0, 7.0]], requires_grad=True)
    mask = torch.tensor([True, False])
    loss = masked_identity_loss(torch.nn.Identity(), features, mask, torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))  # logits (2, 0)
    loss.backward()
    assert features.grad[0, 1] == 0


# What holds for all


def losses_of(dtype: torch.dtype = torch.float64):
    """Each loss as a function of one tensor, with an input of the dtype."""
    other, mask, labels = (
        draw(3, 6, seed=5, dtype=dtype),
        draw(6, seed=6) > -1,
        torch.tensor([0, 2, 1]),
    )
    matrix = draw(4, 6, seed=7, dtype=dtype)
    inputs = {
        "filter": draw(3, 4, 3, 3, dtype=dtype),
        "response": draw(2, 3, 4, 4, dtype=dtype),
        "features": draw(3, 6, dtype=dtype),
        "identity": draw(3, 6, dtype=dtype),
    }
    for form in FORMS:
        yield inputs["filter"], lambda x, f=form: filter_diversity(x, f)
        yield inputs["response"], lambda x, f=form: response_diversity(x, form=f)
    yield inputs["features"], lambda x: feature_activation_diversity(x, other, mask)
    yield (
        inputs["identity"],
        lambda x: masked_identity_loss(lambda f: f @ matrix.T, x, mask, labels),
    )


@pytest.mark.parametrize("case", range(6))
def test_gradients(case):
    value, loss = list(losses_of())[case]
    assert torch.autograd.gradcheck(loss, value.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_give_fp32(dtype):
    for value, loss in itertools.islice(losses_of(dtype), 5):  # Eq. 5 runs the caller's classifier
        with torch.autocast("cpu", torch.bfloat16):
            result = loss(value)
        assert result.dtype == torch.float32
        assert torch.allclose(result, loss(value.float()), rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dead", ["one", "all", "tiny"])
def test_zero_filters_and_maps_have_finite_values_and_gradients(form, dead):
    for shape, loss in (((4, 5, 3, 3), filter_diversity), ((2, 4, 5, 5), response_diversity)):
        value = draw(*shape, dtype=torch.float32)
        which = slice(None) if dead == "all" else (slice(None), 1) if len(shape) == 4 else 0
        value[which] = 0 if dead != "tiny" else 1e-20
        if loss is filter_diversity:
            value[0] = 0  # a whole filter
        value.requires_grad_()
        result = loss(value, form=form)
        result.backward()
        assert torch.isfinite(result) and torch.isfinite(value.grad).all()
        if dead == "all":
            assert result == 0 and (value.grad == 0).all()
        elif loss is response_diversity:
            assert (value.grad[:, 1] == 0).all()


def test_a_loss_first_called_in_inference_mode_still_trains():
    gaussian_matrix.cache_clear()
    with torch.inference_mode():
        response_diversity(draw(1, 2, 6, 6))
    value = draw(1, 2, 6, 6).requires_grad_()
    response_diversity(value).backward()
    assert torch.isfinite(value.grad).all()


def test_memory_layout_does_not_matter():
    response, weight = draw(2, 4, 5, 5), draw(4, 5, 3, 3)
    for value, loss in ((response, response_diversity), (weight, filter_diversity)):
        assert torch.allclose(loss(value.to(memory_format=torch.channels_last)), loss(value))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: filter_diversity([1.0]), TypeError, "weight must be a floating tensor"),
        (lambda: filter_diversity(torch.ones(2, 2, 3, 3).int()), TypeError, "int32"),
        (lambda: filter_diversity(draw(2, 3)), ValueError, r"\(K, C, kh, kw\), got shape \(2, 3\)"),
        (lambda: filter_diversity(draw(2, 3, 3, 3), "papers"), ValueError, "'papers'"),
        (lambda: filter_diversity(draw(2, 3, 1, 1), "released"), ValueError, "1×1 filters"),
        (lambda: response_diversity(np.ones((1, 2, 3, 3))), TypeError, "ndarray"),
        (lambda: response_diversity(draw(2, 3, 4)), ValueError, r"got shape \(2, 3, 4\)"),
        (lambda: response_diversity(draw(1, 1, 4, 4)), ValueError, "K >= 2"),
        (lambda: response_diversity(draw(0, 3, 4, 4)), ValueError, "N >= 1"),
        (lambda: response_diversity(draw(1, 2, 4, 4), -1), ValueError, "sigma > 0"),
        (lambda: response_diversity(draw(1, 2, 4, 4), kernel_size=4), ValueError, "odd"),
        (lambda: response_diversity(draw(1, 2, 4, 4), form="x"), ValueError, "'x'"),
        (lambda: feature_selection_mask(draw(2, 3), draw(2, 4)), ValueError, r"\(2, 4\)"),
        (lambda: feature_selection_mask(draw(3), draw(3)), ValueError, r"clean must be \(N, K\)"),
        (
            lambda: feature_activation_diversity(draw(2, 3), draw(2, 3), torch.ones(3)),
            TypeError,
            "mask must be a bool tensor",
        ),
        (
            lambda: feature_activation_diversity(draw(2, 3), draw(2, 3), torch.ones(2).bool()),
            ValueError,
            r"got shape \(2,\)",
        ),
        (
            lambda: feature_activation_diversity(
                draw(2, 3), draw(2, 3), torch.ones(3).bool(), reduction="max"
            ),
            ValueError,
            "'max'",
        ),
    ],
)
def test_errors_say_what_was_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_written_by_hand_is_that_of_autograd(form):
    maps = draw(2, 4, 6, 5)
    maps[0, 1] = 0  # a map without a response
    maps.requires_grad_()
    fast = response_diversity(maps, form=form, fast=True)
    plain = response_diversity(maps, form=form, fast=False)
    assert fast.item() == pytest.approx(plain.item(), rel=1e-12)
    gradients = [torch.autograd.grad(value, maps)[0] for value in (fast, plain)]
    assert torch.allclose(*gradients, rtol=0, atol=1e-12) and gradients[0].abs().max() > 1e-3
    squares = response_cosines(maps).square().sum(dim=(1, 2)) - torch.tensor([3, 4])
    expected = squares.mean() / (1 if form == "paper" else 4 * 3)
    assert plain.item() == pytest.approx(expected.item())
    small = draw(1, 3, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: response_diversity(x, form=form, fast=False), small)
