"""What training minimises, against plain formulas in float64 written from the paper.

The oracle takes nothing but the response maps ψ(I) and the weights of a tiny network. The weights
and the released forms are those of the authors' code; see "What the authors' released code does".
"""

import math
from dataclasses import replace
from itertools import combinations, permutations

import pytest
import torch
from torch import Tensor, nn

from ifr.models import InterpretableFaceNet, make_head
from ifr.profiles import MAIN, VARIANTS, Variant
from ifr.training import TrainingStep, loss_parts

FACES, FILTERS, CLASSES, SIDE = 3, 16, 4, 6
KEPT_FEATURES = 13  # 260 of 320
KEPT_RESPONSES = {0.0: SIDE * SIDE, 0.9583: 2}  # of 36, by the rate of LMF
DROPOUT = 0.4  # the released keep probability is 0.6
SCALE = 3.0  # the project's factor on the feature before the classifier
FORMS = ("paper", "released")
# The released weights; that of the response counts on each branch.
WEIGHTS = {"id": 2.0, "id occluded": 2.0, "filters": 100.0, "response": 1.0, "features": 0.1}
FIELDS = {name: name for name in WEIGHTS} | {"id": "identity", "id occluded": "identity_occluded"}
TERMS = {
    "base": {"id"},
    "augmented": {"id", "id occluded"},
    "sad": {"id", "filters", "response"},
    "fad": {"id", "id occluded", "features"},
    "full": {"id", "id occluded", "features", "filters", "response"},
}


class TinyBackbone(nn.Module):
    """Two convolutions; the second stands for Ψ."""

    def __init__(self) -> None:
        super().__init__()
        self.num_filters, self.extractor = FILTERS, ("first",)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.psi = nn.Conv2d(4, FILTERS, 3, padding=1)

    @property
    def filters(self) -> Tensor:
        return self.psi.weight

    def forward(self, images: Tensor) -> Tensor:
        return self.psi(torch.tanh(self.first(images)))


def length(vector: Tensor) -> Tensor:
    return (vector * vector).sum().sqrt()


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (length(a) * length(b))


def filtered(response: Tensor, keep: int) -> Tensor:
    """LMF, Sec. 3.1: of each map all but the ``keep`` largest magnitudes become 0."""
    out = torch.zeros_like(response)
    for n, k in ((n, k) for n in range(len(response)) for k in range(FILTERS)):
        by_size = sorted(
            ((y, x) for y in range(SIDE) for x in range(SIDE)),
            key=lambda at: -abs(response[n, k, at[0], at[1]].item()),
        )
        for y, x in by_size[:keep]:
            out[n, k, y, x] = response[n, k, y, x]
    return out


