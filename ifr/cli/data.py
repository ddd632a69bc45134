"""The commands on photographs: ``ifr data check``, ``ifr data prepare`` and ``ifr protocol``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from typer import Argument, Option, Typer

FORMAT = Annotated[str, Argument(help="folder, recordio, lfw, lfw-bin, ijba, ijbc or ar.")]
PLACE = Annotated[Path, Argument(help="The data set: its folder, or its file.")]
DECODE = Annotated[bool, Option(help="Decode every image to find broken ones.")]
EVERY = Annotated[bool, Option("--all", help="List every problem.")]
METHOD = "By five or all (68) points, or none: already aligned to 112x112."
FLAG = "IJB-A: a missing visibility flag counts as visible or occluded."
EMBEDDING = "A folder of models/, an .onnx, an ArcFace .pth, or features in .npz."
app = Typer(no_args_is_help=True, help="Read photographs: check and prepare data sets.")


@app.command()
def check(name: FORMAT, path: PLACE, decode: DECODE = True, every: EVERY = False) -> None:
    """Count what is there, compare with what was published, list what is missing at what impact."""
    from ifr.datasets.check import check as run_check

    report = run_check(name, path, decode=decode)
    release = report.release
    print(f"compared with {release}" if release else "no published set to compare with")
    for row in report.counts.itertuples():
        published = "" if np.isnan(row.published) else f"  of {int(row.published):,} published"
        print(f"  {row.what:14} {row.found:>12,}{published}")
    if report.decoded is None:
        print("  images were not decoded: broken ones are not found")
    if not report.issues:
        print("no problem found")
    for row in report.summary().itertuples():
        print(f"{row.kind}: {row.count:,}, such as {row.example}: {row.impact}")
    if every:
        for issue in report.issues:
            print(f"  {issue.kind}\t{issue.where}\t{issue.impact}")


@app.command()
def prepare(
    name: FORMAT,
    path: PLACE,
    landmarks: Annotated[Path | None, Option(help="68 of each image: .npz, .csv or .pts.")] = None,
    detect: Annotated[bool, Option(help="Find them with dlib (ifr[landmarks]).")] = False,
    method: Annotated[str, Option(help=METHOD)] = "five",
    workers: Annotated[int | None, Option(min=1, help="Processes; all cores.")] = None,
    to: Annotated[Path | None, Option(help="Folder of the result; default data/.")] = None,
) -> None:
    """Align every face to 112x112 and keep them as one memory-mapped set; goes on after a stop."""
    from ifr.common import paths
    from ifr.datasets.check import read
    from ifr.datasets.prepare import prepare as run_prepare
    from ifr.datasets.readers.landmark_files import read_landmarks
    from ifr.datasets.remap import ROW

    reading = read(name, path)
    given = None if landmarks is None else read_landmarks(landmarks, reading.faces)
    if given is not None and (lost := given.unmatched):
        print(f"{len(lost)} landmarks are of images not there, such as {lost[0]}")
    attributes = reading.faces.attributes | {ROW: np.arange(len(reading.faces))}
    reading = replace(reading, faces=replace(reading.faces, attributes=attributes))
    how: dict[str, Any] = dict(landmarks=given, detect=detect, method=method, workers=workers)
    how["name"] = path.stem if path.is_file() else path.resolve().name
    done = run_prepare(reading, to or paths.data(), **how)
    print(f"{done.folder}: {done.kept:,} faces")
    for reason, count in done.missed.items():
        print(f"  left out, {reason}: {count:,}; {done.folder / 'missed.csv'} lists them")


@app.command(name="fetch-lfw")
def fetch_lfw(folder: Annotated[Path, Argument(help="Where lfw_home/ is put.")]) -> None:
    """Download LFW with scikit-learn (research use; read its terms first)."""
    from ifr.datasets.readers.lfw import fetch_lfw as fetch

    print(f"LFW is in {fetch(folder)}: ifr data check lfw {folder / 'lfw_home'}")


def protocol(
    name: Annotated[str, Argument(help="lfw, lfw-bin, ijba, ijbc or ar.")],
    path: PLACE,
    faces: Annotated[Path, Argument(help="The prepared set: what ifr data prepare made.")],
    embedding: Annotated[Path, Argument(help=EMBEDDING)],
    occlusion: Annotated[str, Option(help="none, synthetic (warped masks) or natural.")] = "none",
    mirror: Annotated[bool, Option(help="Add the feature of the mirrored face.")] = False,
    score: Annotated[str | None, Option(help="directional_min, media or mean_cosine.")] = None,
    interpolate: Annotated[str, Option(help="TAR at FAR: none, nearest, linear.")] = "none",
    missing_flag: Annotated[str, Option(help=FLAG)] = "visible",
    save: Annotated[Path | None, Option(help="Also write the table as CSV.")] = None,
) -> None:
    """Test any embedding by a data set's own protocol."""
    from ifr.evaluation.protocols.published import run_protocol
    from ifr.experiment.results import write_csv

    how: dict[str, Any] = dict(occlusion=occlusion, mirror=mirror, score=score)
    how |= dict(interpolate=interpolate, missing_flag=missing_flag)
    table = run_protocol(name, path, faces, embedding, **how)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    if save is not None:
        write_csv(table, save)
