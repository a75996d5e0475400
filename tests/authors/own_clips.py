"""An author's own WAV files of four classes: a table, a run, its score, and what it hears in one file."""

import numpy as np
import pandas as pd

from course_utils import audio, datasets, inference, training
from course_utils.configuration import Config, Recipe

rng = np.random.default_rng(0)
time = np.arange(22_050) / 22_050
SOUNDS = {
    "buzz": lambda pitch: np.sign(np.sin(2 * np.pi * pitch * time)),
    "click": lambda pitch: (np.arange(len(time)) % int(22_050 / (pitch / 40)) < 30).astype(float),
    "hiss": lambda pitch: rng.standard_normal(len(time)),
    "whistle": lambda pitch: np.sin(2 * np.pi * 8 * pitch * time),
}
rows = []
for number in range(96):
    kind = list(SOUNDS)[number % 4]
    row = {"slice_file_name": f"{kind}-{number}.wav", "fsID": number, "fold": 1 + number // 4 % 4, "class": kind}
    audio.write(
        f"clips/audio/fold{row['fold']}/{row['slice_file_name']}", 0.2 * SOUNDS[kind](rng.uniform(150, 400)), 22_050
    )
    rows.append(row | {"classID": number % 4})
pd.DataFrame(rows).to_csv("clips/clips.csv", index=False)

clips = datasets.open_folder("clips")
assert clips.taxonomy.classes == ("buzz", "click", "hiss", "whistle")
recipe = Recipe(joint="slots", slot_seconds=1.0)
config = Config("clips", test_folds=(4,), width=4, n_mels=32, epochs=6, batch_size=8, recipe=recipe, accelerator="cpu")
training.train(config, "run", progress=False)
result = inference.evaluate("run", progress=False)
assert result.report["mAP"] > result.report["baselines"]["chance"]["mAP"]
assert "none of" in result.notes[-1]

heard = inference.predict("run", clips.path(3), progress=False)
assert max(heard.probabilities, key=heard.probabilities.get) == "whistle"
print("mAP", round(result.report["mAP"], 3), "heard", heard.labels)