def smoothed(image: Tensor) -> Tensor:
    """g_σ * ψ: a 3×3 kernel that sums to 1, with zeros around the map; σ = 1.5 of 24 cells."""
    sigma = 1.5 * SIDE / 24
    taps = {
        (dy, dx): math.exp(-(dy * dy + dx * dx) / (2 * sigma**2))
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    padded = torch.zeros(SIDE + 2, SIDE + 2, dtype=image.dtype)
    padded[1:-1, 1:-1] = image
    out = torch.zeros_like(image)
    for (dy, dx), weight in taps.items():
        out = out + weight * padded[1 + dy : 1 + dy + SIDE, 1 + dx : 1 + dx + SIDE]
    return out / sum(taps.values())


def filter_loss(weight: Tensor, form: str) -> Tensor:
    """Eq. 1: filters against one another; released: the 9 places inside each filter."""
    places = [(y, x) for y in range(3) for x in range(3)]
    if form == "paper":
        return torch.stack(
            [
                torch.stack([cosine(weight[i, :, y, x], weight[j, :, y, x]) for y, x in places])
                .sum()
                .abs()
                for i, j in permutations(range(FILTERS), 2)
            ]
        ).sum()
    pairs = list(combinations(places, 2))
    assert len(pairs) == 36
    return torch.stack(
        [cosine(one[:, a, b], one[:, c, d]) ** 2 for one in weight for (a, b), (c, d) in pairs]
    ).mean()


def response_loss(response: Tensor, form: str) -> Tensor:
    """Eq. 2 on one branch: over ordered pairs of maps; released: the mean over pairs."""
    images = []
    for maps in response:
        smooth = [smoothed(one) for one in maps]
        pairs = combinations(range(FILTERS), 2)
        squares = torch.stack([cosine(smooth[i], smooth[j]) ** 2 for i, j in pairs])
        images.append(2 * squares.sum() if form == "paper" else squares.mean())
    return torch.stack(images).mean()


def identity_loss(model: InterpretableFaceNet, features: Tensor, labels: Tensor) -> Tensor:
    """Eq. 3 and 5: -log of the softmax probability of the identity, batch mean."""
    weight, bias, losses = model.classifier.weight, model.classifier.bias, []
    for f, c in zip(features, labels.tolist(), strict=True):
        scores = [(weight[k] * f).sum() + bias[k] for k in range(CLASSES)]
        losses.append(-torch.log(scores[c].exp() / torch.stack(scores).exp().sum()))
    return torch.stack(losses).mean()


def selected(clean: Tensor, occluded: Tensor) -> Tensor:
    """τ, Sec. 3.2: the elements whose mean difference over the batch is smallest."""
    differences = [(clean[:, k] - occluded[:, k]).abs().mean().item() for k in range(FILTERS)]
    order = sorted(range(FILTERS), key=lambda k: differences[k])
    return torch.tensor([float(k in order[:KEPT_FEATURES]) for k in range(FILTERS)]).double()


def oracle(
    model: InterpretableFaceNet,
    images: Tensor,
    labels: Tensor,
    variant: Variant,
    dropout_mask: Tensor,
) -> dict[str, Tensor]:
    """Return the weighted terms of the objective."""
    response = filtered(model.backbone(images), KEPT_RESPONSES[variant.lmf_rate])
    features = response.sum(dim=(2, 3)) / (SIDE * SIDE)
    seen = SCALE * features * dropout_mask  # what the classifier sees
    parts = {"id": 2 * identity_loss(model, seen[:FACES], labels)}
    tau = torch.ones(FILTERS).double()
    if variant.feature:
        tau = selected(features[:FACES], features[FACES:])
        difference = (tau * (features[:FACES] - features[FACES:])).abs()
        parts["features"] = 0.1 * difference.sum() / FACES
    if variant.occlusion:
        parts["id occluded"] = 2 * identity_loss(model, tau * seen[FACES:], labels)
    if variant.spatial:
        forms = variant.weights
        terms = 9 * FILTERS * (FILTERS - 1) if forms.filter_form == "paper" else 1
        parts["filters"] = 100 / terms * filter_loss(model.backbone.psi.weight, forms.filter_form)
        parts["response"] = 1 * response_loss(response[:FACES], forms.response_form)
        if variant.occlusion:
            occluded = response_loss(response[FACES:], forms.response_form)
            parts["response"] = parts["response"] + 1 * occluded
    return parts


def tiny_case(variant: Variant) -> tuple[InterpretableFaceNet, Tensor, Tensor, Tensor]:
    """Return a network, images of its branches, labels and factors of dropout, in float64."""
    torch.manual_seed(3)
    rate, branches = variant.lmf_rate, 2 if variant.occlusion else 1
    backbone, head = TinyBackbone(), make_head("softmax", FILTERS, CLASSES)
    options = dict(rate=rate, dropout=DROPOUT, feature_scale=SCALE)
    model = InterpretableFaceNet(backbone, head, **options).double()
    nn.init.normal_(model.classifier.weight)
    images = torch.randn(FACES, 3, SIDE, SIDE).double()
    if branches == 2:
        images = torch.cat([images, images * (torch.rand(FACES, 1, SIDE, SIDE) > 0.2)])
    kept = torch.rand(branches * FACES, FILTERS) >= DROPOUT
    return model.train(), images, torch.tensor([2, 0, 3]), kept.double() / (1 - DROPOUT)


def with_weights(variant: Variant, **changes: float | str) -> Variant:
    return replace(variant, weights=replace(variant.weights, **changes))


@pytest.mark.parametrize("response_form", FORMS)
@pytest.mark.parametrize("filter_form", FORMS)
@pytest.mark.parametrize("name", MAIN)
def test_terms_total_and_gradient_are_the_oracles(
    name: str, filter_form: str, response_form: str
) -> None:
    forms = dict(filter_form=filter_form, response_form=response_form)
    variant = with_weights(VARIANTS[name], **forms)
    model, images, labels, mask = tiny_case(variant)
    parts, _ = loss_parts(model, images, labels, variant, dropout_mask=mask)
    expected = oracle(model, images, labels, variant, mask)
    assert parts.keys() == expected.keys() == TERMS[name]
    for part, value in parts.items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, expected[part], rtol=1e-12, atol=0, msg=part)
    weights = list(model.parameters())
    ours = torch.autograd.grad(sum(parts.values()), weights)
    theirs = torch.autograd.grad(sum(expected.values()), weights)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)
        assert b.abs().sum() > 0


