"""ResNet-50 of ArcFace and torchvision's networks under the same losses."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ifr.common.errors import UserError
from ifr.models import InterpretableFaceNet, IResNet50, TorchvisionBackbone, build_model, make_head
from ifr.profiles import get_variant
from ifr.training import loss_parts


def norm_of(name, count):
    return {
        f"{name}.{part}": (count,) for part in ("weight", "bias", "running_mean", "running_var")
    } | {f"{name}.num_batches_tracked": ()}


def arcface_shapes():
    """Every tensor of arcface_torch's iresnet50, from its published structure."""
    shapes = {"conv1.weight": (64, 3, 3, 3), "prelu.weight": (64,)} | norm_of("bn1", 64)
    before = 64
    for stage, (blocks, width) in enumerate(zip((3, 4, 14, 3), (64, 128, 256, 512), strict=True)):
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            shapes |= norm_of(f"{at}.bn1", before) | norm_of(f"{at}.bn2", width)
            shapes |= norm_of(f"{at}.bn3", width) | {f"{at}.prelu.weight": (width,)}
            shapes[f"{at}.conv1.weight"] = (width, before, 3, 3)
            shapes[f"{at}.conv2.weight"] = (width, width, 3, 3)
            if block == 0:
                shapes[f"{at}.downsample.0.weight"] = (width, before, 1, 1)
                shapes |= norm_of(f"{at}.downsample.1", width)
            before = width
    shapes |= norm_of("bn2", 512) | norm_of("features", 512)
    return shapes | {"fc.weight": (512, 512 * 7 * 7), "fc.bias": (512,)}


