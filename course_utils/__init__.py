"""Tools of the course *Multi-label audio classification*, from sound files to scores.

- Sounds: `audio` reads, writes and plays them; `features` computes spectrograms, log-mels and PCEN; `plots` draws.
- Data: `datasets.open_folder` reads a folder with a table of clips, `datasets.load` fetches a known set; `splits` divides
  clips without leaks; `mixing` joins them to mixtures; `storage` keeps mixtures on disk.
- Networks: `models` has CNN10 and the CRNN, and `models.register` takes yours.
- A run: a `configuration.Config` says what to compute, `training.train` does it, `inference.evaluate` scores it on the test
  part, `inference.predict` applies it to a recording. `sweep` tries many configurations.
- Scores: `evaluation` has precision, recall, average precision, thresholds and intervals, for any truth and any scores.

A whole run:

    from course_utils import inference, training
    from course_utils.configuration import Config

    training.train(Config(data="mini", width=8, epochs=10), "runs/first")
    print(inference.evaluate("runs/first").report["mAP"])

The README says which module uses which. The notebook *Build on it* plugs in networks, losses, metrics and clips of your own.
"""

__version__ = "0.1.0"
