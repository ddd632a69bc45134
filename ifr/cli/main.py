"""The ``ifr`` command."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from ifr.cli import photographs
from ifr.common import paths
from ifr.common.errors import OutOfTime, Stopped, UserError
from ifr.profiles import PROFILES

SIZES = "Run size: " + ", ".join(PROFILES)
GPUS = "GPUs, or processes on the CPU; default: those of torchrun, else one."
KEPT = "Of networks: trained, or reference: those kept there, nothing is trained."
AXES = "Such as features=0,0.1,1 or t=130,260 or filter_form=paper,released."
STOP = "Stop cleanly after so many minutes (exit status 75)."
PROFILE = Annotated[str, Option(help=SIZES)]
TRAINED_ON = Annotated[
    Path | None, Option("--data", help="A prepared set to train on, not the profile's faces.")
]
SEED = Annotated[int, Option(min=0, help="Seed of training.")]
SEEDS = "Seeds of training, with commas between them, or all of the profile."
LIMIT = Annotated[float | None, Option(min=0.0, help=STOP)]
NUMBERS = Annotated[list[str] | None, Argument(help="Such as 07 08; default: the profile's.")]
VARIANT = Annotated[str, Argument(help="Which network.")]
WEIGHTS = Annotated[str, Option(help=KEPT)]
FORCE = Annotated[bool, Option(help="Execute current notebooks again.")]
EVERY = Annotated[bool, Option("--all", help="Show what agrees, too.")]
PASSED_ON = Annotated[list[str] | None, Argument(help="Passed on, such as -- --help.")]
TRY_AGAIN = 75  # exit status at the end of --max-minutes: the same command goes on
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Towards Interpretable Face Recognition (ICCV 2019), run, read and checked.",
)
app.add_typer(photographs.app, name="data")
app.command()(photographs.protocol)
app.command()(photographs.explain)
course = typer.Typer(no_args_is_help=True, help="Exercises that grade themselves, with nbgrader.")
app.add_typer(course, name="course")


def add_script(to: typer.Typer, name: str, script: str, words: str) -> None:
    """Add a command that runs ``scripts/SCRIPT.py`` of a checkout and ends with its exit status."""

    @to.command(name, help=words, context_settings=dict(ignore_unknown_options=True))
    def run(arguments: PASSED_ON = None) -> None:
        file = paths.SOURCE / "scripts" / f"{script}.py"
        if not file.is_file():
            raise UserError(f"{file} is not there: this command works in a checkout of the project")
        command = [sys.executable, str(file), *(arguments or ())]
        if status := subprocess.run(command, check=False).returncode:
            raise typer.Exit(status)


MEASURES = "Measure this machine: faces, alignment, the mesh, training, the explorer, and others."
BUILDS = "Make the students' release and the instructor's copy: numbers, --to FOLDER."
CHECKS = "Grade the reference, untouched and wrong solutions; takes numbers and --nbgrader."
GRADES = "Grade what students handed in: FOLDER, --to FOLDER. Writes grades and feedback."
add_script(app, "benchmark", "benchmark", MEASURES)
add_script(course, "build", "course", BUILDS)
add_script(course, "check", "check_course", CHECKS)
add_script(course, "grade", "grade_course", GRADES)


@app.command()
def faces(
    profile: PROFILE = "classroom",
    sheet: Annotated[Path | None, Option(help="Write a contact sheet (PNG) and stop.")] = None,
    identities: Annotated[int, Option(min=1, help="Rows of the contact sheet.")] = 8,
) -> None:
    """Render the data sets of a profile, or a contact sheet of 8 shots a person."""
    from ifr.datasets.rendered import ensure_sets
    from ifr.profiles import get_profile

    plan = get_profile(profile).faces
    if plan is None:
        raise UserError(f"profile {profile!r} is a run on photographs: it renders no faces")
    if sheet is not None:
        return write_sheet(sheet, identities)
    for name, people in ensure_sets(plan, paths.data()).items():
        print(f"{name}: {len(people)} images of {len(set(people.identity.tolist()))} identities")


def write_sheet(path: Path, identities: int, shots: int = 8) -> None:
    """Write a contact sheet: a row of shots for each identity."""
    from PIL import Image

    from ifr.common.files import written_whole
    from ifr.faces import build_identity, contact_sheet, draw_shot, render

    if path.suffix.lower() not in (".png", ".jpg"):
        raise UserError(f"cannot write {path}: the name must end in .png or .jpg")
    paths.require_writable(path.resolve().parent)
    people = [(seed, build_identity(seed)) for seed in range(identities)]
    images = [render(who, draw_shot(seed, k)).image for seed, who in people for k in range(shots)]
    with written_whole(path) as temporary:
        kind = Image.registered_extensions()[path.suffix.lower()]
        Image.fromarray(contact_sheet(images, columns=shots)).save(temporary, kind)
    print(f"wrote {path}")


@app.command()
def train(
    variants: Annotated[list[str] | None, Argument(help="Default: all of the profile.")] = None,
    profile: PROFILE = "classroom",
    seed: SEED = 0,
    data: TRAINED_ON = None,
    devices: Annotated[int | None, Option(min=1, help=GPUS)] = None,
    max_minutes: LIMIT = None,
) -> None:
    """Train variants that are not trained yet; a run cut short goes on where it stopped."""
    from ifr.datasets import load_set
    from ifr.experiment.run import start
    from ifr.profiles import PRETRAIN

    run = start("train", profile=profile, seed=seed, limit=max_minutes)
    run.training = None if data is None else load_set(data)
    run.launch(devices)
    run.train_together((*(variants or run.profile.variants), PRETRAIN))
    if run.fabric is None or run.fabric.is_global_zero:
        for variant, trained in run.networks.items():
            print(f"{variant.name} is in {trained.folder}, which ifr protocol takes")


def _seeds(text: str, profile: str) -> list[int]:
    from ifr.profiles import get_profile

    if text == "all":
        return list(get_profile(profile).seeds)
    if not all(seed.isdecimal() for seed in text.split(",")):
        allowed = "integers >= 0 with commas between them, or all"
        raise UserError(f"--seeds must be {allowed}, got {text!r}")
    return [int(seed) for seed in dict.fromkeys(text.split(","))]


@app.command()
def sweep(
    axes: Annotated[list[str], Argument(help=AXES)],
    variant: Annotated[str, Option(help="Whose settings are changed.")] = "full",
    seeds: Annotated[str, Option(help=SEEDS)] = "0,1,2",
    profile: PROFILE = "classroom",
    name: Annotated[str, Option(help="Folder below results/PROFILE/.")] = "sweep",
    max_minutes: LIMIT = None,
) -> None:
    """Train every combination of loss weights, forms and t with several seeds: one table."""
    from ifr.experiment import sweep as sweeps

    how: dict[str, Any] = dict(profile=profile, variant=variant, max_minutes=max_minutes)
    how["seeds"] = _seeds(seeds, profile)
    print(sweeps.in_words(sweeps.sweep(sweeps.parse_axes(axes), name=name, **how)))


@app.command()
def evaluate(
    variant: VARIANT, profile: PROFILE = "classroom", seed: SEED = 0, data: TRAINED_ON = None
) -> None:
    """Print closed-set accuracy of a trained variant, and the template protocol on drawn faces."""
    from ifr.datasets import load_set
    from ifr.experiment.run import start
    from ifr.experiment.tables import closed_set, template_table

    run = start("evaluate", profile=profile, seed=seed)
    if data is not None:
        run.training = load_set(data)
        if run.profile.faces is None:
            advice = "ifr protocol tests it on a data set"
            raise UserError(f"profile {profile!r} has nothing to test this network on: {advice}")
    run.require(variant)
    if data is None:
        print(closed_set(run, [variant]).to_string(index=False))
    else:
        print(f"closed set: not measured, {data} holds no further pictures of its people")
    if run.profile.faces:
        print(f"people of set 'templates' of profile {profile}, which no network is trained on:")
        print(template_table(run, [variant]).to_string(index=False))


@app.command()
def figures(
    notebooks: NUMBERS = None,
    profile: PROFILE = "classroom",
    seed: SEED = 0,
    weights: WEIGHTS = "trained",
) -> None:
    """Execute notebooks again and redraw their figures and tables."""
    from ifr.experiment.batch import redraw

    redraw(profile, notebooks or (), seed=seed, weights=weights)


@app.command()
def reproduce(
    profile: PROFILE = "classroom",
    seeds: Annotated[str, Option("--seeds", "--seed", help=SEEDS)] = "0",
    force: FORCE = False,
    max_minutes: LIMIT = None,
) -> None:
    """Render or align the faces, train every variant, execute every notebook of the profile."""
    from ifr.experiment.batch import reproduce as run_all

    run_all(profile, seeds=_seeds(seeds, profile), force=force, max_minutes=max_minutes)


@app.command()
def verify(profile: PROFILE = "classroom", seed: SEED = 0, every: EVERY = False) -> None:
    """Compare a run with the committed reference: verdicts, evidence, tables, figures."""
    from ifr.experiment.verify import DIFFERS, conclusion
    from ifr.experiment.verify import verify as compare

    rows = compare(paths.results(profile, seed), paths.reference(profile))
    for row in rows:
        if every or row.outcome == DIFFERS:
            print(f"{row.outcome}: {row.what}: {row.note}")
    print(conclusion(rows))
    if any(row.outcome == DIFFERS for row in rows):
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Show what this machine has and which data sets and runs are in place."""
    from ifr.cli.doctor import report

    for what, state in report():
        print(f"{what + ':':28} {state}")


def main() -> None:
    """Run the command; a user's mistake is one plain line, or with IFR_TRACEBACK=1 a traceback."""
    shown = () if os.environ.get("IFR_TRACEBACK") else (UserError,)
    try:
        app()
    except Stopped as stop:
        print(f"\n{stop}", file=sys.stderr)
        sys.exit(TRY_AGAIN if isinstance(stop, OutOfTime) else 130)
    except shown as error:
        print(f"ifr: {error}", file=sys.stderr)
        sys.exit(2)
