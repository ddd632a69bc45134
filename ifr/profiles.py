"""The run sizes, as data: every difference between runs is a field here, never a code path."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ifr.common.errors import UserError

# The paper's setting is t = 260 of K = 320 (Sec. 4.1); reduced networks keep the share.
PAPER_FILTERS = 320
PAPER_KEEP = 260
PAPER_LMF_RATE = 0.9583  # 1 - 24 / (24 * 24), Sec. 3.3
PAPER_MAP = 24  # cells of a response map each way; σ of Eq. 2 is given in these


@dataclass(frozen=True)
class FacesPlan:
    """How many identities and shots each procedural set of a profile has."""

    train: tuple[int, int]  # identities, shots each, without occluders, as CASIA-WebFace
    closed_shots: int  # further shots of the training identities, for closed-set accuracy
    validation: tuple[int, int]  # identities, shots each, of people met nowhere else, for choices
    templates: tuple[int, int]  # held out, wide yaw, some with natural occluders, as IJB-A
    ar_identities: int  # held out, 13 shots each, as one session of the AR database
    seed: int = 0  # moves every identity to another one


@dataclass(frozen=True)
class PhotographsPlan:
    """Which photographs a run takes from the folder that IFR_REAL_FACES names."""

    least_images: int = 2  # of an identity; one with fewer teaches nothing of sameness
    held_out: int = 8  # one image in so many of a training identity tests closed-set accuracy
    identities: int | None = None  # to train on at most, those with most images; None: all
    pairs: int | None = None  # of LFW's, spread over its folds; None: all 6,000


@dataclass(frozen=True)
class LossWeights:
    """Weights and forms of the loss terms. The paper gives none; these are the released code's."""

    identity: float = 2.0
    identity_occluded: float = 2.0
    filters: float = 100.0  # with form "released", which never compares two filters
    response: float = 1.0  # on the clean branch and again on the occluded one
    features: float = 0.1
    filter_form: str = "released"  # or "paper": Eq. 1, divided by its number of terms
    response_form: str = "released"  # or "paper": Eq. 2 to the letter


@dataclass(frozen=True)
class Variant:
    """One row of the ablation: which losses, which occlusion, which LMF rate."""

    name: str
    title: str  # in figures and tables
    spatial: bool = False  # SAD, Eq. 1 and 2
    feature: bool = False  # FAD, Eq. 4 and 5
    occlusion: str | None = None  # None: clean faces only; "BlaS" or "GauD": an occluded branch
    lmf_rate: float = 0.0  # share of each response map that LMF sets to zero
    keep_share: float = PAPER_KEEP / PAPER_FILTERS  # t / K
    weights: LossWeights = field(default_factory=LossWeights)

    def keep(self, filters: int) -> int:
        """Return t, the number of features FAD holds alike among ``filters``."""
        return round(self.keep_share * filters)


def _full(name: str, title: str, **changes: Any) -> Variant:
    defaults: dict[str, Any] = dict(spatial=True, feature=True, occlusion="BlaS")
    return Variant(name, title, **(defaults | dict(lmf_rate=PAPER_LMF_RATE) | changes))


def _sad(name: str, title: str, occlusion: str | None = None, **weights: Any) -> Variant:
    changes: dict[str, Any] = dict(feature=False, occlusion=occlusion)
    return _full(name, title, weights=LossWeights(**weights), **changes)


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("base", "Base"),
        Variant("augmented", "Base + augmentation", occlusion="BlaS"),
        _sad("sad", "SAD only"),
        _full("fad", "FAD only", spatial=False),
        _full("full", "Full"),
        _full("full_t130", "Full, t = 130", keep_share=130 / PAPER_FILTERS),
        _full("full_t320", "Full, t = K", keep_share=1.0),
        _full("full_gaud", "Full, GauD", occlusion="GauD"),
        _full("full_lmf75", "Full, LMF 75 %", lmf_rate=0.75),
        _full("full_lmf875", "Full, LMF 87.5 %", lmf_rate=0.875),
        # How the spreadness moves with the weight of the response loss (beside Figure 5).
        _sad("sad_r10", "SAD only, response weight 10", response=10.0),
        # Controls: what LMF, occluded twins and the released form of Eq. 1 do by themselves.
        Variant("lmf", "LMF only", lmf_rate=PAPER_LMF_RATE),
        _sad("sad_twins", "SAD + augmentation", "BlaS"),
        _sad("sad_paper", "SAD only, Eq. 1 as printed", filter_form="paper"),
    )
}

