"""Networks: CASIA-Net and ResNet-50 with a hypercolumn, LMF, and the face network on top."""

from ifr.models.backbones import EXTRACTOR, CasiaNet, IResNet50, TorchvisionBackbone
from ifr.models.facenet import InterpretableFaceNet, NetworkSettings, build_model, make_head
from ifr.models.layers import l2_normalize_channels, large_magnitude_filter, num_kept
from ifr.models.state import load_weights