@pytest.mark.parametrize("part", WEIGHTS)
def test_each_weight_scales_its_own_term_alone(part: str) -> None:
    variant = VARIANTS["full"]
    model, images, labels, mask = tiny_case(variant)
    other = with_weights(variant, **{FIELDS[part]: 7.0})
    before, after = (
        loss_parts(model, images, labels, v, dropout_mask=mask)[0] for v in (variant, other)
    )
    for name, value in before.items():
        factor = 7.0 / WEIGHTS[name] if name == part else 1.0
        torch.testing.assert_close(after[name], factor * value, rtol=1e-12, atol=0)


def test_dropout_is_drawn_where_none_is_given_and_not_in_evaluation() -> None:
    variant = VARIANTS["full"]
    model, images, labels, mask = tiny_case(variant)
    step = TrainingStep(model, variant)
    drawn = [step(images, labels)[0]["id"].item() for _ in range(2)]
    assert drawn[0] != drawn[1]
    expected = oracle(model, images, labels, variant, torch.ones_like(mask))
    assert step.eval()(images, labels)[0]["id"].item() == pytest.approx(expected["id"].item())


def test_accuracy_is_the_share_of_clean_faces_named_right() -> None:
    variant = VARIANTS["full"]
    model, images, _, mask = tiny_case(variant)
    features = SCALE * model.features(images[:FACES]) * mask[:FACES]
    named = model.classifier(features).argmax(dim=1)
    for wrong in range(FACES + 1):
        labels = named.clone()
        labels[:wrong] = (named[:wrong] + 1) % CLASSES
        _, accuracy = loss_parts(model, images, labels, variant, dropout_mask=mask)
        assert accuracy.item() == pytest.approx(1 - wrong / FACES)


@pytest.mark.parametrize("form", FORMS)
def test_tau_of_a_shared_batch_is_that_of_the_whole(form: str) -> None:
    """Two processes' terms, averaged, are those of the whole batch when τ is averaged."""
    variant = with_weights(VARIANTS["full"], response_form=form)
    model, images, labels, mask = tiny_case(variant)
    images, labels, mask = (torch.cat([one, one.flip(0)]) for one in (images, labels, mask))
    count = 2 * FACES
    clean, occluded = torch.randn(2, count, 3, SIDE, SIDE).double()
    whole, _ = loss_parts(model, torch.cat([clean, occluded]), labels, variant, dropout_mask=mask)
    features = model.features(clean), model.features(occluded)
    mean = (features[0] - features[1]).abs().mean(dim=0)
    halves = []
    for half in (slice(0, FACES), slice(FACES, count)):
        both = torch.cat([clean[half], occluded[half]])
        factors = torch.cat([mask[:count][half], mask[count:][half]])
        step = TrainingStep(model, variant, all_reduce_mean=lambda _: mean)
        halves.append(step(both, labels[half], factors)[0])
    for part, value in whole.items():
        torch.testing.assert_close((halves[0][part] + halves[1][part]) / 2, value)
