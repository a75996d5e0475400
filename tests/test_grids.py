"""Grids: each can be run, goes on where it stopped, and what is published was made by the grid of that name."""

import dataclasses
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from course_utils import grids, training
from course_utils.configuration import Config, ConfigurationError, Recipe
from course_utils.grids import GRIDS, Grid

PUBLISHED = sorted((Path(__file__).resolve().parents[1] / "figures" / "results").glob("*.json"))
SMALL = Grid("two small ones", {"spec_augment": False}, {"plain": {}, "mixup, seed 1": {"mixup": True, "seed": 1}})


@pytest.fixture
def base(tones, monkeypatch):
    monkeypatch.setitem(GRIDS, "small", SMALL)
    recipe = Recipe(joint="slots", slot_seconds=0.5)
    options = {"width": 2, "n_mels": 16, "hop_length": 1024, "batch_size": 16, "recipe": recipe}
    return Config(data=str(tones), test_folds=(3,), epochs=2, **options)


def run(base, folder, **how):
    said = []
    found = grids.run_grid(
        "small", base, folder / "runs", folder / "small.json", "a command", False, said.append, **how
    )
    return found, said


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_makes_configurations_that_differ(name):
    grid = GRIDS[name]
    made = [str(Config(data="x", **{**grid.common, **changes}).to_dict()) for changes in grid.changes.values()]
    assert len(set(made)) == len(made)


def test_the_repair_of_the_crnn_changes_one_thing_at_a_time():
    steps = list(GRIDS["crnn-repair"].changes.values())
    assert steps[0] == {} and all(set(a) <= set(b) for a, b in pairwise(steps))
    changed = [[k for k in b if a.get(k) != b[k]] for a, b in pairwise(steps[1:])]
    assert changed == [["head"], ["norm"], ["time_pooling"], ["readout"], ["readout"]]


def test_the_projects_four_runs_are_among_the_eight():
    changes = [tuple(c.values()) for c in GRIDS["cnn10-report"].changes.values()]
    assert len(set(changes)) == 8
    assert {(256, 0.85, 32), (256, 0.85, 64), (512, 0.9, 32), (512, 0.9, 64)} < set(changes)


def test_results_hold_what_a_lesson_plots(base, tmp_path):
    found, said = run(base, tmp_path)
    assert said == ["1 of 2: plain", "2 of 2: mixup, seed 1"]
    assert found == json.loads((tmp_path / "small.json").read_text()) and list(found["runs"]) == list(SMALL.changes)
    assert (found["grid"], found["about"], found["command"]) == ("small", SMALL.about, "a command")
    one = found["runs"]["mixup, seed 1"]
    assert one["config"]["mixup"] and one["config"]["seed"] == 1 and "data" not in one["config"]
    assert one["history"]["epoch"] == [1, 2] and 0 <= one["report"]["mAP"] <= 1
    assert str(base.data) not in (tmp_path / "small.json").read_text()
    table = grids.table(found, "mixup")
    assert table["mixup"].tolist() == [False, True] and table["epochs"].tolist() == [2, 2]
    assert table["mAP"].iloc[1] == one["report"]["mAP"]


def test_what_is_done_is_not_done_again(base, tmp_path, monkeypatch):
    first, _ = run(base, tmp_path)
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("trained again"))
    elsewhere = dataclasses.replace(base, accelerator="cpu", workers=0)  # another machine
    again, said = run(elsewhere, tmp_path)
    assert again == first and said == []


def test_results_of_before_a_new_option_still_count(base, tmp_path, monkeypatch):
    run(base, tmp_path)
    found = json.loads((tmp_path / "small.json").read_text())
    for one in found["runs"].values():
        del one["config"]["readout"]
    (tmp_path / "small.json").write_text(json.dumps(found))
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("trained again"))
    run(base, tmp_path)


def test_an_interrupted_grid_goes_on(base, tmp_path, monkeypatch):
    save = training.save

    def stop(out, *rest):
        save(out, *rest)
        if "mixup" in out.name:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save", stop)
    assert run(base, tmp_path)[0] is None
    kept = grids.read_results(tmp_path / "small.json")
    assert list(kept["runs"]) == ["plain"]
    monkeypatch.setattr(training, "save", save)
    found, said = run(base, tmp_path)
    assert said == ["2 of 2: mixup, seed 1"] and found["runs"]["plain"] == kept["runs"]["plain"]
    whole, _ = run(base, tmp_path / "whole")
    for name in SMALL.changes:
        assert found["runs"][name]["history"] == whole["runs"][name]["history"]
        assert found["runs"][name]["report"] == whole["runs"][name]["report"]


def test_runs_of_another_configuration_are_refused(base, tmp_path):
    run(base, tmp_path)
    with pytest.raises(ConfigurationError, match="width: 2 there, 4 now"):
        run(dataclasses.replace(base, width=4), tmp_path)


def test_results_of_another_grid_are_kept(base, tmp_path):
    other = {"format": grids.FORMAT, "grid": "other", "runs": {}}
    (tmp_path / "small.json").write_text(json.dumps(other))
    with pytest.raises(ConfigurationError, match="holds the grid other"):
        run(base, tmp_path)
    assert json.loads((tmp_path / "small.json").read_text()) == other


def test_an_unknown_grid_names_the_known_ones(base, tmp_path):
    with pytest.raises(ConfigurationError, match="cnn10-report, cnn10-augmentation"):
        grids.run_grid("large", base, tmp_path, tmp_path / "a.json")


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"format": 0, "runs": {}}', '{"format": 1}'])
def test_what_is_no_results_file_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"a\.json"):
        grids.read_results(tmp_path / "a.json")
    with pytest.raises(ConfigurationError, match=r"b\.json"):
        grids.read_results(tmp_path / "b.json")


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_results_are_those_of_their_grid(path):
    found = grids.published(path.stem)
    grid = GRIDS[path.stem]
    assert found["grid"] == path.stem and list(found["runs"]) == list(grid.changes)
    assert found["command"].startswith(f"python -m course_utils grid {path.stem} --data FOLDER")
    for name, one in found["runs"].items():
        wanted = {**grid.common, **grid.changes[name]}
        config = Config.from_dict({**one["config"], "data": ""})
        assert all(getattr(config, field) == value for field, value in wanted.items())
        assert len(one["history"]["epoch"]) == config.epochs and f"--epochs {config.epochs}" in found["command"]
    assert not re.search(r"/(?:root|home|tmp|work|Users)/", path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 2_000_000
