"""The ``ifr`` command."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ifr.cli import course as cli_course
from ifr.cli import data as cli_data
from ifr.common.errors import OutOfTime, Stopped, UserError

PROFILE = Annotated[
    str,
    typer.Option(
        help="Run size: smoke, classroom, full_size, full_size_brief, paper or photographs."
    ),
]
SEED = Annotated[int, typer.Option(min=0, help="Seed of every random draw.")]
MINUTES = Annotated[
    float | None, typer.Option(min=0.0, help="Stop cleanly after so many minutes (exit status 75).")
]
BENCHMARKS = ("faces", "align", "mesh", "training", "ijbc", "explorer")
TRY_AGAIN = 75  # exit status at the end of --max-minutes: the same command goes on
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Towards Interpretable Face Recognition (ICCV 2019), run, read and checked.",
)


app.add_typer(cli_data.app, name="data")
app.add_typer(cli_course.app, name="course")
app.command()(cli_data.protocol)


@app.command()
def faces(
    profile: PROFILE = "classroom",
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet (PNG) and stop.")
    ] = None,
    identities: Annotated[int, typer.Option(min=1, help="Rows of the contact sheet.")] = 8,
) -> None:
    """Render the data sets of a profile, or a contact sheet of 8 shots a person."""
    from ifr.common import paths
    from ifr.datasets.rendered import ensure_sets
    from ifr.profiles import get_profile

    plan = get_profile(profile).faces
    if plan is None:
        raise ValueError(f"profile {profile!r} is a run on photographs: it renders no faces")
    if sheet is not None:
        write_sheet(sheet, identities)
        print(f"wrote {sheet}")
        return
    for name, found in ensure_sets(plan, paths.data()).items():
        print(f"{name}: {len(found)} images of {len(set(found.identity.tolist()))} identities")


def write_sheet(path: Path, identities: int, shots: int = 8) -> None:
    """Write a contact sheet: a row of shots for each identity."""
    from PIL import Image

    from ifr.common import paths
    from ifr.faces import build_identity, contact_sheet, draw_shot, render

    if path.suffix.lower() not in (".png", ".jpg"):
        raise ValueError(f"cannot write {path}: the name must end in .png or .jpg")
    paths.require_writable(path.resolve().parent)
    people = [(seed, build_identity(seed)) for seed in range(identities)]
    images = [render(who, draw_shot(seed, k)).image for seed, who in people for k in range(shots)]
    Image.fromarray(contact_sheet(images, columns=shots)).save(path)


@app.command()
def benchmark(
    what: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(BENCHMARKS)}; default: all.")
    ] = None,
    images: Annotated[int, typer.Option(min=40, help="Faces to render and to align.")] = 2000,
    profile: PROFILE = "classroom",
    batch: Annotated[
        int | None, typer.Option(min=2, help="Pairs a training step; default: the profile's.")
    ] = None,
    identities: Annotated[int, typer.Option(min=2, help="Of the classifier in training.")] = 150,
) -> None:
    """Measure this machine: faces, alignment, the mesh, training, IJB-C's ROC, the explorer."""
    import torch
    from benchmark import alignment_speed, explorer_speed, mesh_cost
    from benchmark_training import training_cost

    from ifr.common.hardware import usable_cores
    from ifr.datasets.rendered import render_benchmark
    from ifr.evaluation import ijbc_benchmark
    from ifr.profiles import get_profile

    chosen = get_profile(profile)
    unknown = sorted(set(what or ()) - set(BENCHMARKS))
    if unknown:
        raise ValueError(
            f"nothing to measure is called {', '.join(unknown)}: choose of {', '.join(BENCHMARKS)}"
        )
    torch.set_num_threads(usable_cores())
    measure = dict(
        faces=lambda: render_benchmark(images),
        align=lambda: alignment_speed(images),
        mesh=mesh_cost,
        training=lambda: training_cost(chosen, batch=batch, identities=identities),
        ijbc=ijbc_benchmark,
        explorer=lambda: explorer_speed(profile),
    )
    for name in what or BENCHMARKS:
        print(f"{name}:", measure[name](), flush=True)


@app.command()
def train(
    variants: Annotated[
        list[str] | None, typer.Argument(help="Default: all of the profile.")
    ] = None,
    profile: PROFILE = "classroom",
    seed: SEED = 0,
    data: Annotated[
        Path | None, typer.Option(help="Train on this prepared set, not on the profile's own.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs, or processes on CPU; torchrun's, or one.")
    ] = None,
    max_minutes: MINUTES = None,
) -> None:
    """Train variants that are not trained yet; a run cut short goes on where it stopped."""
    from ifr.datasets import load_set
    from ifr.experiment.run import start
    from ifr.profiles import get_variant

    for name in variants or ():
        get_variant(name)  # refuse a wrong name before the first one is trained
    run = start("train", profile=profile, seed=seed, max_minutes=max_minutes)
    run.launch(devices)
    run.training = None if data is None else load_set(data)
    for name in variants or run.profile.variants:
        run.trained(name)


