"""The commands on photographs: ``ifr data``, ``ifr protocol`` and ``ifr explain``."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from typer import Argument, Option, Typer

from ifr.common.errors import UserError

FORMAT = Annotated[str, Argument(help="folder, recordio, lfw, mlfw, lfw-bin, ijba, ijbc or ar.")]
PLACE = Annotated[Path, Argument(help="The data set: its folder, or its file.")]
DECODE = Annotated[bool, Option(help="Decode every image to find broken ones.")]
EVERY = Annotated[bool, Option("--all", help="List every problem.")]
DEPTH = "Of a folder: how deep below PATH the folders of the people lie."
LEVEL = Annotated[int | None, Option(min=1, help=DEPTH)]
POINTS = "68 or five of each image: an .npz, a .csv or a folder of .pts."
DETECT = "Find 68 with dlib (ifr\\[landmarks]); on CFP in 99 % of frontal, 42 % of profile faces."
METHOD = "By five or all (68) points, or none: already aligned to 112x112."
FLAG = "IJB-A: a missing visibility flag counts as visible or occluded."
EMBEDDING = "A folder of models/, an .onnx, an ArcFace .pth, or features in .npz."
PIXELS = "Black,white as the network takes them: 0,255. Default: as its graph says, or -1,1."
MEAN = "Taken from pixels (0 to 255 unless --input-range), one number or R,G,B (bgr: B,G,R)."
FACE = Annotated[str, Argument(help="A photograph, or SET:INDEX of a rendered or prepared set.")]
NETWORK = Annotated[
    str, Option(help="A folder of models/, or PROFILE:VARIANT kept with the reference run.")
]
KEPT = "68 of each photograph: .npz, .csv or .pts; default: dlib finds them (ifr\\[landmarks])."
FROM = "A set whose pairs of two people give the threshold; default: that of SET:INDEX."
FILL = "Of a part that is removed: skin, grey, black or blurred."
app = Typer(no_args_is_help=True, help="Read photographs: check and prepare data sets.")


@app.command()
def check(
    name: FORMAT, path: PLACE, decode: DECODE = True, every: EVERY = False, level: LEVEL = None
) -> None:
    """Count what is there, compare with what was published, list what is missing at what impact."""
    from ifr.datasets.check import check as run_check

    report = run_check(name, path, decode=decode, level=level)
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
    landmarks: Annotated[Path | None, Option(help=POINTS)] = None,
    detect: Annotated[bool, Option(help=DETECT)] = False,
    method: Annotated[str, Option(help=METHOD)] = "five",
    level: LEVEL = None,
    workers: Annotated[int | None, Option(min=1, help="Processes; all cores.")] = None,
    to: Annotated[Path | None, Option(help="Folder of the result; default data/.")] = None,
) -> None:
    """Align every face to 112x112 and keep them as one memory-mapped set; goes on after a stop."""
    from ifr.common import paths
    from ifr.datasets.check import read
    from ifr.datasets.prepare import prepare as run_prepare
    from ifr.datasets.readers.landmark_files import read_landmarks

    reading = read(name, path, level)
    given = None if landmarks is None else read_landmarks(landmarks, reading.faces)
    if given is not None and (lost := given.unmatched):
        print(f"{len(lost)} landmarks are of images not there, such as {lost[0]}")
    how: dict[str, Any] = dict(landmarks=given, detect=detect, method=method, workers=workers)
    how["name"] = path.stem if path.is_file() else path.resolve().name
    done = run_prepare(reading, to or paths.data(), **how)
    print(f"{done.folder}: {done.kept:,} faces")
    for reason, count in done.missed.items():
        print(f"  left out, {reason}: {count:,}")
    for kind, count in done.issues.items():
        print(f"  found by the reader, {kind}: {count:,}")
    if done.missed or done.issues:
        print(f"  {done.folder / 'missed.csv'} lists them")
    for doubt in done.doubts:
        print(f"  warning: {doubt}")


@app.command(name="fetch-lfw")
def fetch_lfw(folder: Annotated[Path, Argument(help="Where lfw_home/ is put.")]) -> None:
    """Download LFW with scikit-learn (research use; read its terms first)."""
    from ifr.datasets.readers.lfw import fetch_lfw as fetch

    print(f"LFW is in {fetch(folder)}: ifr data check lfw {folder / 'lfw_home'}")


def protocol(
    name: Annotated[str, Argument(help="lfw, mlfw, lfw-bin, ijba, ijbc, ar or folder.")],
    path: PLACE,
    faces: Annotated[Path, Argument(help="The prepared set: what ifr data prepare made.")],
    embedding: Annotated[Path, Argument(help=EMBEDDING)],
    occlusion: Annotated[str, Option(help="none, synthetic (warped masks) or natural.")] = "none",
    mirror: Annotated[bool, Option(help="Add the feature of the mirrored face.")] = False,
    score: Annotated[str | None, Option(help="directional_min, media or mean_cosine.")] = None,
    interpolate: Annotated[str, Option(help="TAR at FAR: none, nearest, linear.")] = "none",
    missing_flag: Annotated[str, Option(help=FLAG)] = "visible",
    input_range: Annotated[str | None, Option(help=PIXELS)] = None,
    mean: Annotated[str, Option(help=MEAN)] = "0",
    std: Annotated[str, Option(help="Divides after --mean.")] = "1",
    channels: Annotated[str, Option(help="Order the network takes: rgb or bgr.")] = "rgb",
    size: Annotated[int | None, Option(help="Side of an ONNX input that names none.")] = None,
    output: Annotated[str | None, Option(help="Output of an ONNX model with several.")] = None,
    seed: Annotated[int, Option(min=0, help="Of what is drawn: masks, pairs of AR, folder.")] = 0,
    save: Annotated[Path | None, Option(help="Also write .csv, or .json with counts.")] = None,
) -> None:
    """Test any embedding by a data set's own protocol, or by one drawn from a folder of people."""
    from ifr.common.files import write_text
    from ifr.common.paths import require_writable
    from ifr.evaluation.onnx_model import InputConvention
    from ifr.evaluation.protocols.published import run_protocol
    from ifr.experiment.results import write_csv

    if save is not None:
        if save.suffix not in (".csv", ".json"):
            raise UserError(f"cannot write {save}: the name must end in .csv or .json")
        require_writable(save.resolve().parent)
    how: dict[str, Any] = dict(occlusion=occlusion, mirror=mirror, score=score)
    how |= dict(interpolate=interpolate, missing_flag=missing_flag, seed=seed)
    pixels = None if input_range is None else _numbers("--input-range", input_range)
    scaling = (pixels, _numbers("--mean", mean), _numbers("--std", std))
    how["convention"] = InputConvention(*scaling, channels=channels, size=size, output=output)
    report = run_protocol(name, path, faces, embedding, **how)
    print(report.in_words())
    if save is not None and save.suffix == ".json":
        write_text(save, report.as_json())
    elif save is not None:
        write_csv(report.measures.assign(verdict=report.verdict()), save)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise UserError(f"{option}: expected numbers such as 0,255, got {text!r}") from None


def explain(
    first: FACE,
    second: FACE,
    network: NETWORK,
    landmarks: Annotated[Path | None, Option(help=KEPT)] = None,
    method: Annotated[str, Option(help=METHOD)] = "five",
    impostors: Annotated[Path | None, Option(help=FROM)] = None,
    far: Annotated[float, Option(help="False accept rate of the threshold.")] = 0.01,
    fill: Annotated[str, Option(help=FILL)] = "skin",
    to: Annotated[Path, Option(help="Folder of the result.")] = Path("explanation"),
) -> None:
    """Take the score of two faces apart, by places and parts: a sentence, PNG, JSON and a page."""
    from ifr.datasets import load_set
    from ifr.experiment import explained

    embedding = explained.open_network(network)
    faces = [explained.find_face(name, landmarks, method) for name in (first, second)]
    source = impostors or next((face.folder for face in faces if face.folder), None)
    people = None if source is None else load_set(source)
    threshold = None if people is None else explained.threshold_of(embedding, people, far)
    sentence = explained.explain_faces(embedding, faces, to, fill=fill, threshold=threshold)
    print(f"{sentence}\n{to / explained.NAME}.html, .png, .pdf and .json")
