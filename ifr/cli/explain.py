"""``ifr explain``: why a network takes two faces for one person, or for two."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

FACE = Annotated[str, Argument(help="A photograph, or SET:INDEX of a rendered or prepared set.")]
NETWORK = Annotated[
    str, Option(help="A folder of models/, or PROFILE:VARIANT kept with the reference run.")
]
KEPT = "68 of each photograph: .npz, .csv or .pts; default: dlib finds them (ifr[landmarks])."
METHOD = "By five or all (68) points, or none: already aligned to 112x112."
FROM = "A set whose pairs of two people give the threshold; default: that of SET:INDEX."
FILL = "Of a part that is removed: skin, grey, black or blurred."


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
    from ifr.experiment import explained

    embedding = explained.open_network(network)
    faces = [explained.find_face(name, landmarks, method) for name in (first, second)]
    source = impostors or next((face.folder for face in faces if face.folder), None)
    threshold = None if source is None else explained.threshold_of(embedding, source, far)
    sentence = explained.explain_faces(embedding, faces, to, fill=fill, threshold=threshold)
    print(f"{sentence}\n{to / explained.NAME}.html, .png, .pdf and .json")
