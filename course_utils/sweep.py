"""A search for the hyperparameters with the best validation mAP, which several processes may share.

A sweep is a folder: `journal.log` (Optuna's study), `trials/0000`, `trials/0001`, … (a run each, as `training.train` makes
it), `sweep.json` (the results so far) and `locks/`. Each process locks the trial that it trains. The system frees the lock
of a process that has ended, whatever ended it; so the others notice an abandoned trial, and continue it. Machines
that share the folder need a file system with locks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import operator
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import pandas as pd
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from course_utils import data as run_data
from course_utils import training
from course_utils.configuration import Config, ConfigurationError
from course_utils.environment import is_out_of_memory
from course_utils.files import rounded, write_json
from course_utils.storage import is_stored_set

FORMAT = 1  # of a results file

# A tuple is a range, searched on a logarithmic scale; a list is what to choose from.
SPACE: dict[str, dict[str, tuple[float, float] | list]] = {
    "both": {
        "learning_rate": (3e-4, 1e-2),
        "weight_decay": (1e-4, 1e-1),
        "batch_size": [16, 32, 64],
    },
    "cnn10": {
        "hop_length": [512, 1024],
        "spec_augment": [False, True],
        "mixup": [False, True],
    },
    "crnn": {
        "time_pooling": ["report", "fine"],
        "readout": ["last", "mean", "attention"],
    },
}
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_NAME = "sweep"  # of the study in its journal
_TO_PRUNE = 4  # complete trials needed to take a median
_TO_WEIGH = 10  # complete trials below which importances would be noise


def search_space(base: Config) -> dict[str, tuple[float, float] | list]:
    """Return what a sweep varies: the part of `SPACE` for a network, widened to hold the values of the base.

    Args:
        base: The configuration that the sweep begins with.

    Returns:
        Name of a field → its range, or what to choose from.

    Raises:
        ConfigurationError: If a value of the base cannot be on a logarithmic scale.
    """
    space = {**SPACE["both"], **SPACE[base.model]}
    for name, choices in space.items():
        value = getattr(base, name)
        if isinstance(choices, list):
            space[name] = choices if value in choices else [*choices, value]
        elif value > 0:
            space[name] = (min(value, choices[0]), max(value, choices[1]))
        else:
            raise ConfigurationError(f"{name} must be positive to be searched on a logarithmic scale, not {value}")
    return space


def run_sweep(
    base: Config,
    out: Path | str,
    trials: int,
    *,
    command: str = "",
    progress: bool | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any] | None:
    """Run trials until there are this many in all; other processes with the same arguments take part.

    The first trial has the values of the base. Then Optuna's TPE chooses them, and a trial that is worse than the median of
    the others is pruned, but not in its first half: there, a small batch is ahead because it has made more steps. A trial
    that was stopped, by Ctrl-C or by anything else, goes on from its last finished epoch; so does a whole sweep, to more
    trials if more are asked for.

    Args:
        base: What the sweep does not vary, and the values of the first trial.
        out: The folder of the sweep.
        trials: How many to finish, complete or pruned, by all processes together.
        command: A command that repeats it, for the results file.
        progress: Show progress bars; None: only in a terminal.
        say: What to call with a line about each trial.

    Returns:
        What `sweep.json` holds, as `read`; None if Ctrl-C ended a training.

    Raises:
        ConfigurationError: If the data is a stored set or has no part for validation, if more than one device is asked for,
            or if the folder holds a sweep of another configuration, of other clips, or of other sound.
        DatasetError, AudioError, SplitError: If the data cannot be used.
    """
    out, space = Path(out), search_space(base)
    data = _usable(base, trials, progress)
    clips = data.fingerprint
    out.mkdir(parents=True, exist_ok=True)
    sweep_lock = FileLock(out / "locks" / "sweep")
    (out / "locks").mkdir(exist_ok=True)
    with sweep_lock:
        study = _open_study(out, base, clips, space)
        if not run_data.sounds_as_before(out / "sound.npy", data):
            raise ConfigurationError(f"{out}: began with other sound than {base.data} holds now; choose another folder")
    while True:
        with sweep_lock:
            trial, trial_lock = _next_trial(study, out, space, trials, seed=base.seed)
            if trial is None or trial_lock is None:
                found = _publish(study, out, base, clips, space=space, command=command)
                break
        with trial_lock:
            try:
                state, pruned = _train(trial, base, out, progress, say=say)
            except training.DivergedError:
                with sweep_lock:
                    study.tell(trial, state=TrialState.FAIL)
                say(f"trial {trial.number:04d} diverged, and is left out")
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                with sweep_lock:
                    study.tell(trial, state=TrialState.FAIL)
                say(f"trial {trial.number:04d} does not fit into memory, and is left out")
                continue
            if state.interrupted:
                return None
            config = dataclasses.replace(base, **trial.params)
            value = None if pruned else state.history[training.scored_epoch(state, config) - 1]["valid_mAP"]
            with sweep_lock:
                study.tell(trial, value, TrialState.PRUNED if pruned else TrialState.COMPLETE)
                found = _publish(study, out, base, clips, space=space, command=command)
        say(f"{len(found['trials'])} of {trials}: {_told(trial, state, value)}")
    if len(found["trials"]) < trials:
        say(f"{len(found['trials'])} of {trials} trials are finished; the rest are running elsewhere, or were left out")
    return found


def read(path: Path | str) -> dict[str, Any]:
    """Read the results of a sweep.

    Args:
        path: The `sweep.json` that `run_sweep` wrote.

    Returns:
        `about`, `command`, `config` (the base), `clips` (a fingerprint); `trials`, each with its `number`, `state` (`complete`
        or `pruned`), `value` (the validation mAP of the epoch that counts, or of the last one if pruned), `params`, `epochs`,
        and `history` (the validation mAP of every epoch); `best`, the number of the best complete trial, or None; and
        `importances`, the share of each hyperparameter in what sets the best tenth of the trials apart, empty while there are
        too few. A sweep with a `remark` was made in a way that the course has given up since.

    Raises:
        ConfigurationError: If it is not such a file.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if found["format"] == FORMAT and isinstance(found["trials"], list) and isinstance(found["importances"], dict):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ConfigurationError(f"{path}: no results that `python -m course_utils sweep` wrote; make them again")


