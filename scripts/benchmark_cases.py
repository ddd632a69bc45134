"""The cases of the benchmark: a call of ours, and the same work as one would do it without us."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from benchmark_training import Trial, drawn_faces
from skimage.transform import PiecewiseAffineTransform, SimilarityTransform, warp
from sklearn.metrics import roc_curve
from torch.utils.data import DataLoader, Dataset

from ifr.apps.explorer import Explorer
from ifr.apps.explorer_panel import PairPanel, Panel
from ifr.common.seeding import stream
from ifr.datasets import FaceSet
from ifr.datasets.align import warp_face
from ifr.evaluation import bootstrap_counts, bootstrap_templates, score_pairs, tars_at_fars
from ifr.evaluation.features import NetworkEmbedding, set_features
from ifr.evaluation.metrics import normalised
from ifr.evaluation.protocols.rendered import split_scores, template_splits
from ifr.experiment.run import start
from ifr.faces import build_identity, draw_shot, render
from ifr.interpretation.faithfulness import Probes, exact, grad_cam, rise
from ifr.landmarks import ARCFACE_TEMPLATE, CROP, CROP_SIZE, FACE_SIZE, alignment, five_points
from ifr.losses import gaussian_matrix, response_diversity
from ifr.mesh import FaceMesh
from ifr.models import large_magnitude_filter, num_kept
from ifr.profiles import Profile, Variant, get_variant, resized
from ifr.training import build_network, make_fabric

PLAIN = Variant("two branches", "identity losses alone", occlusion="BlaS")
COMPARISONS, GENUINE, TEMPLATES = 15_658_489, 19_557, 23_124  # of IJB-C, 1:1
FARS = (1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class Settings:
    """What the command line chose."""

    profile: Profile
    batch: int | None
    identities: int
    images: int


@dataclass
class Case:
    """One piece of work: ours, and by name the other ways to do it."""

    name: str
    what: str
    ours: Callable[[], object]
    others: dict[str, Callable[[], object]] = field(default_factory=dict)
    count: int = 1  # units of work in a call
    unit: str = "calls"
    turns: int = 15
    notes: Callable[[], list[str]] = list  # lines printed below the rows
    close: Callable[[], object] = list  # clears up


def lmf(settings: Settings) -> Iterator[Case]:
    """Large magnitude filtering, forward and backward, against a sort and a scatter."""
    maps = response_maps(settings.profile).requires_grad_()
    rate = get_variant("full").lmf_rate
    keep = num_kept(*maps.shape[2:], rate)

    def sorted_and_scattered() -> None:
        flat = maps.flatten(2)
        order = flat.detach().abs().sort(dim=-1, descending=True).indices[..., :keep]
        mask = torch.zeros_like(flat).scatter_(-1, order, 1.0)
        torch.autograd.grad((flat * mask).sum(), maps)

    yield Case(
        "lmf",
        f"LMF of {'x'.join(map(str, maps.shape))}",
        lambda: torch.autograd.grad(large_magnitude_filter(maps, rate).sum(), maps),
        {"sort and scatter": sorted_and_scattered},
        count=len(maps),
        unit="faces",
    )


def mesh(settings: Settings) -> Iterator[Case]:
    """Four vertices moved from the template to 64 faces."""
    template, rng = FaceMesh.frontal(CROP_SIZE), np.random.default_rng(0)
    landmarks = template.landmarks + rng.normal(0, 1, (64, 68, 2))
    spots = rng.uniform(20, 70, (4, 2))
    border = template.points[len(template.landmarks) :]

    def by_loop() -> None:
        for face in landmarks:
            target = np.concatenate([face, border])
            for spot in spots:
                for triangle in template.triangles:
                    a, b, c = template.points[triangle]
                    shares = np.linalg.solve(np.stack([a - c, b - c], axis=1), spot - c)
                    if shares.min() >= 0 and shares.sum() <= 1:
                        weights = np.array([*shares, 1 - shares.sum()])
                        weights @ target[triangle]
                        break

    def by_scikit_image() -> None:
        for face in landmarks:
            target = np.concatenate([face, border])
            PiecewiseAffineTransform.from_estimate(template.points, target)(spots)

    yield Case(
        "mesh",
        "64 faces x 4 points, template to face",
        lambda: template.transfer(spots, template.landmarks, landmarks),
        {"loop over triangles": by_loop, "scikit-image": by_scikit_image},
        count=64,
        unit="faces",
        turns=5,
    )


def response(settings: Settings) -> Iterator[Case]:
    """The response loss (Eq. 2), forward and backward, against plain einsum."""
    maps = response_maps(settings.profile).requires_grad_()
    side = maps.shape[-1]
    smoother = gaussian_matrix(side, 1.5, 3, maps.device, maps.dtype)

    def by_einsum() -> None:
        smooth = torch.einsum("ij,nkjl,lm->nkim", smoother, maps, smoother).flatten(2)
        unit = torch.nn.functional.normalize(smooth, dim=-1)
        cosines = torch.einsum("nkp,nlp->nkl", unit, unit)
        off = cosines - torch.diag_embed(cosines.diagonal(dim1=1, dim2=2))
        torch.autograd.grad(off.square().sum() / len(maps), maps)

    yield Case(
        "response",
        f"response loss of {'x'.join(map(str, maps.shape))}",
        lambda: torch.autograd.grad(response_diversity(maps), maps),
        {"einsum": by_einsum},
        count=len(maps),
        unit="faces",
    )


def alignment_case(settings: Settings) -> Iterator[Case]:
    """JPEG bytes and landmarks to an aligned face, in one process."""
    rng = np.random.default_rng(0)
    photographs = [photograph(seed, rng) for seed in range(16)]

    def ours() -> None:
        for jpeg, points in photographs:
            image = cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            warp_face(image, alignment(points))

    def by_scikit_image() -> None:
        for jpeg, points in photographs:
            image = cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            fit = SimilarityTransform.from_estimate(five_points(points), ARCFACE_TEMPLATE)
            warp(image, fit.inverse, output_shape=(FACE_SIZE, FACE_SIZE), preserve_range=True)

    yield Case(
        "alignment",
        "16 JPEGs of 250x250 decoded and aligned",
        ours,
        {"scikit-image's warp": by_scikit_image},
        count=len(photographs),
        unit="images",
    )


def photograph(seed: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a face on a larger ground as JPEG bytes, and its landmarks."""
    face = render(build_identity(seed), draw_shot(seed, 0))
    ground = rng.integers(0, 256, (250, 250, 3), dtype=np.uint8)
    ground[70 : 70 + FACE_SIZE, 70 : 70 + FACE_SIZE] = face.image
    return cv2.imencode(".jpg", ground)[1], face.landmarks + 70


