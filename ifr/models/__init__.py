"""Networks: CASIA-Net and ResNet-50 with a hypercolumn, LMF, and the face network on top."""

from ifr.models.adapters import TorchvisionBackbone
from ifr.models.build import NetworkSettings, build_model
from ifr.models.casianet import EXTRACTOR, CasiaNet
from ifr.models.facenet import InterpretableFaceNet
from ifr.models.heads import make_head
from ifr.models.iresnet import IResNet50
from ifr.models.layers import l2_normalize_channels, large_magnitude_filter, num_kept
from ifr.models.state import load_weights