def table(found: dict[str, Any]) -> pd.DataFrame:
    """Return one row per trial, the best first and pruned ones last.

    Args:
        found: As `read` gives it.

    Returns:
        `state`, `value`, `epochs`, and a column for each hyperparameter; the index is the trial's number.
    """
    ordered = sorted(found["trials"], key=lambda trial: (trial["state"] == "pruned", -trial["value"]))
    rows = [{**{key: trial[key] for key in ("state", "value", "epochs")}, **trial["params"]} for trial in ordered]
    return pd.DataFrame(rows, index=pd.Index([trial["number"] for trial in ordered], name="trial"))


def _usable(base: Config, trials: int, progress: bool | None) -> run_data.Mixtures:
    """Refuse what cannot be swept, before anything is written; return the data."""
    if trials < 1:
        raise ConfigurationError(f"trials must be at least 1, not {trials}")
    if base.devices != 1:
        raise ConfigurationError(f"devices must be 1, not {base.devices}: start one process of the sweep per device")
    if is_stored_set(base.data):
        raise ConfigurationError(
            f"{base.data}: a stored set has its split, its pairs and its mel; a sweep needs a folder of clips"
        )
    data = run_data.prepare(base, progress)
    if not len(data.valid):
        raise ConfigurationError(
            f"{base.data}: no mixtures for validation, by which a sweep chooses; ask for a larger valid_fraction, or for "
            "valid_folds"
        )
    return data


