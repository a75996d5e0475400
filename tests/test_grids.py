"""Grids: each can be run, goes on where it stopped, and what is published was made by the grid of that name."""

import dataclasses
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from course_utils import inference, training
from course_utils.configuration import Config, ConfigurationError, Recipe
from course_utils.lessons import grids
from course_utils.lessons.grids import GRIDS, Grid

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "figures" / "results"
LESSONS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.ipynb"))
SWEPT = set(re.findall(r"grids\.published_sweep\(\\\"([\w-]+)\\\"\)", LESSONS))
LOADED = sorted(set(re.findall(r"grids\.published\(\\\"([\w-]+)\\\"\)", LESSONS)))
SMALL = Grid("two small ones", {"spec_augment": False}, {"plain": {}, "mixup, seed 1": {"mixup": True, "seed": 1}}, 2)


@pytest.fixture
def base(tones, monkeypatch):
    monkeypatch.setitem(GRIDS, "small", SMALL)
    recipe = Recipe(joint="slots", slot_seconds=0.5)
    options = {"width": 2, "n_mels": 16, "hop_length": 1024, "batch_size": 16, "accelerator": "cpu", "recipe": recipe}
    return Config(data=str(tones), test_folds=(3,), epochs=2, **options)


def run(base, folder, **how):
    said = []
    found = grids.run_grid(
        "small",
        base,
        folder / "runs",
        folder / "small.json",
        command="a command",
        progress=False,
        say=said.append,
        **how,
    )
    return found, said


def configurations(name, **base):
    grid = GRIDS[name]
    return {key: Config(data="x", **{**base, **grid.common, **changes}) for key, changes in grid.changes.items()}


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_makes_configurations_that_differ(name):
    made = [str(config.to_dict()) for config in configurations(name).values()]
    assert len(set(made)) == len(made)


def test_the_repair_of_the_crnn_changes_the_training_and_then_one_thing_at_a_time():
    *steps, aside = GRIDS["crnn-repair"].changes.values()
    assert aside == {"weight_decay": 0.0}
    assert steps[0] == {} and all(set(a) <= set(b) for a, b in pairwise(steps))
    assert set(steps[1]) == {"optimizer", "learning_rate", "schedule", "batch_size", "fresh_pairs"}
    changed = [[k for k in b if a.get(k) != b[k]] for a, b in pairwise(steps[1:])]
    assert changed == [["head"], ["norm"], ["time_pooling"], ["readout"], ["readout"]]


def test_cnn10_and_the_crnn_are_trained_alike():
    made = configurations("cnn-against-crnn").values()
    assert len({config.draws_fresh_pairs for config in made}) == 1
    own = {"model", "width", "seed", "norm", "time_pooling", "readout", "fresh_pairs"}
    assert len({str({k: v for k, v in config.decisive().items() if k not in own}) for config in made}) == 1


def test_the_projects_four_runs_are_among_the_eight():
    changes = [tuple(c.values()) for c in GRIDS["cnn10-report"].changes.values()]
    assert len(set(changes)) == 8
    assert {(256, 0.85, 32), (256, 0.85, 64), (512, 0.9, 32), (512, 0.9, 64)} < set(changes)


def test_results_hold_what_a_lesson_plots(base, tmp_path):
    found, said = run(base, tmp_path)
    assert [line.split(";")[0] for line in said] == ["1 of 2: plain", "2 of 2: mixup, seed 1"]
    assert (
        "2 epochs of" in said[0]
        and found == json.loads((tmp_path / "small.json").read_text())
        and list(found["runs"]) == list(SMALL.changes)
    )
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
    before = (tmp_path / "small.json").read_bytes()
    again, said = run(elsewhere, tmp_path)
    assert again == first and said == [] and (tmp_path / "small.json").read_bytes() == before


def test_results_of_before_a_new_option_still_count(base, tmp_path, monkeypatch):
    run(base, tmp_path)
    found = json.loads((tmp_path / "small.json").read_text())
    for one in found["runs"].values():
        del one["config"]["readout"]
    (tmp_path / "small.json").write_text(json.dumps(found))
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("trained again"))
    run(base, tmp_path)
    found["runs"]["plain"]["config"]["colour"] = "red"
    (tmp_path / "small.json").write_text(json.dumps(found))
    with pytest.raises(ConfigurationError, match="another version of the course"):
        run(base, tmp_path)