@pytest.fixture(scope="module")
def published():
    """A state dict with the names and shapes of a published backbone.pth, randomly filled."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in arcface_shapes().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(5)
        elif name.endswith(("running_var",)) or (name.endswith("weight") and len(shape) == 1):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            fan = max(1, torch.Size(shape[1:]).numel())
            state[name] = torch.randn(shape, generator=generator) / fan**0.5
    return state


def test_names_and_shapes_are_those_of_arcface(published):
    network = IResNet50(embedding_layers=True)
    own = {
        k: tuple(v.shape)
        for k, v in network.state_dict().items()
        if not k.startswith("hypercolumn.")
    }
    assert own == arcface_shapes()
    count = sum(p.numel() for k, p in network.named_parameters() if not k.startswith("hyperc"))
    assert round(count / 1e6, 2) == 43.59  # as published for iresnet50


def test_a_published_file_loads_and_gives_arcfaces_feature(published, tmp_path):
    torch.save(published, tmp_path / "backbone.pth")
    network = IResNet50(embedding_layers=True).eval()
    network.load_backbone(tmp_path / "backbone.pth")
    images = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1)) * 2 - 1

    def norm(x, name):
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(published[f"{name}.{part}"] for part in parts), eps=1e-5)

    def conv(x, name, stride=1):
        weight = published[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)

    x = F.prelu(norm(conv(images, "conv1"), "bn1"), published["prelu.weight"])
    for stage, blocks in enumerate((3, 4, 14, 3)):
        for block in range(blocks):
            at, stride = f"layer{stage + 1}.{block}", 2 if block == 0 else 1
            y = F.prelu(
                norm(conv(norm(x, f"{at}.bn1"), f"{at}.conv1"), f"{at}.bn2"),
                published[f"{at}.prelu.weight"],
            )
            y = norm(conv(y, f"{at}.conv2", stride), f"{at}.bn3")
            if block == 0:
                x = norm(conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            x = x + y
    flat = norm(x, "bn2").flatten(1)
    expected = norm(F.linear(flat, published["fc.weight"], published["fc.bias"]), "features")
    with torch.no_grad():
        found = network.embedding(images)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert not network.features.weight.requires_grad


def test_the_trunk_loads_without_the_head_and_psi_stays(published):
    torch.manual_seed(3)
    network = IResNet50(num_filters=8, part_channels=4)
    before = network.filters.clone()
    network.load_backbone(published)
    assert torch.equal(network.layer3[7].conv2.weight, published["layer3.7.conv2.weight"])
    assert torch.equal(network.filters, before) and not hasattr(network, "fc")
    with pytest.raises(ValueError, match="this network has no embedding"):
        network.embedding(torch.zeros(1, 3, 112, 112))


def test_other_weights_are_refused_by_name(published, tmp_path):
    network = IResNet50(num_filters=8, part_channels=4)
    first = network.conv1.weight.clone()
    lacking = {k: v for k, v in published.items() if k != "layer2.1.bn3.bias"}
    with pytest.raises(ValueError, match=r"layer2\.1\.bn3\.bias \(128,\) is missing"):
        network.load_backbone(lacking)
    # The head is checked although this network has none.
    wrong = published | {"fc.weight": torch.zeros(256, 25088)}
    with pytest.raises(ValueError, match=r"fc\.weight is \(256, 25088\) there and \(512, 25088\)"):
        network.load_backbone(wrong)
    with pytest.raises(ValueError, match=r"layer3\.14\.bn1\.bias is unknown here"):
        network.load_backbone(published | {"layer3.14.bn1.bias": torch.zeros(256)})
    assert torch.equal(network.conv1.weight, first)
    with pytest.raises(UserError, match=r"backbone\.pth is not there"):
        network.load_backbone(tmp_path / "backbone.pth")
    torch.save({"a": print}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth: no file of tensors alone"):
        network.load_backbone(tmp_path / "evil.pth")


def test_response_maps_of_resnet_50():
    network = IResNet50().eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 112, 112)).shape == (1, 512, 28, 28)
    assert network.filters.shape == (512, 576, 3, 3)
    with pytest.raises(ValueError, match="multiples of 16"):
        network(torch.zeros(1, 3, 100, 100))
    with pytest.raises(ValueError, match="takes 112 x 112 images"):
        IResNet50(num_filters=2, part_channels=2, embedding_layers=True).embedding(
            torch.zeros(1, 3, 96, 96)
        )


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", None),
        ("mobilenet_v3_small", ("features.1", "features.3", "features.8")),
        ("vgg11", ("features.5", "features.10", "features.15")),
    ],
)
def test_any_torchvision_network_by_three_layers(name, layers):
    backbone = TorchvisionBackbone(name, layers, num_filters=12, part_channels=6).eval()
    with torch.no_grad():
        response = backbone(torch.rand(2, 3, 96, 96))
        finest = backbone.trunk(torch.rand(1, 3, 96, 96))[backbone.layers[0]]
    assert response.shape == (2, 12, *finest.shape[2:]) and (response < 0).any()
    assert backbone.filters.shape == (12, 18, 3, 3)


def test_wrong_networks_and_layers_are_refused():
    with pytest.raises(ValueError, match=r"torchvision has no network 'resnet19'; did you mean"):
        TorchvisionBackbone("resnet19")
    with pytest.raises(ValueError, match=r"resnet18 has no layer 'layer9'; did you mean one of"):
        TorchvisionBackbone("resnet18", ("layer1", "layer2", "layer9"))
    with pytest.raises(ValueError, match="name three layers of mobilenet_v3_small, finest first"):
        TorchvisionBackbone("mobilenet_v3_small")
    with pytest.raises(ValueError, match="must be named finest first"):
        TorchvisionBackbone("resnet18", ("layer3", "layer2", "layer1"))
    with pytest.raises(ValueError, match=r"must give maps \(N, C, h, w\)"):
        TorchvisionBackbone("resnet18", ("layer1", "layer2", "flatten"))
    with pytest.raises(ValueError, match="unknown backbone 'vgg'"):
        build_model(backbone="vgg")
    with pytest.raises(ValueError, match=r"has one width, 1; got 0\.5"):
        build_model(backbone="iresnet50", width=0.5)
    with pytest.raises(ValueError, match="leave layers out"):
        build_model(layers=("a", "b", "c"))


@pytest.mark.parametrize(
    "backbone",
    [
        lambda: IResNet50(num_filters=16, part_channels=8),
        lambda: TorchvisionBackbone("resnet18", num_filters=16, part_channels=8),
    ],
)
def test_the_losses_reach_every_backbone(backbone):
    torch.manual_seed(0)
    model = InterpretableFaceNet(backbone(), make_head("softmax", 16, 3), rate=0.9).train()
    images, labels = torch.rand(4, 3, 48, 48) * 2 - 1, torch.tensor([0, 2])
    parts, _ = loss_parts(model, images, labels, get_variant("full"))
    assert set(parts) == {"id", "id occluded", "filters", "response", "features"}
    sum(parts.values()).backward()
    assert all(torch.isfinite(value) for value in parts.values())
    trunk = [p for n, p in model.backbone.named_parameters() if n.split(".")[0] != "hypercolumn"]
    grads = [p.grad for p in [*trunk, model.filters] if p.grad is not None]
    assert len(grads) > 20 and all(g.abs().sum() > 0 for g in (grads[0], model.filters.grad))


def test_a_few_steps_lower_the_full_loss_on_a_torchvision_network():
    torch.manual_seed(0)
    model = build_model(backbone="torchvision/resnet18", num_filters=16, rate=0.9, num_classes=2)
    clean = torch.randn(8, 3, 48, 48)
    labels = torch.arange(8) % 2
    clean[labels == 1, 0] += 1.5
    images = torch.cat([clean, clean * (torch.rand(8, 1, 48, 48) > 0.1)])
    optimiser = torch.optim.AdamW(model.train().parameters(), lr=2e-3)
    totals = []
    for _ in range(12):
        parts, _ = loss_parts(model, images, labels, get_variant("full"))
        optimiser.zero_grad()
        sum(parts.values()).backward()
        optimiser.step()
        totals.append(sum(value.item() for value in parts.values()))
    assert totals[-1] < 0.8 * totals[0]


def test_a_trained_trunk_is_taken_over():
    one, two = (
        InterpretableFaceNet(TorchvisionBackbone("resnet18", num_filters=4, part_channels=4))
        for _ in range(2)
    )
    psi = two.filters.clone()
    two.load_extractor(one.state_dict())
    weights = "trunk.layer2.1.conv1.weight"
    assert torch.equal(two.backbone.state_dict()[weights], one.backbone.state_dict()[weights])
    assert torch.equal(two.filters, psi) and not torch.equal(two.filters, one.filters)
    assert isinstance(two.backbone, nn.Module)