def _open_study(out: Path, base: Config, clips: str, space: dict[str, Any]) -> optuna.Study:
    """Open the study of a folder, or begin it with the values of the base; refuse one of another configuration."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path, lock = out / "journal.log", FileLock(out / "locks" / "journal")
    with lock:
        _cut_torn_line(path)
    try:
        # Optuna's own locks stay closed when their process is killed.
        storage = JournalStorage(JournalFileBackend(str(path), cast(Any, lock)))
        known = _NAME in optuna.get_all_study_names(storage)
        if not known and path.stat().st_size:
            raise ValueError("it holds something else")
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path}: no journal of a sweep ({error}); choose another folder") from error
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_TO_PRUNE, n_warmup_steps=base.epochs // 2 + 1)
    if known:
        study = optuna.load_study(study_name=_NAME, storage=storage, pruner=pruner)
    else:
        study = optuna.create_study(study_name=_NAME, storage=storage, pruner=pruner, direction="maximize")
    made_for = study.user_attrs.get("made_for")
    if made_for is None:
        study.set_user_attr("made_for", {"config": base.decisive(), "clips": clips})
    else:
        differ = base.differences(made_for["config"])
        differ += [f"other clips than {base.data} holds now"] if made_for["clips"] != clips else []
        if differ:
            raise ConfigurationError(
                f"{out}: holds a sweep of another configuration ({'; '.join(differ)}); choose another folder"
            )
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial({name: getattr(base, name) for name in space})
    return study


def _cut_torn_line(path: Path) -> None:
    """Cut off a last line that a process did not finish writing, as on a full disk."""
    if path.is_file() and (kept := path.read_bytes()) and (end := kept.rfind(b"\n") + 1) not in (0, len(kept)):
        os.truncate(path, end)


def _next_trial(
    study: optuna.Study, out: Path, space: dict[str, Any], trials: int, *, seed: int
) -> tuple[Trial, Any] | tuple[None, None]:
    """Return a trial to train and its lock, held: one that was left, or a new one; none if enough are done or under way.

    Called while the sweep's lock is held, so that processes decide one after the other.
    """
    known = study.get_trials(deepcopy=False)
    begun = [trial for trial in known if trial.state != TrialState.WAITING]
    left = [trial for trial in begun if trial.state == TrialState.RUNNING and not _is_held(_lock(out, trial.number))]
    if len(begun) - len(left) >= trials:
        return None, None
    # Processes that begin with the same seed would draw the same values.
    own_seed = np.random.SeedSequence([seed, len(known)]).generate_state(1)[0]
    study.sampler = optuna.samplers.TPESampler(seed=int(own_seed))
    # Optuna's public way is to fail a trial that was left, and to ask for another; so it keeps its number and its folder.
    trial = Trial(study, left[0]._trial_id) if left else study.ask()
    for name, choices in space.items():  # of a trial that was left, these are the values that it has
        if isinstance(choices, list):
            trial.suggest_categorical(name, choices)
        else:
            trial.suggest_float(name, *choices, log=True)
    return trial, _lock(out, trial.number).acquire()


def _lock(out: Path, number: int) -> FileLock:
    return FileLock(out / "locks" / f"{number:04d}")


def _is_held(lock: FileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def _train(
    trial: Trial, base: Config, out: Path, progress: bool | None, *, say: Callable[[str], None]
) -> tuple[training.State, bool]:
    """Train a trial to its end, or until it is pruned; return where it stands, and whether it was pruned."""
    config, folder, pruned = dataclasses.replace(base, **trial.params), out / "trials" / f"{trial.number:04d}", False
    reported = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def report(state: training.State) -> None:
        for row in state.history:  # a process may have been killed between an epoch and its report
            epoch = int(row["epoch"])
            if epoch not in reported:
                trial.report(row["valid_mAP"], epoch)
                reported.add(epoch)

    def should_stop(state: training.State) -> bool:
        nonlocal pruned
        report(state)
        pruned = state.epoch < config.epochs and trial.should_prune()
        return pruned

    if (folder / "last.pt").is_file():
        if reported and max(reported) < config.epochs and trial.should_prune():  # its process had just found that out
            return training.State(**training.load_checkpoint(folder / "last.pt")["state"]), True
        say(f"trial {trial.number:04d} was stopped; it goes on from its last finished epoch")
    # Prepared again for each trial: training draws fresh pairs into the data, and would begin with those of the last trial.
    state = training.train(config, folder, run_data.prepare(config, progress), progress, on_epoch=should_stop)
    report(state)
    return state, pruned


def _told(trial: Trial, state: training.State, value: float | None) -> str:
    values = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial.params.items())
    last = state.history[-1]["valid_mAP"]
    how = f"pruned after epoch {state.epoch} at {last:.3f}" if value is None else f"validation mAP {value:.3f}"
    return f"trial {trial.number:04d}, {how}; {values}"


def _publish(
    study: optuna.Study, out: Path, base: Config, clips: str, *, space: dict[str, Any], command: str
) -> dict[str, Any]:
    """Write the results so far, if the file lacks some; return them."""
    finished = study.get_trials(deepcopy=False, states=_FINISHED)
    rows: list[dict[str, Any]] = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value,
            "params": {name: trial.params[name] for name in space},
            "epochs": len(trial.intermediate_values),
            "history": [value for _, value in sorted(trial.intermediate_values.items())],
        }
        for trial in finished
    ]
    complete = [row for row in rows if row["state"] == "complete"]
    found = {
        "format": FORMAT,
        "about": f"{base.model}, at most {base.epochs} epochs per trial: the hyperparameters with the best validation mAP",
        "command": command,
        "config": base.decisive(),
        "clips": clips,
        "trials": rounded(rows),
        "best": max(complete, key=operator.itemgetter("value"))["number"] if complete else None,
        "importances": rounded(_importances(study, space)) if len(complete) >= _TO_WEIGH else {},
    }
    path = out / "sweep.json"
    with contextlib.suppress(ConfigurationError):  # there is none yet, or it is damaged: the journal has it all
        if (there := read(path))["trials"] == found["trials"]:
            return there
    if finished:
        write_json(path, found)
    return found


def _importances(study: optuna.Study, space: dict[str, Any]) -> dict[str, float]:
    """Weigh the hyperparameters by PED-ANOVA, which needs no model of the score; the greatest first.

    Source: S. Watanabe, A. Bansal, F. Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
    Subspaces", IJCAI 2023.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental, and that a choice was made only once
        how = optuna.importance.PedAnovaImportanceEvaluator()
        return optuna.importance.get_param_importances(study, evaluator=how, params=list(space))