PRETRAIN = Variant("pretrain", "Common pretrained base")  # where the others start from
MAIN = ("base", "augmented", "sad", "fad", "full")
THRESHOLDS = ("full_t130", "full_t320", "full_gaud")
RATES = ("full_lmf75", "full_lmf875")
CONTROLS = ("lmf", "sad_twins", "sad_paper", "sad_r10")
FEWEST = ("base", "augmented", "sad", "full")


@dataclass(frozen=True)
class Network:
    """The network, CASIA-Net as in Table 1; the paper's second is "iresnet50" of 112 with K 512."""

    input_size: int = 96  # pixels; 48 is a quarter of the work, and of the response map
    filters: int = PAPER_FILTERS  # K; fewer where there are fewer people to tell apart
    width: float = 1.0  # factor on the channels of CASIA-Net; the other backbones have 1
    backbone: str = "casianet"  # or "iresnet50", or "torchvision/resnet18" and so on
    layers: tuple[str, ...] | None = None  # three feature layers of a torchvision backbone
    head: str = "softmax"  # the paper's; or a margin head, "arcface" or "cosface"
    margin: float | None = None  # of a margin head; None for that of its paper
    head_scale: float = 64.0  # s of a margin head, as in ArcFace and CosFace

    def __post_init__(self) -> None:
        if self.input_size not in (112, 96, 48, 24):
            sizes = "112 (the whole aligned face), or 96, 48 or 24 (its crop, averaged down)"
            raise ValueError(f"input_size must be {sizes}, got {self.input_size}")


@dataclass(frozen=True)
class Optimisation:
    """How a network is trained. ``steps`` counts batches; a twin batch holds both branches."""

    pretrain_steps: int  # of the common base that every variant starts from
    steps: int  # of each variant after it
    batch: int = 48  # faces a step; pairs when there is an occluded branch
    optimiser: str = "adamw"  # reaches in minutes what the paper's SGD reaches in days
    learning_rate: float = 3e-3  # the peak of one cycle
    weight_decay: float = 1e-4  # of either optimiser; the paper names none for its SGD
    warmup_share: float = 0.15  # one-cycle: the share of steps with a rising rate
    dropout: float = 0.4  # released: keep probability 0.6 before the classifier
    # Factor on f before the classifier. 1 is the paper's. The mean of a filtered map is small, and
    # classifier weights drawn with std 0.02 take thousands of steps to grow to it. Eq. 4 is of f
    # itself, so at 4 it weighs up to four times less against Eq. 3 and 5 than in the paper; four
    # times its weight did not help validation people (full model, classroom, one seed: rank-1 82.3
    # against 84.0 %, equal error rate 12.1 against 11.4 %).
    feature_scale: float = 1.0
    precision: str = "auto"  # bf16 autocast where the processor computes in it, else fp32
    flip: bool = False  # flip half of the faces; the paper and the released code do not
    compile: bool = False  # torch.compile of the backbone: minutes at the start, for long GPU runs
    freeze_bn: bool = False  # batch norm by the statistics of the start, never by the batch's
    # CPU threads a network trains on. Another number changes the last bits of every sum, so the
    # weights would depend on the machine; cores are used by training variants side by side.
    threads: int = 1
    pretrain_threads: int = 2  # nothing trains beside the common base
    checkpoint_seconds: float = 60.0  # between two checkpoints: what a killed run loses at most


@dataclass(frozen=True)
class Profile:
    """One run size; see the table in README."""

    name: str
    purpose: str  # in one line, for the page of a run
    faces: FacesPlan | None  # procedural faces, or None for a run on photographs
    optimisation: Optimisation
    network: Network = Network()
    photographs: PhotographsPlan | None = None  # or None for a run on procedural faces
    notebooks: tuple[str, ...] = (*(f"{number:02}" for number in range(14)), "15", "16")  # executed
    variants: tuple[str, ...] = MAIN + THRESHOLDS + RATES + CONTROLS  # that it trains
    # Of these the networks kept with the reference stand in, while they are of the same recipe.
    kept: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # of training, which ``--seeds all`` runs
    protocol_seed: int = 0  # of every draw of the tests: splits, masks, people; the same for all
    analysis_images: int = 1000  # faces behind Figures 5 to 7; the paper takes 1,000
    retrieval_identities: int = 150  # two images each, Sec. 4.4; fewer where fewer are held out
    bootstrap: int = 1000  # resamples of the test identities behind each spread
    verification_pairs: int = 6000  # same and different pairs of the AR-style test, each

    def as_dict(self) -> dict:
        """Return every field, nested, as plain values."""
        return asdict(self)


