"""Golden values: numbers and hashes of what the library computes, to compare before and after.

``python tests/golden.py record [GROUP ...]`` writes all groups, or those named, of golden.json;
``python tests/golden.py compare`` prints each value that differs from it. Names that end in "bits"
hash floats whose last bits depend on the processor: they are compared here, but not by the test.

The groups that procedural faces enter, ``rendered``, ``prepared``, ``meshes``, ``occluded``,
``interpretation``, ``first_batches`` and ``trained``, are of the second edition of the faces, and
``procedural_protocol`` is of galleries of two images compared all with all; ``trained`` is with σ
scaled to the map. The others are of the code before.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from golden_inputs import ROWS, Values, digest, faces_of, network_input, summary
from golden_scores import (
    curves,
    differences,
    interpretation,
    pair_protocols,
    procedural_protocol,
    template_protocols,
)
from PIL import Image

from ifr.common.seeding import stream
from ifr.datasets import load_set
from ifr.datasets.align import warp_face
from ifr.datasets.prepare import prepare
from ifr.datasets.readers.folder import read_folder
from ifr.datasets.readers.landmark_files import read_landmarks
from ifr.datasets.rendered import plan_sets
from ifr.evaluation.features import NetworkEmbedding
from ifr.landmarks import apply_similarity
from ifr.losses import (
    feature_activation_diversity,
    feature_selection_mask,
    filter_diversity,
    masked_identity_loss,
    response_diversity,
)
from ifr.mesh import FaceMesh
from ifr.models.layers import large_magnitude_filter
from ifr.occlusion import draw_rectangle, draw_rectangles, occlude
from ifr.profiles import PROFILES, VARIANTS, resized
from ifr.training.batches import Batcher, batch_indices
from ifr.training.loop import build_network, train
from ifr.training.session import Session, make_fabric

FILE = Path(__file__).with_suffix(".json")


def rendered() -> Values:
    """Hash the first images of the five sets of profile ``classroom``, and what goes with them."""
    found: Values = {}
    for spec in plan_sets(PROFILES["classroom"].faces):
        faces = faces_of("classroom", spec.name)
        arrays = {"images": faces.images, "landmarks": faces.landmarks, **faces.attributes}
        for key in ("images", "landmarks", "visible", "parts", "occluder_mask", "yaw"):
            found[f"{spec.name} {key}"] = digest(arrays[key])
    return found


def write_photographs(root: Path, *, aligned: bool) -> None:
    """Write eight faces as PNG files of four people, turned on a wider ground or as they are."""
    rows = np.arange(0, ROWS, 8)
    faces, names, points = faces_of("classroom", "closed")[rows], [], []
    for k, (image, landmarks) in enumerate(zip(faces.images, faces.landmarks, strict=True)):
        name = f"person {k // 2}/{k}.png"
        if not aligned:
            angle, scale = 0.1 * k - 0.3, 1.4 + 0.2 * k
            c, s = scale * np.cos(angle), scale * np.sin(angle)
            matrix = np.array([[c, -s, 60 + 5 * k], [s, c, 80 - 3 * k]])
            image, landmarks = warp_face(image, matrix, 400), apply_similarity(matrix, landmarks)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / name)
        names.append(name)
        points.append(landmarks)
    np.savez(root.with_suffix(".npz"), names=names, landmarks=np.array(points, np.float32))


def prepared() -> Values:
    """Hash small sets of photographs prepared in each way."""
    found: Values = {}
    with TemporaryDirectory() as folder:
        for method in ("five", "all", "none"):
            root = Path(folder) / f"people {method}"
            write_photographs(root, aligned=method == "none")
            reading = read_folder(root)
            given = read_landmarks(root.with_suffix(".npz"), reading.faces)
            options = dict(landmarks=given, method=method, workers=1, progress=False)
            done = prepare(reading, Path(folder) / "prepared", name=method, **options)
            faces = load_set(done.folder)
            found[f"{method} kept"] = done.kept
            found[f"{method} images"] = digest(faces.images)
            found[f"{method} landmarks"] = digest(faces.landmarks)
            found[f"{method} landmark numbers (float32)"] = summary(faces.landmarks)
    return found


def graded(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> list[float]:
    """Return a loss, and the summary of its gradient with respect to each input."""
    leaves = [one.detach().clone().requires_grad_() for one in inputs]
    value = function(*leaves)
    value.backward()
    return [value.item(), *(x for leaf in leaves for x in summary(leaf.grad))]


def spatial_losses() -> Values:
    """Return the losses of spatial diversity on random input in every form."""
    rng = np.random.default_rng(1)
    weight = torch.from_numpy(rng.normal(size=(12, 10, 3, 3)))
    maps = torch.from_numpy(rng.normal(size=(3, 8, 12, 12)))
    found: Values = {}
    for form in ("paper", "released"):
        found[f"filters {form}"] = graded(lambda w, form=form: filter_diversity(w, form), weight)
        for sigma in (0.0, 1.5):
            for kernel in (3, 9):
                options = dict(sigma=sigma, form=form, kernel_size=kernel)
                found[f"response {form} sigma {sigma} kernel {kernel}"] = graded(
                    lambda r, options=options: response_diversity(r, **options), maps
                )
    return found


def feature_losses() -> Values:
    """Return the losses of feature diversity on random input."""
    rng = np.random.default_rng(2)
    clean, twin = (torch.from_numpy(rng.normal(size=(10, 40))) for _ in range(2))
    weight = torch.from_numpy(rng.normal(size=(7, 40)))
    labels = torch.from_numpy(rng.integers(0, 7, 10))
    kept = feature_selection_mask(clean, twin, keep=26)
    found: Values = {"mask keep": digest(kept)}
    found["mask threshold"] = digest(feature_selection_mask(clean, twin, threshold=1.1))
    for way in ("mean", "sum"):
        found[f"features {way}"] = graded(
            lambda a, b, w=way: feature_activation_diversity(a, b, kept, reduction=w), clean, twin
        )
    each = feature_activation_diversity(clean, twin, kept, reduction="none")
    found["features none"] = summary(each)
    found["identity"] = graded(
        lambda f, w: masked_identity_loss(lambda x: x @ w.T, f, kept, labels), twin, weight
    )
    return found


def filtering() -> Values:
    """Return filtered maps without ties, and the pooled feature."""
    rng = np.random.default_rng(3)
    # Neighbouring bit patterns of bf16 are distinct magnitudes, from 2^-4 up.
    bits = np.stack([0x3D80 + rng.permutation(576) for _ in range(8)]).astype(np.int16)
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], (2, 4, 24, 24)))
    maps = torch.from_numpy(bits.reshape(2, 4, 24, 24)).view(torch.bfloat16) * signs.bfloat16()
    found: Values = {}
    for kind in (torch.float32, torch.bfloat16):
        for rate in (0.9583, 0.9, 0.75, 0.5):  # 0.9 leaves 57.6 of 576
            leaf = maps.clone().to(kind).requires_grad_()
            filtered = large_magnitude_filter(leaf, rate)
            (filtered * filtered.detach()).sum().backward()
            found[f"{kind} {rate} maps"] = digest(filtered)
            found[f"{kind} {rate} gradient"] = digest(leaf.grad)
            found[f"{kind} {rate} kept"] = int(filtered.count_nonzero())
    model = build_network(PROFILES["smoke"], VARIANTS["full"], 12, 0)
    found["pooled"] = graded(lambda r: model.pool_lmf(r).square().sum(), maps.double())
    found["pooled values"] = summary(model.pool_lmf(maps.double()))
    return found


def meshes() -> Values:
    """Return places in the mesh of rendered faces, and what they become on the frontal face."""
    mesh, points = FaceMesh.frontal(112), np.random.default_rng(4).uniform(-35, 147, (16, 200, 2))
    landmarks = faces_of("classroom", "templates").landmarks[:16]
    triangle, places = mesh.locate(points, landmarks)
    found: Values = {"triangle": digest(triangle), "barycentric": summary(places)}
    found["to the front"] = summary(mesh.transfer(points, landmarks, mesh.landmarks))
    found["from the front"] = summary(
        mesh.transfer(points[0], mesh.landmarks, landmarks, clip=True)
    )
    found["folded"] = digest(mesh.folded(landmarks))
    small = FaceMesh.frontal(96)
    found["points 96"], found["triangles 96"] = summary(small.points), digest(small.triangles)
    return found


def occluded() -> Values:
    """Return drawn rectangles and the faces they cover."""
    images, points = network_input(16, 96)
    found: Values = {"clean (float32)": summary(images), "points (float32)": summary(points)}
    for kind, fill in (("BlaS", "black"), ("GauD", "noise")):
        rectangle = draw_rectangle(stream(0, "golden/rectangle"), kind=kind)
        generator = torch.Generator().manual_seed(5)
        hidden, masks = occlude(images, points, rectangle, fill=fill, generator=generator)
        found[f"{kind} rectangle"], found[f"{kind} masks"] = list(rectangle), digest(masks)
        found[f"{kind} images bits"] = digest(hidden)
        found[f"{kind} images (float32)"] = summary(hidden)
        many = draw_rectangles(stream(1, "golden/rectangles"), 16, kind=kind)
        found[f"{kind} rectangles"] = summary(many)
        found[f"{kind} rectangles masks"] = digest(occlude(images, points, many)[1])
    released = draw_rectangle(stream(2, "golden/rectangle"), placement="released")
    return found | {"released rectangle": list(released)}


# Batch norm takes this bias out again: its gradient is rounding, which AdamW makes full steps of.
FREE = ("conv53.conv.bias", "conv54.norm.running_mean")


def state_values(name: str, model: torch.nn.Module) -> Values:
    """Return the hash of a network's state and the norm of each entry."""
    state = model.state_dict()
    text = "".join(f"{key} {digest(value)}\n" for key, value in state.items())
    fixed = {key: value for key, value in state.items() if not key.endswith(FREE)}
    norms = [float(value.double().norm()) for value in fixed.values()]
    bits = hashlib.sha256(text.encode()).hexdigest()
    return {f"{name} bits": bits, f"{name} weights": norms, f"{name} keys": list(fixed)}


