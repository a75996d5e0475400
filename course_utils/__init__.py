"""Tools of the course *Multi-label audio classification*, from sound files to scores.

- Sounds: `course_utils.audio` reads, writes and plays them; `course_utils.features` computes spectrograms, log-mels and
  PCEN; `course_utils.plots` draws.
- Data: `course_utils.datasets.open_folder` reads a folder with a table of clips, `course_utils.datasets.load` a known set;
  `course_utils.splits` divides clips without leaks; `course_utils.mixing` joins them to mixtures; `course_utils.storage`
  keeps mixtures on disk.
- Networks: `course_utils.models` has CNN10 and the CRNN, and `course_utils.models.register` takes yours.
- A run: a `course_utils.configuration.Config` says what to compute, `course_utils.training.train` does it,
  `course_utils.inference.evaluate` scores it on the test part, `course_utils.inference.predict` applies it to a recording.
  `course_utils.sweep` tries many configurations.
- Scores: `course_utils.evaluation` has precision, recall, average precision, thresholds and intervals, for any truth and
  any scores.

A whole run:

```python
from course_utils import inference, training
from course_utils.configuration import Config

training.train(Config(data="mini", width=8, epochs=10), "runs/first")
print(inference.evaluate("runs/first").report["mAP"])
```

The README says which module uses which. The notebook *Build on it* plugs in networks, losses, metrics and clips of your own.
"""

__version__ = "0.1.0"
