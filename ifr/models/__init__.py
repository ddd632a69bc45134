"""Networks: CASIA-Net and ResNet-50 with a hypercolumn, LMF, and the face network on top."""

from ifr.models.adapters import TorchvisionBackbone
from ifr.models.build import build_model
from ifr.models.casianet import EXTRACTOR, CasiaNet
from ifr.models.facenet import InterpretableFaceNet
from ifr.models.heads import MarginHead, make_head
from ifr.models.hypercolumn import Hypercolumn
from ifr.models.iresnet import IResNet50
from ifr.models.layers import ConvUnit, kept_per_map, large_magnitude_filter, unit_columns
from ifr.models.state import load_weights

__all__ = [
    "EXTRACTOR",
    "CasiaNet",
    "ConvUnit",
    "Hypercolumn",
    "IResNet50",
    "InterpretableFaceNet",
    "MarginHead",
    "TorchvisionBackbone",
    "build_model",
    "kept_per_map",
    "large_magnitude_filter",
    "load_weights",
    "make_head",
    "unit_columns",
]
