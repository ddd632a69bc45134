"""ifr: a companion to Towards Interpretable Face Recognition (Yin et al., ICCV 2019)."""

__version__ = "0.1.0"
