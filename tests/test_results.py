"""The table of results: every number is that of its file, and what is not there is said, not guessed."""

import copy
import json
import re
from pathlib import Path

import pytest

from course_utils.configuration import Config, ConfigurationError
from course_utils.lessons import grids, results
from course_utils.lessons.grids import Grid

ROOT = Path(__file__).resolve().parents[1]
HERE = {size: ROOT / folder for size, folder in results.SIZES.items()}


@pytest.fixture(scope="module")
def found():
    return results.collect(HERE)


def test_the_committed_table_and_the_readme_are_those_of_the_results(found):
    assert json.loads((ROOT / "figures" / "results.json").read_text(encoding="utf-8")) == found
    table = results.MARKS[0] + results.to_markdown(found) + results.MARKS[1]
    assert table in (ROOT / "README.md").read_text(encoding="utf-8"), "make results"


def test_every_row_has_the_numbers_of_its_run(found):
    assert len(found["rows"]) == len(results._ROWS)
    for row, (network, protocol, grid, experiment, _) in zip(found["rows"], results._ROWS, strict=True):
        report = grids.published(grid)["runs"][experiment]["report"]
        entry = row["width 16"]
        assert (row["network"], row["protocol"]) == (network, protocol)
        assert entry["scores"]["mAP"] == [report["mAP"], *report["intervals"]["mAP"]]
        assert entry["scores"]["named exactly"][0] == report["exact_match"]
        assert entry["macro_precision"] == report["combinations"]["macro"]["precision"]
        is_random = grids.published(grid)["runs"][experiment]["config"]["split"] == "random"
        assert is_random == (protocol == "report")
    recipes = {}
    for network, _, grid, experiment, _ in results._ROWS:
        config = grids.published(grid)["runs"][experiment]["config"]
        recipes.setdefault(network, set()).add((config["spec_augment"], config["head"], config["learning_rate"]))
    assert all(len(kinds) == 1 for kinds in recipes.values())  # rows of one name were trained alike


def test_the_reports_own_figures_stand_in_the_rows_of_its_own_protocol(found):
    rows = {row["network"]: row for row in found["rows"] if row["reported"]}
    assert {row["protocol"] for row in rows.values()} == {"report"}
    assert [row["reported"] for row in rows.values()] == ["accuracy 63 %", "macro precision 16 %, recall 15 %"]


def test_what_is_not_measured_says_so(found):
    none = copy.deepcopy(found)
    none["rows"][0] |= {"width 16": None}
    line = results.to_markdown(none).splitlines()[2]
    assert line.count("not measured") == 4


def test_width_64_stands_beside_width_16_in_a_table_of_its_own(found):
    text = results.to_markdown(found)
    table = text.partition("**CNN10 at width 64**")[2].splitlines()
    rows = [line for line in table if line.startswith("| CNN10")]
    measured = [row for row in found["rows"] if row["width 64"]]
    assert len(rows) == len(measured) == 5
    for line, row in zip(rows, measured, strict=True):
        run = {size: row[size]["scores"]["mAP"][0] for size in results.SIZES}
        assert all(f"| {value:.2f} [" in line for value in run.values()) and "not measured" not in line
    assert text.count("‡") == 2 * 5 + 1 and "‡ Made on an H100 in bf16" in text
    without = copy.deepcopy(found)
    for row in without["rows"]:
        row["width 64"] = None
    assert "width 64" not in results.to_markdown(without)


def test_rows_made_before_the_repair_are_marked(found):
    lines = results.to_markdown(found).splitlines()
    for row, line in zip(found["rows"], lines[2:], strict=False):
        assert line.startswith(f"| {row['network']} †") == bool(row["width 16"]["remark"])
    assert "† Made before the repair, in bf16" in "\n".join(lines)


def test_a_size_with_half_of_its_files_is_refused(tmp_path):
    (tmp_path / "crnn-splits.json").write_bytes((HERE["width 16"] / "crnn-splits.json").read_bytes())
    with pytest.raises(ConfigurationError, match="no results of as-reported, cnn10-splits, crnn-repair"):
        results.collect({"width 16": tmp_path, "width 64": tmp_path / "none"})


def test_a_file_without_an_experiment_is_refused(tmp_path):
    for name in ("as-reported", "cnn10-splits", "crnn-repair", "crnn-splits"):
        file = json.loads((HERE["width 16"] / f"{name}.json").read_text())
        if name == "crnn-splits":
            del file["runs"]["repaired, random"]
        (tmp_path / f"{name}.json").write_text(json.dumps(file))
    with pytest.raises(ConfigurationError, match=r"crnn-splits\.json: no experiment 'repaired, random'"):
        results.collect({"width 16": tmp_path, "width 64": tmp_path / "none"})


def test_the_readme_keeps_all_but_the_table(found, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{results.MARKS[0]}STALE\n{results.MARKS[1]}after \\1\n", encoding="utf-8")
    results.write(found, tmp_path / "results.json", readme)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{results.MARKS[0]}| network") and text.endswith(f"{results.MARKS[1]}after \\1\n")
    assert "STALE" not in text and json.loads((tmp_path / "results.json").read_text()) == found
    results.write(found, tmp_path / "results.json", readme)
    assert readme.read_text(encoding="utf-8") == text


def test_a_readme_without_marks_is_not_touched(found, tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(ConfigurationError, match="needs the lines <!-- results -->"):
        results.write(found, tmp_path / "results.json", tmp_path / "README.md")
    assert not (tmp_path / "results.json").exists() and (tmp_path / "README.md").read_text() == "nothing"


def test_all_grids_are_run_with_their_own_epochs_and_folds(tones, tmp_path, monkeypatch):
    common = {"n_mels": 16, "hop_length": 1024, "batch_size": 16, "spec_augment": False}
    small = {"one": Grid("one", common, {"a": {}}, 1), "two": Grid("two", common, {"b": {"split": "clips"}}, 2, (1, 2))}
    monkeypatch.setattr(grids, "GRIDS", small)
    base, said = Config(data=str(tones), width=2, precision="32-true", accelerator="cpu"), []
    assert results.run_all(base, tmp_path / "runs", tmp_path / "results", progress=False, say=said.append)
    one, two = (grids.read_results(tmp_path / "results" / f"{name}.json") for name in small)
    assert len(one["runs"]["a"]["history"]["epoch"]) == 1 and len(two["runs"]["b"]["history"]["epoch"]) == 2
    assert one["runs"]["a"]["config"]["test_folds"] == [3] and two["runs"]["b"]["config"]["train_folds"] == [1, 2]
    assert set(two["runs"]["b"]["further"]) > {"known + known", "new recordings"} and one["runs"]["a"]["further"] == {}
    assert two["command"].endswith("--width 2 --epochs 2 --precision 32-true --train-folds 1,2 --test-folds 3")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert results.run_all(base, tmp_path / "runs", tmp_path / "results", progress=False, say=said.append)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing is run twice


@pytest.mark.parametrize("name", grids.GRIDS)
def test_the_published_commands_are_those_of_make_results(name):
    grid, found = grids.GRIDS[name], grids.published(name)
    words = set(re.findall(r"--[\w-]+ \S+", found["command"]))
    precisions = {run["config"]["precision"] for run in found["runs"].values() if "remark" not in run} or {"bf16-mixed"}
    assert {f"--epochs {grid.epochs}", "--width 16", "--test-folds 3"} <= words
    assert {f"--precision {precision}" for precision in precisions} <= words
    assert (f"--train-folds {','.join(map(str, grid.train_folds or ()))}" in words) == bool(grid.train_folds)
