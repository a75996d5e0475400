"""How real `mini` sounds: train CNN10 on single real clips, and let it name the generated ones.

    python benchmarks/mini_realism.py --data FOLDER --epochs 15

FOLDER holds clips of UrbanSound8K, whole or in part. Chance is a recall of 0.10; the same network on real clips that it
was not trained on (one fold, held out) is printed beside it.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from course_utils import audio, datasets, features, models
from course_utils.datasets import ClipCache

SECONDS = 4.0


def waveforms(cache: ClipCache, rows: np.ndarray) -> torch.Tensor:
    """Return clips as one batch `[B, T]` of 4 s each."""
    length = round(SECONDS * audio.SAMPLE_RATE)
    return torch.from_numpy(np.stack([audio.fit_length(cache[row], length) for row in rows]))


def train(cache: ClipCache, rows: np.ndarray, epochs: int, width: int) -> torch.nn.Module:
    """Train on single clips: one class each, cross-entropy, one cycle."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = models.OnLogMel(models.cnn10(10, width), features.LogMel(), features.SpecAugment())
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    steps = len(rows) // 32
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs * steps + 1)
    labels = torch.from_numpy(cache.clips["classID"].to_numpy())
    for _ in tqdm(range(epochs), "train", unit="epoch"):
        for batch in rng.permutation(rows)[: steps * 32].reshape(-1, 32):
            sounds = waveforms(cache, batch)
            loss = cross_entropy(network(sounds, torch.full((32,), sounds.shape[-1])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def recalls(network: torch.nn.Module, cache: ClipCache, rows: np.ndarray) -> pd.Series:
    """Return the recall of each class over some clips."""
    predicted = []
    for some in np.array_split(rows, -(-len(rows) // 64)):
        sounds = waveforms(cache, some)
        predicted.append(network(sounds, torch.full((len(sounds),), sounds.shape[-1])).argmax(dim=1).numpy())
    clips = cache.clips.iloc[rows]
    return (clips["classID"] == np.concatenate(predicted)).groupby(clips["class"]).mean()


def main() -> None:
    """Train, name, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="real clips, and their fold 1 to compare with")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--width", type=int, default=16)
    arguments = parser.parse_args()
    real = ClipCache.open(datasets.load(arguments.data))
    mini = ClipCache.open(datasets.load("mini"))
    fold = real.clips["fold"].to_numpy()
    network = train(real, np.flatnonzero(fold != 1), arguments.epochs, arguments.width)
    table = pd.DataFrame(
        {
            "mini": recalls(network, mini, np.arange(len(mini))),
            "real, fold 1": recalls(network, real, np.flatnonzero(fold == 1)),
        }
    )
    table.loc["macro recall"] = table.mean()
    print(table.round(2).to_string())


if __name__ == "__main__":
    main()