def trained() -> Values:
    """Return weights and losses of twenty steps of training at profile ``smoke``, one thread."""
    profile = resized(PROFILES["smoke"], precision="fp32", steps=20)
    data, found, threads = faces_of("smoke", "train", 96), {}, torch.get_num_threads()
    fabric = make_fabric("fp32", accelerator="cpu")
    torch.set_num_threads(1)  # sums of several threads may be added up in another order
    try:
        for name in ("base", "full"):
            variant = VARIANTS[name]
            found |= state_values(f"{name} initial", build_network(profile, variant, 12, 0))
            model, done = train(variant, profile, data, session=Session(fabric, progress=False))
            found |= state_values(f"{name} trained", model)
            found[f"{name} losses"] = list(done.history[-1])
            found[f"{name} losses weights"] = list(done.history[-1].values())
        fresh = build_network(profile, VARIANTS["full"], 12, 0).eval()
        features = NetworkEmbedding("fresh", 48, fresh)(network_input(32, 48)[0])
        found["features bits"] = digest(features)
        found["features (float32)"] = summary(features)
    finally:
        torch.set_num_threads(threads)
    return found


def first_batches() -> Values:
    """Return the first batch of training, without and with each kind of twins."""
    data, found = faces_of("smoke", "train", 96), {}
    order = next(batch_indices(96, 16, 1, 0))
    for name in ("base", "full", "full_gaud"):
        for flip in (False, True):
            batch = Batcher(data, VARIANTS[name], 48, 0, torch.device("cpu"), flip=flip)
            images, labels = batch(order, 0)
            found[f"{name} flip {flip} bits"] = digest(images)
            found[f"{name} flip {flip} images (float32)"] = summary(images)
            found[f"{name} flip {flip} labels"] = digest(labels)
    return found


