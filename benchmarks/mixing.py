"""Make the report's log-mel set twice, by the obvious script and by the course, and compare what that costs.

    python benchmarks/mixing.py --data FOLDER [--fill] [--wav 44100]

FOLDER holds clips of UrbanSound8K, whole or in part. The obvious script is what one writes first: for every mixture it
loads two files with librosa, joins them, computes the mel spectrogram with librosa, and saves one file. Ours is
`python -m course_utils mix --form mel`, once with nothing decoded yet and once with the clips decoded. Both run as
processes of their own, one after the other, on the same clips and the same machine. The script is one loop, ours uses all
cores: the CPU time shows what is left of the ratio without them. The values that they store are compared. The WAV form has no counterpart. At the end, the lazy form is timed against CNN10 (width 16), which trains on what it renders.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from tqdm.auto import tqdm

from course_utils import audio, datasets, models
from course_utils.audio import SAMPLE_RATE


@dataclass
class Cost:
    """What one process cost, and what it left on disk."""

    wall: float  # s
    cpu: float  # s
    memory: float  # MB, at most
    disk: float = 0.0  # MB
    files: int = 0


def measure(command: list[str], out: Path, cache: Path) -> Cost:
    """Run a command as a process of its own."""
    began = time.perf_counter()
    environment = os.environ | {"COURSE_CACHE": str(cache)}
    process = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: failed")
    process.returncode = 0
    wall = time.perf_counter() - began
    made = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    kilobytes = used.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Cost(wall, used.ru_utime + used.ru_stime, kilobytes / 1000, sum(made) / 1e6, len(made))


def obvious(data: str, plan: str, out: str) -> None:
    """Make the log-mels as one writes it first."""
    import librosa

    dataset = datasets.load(data)
    paths = {name: dataset.path(row) for row, name in enumerate(dataset.clips["slice_file_name"])}
    table, folder = pd.read_csv(plan), Path(out)
    folder.mkdir(parents=True)
    for row, (first, second) in enumerate(
        zip(table["first_slice_file_name"], table["second_slice_file_name"], strict=True)
    ):
        clips = [librosa.load(paths[name], sr=SAMPLE_RATE)[0] for name in (first, second)]
        mel = librosa.feature.melspectrogram(
            y=np.concatenate(clips), sr=SAMPLE_RATE, n_fft=1024, hop_length=512, n_mels=64, fmin=50, pad_mode="reflect"
        )
        np.save(folder / f"{row}.npy", librosa.power_to_db(mel, top_db=None))
    table[["combination"]].to_csv(folder / "labels.csv")


def stand_in(data: str, place: Path, fill: bool, rate: int | None) -> str:
    """Make a folder of the same clips: with others of their class where files are missing, and as stereo WAV."""
    dataset = datasets.load(data)
    if not fill and rate is None:
        return str(dataset.root)
    (place / "metadata").mkdir(parents=True)
    rows = pd.concat([dataset.clips, dataset.missing]) if fill else dataset.clips
    rows[list(datasets.COLUMNS)].to_csv(place / "metadata" / "UrbanSound8K.csv", index=False)
    files, rng = {}, np.random.default_rng(0)
    for clip in tqdm(dataset.clips.itertuples(), "prepare", len(dataset.clips), leave=False):
        files[clip.Index] = dataset.path(clip.Index)
        if rate is not None:
            mono = audio.resample(audio.read(dataset.path(clip.Index)), SAMPLE_RATE, rate)
            files[clip.Index] = place / "converted" / f"{clip.Index}.wav"
            files[clip.Index].parent.mkdir(exist_ok=True)
            soundfile.write(files[clip.Index], np.stack([mono, mono], axis=1), rate)
    sources = [files[row] for row in dataset.clips.index]
    if fill:
        same_class = dataset.clips.groupby("classID").groups
        sources += [files[rng.choice(same_class[class_id])] for class_id in dataset.missing["classID"]]
    for row, file in zip(rows.itertuples(), sources, strict=True):
        link = place / "audio" / f"fold{row.fold}" / (Path(row.slice_file_name).stem + file.suffix)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())
    return str(place)


def compare(stored: Path, plain: Path) -> None:
    """Print how far the two sets' values are apart, over the top 80 dB of each mixture."""
    from course_utils.storage import StoredMixtures

    ours, differences = StoredMixtures(stored), []
    for row in range(len(ours)):
        theirs, mine = np.load(plain / f"{row}.npy"), ours[row][0].numpy()
        heard = theirs > theirs.max() - 80
        differences.append(np.abs(mine - theirs)[heard])
    all_of_them = np.concatenate(differences)
    shares = "; ".join(f"within {limit} dB {np.mean(all_of_them <= limit):.4%}" for limit in (0.01, 0.02, 0.1))
    print(f"values over the top 80 dB, {len(all_of_them):,} in all: {shares}; largest {all_of_them.max():.2f} dB")


