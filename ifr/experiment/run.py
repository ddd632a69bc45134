"""One run as a notebook sees it: its data, its networks, their features, and where results go."""

import ast
import inspect
import os
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from ifr.common import paths, seeding
from ifr.common.errors import UserError
from ifr.common.files import code_hash, value_hash, write_array
from ifr.common.hardware import keep_freed_memory, usable_cores
from ifr.datasets import FaceSet, rendered
from ifr.datasets.photographs import ensure_photographs
from ifr.evaluation.features import NetworkEmbedding, random_rectangles, set_features
from ifr.experiment.results import Results, note
from ifr.faces import build_identity, draw_shot, render
from ifr.interpretation import Peaks, frontal_face, network_peaks
from ifr.landmarks import CROP_OFFSET, CROP_SIZE, FACE_SIZE
from ifr.mesh import FaceMesh
from ifr.models import InterpretableFaceNet
from ifr.models.inputs import center_crop, center_crop_points
from ifr.occlusion import occlude
from ifr.profiles import Profile, Variant, get_profile, get_variant
from ifr.training import Recipe, Trained, load_half, make_fabric, stand_in, train_variants
from ifr.training.session import Session, hardware_of
from ifr.training.store import as_variant

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CODE = code_hash([paths.PACKAGE / "evaluation" / "features.py"])  # of cached features
WEIGHTS = ("trained", "reference")  # reference: kept with the committed run, nothing is trained
# "synthetic" is a random warped mask on each image; or one rectangle (x, y, width, height) for all.
Occlusion = str | Sequence[float] | None


