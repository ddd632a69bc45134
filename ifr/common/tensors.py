"""Floating tensors: their type and dimensions checked, and kept in single precision at least."""

import torch


def at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    """Return fp32, or the type itself when it is wider."""
    return torch.promote_types(dtype, torch.float32)


def widened(values: torch.Tensor) -> torch.Tensor:
    """Return a tensor in fp32, or in its own type when that is wider."""
    return values.to(at_least_fp32(values.dtype))


def without_autocast(values: torch.Tensor) -> torch.autocast:
    """Return a context in which sums over a tensor's values are not cast to half precision."""
    return torch.autocast(values.device.type, enabled=False)


def check_floating(name: str, values: torch.Tensor, shape: str) -> None:
    """Refuse what is no floating tensor with the dimensions of a shape such as "(N, K, H, W)"."""
    if not isinstance(values, torch.Tensor) or not values.is_floating_point():
        kind = values.dtype if isinstance(values, torch.Tensor) else type(values).__name__
        raise TypeError(f"{name} must be a floating tensor {shape}, got {kind}")
    if values.ndim != shape.count(",") + 1:
        raise ValueError(f"{name} must be {shape}, got shape {tuple(values.shape)}")