def ijbc(settings: Settings) -> Iterator[Case]:
    """IJB-C's 15,658,489 comparisons of 512 numbers, scores alone and with the curve."""
    rng = np.random.default_rng(0)
    unit = normalised(rng.standard_normal((TEMPLATES, 512), dtype=np.float32))
    pairs = rng.integers(0, TEMPLATES, (COMPARISONS, 2), dtype=np.int32)
    same = np.arange(COMPARISONS) < GENUINE

    def in_chunks() -> None:
        scores = np.zeros(COMPARISONS)
        for first in range(0, COMPARISONS, 100_000):
            chunk = pairs[first : first + 100_000]
            scores[first : first + 100_000] = (unit[chunk[:, 0]] * unit[chunk[:, 1]]).sum(axis=1)

    yield Case(
        "ijbc",
        f"{COMPARISONS:,} comparisons of 512 numbers",
        lambda: score_pairs(unit, pairs),
        {"chunks of 100,000": in_chunks},
        count=COMPARISONS,
        unit="pairs",
        turns=1,
    )
    scores = score_pairs(unit, pairs)
    yield Case(
        "ijbc",
        f"TAR at {len(FARS)} FARs of {COMPARISONS:,} scores",
        lambda: tars_at_fars(scores, same, FARS),
        count=COMPARISONS,
        unit="pairs",
        turns=1,
    )


def step(settings: Settings) -> Iterator[Case]:
    """A training step of the full model against the same with the identity losses alone."""
    profile = settings.profile
    if settings.batch is not None:
        profile = resized(profile, batch=settings.batch)
    fabric = make_fabric(profile.optimisation.precision)
    fabric.launch()
    full = Trial(profile, get_variant("full"), settings.identities, fabric)
    plain = Trial(profile, PLAIN, settings.identities, fabric)
    yield Case(
        "step",
        f"step of {profile.optimisation.batch} pairs, {settings.identities} identities",
        full.step,
        {"identity losses alone": plain.step},
        count=2 * profile.optimisation.batch,
        unit="images",
        turns=10,
        notes=lambda: full.notes(),
    )