@dataclass(kw_only=True)
class Run(Results):
    """The state behind one notebook of one run; made by :func:`start`."""

    profile: Profile
    seed: int
    progress: bool = True
    training: FaceSet | None = None  # trained on in place of the profile's own set
    fabric: "Fabric | None" = None  # launched, where several devices train
    deadline: float | None = None  # on the monotonic clock, when training stops cleanly
    weights: str = "trained"  # here, on first use; or "reference": those kept with the reference
    _rendered: dict[str, FaceSet] = field(default_factory=dict)
    networks: dict[Variant, Trained] = field(default_factory=dict)  # asked for so far

    def launch(self, devices: int | None = None) -> None:
        """Start a process for each device, to share every batch; as many as torchrun's if None."""
        self.fabric = make_fabric(self.profile.optimisation.precision, devices=devices)
        self.fabric.launch()
        if self.fabric.world_size > 1:
            with self.fabric.rank_zero_first():
                self.data("train")  # the first makes it while the others wait

    @cached_property
    def sets(self) -> dict[str, FaceSet]:
        """All sets of the profile: procedural faces, rendered on first use, or photographs."""
        plan = self.profile.photographs
        if plan is None:
            return {name: self.data(name) for name in self._specs}
        return ensure_photographs(plan, paths.real_faces(), paths.data(), progress=self.progress)

    @cached_property
    def _specs(self) -> dict[str, rendered.SetSpec]:
        plan = self.profile.faces
        return {} if plan is None else {spec.name: spec for spec in rendered.plan_sets(plan)}

    @property
    def protocol_seed(self) -> int:
        """The seed of every draw of the tests, the same whatever training's is."""
        return self.profile.protocol_seed

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of every set of the profile; procedural faces are not rendered for it."""
        if self._specs:
            return {name: rendered.fingerprint(spec) for name, spec in self._specs.items()}
        return {name: faces.fingerprint for name, faces in self.sets.items()}

    def data(self, name: str) -> FaceSet:
        """Return one set, such as ``train`` or ``lfw``; other procedural ones are not rendered."""
        if name == "train" and self.training is not None:
            return self.training
        known = self._specs or self.sets
        if name not in known:
            raise UserError(f"unknown data set {name!r}: choose one of {', '.join(known)}")
        if self._specs and name not in self._rendered:
            spec, progress = self._specs[name], self.progress
            folder = rendered.set_folder(spec, paths.data())
            self._rendered[name] = rendered.render_set(spec, folder, progress=progress)
        return self._rendered[name] if self._specs else self.sets[name]

    @cached_property
    def crop_mesh(self) -> FaceMesh:
        """The frontal mesh in the frame of the 96-pixel crop, where all statistics are given."""
        return FaceMesh.frontal(CROP_SIZE)

    @cached_property
    def mean_face(self) -> np.ndarray:
        """The median of plain faces on the mesh's frontal one, (96, 96, 3) uint8: Figures 5, 7."""
        seeds, shot = range(rendered.TRAINING, rendered.TRAINING + 24), rendered.CLOSED_SHOT - 1
        plain = dict(yaw=0.0, plain=True) | rendered.STUDIO
        faces = [render(build_identity(seed), draw_shot(seed, shot, **plain)) for seed in seeds]
        frontal = [frontal_face(face.image, face.landmarks) for face in faces]
        return np.median(frontal, axis=0).round().astype(np.uint8)

    @property
    def size(self) -> int:
        """Width and height of the network input in pixels."""
        return self.profile.network.input_size

    def trained(self, variant: str | Variant) -> Trained:
        """Train or load one variant, by its name or itself, saying which happened."""
        variant = as_variant(variant)
        if variant not in self.networks:
            if self.weights == "reference":
                self._keep(variant, load_half(variant.name, self.profile.name, self.seed))
            elif kept := stand_in(variant, self.profile, self.data("train"), self.seed):
                self._keep(variant, kept)
            else:
                hardware = None if self.fabric is None else hardware_of(self.fabric)
                recipe = Recipe(variant, self.profile, self.data("train"), self.seed, hardware)
                session = Session(self.fabric, self.progress, self.deadline)
                self._keep(variant, recipe.follow(session))
        return self.networks[variant]

    def train_together(self, variants: Sequence[str | Variant]) -> None:
        """Train or load several variants: side by side, unless several devices train each."""
        chosen = [as_variant(variant) for variant in variants]
        waiting = [variant for variant in chosen if variant not in self.networks]
        if self.weights == "trained" and (self.fabric is None or self.fabric.world_size == 1):
            what = self.profile, self.data("train")
            kept = {variant: stand_in(variant, *what, self.seed) for variant in waiting}
            for variant, network in kept.items():
                if network is not None:
                    self._keep(variant, network)
            waiting = [variant for variant in waiting if kept[variant] is None]
            session = Session(progress=self.progress, deadline=self.deadline)
            trained = train_variants(waiting, *what, seed=self.seed, session=session)
            for variant in waiting:
                self._keep(variant, trained[variant.name])
        for variant in chosen:
            self.trained(variant)

    def _keep(self, variant: Variant, network: Trained) -> None:
        """Keep a network, say where it comes from, and note it in the journal."""
        how = f"kept with the reference run ({network.key})"
        if not network.key.startswith("reference-"):
            how = "loaded" if network.loaded else "trained"
            on = self.data("train").name
            how += f" ({network.key}, trained on {on} in {network.seconds:.0f} s)"
        elif network.data != self.fingerprints["train"]:
            how += ", trained on other faces than this version's"
        if self.fabric is None or self.fabric.is_global_zero:
            print(f"{variant.name}: {how}", flush=True)
        note(network=variant.name, key=network.key, seconds=network.seconds)
        self.networks[variant] = network

    def available_variants(self, variants: Sequence[str]) -> list[str]:
        """Return those of some variants that this run has: trains, or finds kept."""
        if self.weights == "trained":
            return [name for name in variants if name in self.profile.variants]
        folder = paths.reference_weights(self.profile.name)
        return [name for name in variants if (folder / f"{name}.safetensors").exists()]

    def require(self, variant: str) -> None:
        """Refuse a variant that is not trained yet on this run's data, naming what is there."""
        none, key = np.empty((0, FACE_SIZE, FACE_SIZE, 3), np.uint8), self.fingerprints["train"]
        named = FaceSet("train", none, np.empty(0, np.int64), None, fingerprint=key)  # not rendered
        data = self.training or named
        Recipe(as_variant(variant), self.profile, data, self.seed).require()

    def model(self, variant: str | Variant) -> InterpretableFaceNet:
        """Return the network of a variant in evaluation mode."""
        return self.trained(variant).model

    @contextmanager
    def on_device(self, variant: str | Variant) -> Iterator[InterpretableFaceNet]:
        """Lend the network of a variant to the GPU, if there is one."""
        model = self.model(variant)
        try:
            yield model.to("cuda" if torch.cuda.is_available() else "cpu")
        finally:
            model.cpu()

    def images(self, faces: FaceSet) -> torch.Tensor:
        """Return the centre crop of faces as network input, (N, 3, S, S) in [-1, 1]."""
        return center_crop(faces.images, self.size)

    def points(self, faces: FaceSet) -> torch.Tensor:
        """Return landmarks in the frame of the network input, (N, 68, 2)."""
        if faces.landmarks is None:
            raise UserError(f"set {faces.name!r} has no landmarks")
        return center_crop_points(faces.landmarks, self.size)

    def crop_landmarks(self, faces: FaceSet) -> np.ndarray:
        """Return landmarks in the frame of the 96-pixel centre crop, (N, 68, 2)."""
        return np.asarray(faces.landmarks, dtype=np.float64) - CROP_OFFSET

    def occluded_images(
        self, faces: FaceSet, rectangle: Sequence[float] | np.ndarray | None = None
    ) -> torch.Tensor:
        """Return network input with a warped black mask: a rectangle for all, else one each."""
        seed = self.protocol_seed
        boxes = random_rectangles(len(faces), seed) if rectangle is None else rectangle
        return occlude(self.images(faces), self.points(faces), boxes, mesh=self.crop_mesh)[0]

    def features(
        self,
        variant: str | Variant,
        faces: FaceSet | str,
        *,
        occlusion: Occlusion = None,
        rows: np.ndarray | None = None,
        method: str = "forward",
    ) -> np.ndarray:
        """Return pooled features, (N, K) float32, cached by network, data and occlusion.

        Of all or some ``rows``; the others are NaN. The method is of the network: f(I), or
        ``mean_response`` for the mean of ψ without LMF.
        """
        faces = self.data(faces) if isinstance(faces, str) else faces
        trained = self.trained(variant)
        seed = self.protocol_seed
        rows = np.arange(len(faces)) if rows is None else rows
        what = [CODE, trained.key, faces.fingerprint, occlusion, seed, method, rows.tolist()]
        key = value_hash(what)[:16]
        path = trained.folder / "features" / f"{key}.npy"
        # A set made in memory, or a part of one, has nothing before the colon: no cache for it.
        known = bool(faces.fingerprint.partition(":")[0])
        if known and path.exists():
            return np.load(path)
        boxes = random_rectangles(len(faces), seed) if occlusion == "synthetic" else occlusion
        with self.on_device(variant) as network:
            embedding = NetworkEmbedding(trained.key, self.size, network, method)
            found = set_features(embedding, faces, rows=rows, rectangles=boxes)
        values = np.full((len(faces), found.shape[1]), np.nan, np.float32)
        values[rows] = found
        if known:
            write_array(path, values)
        return values

    def responses(
        self, variant: str | Variant, images: torch.Tensor, *, filtered: bool = True
    ) -> torch.Tensor:
        """Return response maps (N, K, h, w) of network input: after LMF, or ψ itself."""
        with self.on_device(variant) as model, torch.no_grad():  # it may be trained first
            compute = model.lmf_response if filtered else model.response
            parts = (compute(part.to(model.filters.device)) for part in images.split(128))
            return torch.cat([part.float().cpu() for part in parts])


