"""One run as a notebook sees it: its data, its networks, their features, and where results go."""

import hashlib
import inspect
import json
import os
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning.fabric import Fabric
from matplotlib.figure import Figure

from ifr import figures
from ifr.common import paths, seeding
from ifr.common.hardware import usable_cores
from ifr.datasets import FaceSet
from ifr.datasets.photographs import ensure_photographs
from ifr.datasets.rendered import (
    SetSpec,
    fingerprint,
    mean_frontal_face,
    plan_sets,
    render_set,
    set_folder,
)
from ifr.evaluation import extract_features
from ifr.figures.style import SCREEN, show_picture
from ifr.landmarks import CROP_OFFSET
from ifr.mesh import FaceMesh
from ifr.models import InterpretableFaceNet
from ifr.models.inputs import centre_offset, to_network, to_network_points
from ifr.occlusion import draw_rectangle, occlude
from ifr.profiles import Profile, Variant, get_profile, get_variant
from ifr.training import Trained, load_half, make_fabric, train_or_load

WEIGHTS = ("trained", "reference")
EVIDENCE_COLUMNS = ("claim", "quantity", "value", "low", "high", "holds", "note")


@dataclass
class Run:
    """The state behind one notebook of one run; made by :func:`start`."""

    name: str
    profile: Profile
    seed: int
    folder: Path
    progress: bool = True
    training: FaceSet | None = None  # trained on in place of the profile's own set
    fabric: Fabric | None = None  # launched, where several devices train
    deadline: float | None = None  # on the monotonic clock, when training stops cleanly
    weights: str = "trained"  # here, on first use; or "reference": those kept with the reference
    began: float = field(default_factory=time.monotonic)
    _sets: dict[str, FaceSet] = field(default_factory=dict)
    _trained: dict[str, Trained] = field(default_factory=dict)
    _evidence: list[dict] = field(default_factory=list)

    def launch(self, devices: int | None = None) -> None:
        """Start a process for each device: this program again, sharing every batch in training.

        The first process makes the data sets while the others wait.

        Args:
            devices: how many; None: those that torchrun started, else one.
        """
        self.fabric = make_fabric(self.profile.optimisation.precision, devices=devices)
        self.fabric.launch()
        if self.fabric.world_size > 1:
            local = self.fabric.strategy.num_processes
            torch.set_num_threads(max(1, usable_cores() // local))
            with self.fabric.rank_zero_first():
                _ = self.sets

    @cached_property
    def sets(self) -> dict[str, FaceSet]:
        """All sets of the profile: procedural faces, rendered on first use, or photographs."""
        if self.profile.photographs is not None:
            return ensure_photographs(
                self.profile.photographs, paths.real_faces(), paths.data(), progress=self.progress
            )
        return {spec.name: self._rendered(spec) for spec in plan_sets(self.profile.faces)}

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of every set of the profile; procedural faces are not rendered for it."""
        if self.profile.faces is None:
            return {name: faces.fingerprint for name, faces in self.sets.items()}
        return {spec.name: fingerprint(spec) for spec in plan_sets(self.profile.faces)}

    def data(self, name: str) -> FaceSet:
        """Return one set: such as ``train``, ``closed``, ``templates`` or ``lfw``.

        Of procedural faces the other sets are not rendered for it.
        """
        if name == "train" and self.training is not None:
            return self.training
        if self.profile.faces is None:
            known = self.sets
        else:
            known = {spec.name: spec for spec in plan_sets(self.profile.faces)}
        if name not in known:
            raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(known)}")
        return known[name] if self.profile.faces is None else self._rendered(known[name])

    def _rendered(self, spec: SetSpec) -> FaceSet:
        if spec.name not in self._sets:
            folder = set_folder(spec, paths.data())
            self._sets[spec.name] = render_set(spec, folder, progress=self.progress)
        return self._sets[spec.name]

    @cached_property
    def mesh96(self) -> FaceMesh:
        """The frontal mesh in the frame of the 96-pixel crop, where all statistics are given."""
        return FaceMesh.frontal(112).crop(offset=CROP_OFFSET, size=96)

    @cached_property
    def mean_face(self) -> np.ndarray:
        """The mean frontal face, (96, 96, 3) uint8: the ground of Figures 5 and 7."""
        return mean_frontal_face()[CROP_OFFSET : CROP_OFFSET + 96, CROP_OFFSET : CROP_OFFSET + 96]

    @property
    def size(self) -> int:
        """Width and height of the network input in pixels."""
        return self.profile.network.input_size

    def trained(self, variant: str | Variant) -> Trained:
        """Train or load one variant, by its name or itself, saying which happened."""
        name = variant if isinstance(variant, str) else variant.name
        if name not in self._trained and self.weights == "reference":
            self._trained[name] = load_half(name, self.profile.name)
            print(f"{name}: kept with the reference run ({self._trained[name].key})")
        if name not in self._trained:
            result = train_or_load(
                variant,
                self.profile,
                self.data("train"),
                seed=self.seed,
                progress=self.progress,
                fabric=self.fabric,
                deadline=self.deadline,
            )
            done = "loaded" if result.loaded else "trained"
            if self.fabric is None or self.fabric.is_global_zero:
                print(f"{name}: {done} ({result.key}, trained in {result.seconds:.0f} s)")
            self._trained[name] = result
        return self._trained[name]

    def available_variants(self, variants: Sequence[str]) -> list[str]:
        """Return those of some variants that this run has: trains, or finds kept."""
        if self.weights == "trained":
            return [name for name in variants if name in self.profile.variants]
        folder = paths.reference_weights(self.profile.name)
        return [name for name in variants if (folder / f"{name}.safetensors").exists()]

    def model(self, variant: str) -> InterpretableFaceNet:
        """Return the network of a variant in evaluation mode."""
        return self.trained(variant).model

    def history(self, variant: str) -> pd.DataFrame:
        """Return the loss parts over the steps of training."""
        return self.trained(variant).history

    def images(self, faces: FaceSet) -> torch.Tensor:
        """Return the centre crop of faces as network input, (N, 3, S, S) in [-1, 1]."""
        stored = torch.from_numpy(np.array(faces.images))
        return to_network(stored, torch.full((len(faces), 2), centre_offset(self.size)), self.size)

    def points(self, faces: FaceSet) -> torch.Tensor:
        """Return landmarks in the frame of the network input, (N, 68, 2)."""
        offsets = torch.full((len(faces), 2), centre_offset(self.size))
        return to_network_points(torch.from_numpy(np.array(faces.landmarks)), offsets, self.size)

    def crop_landmarks(self, faces: FaceSet) -> np.ndarray:
        """Return landmarks in the frame of the 96-pixel centre crop, (N, 68, 2)."""
        return np.asarray(faces.landmarks, dtype=np.float64) - CROP_OFFSET

    def rectangles(self, count: int, kind: str = "BlaS") -> np.ndarray:
        """Return one random normalised rectangle for each test image, (count, 4)."""
        rng = seeding.stream(self.seed, f"test/rectangles/{kind}")
        return np.array([draw_rectangle(rng, self.mesh96, kind=kind) for _ in range(count)])

    def occluded_images(self, faces: FaceSet, rectangle=None) -> torch.Tensor:
        """Return network input with a warped black mask: a rectangle for all, else one each."""
        boxes = self.rectangles(len(faces)) if rectangle is None else rectangle
        return occlude(self.images(faces), self.points(faces), boxes, mesh=self.mesh96)[0]

    def features(
        self, variant: str | Variant, faces: FaceSet | str, *, occlusion: str | tuple | None = None
    ) -> np.ndarray:
        """Return pooled features of faces, cached by network, data and occlusion.

        Args:
            variant: which network, by its name or itself.
            faces: a set, or its name.
            occlusion: None; ``"synthetic"`` for a random warped mask on each image; or one
                rectangle (x, y, width, height) of the 96-pixel frontal frame for all.

        Returns:
            (N, K) float32.
        """
        faces = self.data(faces) if isinstance(faces, str) else faces
        trained = self.trained(variant)
        what = json.dumps([trained.key, faces.fingerprint, occlusion, self.seed])
        key = hashlib.sha256(what.encode()).hexdigest()[:16]
        path = trained.folder / "features" / f"{key}.npy"
        if path.exists():
            return np.load(path)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model, parts = trained.model.to(device), []
        boxes = None
        if occlusion is not None:
            synthetic = occlusion == "synthetic"
            boxes = (
                self.rectangles(len(faces)) if synthetic else np.tile(occlusion, (len(faces), 1))
            )
        for first in range(0, len(faces), 256):
            part = faces[first : first + 256]
            images = self.images(part)
            if boxes is not None:
                images = occlude(
                    images, self.points(part), boxes[first : first + 256], mesh=self.mesh96
                )[0]
            parts.append(extract_features(model, images))
        trained.model.cpu()
        values = np.concatenate(parts)
        _save_array(values, path)
        return values

    def responses(self, variant: str, images: torch.Tensor, *, filtered: bool = True):
        """Return response maps (N, K, h, w) of network input: after LMF, or ψ itself."""
        model = self.model(variant)
        with torch.no_grad():
            parts = [
                (model.lmf_response if filtered else model.response)(part)
                for part in images.split(128)
            ]
        return torch.cat(parts).float()

    def save_table(self, table: pd.DataFrame, name: str) -> None:
        """Write a table as CSV into ``tables/``."""
        path = self.folder / "tables" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        table.to_csv(temporary, index=False, float_format="%.6g")
        os.replace(temporary, path)

    def save_figure(self, figure: Figure, name: str, *, alt: str) -> None:
        """Write a figure as PNG and PDF into ``figures/`` and show it in the notebook."""
        png, _ = figures.save_figure(figure, self.folder / "figures", name, alt=alt)
        show_picture(png.read_bytes(), alt, width=min(SCREEN, int(figure.bbox.width)))

    def evidence(
        self,
        claim: str,
        *,
        quantity: str,
        value: float,
        low: float,
        high: float,
        holds: bool,
        note: str = "",
    ) -> None:
        """Record what was measured for a claim of the paper; the claims notebook collects it.

        Args:
            claim: id, such as ``"C01"``.
            quantity: what was measured, with its unit.
            value: the measured figure.
            low: lower end of its spread (a 95 % bootstrap interval unless the note says otherwise).
            high: upper end.
            holds: whether the measured figure says what the paper claims.
            note: what a reader must know to judge it.

        Raises:
            ValueError: if the value is not finite: what could not be measured is no evidence.
        """
        if not np.isfinite(value):
            raise ValueError(
                f"{claim}, {quantity}: {value} is no evidence; leave out what cannot be measured"
            )
        row = (claim, quantity, float(value), float(low), float(high), bool(holds), note)
        self._evidence = [
            old for old in self._evidence if (old["claim"], old["quantity"]) != (claim, quantity)
        ]
        self._evidence.append(dict(zip(EVIDENCE_COLUMNS, row, strict=True)))
        self.save_table(pd.DataFrame(self._evidence), f"evidence_{self.name[:2]}")


def start(
    name: str,
    *,
    profile: str,
    seed: int = 0,
    weights: str = "trained",
    max_minutes: float | None = None,
) -> Run:
    """Begin a notebook: check its parameters and say where results go.

    Args:
        name: of the notebook, such as ``"06_ablations"``.
        profile: a name in ``ifr.profiles.PROFILES``.
        seed: of every random draw of the run.
        weights: ``"trained"``: networks of this run, trained on first use; ``"reference"``: those
            kept with the committed reference run of the profile, so that nothing is trained.
        max_minutes: after which training stops cleanly, to go on another time.

    Raises:
        ValueError: for an unknown profile, a negative seed, or other weights.
        OSError: when the results folder cannot be written.
    """
    chosen = get_profile(profile)
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    torch.set_num_threads(usable_cores())
    folder = paths.require_writable(paths.results(profile))
    print(f"profile {profile}, seed {seed}; results go to results/{profile}/")
    quiet = os.environ.get("IFR_PROGRESS", "1") == "0"
    deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    return Run(name, chosen, seed, folder, progress=not quiet, deadline=deadline, weights=weights)


def show_source(*functions) -> None:
    """Show the library's own source of functions or classes, as code, in the notebook."""
    from IPython.display import Code, display

    for function in functions:
        display(Code(textwrap.dedent(inspect.getsource(function)), language="python"))


def variant_titles(names: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Return the readable title of each variant."""
    return {name: get_variant(name).title for name in names}


def _save_array(values: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with open(temporary, "wb") as file:
        np.save(file, values)
    os.replace(temporary, path)