def test_an_interrupted_grid_goes_on(base, tmp_path, monkeypatch):
    save = training.run.save

    def stop(out, *rest, **parts):
        save(out, *rest, **parts)
        if "mixup" in out.name:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.run, "save", stop)
    assert run(base, tmp_path)[0] is None
    kept = grids.read_results(tmp_path / "small.json")
    assert list(kept["runs"]) == ["plain"]
    monkeypatch.setattr(training.run, "save", save)
    found, said = run(base, tmp_path)
    assert (
        len(said) == 1
        and said[0].startswith("2 of 2: mixup, seed 1")
        and found["runs"]["plain"] == kept["runs"]["plain"]
    )
    whole, _ = run(base, tmp_path / "whole")
    for name in SMALL.changes:
        assert found["runs"][name]["history"] == whole["runs"][name]["history"]
        assert found["runs"][name]["report"] == whole["runs"][name]["report"]


def test_experiments_of_another_configuration_are_kept(base, tmp_path):
    run(base, tmp_path)
    before = (tmp_path / "small.json").read_bytes()
    with pytest.raises(ConfigurationError, match=r"small\.json, plain: .*width: 2 there, 4 now"):
        run(dataclasses.replace(base, width=4), tmp_path)
    assert (tmp_path / "small.json").read_bytes() == before


def test_a_stored_set_is_refused(base, tones, tmp_path):
    from course_utils import data as run_data
    from course_utils import storage

    data = run_data.prepare(base, progress=False)
    storage.write_set(
        tmp_path / "set",
        "mel",
        data.test.cache,
        data.test.plan,
        taxonomy=data.taxonomy,
        recipe=base.recipe,
        mel=base.mel,
    )
    with pytest.raises(ConfigurationError, match="needs a folder of clips"):
        run(dataclasses.replace(base, data=str(tmp_path / "set")), tmp_path)


def test_results_of_another_grid_are_kept(base, tmp_path):
    other = {"format": grids.FORMAT, "grid": "other", "runs": {}}
    (tmp_path / "small.json").write_text(json.dumps(other))
    with pytest.raises(ConfigurationError, match="holds the grid other"):
        run(base, tmp_path)
    assert json.loads((tmp_path / "small.json").read_text()) == other


def test_an_unknown_grid_names_the_known_ones(base, tmp_path):
    with pytest.raises(ConfigurationError, match="cnn10-report, cnn10-augmentation"):
        grids.run_grid("large", base, tmp_path, tmp_path / "a.json")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "no json", '{"format": 0, "runs": {}}', '{"format": 1}', '{"format": 1, "grid": "a", "runs": []}'],
)
def test_what_is_no_results_file_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"a\.json"):
        grids.read_results(tmp_path / "a.json")
    with pytest.raises(ConfigurationError, match=r"b\.json"):
        grids.read_results(tmp_path / "b.json")