def start(
    name: str, *, profile: str, seed: int = 0, weights: str = "trained", limit: float | None = None
) -> Run:
    """Begin a notebook, such as ``"06_ablations"``; after ``limit`` minutes training stops."""
    chosen = get_profile(profile)
    if type(seed) is not int or seed < 0:  # True is an int
        raise UserError(f"seed must be an integer >= 0, got {seed!r}")
    if weights not in WEIGHTS:
        raise UserError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    torch.set_num_threads(usable_cores())
    keep_freed_memory()
    kind = profile if weights == "trained" else f"{profile}-reference-weights"
    folder = paths.require_writable(paths.results(kind, seed))
    where = f"results/{kind}/{folder.name}/"
    print(f"profile {profile}, seed {seed}; notebooks write to {where}", flush=True)
    run = Run(name=name, folder=folder, profile=chosen, seed=seed, weights=weights)
    run.progress = os.environ.get("IFR_PROGRESS", "1") != "0"
    run.deadline = None if limit is None else time.monotonic() + 60 * limit
    run.head()
    return run


def clean_faces(run: Run, count: int | None = None, name: str = "templates") -> FaceSet:
    """Return random sharp faces, no occluder: the profile's ``analysis_images`` or ``count``."""
    faces = run.data(name)
    occluders = faces.attributes.get("occluder", np.full(len(faces), "none"))
    sharp = faces.attributes.get("sharp", np.ones(len(faces), bool))
    clean = np.flatnonzero((np.asarray(occluders) == "none") & sharp)
    count = min(count or run.profile.analysis_images, len(clean))
    rng = seeding.stream(run.protocol_seed, "analysis/faces")
    chosen = rng.choice(clean, count, replace=False)
    return faces[np.sort(chosen)]


def filter_peaks(run: Run, variant: str, faces: FaceSet) -> Peaks:
    """Return the peaks of a trained variant's filters on faces."""
    with run.on_device(variant) as model:
        return network_peaks(model, faces, size=run.size)


def show_source(*functions: Callable | type) -> None:
    """Show the library's own source, as code, in the notebook; of a docstring the first line."""
    from IPython.display import Code, display

    for function in functions:
        source = textwrap.dedent(inspect.getsource(function))
        display(Code(_with_short_docstrings(source), language="python"))


def _with_short_docstrings(source: str) -> str:
    lines, hidden = source.splitlines(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            first, last = node.body[0].lineno, node.body[0].end_lineno or 0
            if last > first:
                lines[first - 1] += '"""'
                hidden |= set(range(first, last))
    return "\n".join(line for index, line in enumerate(lines) if index not in hidden)


def variant_titles(names: Sequence[str]) -> dict[str, str]:
    """Return the readable title of each variant."""
    return {name: get_variant(name).title for name in names}