def features(settings: Settings) -> Iterator[Case]:
    """Features of a set against a plain loop with a DataLoader."""
    faces = drawn_faces(settings.images, 10)
    profile = settings.profile
    model = build_network(profile, get_variant("full"), 2, 0).eval()
    embedding = NetworkEmbedding("full", profile.network.input_size, model)

    class Plain(Dataset):
        def __len__(self) -> int:
            return len(faces)

        def __getitem__(self, index: int) -> torch.Tensor:
            image = torch.from_numpy(np.array(faces.images[index][CROP, CROP])).permute(2, 0, 1)
            image = torch.nn.functional.avg_pool2d(image.float(), CROP_SIZE // embedding.size)
            return image / 127.5 - 1

    def by_loader() -> None:
        with torch.inference_mode():
            torch.cat([model(batch) for batch in DataLoader(Plain(), batch_size=256)])

    yield Case(
        "features",
        f"features of {len(faces)} faces",
        lambda: set_features(embedding, faces),
        {"a loop with a DataLoader": by_loader},
        count=len(faces),
        unit="faces",
        turns=5,
    )


def resamples(settings: Settings) -> Iterator[Case]:
    """Template measures of people drawn anew, against a weighted curve of all pairs for each."""
    people, draws = max(12, settings.images // 20), 20
    rng, identity = stream(0, "benchmark/resamples"), np.repeat(np.arange(people), 20)
    worn = np.tile(["none"] * 12 + ["scarf"] * 8, people)
    none = np.zeros((len(identity), 1, 1, 3), np.uint8)
    faces = FaceSet("benchmark", none, identity, None, dict(occluder=worn))
    features = rng.normal(size=(people, 32))[identity] + rng.normal(size=(len(identity), 32))
    [split] = splits = template_splits(faces, splits=1, share=1.0)
    scores, same = split_scores(features, split)
    [(probes, gallery)] = split.searches
    clean = probes.subset(~probes.occluded)[0].subjects

    def by_curves() -> None:
        for drawn in bootstrap_counts(people, draws, 0):
            weights = np.outer(drawn[clean], drawn[gallery.subjects]).ravel()
            roc_curve(same, scores, sample_weight=weights)

    yield Case(
        "resamples",
        f"template measures of {people} people drawn anew",
        lambda: bootstrap_templates(features, splits, resamples=draws),
        {"scikit-learn's weighted curve": by_curves},
        count=draws,
        unit="draws",
        turns=5,
    )


def faces(settings: Settings) -> Iterator[Case]:
    """Faces rendered in one process, 40 shots a person, the person's building counted."""
    people = max(1, settings.images // 40)

    def drawn() -> None:
        for seed in range(40_000_000, 40_000_000 + people):
            identity = build_identity(seed)
            for shot in range(40):
                render(identity, draw_shot(seed, shot))

    yield Case(
        "faces",
        f"{40 * people} faces rendered in one process",
        drawn,
        count=40 * people,
        unit="faces",
        turns=2,
    )


def explorer(settings: Settings) -> Iterator[Case]:
    """Moves of the explorer: networks, drawing and packing; untrained, which changes no time."""
    run = start("benchmark", profile=settings.profile.name)
    networks = {
        get_variant(name).title: build_network(run.profile, get_variant(name), 2, 0).eval()
        for name in ("base", "full")
    }
    explorer, rng = Explorer(run, networks), stream(0, "benchmark/moves")
    moves: dict[str, Callable[[], dict[str, int]]] = dict(
        rectangle=lambda: dict(x=2 * int(rng.integers(2, 22))),
        turn=lambda: dict(yaw=5 * int(rng.integers(-12, 13))),
        face=lambda: dict(person=int(rng.integers(len(explorer.seeds)))),
    )
    panels = {"one face": Panel(explorer), "two faces": PairPanel(explorer)}
    panels["two faces"].set(person=len(explorer.seeds) - 1)  # of whom no turn is rendered yet
    for tab, panel in panels.items():
        for name, values in moves.items():
            yield Case(
                "explorer",
                f"a move of the {name}, {tab}",
                lambda panel=panel, values=values: panel.set(**values()),
                unit="moves",
                turns=40,
            )


def maps(settings: Settings) -> Iterator[Case]:
    """Exact maps of pairs' scores against one forward pass and the maps one would draw instead."""
    faces = drawn_faces(16, 2)
    model = build_network(settings.profile, get_variant("full"), 2, 0).eval()
    others = faces[np.roll(np.arange(len(faces)), -1)]
    probes = Probes.of(model, faces, others, size=settings.profile.network.input_size)

    @torch.inference_mode()
    def forward() -> None:
        probes.scores()

    yield Case(
        "maps",
        f"exact maps of {len(faces)} pairs, whose other features are known",
        lambda: exact(probes),
        {
            "one forward pass": forward,
            "Grad-CAM": lambda: grad_cam(probes),
            "RISE, 200 masks": lambda: rise(probes),
        },
        count=len(faces),
        unit="maps",
        turns=5,
    )


def response_maps(profile: Profile) -> torch.Tensor:
    """Return random response maps of a batch of a profile's network."""
    side = profile.network.input_size // 4
    generator = torch.Generator().manual_seed(0)
    shape = (2 * profile.optimisation.batch, profile.network.filters, side, side)
    return torch.randn(shape, generator=generator)


CASES: dict[str, Callable[[Settings], Iterator[Case]]] = dict(
    lmf=lmf,
    mesh=mesh,
    response=response,
    alignment=alignment_case,
    ijbc=ijbc,
    step=step,
    features=features,
    resamples=resamples,
    faces=faces,
    explorer=explorer,
    maps=maps,
)
