"""An author's own feature, augmentation, loss, metric and callback in one run."""

import sys

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from course_utils import inference, models, training
from course_utils.configuration import Config, Recipe


class LogSpectrogram(nn.Module):
    """Waveform `[B, T]` to 64 linear bands of a log-magnitude spectrogram `[B, 64, frames]`."""

    def forward(self, sounds):
        window = torch.hann_window(512, device=sounds.device)
        spectrum = torch.stft(sounds, 512, 512, window=window, return_complex=True).abs()[:, 1:]
        return 20 * torch.log10(spectrum.unflatten(1, (64, 4)).mean(dim=2) + 1e-3)


class Reverse(nn.Module):
    """Turns half of the training pictures round in time."""

    def forward(self, pictures):
        turned = torch.rand(len(pictures), 1, 1, device=pictures.device) < 0.5
        return torch.where(turned & torch.tensor(self.training), pictures.flip(-1), pictures)


def network(classes):
    return models.OnLogMel(models.cnn10(classes, width=2, n_mels=64), LogSpectrogram(), Reverse())


def louder(batch):
    return batch._replace(audio=2 * batch.audio)


def smoothed(logits, targets):
    return binary_cross_entropy_with_logits(logits, 0.9 * targets + 0.05)


def coverage(truth, scores):
    ranks = (-scores).argsort(axis=1).argsort(axis=1) + 1
    return float(np.where(truth == 1, ranks, 0).max(axis=1).mean())


epochs = []
recipe = Recipe(joint="slots", slot_seconds=0.5)
config = Config(sys.argv[1], test_folds=(3,), epochs=2, learning_rate=1e-2, recipe=recipe, accelerator="cpu")
metrics = {"coverage": coverage}
training.train(
    config, "run", progress=False, network=network(10), loss=smoothed, augment=louder, metrics=metrics,
    on_epoch=lambda state: epochs.append(state.epoch),
)  # fmt: skip
assert epochs == [1, 2]
assert pd.read_csv("run/history.csv")["valid_coverage"].between(1, 10).all()
result = inference.evaluate("run", progress=False, network=network(10), metrics=metrics)
assert 1 <= result.report["own"]["coverage"] <= 10
print("coverage", round(result.report["own"]["coverage"], 2))