def lazy_against_network(data: str, batches: int = 20) -> None:
    """Print batches a second: rendered from clips, and consumed by training CNN10 of width 16."""
    import torch

    from course_utils import data as run_data
    from course_utils import training
    from course_utils.configuration import Config

    config = Config(data=data, width=16, split="random")
    mixtures = run_data.prepare(config)
    loader = iter(run_data.loader(config, mixtures.train, mixtures.taxonomy, shuffle_seed=0))
    ready = [next(loader)]
    began = time.perf_counter()
    ready = [next(loader) for _ in range(batches)]
    rendered = batches / (time.perf_counter() - began)
    network = models.build(config, mixtures.taxonomy).train()
    optimizer = torch.optim.AdamW(network.parameters())
    for i, batch in enumerate(ready[:6]):
        if i == 1:  # the first is slower
            began = time.perf_counter()
        targets = training.targets_of(batch, config.head, 10)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(batch.audio, batch.lengths), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    consumed = 5 / (time.perf_counter() - began)
    print(
        f"batches of 32 a second: rendered {rendered:.1f}, trained on {consumed:.2f}: {rendered / consumed:.0f} times"
    )


def main() -> None:
    """Make both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="clips of UrbanSound8K, whole or in part")
    parser.add_argument("--fill", action="store_true", help="let other clips of their class stand in for missing ones")
    parser.add_argument("--wav", type=int, help="convert the clips to stereo WAV files of this rate first")
    parser.add_argument("--obvious", nargs=2, metavar=("PLAN", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.obvious:
        obvious(arguments.data, *arguments.obvious)
        return
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        data = stand_in(arguments.data, place / "clips", arguments.fill, arguments.wav)
        os.environ["COURSE_CACHE"] = str(place / "cache")
        mix = [
            "-m",
            "course_utils",
            "mix",
            "--data",
            data,
            "--form",
            "mel",
            "--split",
            "random",
            "--joint",
            "concatenate",
        ]
        costs = {"ours, clips decoded first": measure([*mix, "--out", str(place / "a")], place / "a", place / "cache")}
        shutil.rmtree(place / "a")
        costs["ours, clips decoded before"] = measure([*mix, "--out", str(place / "a")], place / "a", place / "cache")
        wav = [*mix, "--out", str(place / "c"), "--form", "wav"]
        costs["(ours, the WAV form)"] = measure(wav, place / "c", place / "cache")
        script = [__file__, "--data", data, "--obvious", str(place / "a" / "plan.csv"), str(place / "b")]
        costs["the obvious script"] = measure(script, place / "b", place / "cache")
        table = pd.DataFrame({kind: vars(cost) for kind, cost in costs.items()}).T
        table.columns = ["wall s", "CPU s", "peak MB", "disk MB", "files"]
        ratios = table.loc["the obvious script"] / table.iloc[:2]
        decoded = sum(file.stat().st_size for file in (place / "cache").rglob("*") if file.is_file())
        print(f"{len(pd.read_csv(place / 'a' / 'plan.csv')):,} mixtures, {os.cpu_count()} cores")
        print(table.round(0).astype(int).to_string())
        print("obvious / ours")
        print(ratios.round(1).to_string())
        print(f"decoded clips: {decoded / 1e6:.0f} MB")
        compare(place / "a", place / "b")
        lazy_against_network(data)


if __name__ == "__main__":
    main()
