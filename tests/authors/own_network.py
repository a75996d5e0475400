"""An author's own network, in a module of its own, which another process imports to read the checkpoint."""

import subprocess
import sys
from pathlib import Path

MODULE = """
from torch import nn

from course_utils import features, models


class Recurrent(nn.Module):
    def __init__(self, outputs, n_mels):
        super().__init__()
        self.log_mel = features.LogMel(n_mels=n_mels, hop_length=1024)
        self.gru, self.layer = nn.GRU(n_mels, 16, batch_first=True), nn.Linear(16, outputs)

    def forward(self, sounds, lengths):
        steps, _ = self.gru(self.log_mel(sounds).transpose(1, 2) / 40)
        return self.layer(steps.mean(dim=1))


models.register("recurrent", lambda config, outputs: Recurrent(outputs, config.n_mels))
"""
TRAIN = """
import my_networks
from course_utils import training
from course_utils.configuration import Config, Recipe

recipe = Recipe(joint="slots", slot_seconds=0.5)
config = Config({data!r}, model="recurrent", n_mels=16, test_folds=(3,), epochs=2, recipe=recipe, accelerator="cpu")
training.train(config, "run", progress=False)
"""
ASK = """
from course_utils import inference

result = inference.evaluate("run", progress=False)
heard = inference.predict("run", {clip!r}, progress=False)
print(result.report["mixtures"], len(heard.probabilities))
"""


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


data = sys.argv[1]
clip = str(next(Path(data).rglob("*.wav")))
Path("my_networks.py").write_text(MODULE, encoding="utf-8")
trained = run(TRAIN.format(data=data))
assert trained.returncode == 0, trained.stderr
asked = run("import my_networks\n" + ASK.format(clip=clip))
assert asked.returncode == 0, asked.stderr
refused = run(ASK.format(clip=clip))
assert refused.returncode != 0 and "which my_networks registers" in refused.stderr.splitlines()[-1], refused.stderr
print("mixtures, classes:", asked.stdout.strip())