_TRIAL: dict[str, Any] = dict(
    network=Network(input_size=48, filters=32, width=0.125),
    optimisation=Optimisation(12, 12, batch=16, feature_scale=4.0, pretrain_threads=1),
    analysis_images=60,
    bootstrap=50,
)
_PHOTOGRAPHS: dict[str, Any] = dict(faces=None, notebooks=("14",), variants=(*FEWEST, "lmf"))
_RESNET = "torchvision/resnet18"
_BACKBONE: dict[str, Any] = dict(notebooks=("17",), variants=("base", "augmented", "full"))
# The numbers of faces are in the order of FacesPlan.
_FEW = FacesPlan((12, 8), 3, (6, 6), (12, 10), 8)
_ALL = (
    Profile(
        "smoke",
        "tests: every line of every notebook runs, no number means anything",
        _FEW,
        retrieval_identities=12,
        verification_pairs=60,
        **_TRIAL,
    ),
    Profile(
        "classroom",
        "a laptop without a GPU: every figure and table of the paper",
        FacesPlan((110, 50), 8, (40, 20), (400, 24), 126),
        Optimisation(pretrain_steps=2000, steps=700, dropout=0.2, feature_scale=4.0),
        Network(input_size=48, filters=128, width=0.25),
        kept=THRESHOLDS + RATES + CONTROLS,
        bootstrap=500,
    ),
    Profile(
        "second_backbone",
        "the classroom's faces with torchvision's ResNet-18: do the losses need CASIA-Net",
        FacesPlan((110, 50), 8, (40, 20), (400, 24), 126),
        Optimisation(pretrain_steps=1500, steps=600, dropout=0.2, feature_scale=4.0),
        Network(input_size=48, filters=128, backbone=_RESNET),
        **_BACKBONE,
    ),
    Profile(
        "second_backbone_smoke",
        "tests: every line of the run with a second backbone, no number means anything",
        _FEW,
        **_TRIAL | _BACKBONE | dict(network=Network(48, filters=32, backbone=_RESNET)),
    ),
    Profile(
        "full_size",
        "one GPU: the paper's own network on procedural faces",
        FacesPlan((1000, 48), 6, (100, 20), (400, 24), 126),
        Optimisation(pretrain_steps=6000, steps=2500, batch=128, feature_scale=4.0),
        notebooks=("03", *(f"{number:02}" for number in range(5, 14))),
        variants=(*FEWEST, "lmf"),
        seeds=(0, 1, 2),
        bootstrap=500,
    ),
    Profile(
        "full_size_brief",
        "the paper's own network cut to what two CPU cores train in an hour",
        FacesPlan((48, 30), 4, (20, 10), (40, 12), 20),
        Optimisation(pretrain_steps=480, steps=180, batch=32, dropout=0.2, feature_scale=4.0),
        notebooks=("01", "03", "05", "07", "08", "09", "11", "12", "13"),
        variants=FEWEST,
        analysis_images=300,
        retrieval_identities=40,
    ),
    Profile(
        "paper",
        "the paper's schedule, on procedural faces until its data are in place",
        FacesPlan((2000, 48), 6, (200, 20), (500, 25), 126),
        # The paper is silent on weight decay.
        Optimisation(100_000, 100_000, 64, optimiser="sgd", learning_rate=1e-3, weight_decay=0.0),
    ),
    Profile(
        "photographs",
        "photographs of real people: does what holds on procedural faces hold on them",
        optimisation=Optimisation(pretrain_steps=3000, steps=700, feature_scale=4.0),
        network=Network(input_size=48, filters=160, width=0.5),
        photographs=PhotographsPlan(),
        **_PHOTOGRAPHS,
    ),
    Profile(
        "photographs_smoke",
        "tests: every line of the run on photographs, no number means anything",
        photographs=PhotographsPlan(held_out=4, identities=12, pairs=60),
        **_PHOTOGRAPHS,
        **_TRIAL,
    ),
)
PROFILES: dict[str, Profile] = {profile.name: profile for profile in _ALL}

# What three profiles were called, until their names said what they are.
RENAMED = {"gpu": "full_size", "gpu_reduced": "full_size_brief", "real": "photographs"}


def get_profile(name: str) -> Profile:
    """Return the profile of that name; an unknown or former name is refused with the known ones."""
    if name in RENAMED:
        raise UserError(f"profile {name!r} is now called {RENAMED[name]!r}")
    if name not in PROFILES:
        raise UserError(f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


def get_variant(name: str) -> Variant:
    """Return the training variant of that name; an unknown one is refused with the known ones."""
    if name not in VARIANTS:
        raise UserError(f"unknown variant {name!r}: choose one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


def resized(profile: Profile, **changes: Any) -> Profile:
    """Return a copy of a profile with some fields of ``optimisation`` changed."""
    return replace(profile, optimisation=replace(profile.optimisation, **changes))
