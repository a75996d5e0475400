"""Time one training step of the CRNN and of CNN10 at several widths, side by side.

    python benchmarks/networks.py [--batch 32] [--rounds 20] [--bf16]

Every round makes one step of each network in turn, on the same noise of eight seconds, with the spectrogram in front and
ten outputs. The mean over the rounds counts, after one round to warm up: the CRNN stretches some batches, as in training,
and those take longer.
"""

from __future__ import annotations

import argparse
import time

import pandas as pd
import torch

from course_utils import models
from course_utils.audio import SAMPLE_RATE
from course_utils.configuration import Config
from course_utils.taxonomy import Taxonomy

NETWORKS = {
    "CRNN, pooled as in the report": {"model": "crnn", "norm": "whiten"},
    "CRNN, repaired": {"model": "crnn", "time_pooling": "fine", "readout": "attention"},
    **{f"CNN10, width {width}": {"width": width, "spec_augment": False} for width in (14, 16, 24, 32, 64)},
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32, help="mixtures in a batch")
    parser.add_argument("--rounds", type=int, default=20, help="steps of each network")
    parser.add_argument("--bf16", action="store_true", help="compute in 16 bits where torch finds it safe")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    sounds = 0.1 * torch.randn(arguments.batch, 8 * SAMPLE_RATE, device=device)
    lengths = torch.full((arguments.batch,), sounds.shape[1], device=device)
    networks = {
        name: models.build(Config(data="", **options), Taxonomy()).to(device) for name, options in NETWORKS.items()
    }
    optimizers = {name: torch.optim.AdamW(network.parameters()) for name, network in networks.items()}
    seconds = pd.DataFrame(index=range(arguments.rounds + 1), columns=list(networks), dtype=float)
    for round_ in seconds.index:
        for name, network in networks.items():
            began = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=arguments.bf16):
                loss = network(sounds, lengths).float().square().mean()
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.loc[round_, name] = time.perf_counter() - began
    mean = seconds.iloc[1:].mean()
    table = pd.DataFrame({"parameters": {name: models.count_parameters(n) for name, n in networks.items()}})
    table["seconds a step"] = mean.round(3)
    table["CRNN, repaired = 1"] = (mean / mean["CRNN, repaired"]).round(2)
    print(f"{device.type}, {torch.get_num_threads()} threads, batch {arguments.batch}")
    print(table.to_string())


if __name__ == "__main__":
    main()
