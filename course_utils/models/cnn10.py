"""CNN10 of PANNs: four blocks of two 3×3 convolutions on a log-mel, then pooling over frequency and time.

Q. Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", IEEE/ACM TASLP 28,
2020.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_REACH = 16  # frames and bands: four poolings by 2 must leave one


class ConvBlock(nn.Module):
    """Two 3×3 convolutions, each with batch norm and ReLU, then 2×2 average pooling and dropout.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.

    Lesson: 06_cnn10
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, H, W]` to `[B, outputs, H // 2, W // 2]`."""
        x = functional.relu_(self.bn1(self.conv1(x)))
        x = functional.relu_(self.bn2(self.conv2(x)))
        return functional.dropout(functional.avg_pool2d(x, 2), 0.2, self.training)


class CNN10(nn.Module):
    """Log-mel `[B, n_mels, frames]` to logits `[B, outputs]`.

    Args:
        outputs: Number of logits: 10 classes, or 55 combinations.
        width: Channels of the first block; 64 in the paper. The others have 2, 4 and 8 times as many.
        n_mels: Bands of the log-mel.

    Lesson: 06_cnn10
    """

    def __init__(self, outputs: int, width: int = 64, n_mels: int = 64) -> None:
        super().__init__()
        channels = [1, width, 2 * width, 4 * width, 8 * width]
        self.bn0 = nn.BatchNorm2d(n_mels)
        self.blocks = nn.Sequential(*(ConvBlock(a, b) for a, b in pairwise(channels)))
        self.fc1 = nn.Linear(8 * width, 8 * width)
        self.fc2 = nn.Linear(8 * width, outputs)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # what CPU and GPU convolve fastest
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Return the logits; a log-mel of fewer than 16 frames is padded with −100 dB."""
        if log_mel.shape[-1] < _REACH:
            log_mel = functional.pad(log_mel, (0, _REACH - log_mel.shape[-1]), value=-100.0)
        x = self.bn0(log_mel[:, :, None, :])  # statistics over batch and time, one pair per band
        x = x.transpose(1, 2).contiguous(memory_format=torch.channels_last)  # [B, 1, n_mels, frames]
        x = self.blocks(x).mean(dim=2)  # over frequency: [B, 8 width, frames // 16]
        x = x.amax(dim=2) + x.mean(dim=2)
        x = functional.dropout(x, 0.5, self.training)
        x = functional.relu(self.fc1(x))
        return self.fc2(x)


def cnn10(classes: int, width: int = 64, n_mels: int = 64) -> CNN10:
    """Build CNN10: 4,954,058 parameters with 10 classes, 4,977,143 with 55.

    Example:
        >>> cnn10(10, width=8)(torch.zeros(2, 64, 173)).shape
        torch.Size([2, 10])
    """
    return CNN10(classes, width, n_mels)