@pytest.mark.parametrize("name", LOADED)
def test_what_a_lesson_loads_was_made_by_that_grid(name):
    found, made = grids.published(name), configurations(name)
    assert found["grid"] == name and list(found["runs"]) == list(made)
    assert found["command"].startswith(f"python -m course_utils grid {name} --data FOLDER")
    assert len({run["clips"] for run in found["runs"].values()}) == 1
    assert len({str(run["report"]) for run in found["runs"].values()}) == len(made)
    free = {"width", "epochs", "train_folds", "valid_folds", "test_folds", "skip_bad", "precision"}
    chosen = {}
    for key, run in found["runs"].items():
        config = Config.from_dict({**run["config"], "data": ""})
        there, wanted = config.decisive(), made[key].decisive()
        given_up = {"decay", "clip_norm"} if "remark" in run else set()
        assert {field for field in there if there[field] != wanted[field]} <= free | given_up
        for field in free - GRIDS[name].common.keys() - GRIDS[name].changes[key].keys():
            chosen.setdefault((field, "remark" in run), set()).add(str(there[field]))
        assert len(run["history"]["epoch"]) == config.epochs >= run["scored_epoch"]
    assert {field for field, values in chosen.items() if len(values) > 1} == set()
    path = RESULTS / f"{name}.json"
    assert not re.search(r"/(?:root|home|tmp|work|Users)/", path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 2_000_000


def test_what_was_computed_in_16_bits_says_so():
    for name in LOADED:
        for key, one in grids.published(name)["runs"].items():
            in_bf16 = one["config"]["precision"] == "bf16-mixed"
            assert ("remark" in one) == in_bf16, (name, key)
            assert not in_bf16 or one["remark"].startswith("made before the repair, in bf16")
        remarks = {one["remark"] for one in grids.published(name)["runs"].values() if "remark" in one}
        assert all(remark in grids.origin(grids.published(name)) for remark in remarks)
    for name in SWEPT:
        assert json.loads((RESULTS / f"{name}.json").read_text())["remark"].startswith(
            "made before the repair, in bf16"
        )


def test_the_full_size_results_are_a_part_of_their_grids():
    files = sorted((RESULTS / "full").glob("*.json"))
    assert [path.stem for path in files] == ["as-reported", "cnn10-splits"]
    for path in files:
        found, beside = grids.published(path.stem, full=True), grids.published(path.stem)
        assert (
            set(found["runs"]) <= set(beside["runs"])
            and f"--results figures/results/full/{path.name}" in found["command"]
        )
        for key, one in found["runs"].items():
            assert one["config"]["width"] == 64 and one["device"].startswith("NVIDIA") and "H100" in one["remark"]
            own = {"width"}
            assert {k for k, v in one["config"].items() if v != beside["runs"][key]["config"].get(k, v)} == own
            assert one["clips"] == beside["runs"][key]["clips"]


def test_a_run_with_a_remark_is_kept_and_said(base, tmp_path, monkeypatch):
    found, _ = run(base, tmp_path)
    found["runs"]["plain"] |= {"remark": "made by hand"}
    found["runs"]["plain"]["config"]["decay"] = "all"
    (tmp_path / "small.json").write_text(json.dumps(found))
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("trained again"))
    again, said = run(base, tmp_path)
    assert again == found and said == ["1 of 2: plain; kept, though made by hand"]
    assert grids.origin(found) == "a command\nmade by hand: plain"
    found["runs"]["plain"]["clips"] = "others"
    (tmp_path / "small.json").write_text(json.dumps(found))
    with pytest.raises(ConfigurationError, match="other clips"):
        run(base, tmp_path)


def test_lessons_load_results_and_all_results_are_loaded():
    assert LOADED and {path.stem for path in RESULTS.glob("*.json")} == set(LOADED) | SWEPT


def test_the_network_that_comes_along_is_the_published_one():
    published, path = grids.published("crnn-splits")["runs"]["repaired, official"], grids.trained("crnn")
    assert path.stat().st_size < 2_000_000
    checkpoint = training.load_checkpoint(path)
    config = Config.from_dict(checkpoint["config"])
    assert config.decisive() == Config.from_dict({**published["config"], "data": ""}).decisive()
    assert config.data == "urbansound8k" and checkpoint["data"] == published["clips"]
    assert checkpoint["state"]["epoch"] == published["scored_epoch"]
    with pytest.raises(ConfigurationError, match="no trained network 'rnn'"):
        grids.trained("rnn")


def test_the_network_that_comes_along_scores_as_published(real_root, tmp_path):
    (tmp_path / "audio").mkdir()
    for part in ("metadata", "audio/fold3"):
        (tmp_path / part).symlink_to(real_root / part)
    report = inference.evaluate(grids.trained("crnn"), data=str(tmp_path), progress=False).report
    published = grids.published("crnn-splits")["runs"]["repaired, official"]["report"]
    for score in ("mAP", "exact_match"):
        assert report[score] == pytest.approx(published[score], abs=0.005)  # those were computed with 16 bits


def test_networks_are_also_tested_on_other_mixtures(base, tmp_path, monkeypatch):
    other = {"overlays": Recipe(joint="overlay", max_onset=0.2)}
    monkeypatch.setitem(GRIDS, "small", dataclasses.replace(SMALL, also_test=other))
    found, _ = run(base, tmp_path)
    for one in found["runs"].values():
        report = one["further"]["overlays"]
        assert report["mixtures"] == one["report"]["mixtures"] and report["mAP"] != one["report"]["mAP"]
        assert report["intervals"]


def test_no_place_of_this_machine_gets_into_the_results(tones, tmp_path, base, own_cache, monkeypatch):
    from course_utils import datasets

    (own_cache / "urbansound8k").symlink_to(tones)
    names = datasets.open_folder(tones).clips["slice_file_name"].tolist()
    monkeypatch.setattr(datasets, "measured_clips", lambda: names)
    run(dataclasses.replace(base, data="measured"), tmp_path)
    text = (tmp_path / "small.json").read_text()
    assert "120 clips" in text and str(own_cache) not in text and str(tones) not in text