GROUPS: dict[str, Callable[[], Values]] = {
    function.__name__: function
    for function in (
        *(rendered, prepared, spatial_losses, feature_losses, filtering, meshes, occluded, curves),
        *(pair_protocols, template_protocols, procedural_protocol, interpretation, differences),
        *(first_batches, trained),
    )
}


def group_values(group: str) -> Values:
    """Compute the values of one group, with the name of the group before each."""
    return {f"{group}/{name}": value for name, value in GROUPS[group]().items()}


def main(action: str, chosen: Collection[str]) -> int:
    """Record the chosen groups, or print values that differ from the record and return 1 if any."""
    torch.set_num_threads(1)  # a sum by several threads may be added up in another order
    began, found, kept = time.perf_counter(), {}, json.loads(FILE.read_text(encoding="utf-8"))
    for group in GROUPS:
        if group in chosen:
            found |= group_values(group)
            print(f"{group}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
        else:
            found |= {name: kept[name] for name in kept if name.startswith(f"{group}/")}
    if action == "record":
        lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items())
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        return 0
    # By repr: NaN equals NaN, and floats must agree to the last bit.
    differ = [name for name in kept | found if repr(kept.get(name)) != repr(found.get(name))]
    for name in differ:
        print(f"{name}\n  old {kept.get(name)}\n  new {found.get(name)}")
    print(f"{len(differ)} of {len(kept | found)} values differ")
    return int(bool(differ))


if __name__ == "__main__":
    action, *groups = sys.argv[1:] or [""]
    if action not in ("record", "compare") or not GROUPS.keys() >= set(groups):
        sys.exit("usage: python tests/golden.py record|compare [GROUP ...]")
    sys.exit(main(action, groups or GROUPS))