@app.command()
def sweep(
    axes: Annotated[list[str], typer.Argument(help="Such as features=0,0.1,1 or t=130,260,320.")],
    variant: Annotated[str, typer.Option(help="Whose settings are changed.")] = "full",
    seeds: Annotated[str, typer.Option(help="With commas between them.")] = "0,1,2",
    profile: PROFILE = "classroom",
    name: Annotated[str, typer.Option(help="Folder below results/PROFILE/.")] = "sweep",
    max_minutes: MINUTES = None,
) -> None:
    """Train every combination of loss weights and t with several seeds: one table."""
    from ifr.experiment import sweep as sweeps

    if not all(seed.isdecimal() for seed in seeds.split(",")):
        raise ValueError(f"--seeds must be integers >= 0 with commas between them, got {seeds!r}")
    chosen = [int(seed) for seed in dict.fromkeys(seeds.split(","))]
    table = sweeps.sweep(
        sweeps.parse_axes(axes),
        profile=profile,
        variant=variant,
        seeds=chosen,
        name=name,
        max_minutes=max_minutes,
    )
    print(sweeps.in_words(table))


@app.command()
def evaluate(
    variant: Annotated[str, typer.Argument(help="Which network.")],
    profile: PROFILE = "classroom",
    seed: SEED = 0,
) -> None:
    """Print closed-set accuracy for one variant, and the template protocol on procedural faces."""
    from ifr.experiment.run import start
    from ifr.experiment.tables import closed_set, template_table
    from ifr.profiles import get_variant

    get_variant(variant)
    run = start("evaluate", profile=profile, seed=seed)
    print(closed_set(run, [variant]).to_string(index=False))
    if run.profile.faces:
        print(template_table(run, [variant]).to_string(index=False))


@app.command()
def figures(
    notebooks: Annotated[list[str] | None, typer.Argument(help="Numbers, such as 07 08.")] = None,
    profile: PROFILE = "classroom",
    seed: SEED = 0,
    weights: Annotated[
        str, typer.Option(help="Of networks: trained, or reference: kept, nothing is trained.")
    ] = "trained",
) -> None:
    """Execute notebooks again and redraw their figures and tables."""
    from ifr.experiment.batch import execute, numbered_notebooks
    from ifr.experiment.run import start

    known = {path.name[:2]: path for path in numbered_notebooks()}
    unknown = sorted(set(notebooks or ()) - set(known))
    if unknown:
        raise ValueError(f"no notebook {', '.join(unknown)}: choose from {', '.join(known)}")
    run = start("figures", profile=profile, seed=seed, weights=weights)
    given = {} if weights == "trained" else dict(weights=weights)
    for number in notebooks or known:
        execute(known[number], run, parameters=given, force=True)
        print(f"{known[number].name}: executed")


@app.command()
def reproduce(
    profile: PROFILE = "classroom",
    seed: SEED = 0,
    force: Annotated[bool, typer.Option(help="Execute current notebooks again.")] = False,
    max_minutes: MINUTES = None,
) -> None:
    """Render or align the faces, train every variant, execute every notebook of the profile."""
    from ifr.experiment.batch import reproduce as run_all

    run_all(profile, seed=seed, force=force, max_minutes=max_minutes)


@app.command()
def verify(
    profile: PROFILE = "classroom",
    every: Annotated[bool, typer.Option("--all", help="Show what agrees, too.")] = False,
) -> None:
    """Compare a run with the committed reference, within stated tolerances."""
    from ifr.common import paths
    from ifr.experiment.verify import verify as compare

    rows = compare(paths.results(profile), paths.reference(profile))
    for row in rows:
        if every or not row.ok:
            word = "ok  " if row.ok else "FAIL"
            print(
                f"{word} {row.table} {row.column}: differs by {row.worst:.4g}, "
                f"allowed {row.allowed:.4g} {row.note}"
            )
    failed = sum(not row.ok for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} comparisons agree with the reference")
    if failed:
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Show what this machine has and which data sets and runs are in place."""
    from ifr.cli.doctor import report

    for what, found in report():
        print(f"{what + ':':28} {found}")


def main() -> None:
    """Run the command; a foreseen error is one plain line and exit status 2, not a traceback.

    Set the environment variable ``IFR_TRACEBACK=1`` to see the traceback all the same.
    """
    foreseen = () if os.environ.get("IFR_TRACEBACK") else (UserError,)
    try:
        app()
    except Stopped as stop:
        print(f"\n{stop}", file=sys.stderr)
        sys.exit(TRY_AGAIN if isinstance(stop, OutOfTime) else 130)
    except foreseen as error:
        print(f"ifr: {error}", file=sys.stderr)
        sys.exit(2)
