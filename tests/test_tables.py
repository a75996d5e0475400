import dataclasses
import shutil

import layouts
import numpy as np
import pandas as pd
import pytest

from course_utils import audio, datasets
from course_utils.datasets import COLUMNS, ClipCache, DatasetError, label_sets, open_folder, read_metadata, read_tables
from course_utils.taxonomy import URBANSOUND8K_CLASSES, Taxonomy

PARTS = ["labels", "path", "duration"]


def sounds(root, *names):
    for name in names:
        audio.write(root / name, np.full(2_205, 0.1))


def opened(make, root, **other):
    table, columns = make(root)
    return open_folder(root, "d", **({"table": table, "columns": columns} | other))


def read(root, text, columns=None, name="t.csv"):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    return read_metadata(root / name, columns)


def labels(root, text, columns=None):
    return read(root, text, columns)["labels"].tolist()


# --- public layouts ---------------------------------------------------------------------------------------------------


def test_esc50_has_one_class_per_clip_and_looks_as_it_always_did(tmp_path):
    data = opened(layouts.esc50, tmp_path)
    assert list(data.clips.columns) == [*COLUMNS, "path", "duration"] and data.missing.empty
    assert data.clips["classID"].dtype == data.clips["fold"].dtype == data.clips["fsID"].dtype == np.int64
    assert data.taxonomy.classes == ("dog", "rain", "siren", "wind") and data.fold_names == {}
    assert data.clips.groupby("fold").size().tolist() == [8] * 5 and data.clips.groupby("fsID").size().eq(2).all()
    assert data.describe() == "d: 40 clips, 0.01 h, 20 recordings, 4 classes"
    assert data.label_sets.dtype == np.float32 and np.array_equal(data.label_sets.argmax(1), data.clips["classID"])


def test_fsdkaggle2019_has_labels_and_neither_folds_nor_recordings(tmp_path):
    data = opened(layouts.fsdkaggle2019, tmp_path)
    assert list(data.clips.columns) == [*COLUMNS, *PARTS] and len(data.clips) == 24
    assert data.clips[["fold", "fsID"]].isna().all(axis=None)
    assert data.clips["path"].str.startswith("train_curated/").all()
    assert data.clips["labels"][1] == data.clips["class"][1] == "Male_speech_and_man_speaking + Raindrop"
    assert np.isnan(data.clips["classID"][1]) and data.clips["classID"][0] == 0 and data.clips["class"][0] == "Bark"
    says = data.describe().splitlines()
    assert says[0] == "d: 24 clips, 0.00 h, recordings not known, 4 classes"
    assert "  2.0 labels per clip, from 1 to 3" in says
    assert "  no folds: split the clips with --split stratified, or --split clips" in says
    assert any(line.startswith("  recordings not known: no audit") for line in says)
    assert np.array_equal(
        open_folder(tmp_path, columns={"file": "fname"}).label_sets, data.label_sets
    )  # its only table


def test_fsd50k_has_numbers_for_names_and_two_tables(tmp_path):
    data = opened(layouts.fsd50k, tmp_path)
    assert len(data.clips) == 36 and data.missing.empty and data.fold_names == {1: "dev", 2: "eval"}
    assert data.clips["slice_file_name"][0] == "64760" and data.clips["path"][0] == "FSD50K.dev_audio/64760.wav"
    assert data.clips.groupby("fold").size().tolist() == [24, 12] and data.clips["fold"].dtype == np.int64
    assert "  folds: 1 is dev, 2 is eval\n" in data.describe() and "no folds" not in data.describe()
    assert data.label_sets.sum() == data.clips["labels"].str.split(" + ", regex=False).map(len).sum()
    dev = open_folder(tmp_path, table="FSD50K.ground_truth/dev.csv", columns={"file": "fname", "fold": "split"})
    assert dev.fold_names == {1: "train", 2: "val"} and dev.clips.groupby("fold").size().tolist() == [18, 6]


def test_urban_sed_has_a_table_per_clip_without_a_header(tmp_path):
    data = opened(layouts.urban_sed, tmp_path)
    assert len(data.clips) == 32 and data.taxonomy == Taxonomy() and data.missing.empty
    assert data.fold_names == {1: "test", 2: "train", 3: "validate"}
    clip = data.clips.set_index("slice_file_name").loc["soundscape_train_bimodal5"]
    assert clip["path"] == "audio/train/soundscape_train_bimodal5.wav" and clip["fold"] == 2
    assert set(clip["labels"].split(" + ")) == set(layouts.labels_of(5, URBANSOUND8K_CLASSES))
    nothing = tmp_path / "annotations" / "test" / "soundscape_test_bimodal1.txt"
    nothing.write_text("")
    table, columns = "annotations/**/*.txt", {"file": "TABLE", "fold": "FOLDER", "labels": "2", "start": 0, "end": 1}
    again = open_folder(tmp_path, table=table, columns=columns)
    assert len(again.clips) == 32 and again.clips[["start", "end"]].isna().all(
        axis=None
    )  # times of sounds, not of clips
    assert (
        again.clips.set_index("slice_file_name").loc[nothing.stem, "labels"] == ""
        and again.label_sets.sum(1).min() == 0
    )


def test_a_row_per_label(tmp_path):
    data = opened(layouts.row_per_label, tmp_path)
    assert len(data.clips) == 30 and data.clips["slice_file_name"].is_unique
    assert data.clips["labels"][1] == "click + hiss" and data.label_sets.sum() == len(
        pd.read_csv(tmp_path / "heard.tsv", sep="\t")
    )
    assert "15 recordings" in data.describe() and "not known" not in data.describe() and data.fold_names == {}


def test_a_table_of_ones_own_with_several_labels_is_written_and_read_again(tmp_path):
    data = opened(layouts.fsd50k, tmp_path)
    data.clips.to_csv(tmp_path / "all.csv", index=False)
    again = open_folder(tmp_path, table="all.csv", columns={"file": "path", "recording": "slice_file_name"})
    assert np.array_equal(again.label_sets, data.label_sets) and again.clips["fsID"][0] == 64_760


# --- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell", ["dog,siren", "dog, siren ,", "siren;dog", "dog|siren|dog", "siren + dog", "['dog', 'siren']"]
)
def test_labels_are_separated_in_many_ways(tmp_path, cell):
    assert labels(tmp_path, f'file,labels\na.wav,"{cell}"\nb.wav,wind\n') == ["dog + siren", "wind"]


def test_the_separator_is_that_of_the_column(tmp_path):
    text = "file\tlabels\na\tBass guitar, electric + Hi-hat\nb\tBass guitar, electric\n"
    assert labels(tmp_path, text) == ["Bass guitar, electric + Hi-hat", "Bass guitar, electric"]
    assert labels(tmp_path, 'file,labels\na,"x;y,z|u"\nb,"v,w"\n') == ["u + x;y,z", "v,w"]
    assert labels(tmp_path, 'file\tlabels\na\t["u, v", "w"]\nb\tx;y\nc\t[]\n') == ["u, v + w", "x + y", ""]


def test_labels_may_be_called_na_or_none_and_a_clip_may_have_none(tmp_path):
    table = read(tmp_path, 'file,labels\na.wav,"NA,None"\nb.wav,\nc.wav,NA\n')
    assert table["labels"].tolist() == ["NA + None", "", "NA"] and table["class"].equals(table["labels"])
    assert table["classID"].isna().tolist() == [True, True, False]
    assert read(tmp_path, "file,class\na.wav,NA\nb.wav,None\n")["class"].tolist() == ["NA", "None"]


def test_one_label_per_clip_is_a_class_per_clip(tmp_path):
    table = read(tmp_path, "file,labels\na.wav,siren\nb.wav,dog_bark\n")
    assert list(table.columns) == list(COLUMNS) and table["class"].tolist() == ["siren", "dog_bark"]
    assert table["classID"].tolist() == [8, 3]  # UrbanSound8K's
    table = read(tmp_path, "file,class\na.wav,siren\nb.wav,dog\n")
    assert table["classID"].tolist() == [1, 0]  # by the alphabet


def test_names_with_a_separator_are_kept_whole_in_lists_in_quotes_and_where_a_row_is_a_label(tmp_path):
    speech = "Male speech, man speaking"
    text = f"file\tlabels\na\t['{speech}', 'Dog']\nb\t('Dog', 'Cat')\nc\tCat, Dog\n"
    assert labels(tmp_path, text) == [f"Dog + {speech}", "Cat + Dog", "Cat + Dog"]
    (tmp_path / "q.csv").write_text(f'file\tlabels\na\t"""{speech}"",Dog"\nb\tDog,Cat\n', encoding="utf-8")
    assert read_metadata(tmp_path / "q.csv")["labels"].tolist() == [f"Dog + {speech}", "Cat + Dog"]
    assert labels(tmp_path, f"file\tlabels\na\t{speech}\na\tDog\nb\tDog\n") == [f"Dog + {speech}", "Dog"]


@pytest.mark.parametrize(
    "text",
    [
        'file,class,classID\na.wav,"dog,siren",0\nb.wav,dog,1\n',
        "file,class\na.wav,dog;siren\nb.wav,siren\n",
        'file,labels\na,dog;siren\nb,"dog,rain"\n',
        "file,labels\na,dog|siren\na,dog\n",
    ],
)
def test_several_labels_that_would_become_one_class_are_refused(tmp_path, text):
    with pytest.raises(DatasetError, match=r"'dog.\w+' seems to be several labels, .* use one separator in all of it$"):
        read(tmp_path, text)


def test_a_class_is_never_split_unless_it_is_given_as_labels(tmp_path):
    text = 'file,class,classID\na.wav,"dog,siren",0\nb.wav,dog,1\n'
    assert read(tmp_path, text, {"class": "class"})["class"].tolist() == ["dog,siren", "dog"]
    assert labels(tmp_path, text, {"labels": "class"}) == ["dog + siren", "dog"]
    text = "file,labels,kind\na.wav,loud,dog\nb.wav,soft,cat\n"
    assert read(tmp_path, text, {"class": "kind"})["class"].tolist() == ["dog", "cat"]  # what is given goes first


def test_rows_of_a_clip_are_united_by_name_and_fold(tmp_path):
    text = "file,fold,recording,labels\na,1,7,dog\nb,1,7,wind\na,1,7,siren\na,2,9,dog\n"
    table = read(tmp_path, text)
    assert table[["slice_file_name", "fold", "fsID", "labels"]].values.tolist() == [
        ["a", 1, 7, "dog + siren"],
        ["b", 1, 7, "wind"],
        ["a", 2, 9, "dog"],
    ]


def test_folds_may_be_words(tmp_path):
    sounds(tmp_path, "a.wav", "b.wav", "c.wav")
    (tmp_path / "t.csv").write_text("file,fold,class\na,train,x\nb,test,y\nc,train,x\n")
    data = open_folder(tmp_path)
    assert data.clips["fold"].tolist() == [2, 1, 2] and data.fold_names == {1: "test", 2: "train"}
    assert dataclasses.replace(data, fold_names={}).describe() in data.describe().replace(
        "  folds: 1 is test, 2 is train\n", ""
    )
    text = "file,fold,class\na,fold10,x\nb,Fold 2,y\nc,3,x\n"
    assert read(tmp_path, text)["fold"].tolist() == [10, 2, 3]


def test_a_table_without_a_header_is_read_by_numbers(tmp_path):
    for text in ("a.wav,dog\nb.wav,dog\n", "a.wav;dog\nb.wav;dog\n", "a.wav\tdog\nb.wav\tdog"):
        assert read(tmp_path, text, {"file": "0", "class": 1})["slice_file_name"].tolist() == ["a.wav", "b.wav"]
    assert labels(tmp_path, "a.wav;dog,siren\nb.wav;dog\n", {"file": 0, "labels": 1}) == ["dog + siren", "dog"]
    assert labels(tmp_path, 'a.wav,"dog;siren"\nb.wav,"dog;wind"\n', {"file": 0, "labels": 1}) == [
        "dog + siren",
        "dog + wind",
    ]


def test_recordings_are_numbers_or_text(tmp_path):
    text = "file,recording,class\na,{},x\nb,002,x\n"
    assert read(tmp_path, text.format("7"))["fsID"].tolist() == [7, 2]
    assert read(tmp_path, text.format("x7"))["fsID"].tolist() == ["x7", "002"]
    assert read(tmp_path, text.format("9007199254740993"))["fsID"].tolist() == ["9007199254740993", "002"]


def test_label_sets_need_no_more_than_their_column():
    assert label_sets(pd.DataFrame({"classID": [1, 0]}), Taxonomy(("a", "b"))).tolist() == [[0, 1], [1, 0]]
    assert label_sets(pd.DataFrame({"labels": ["b + a", ""]}), Taxonomy(("a", "b"))).tolist() == [[1, 1], [0, 0]]
    for wrong in ([2], [-1], [np.nan]):
        with pytest.raises(ValueError, match="class IDs"):
            label_sets(pd.DataFrame({"classID": wrong}), Taxonomy(("a", "b")))


# --- what is wrong ----------------------------------------------------------------------------------------------------

BAD = {
    "line 4: a is from recording 8 here, and from 7 in .*line 2; a clip": (
        "file,fsID,labels\na,7,x\nb,7,x\na,8,y\n",
        {},
    ),
    "line 3: nothing in column take$": ("file,take,labels\na,7,x\nb,,x\n", {"recording": "take"}),
    "line 3: nothing in column fold$": ("file,fold,labels\na,7,x\nb,,x\n", {}),
    "line 2: nothing in column kind$": ("file,kind\na,\n", {"class": "kind"}),
    "line 1: nothing in column 1$": ("a,\n" * 2, {"file": 0, "class": 1}),
    "line 3: a is listed twice$": ("file,class\na,x\na,x\n", {}),
    "no column fname, which is given for file; the columns are a, b$": ("a,b\n1,2\n", {"file": "fname", "labels": "b"}),
    "no column 7, which is given for labels; the columns are 0, 1$": ("a,b\n", {"file": 0, "labels": "7"}),
    "no column 'color' is known; give columns for file, recording, fold": ("a,b\n1,2\n", {"color": "a"}),
    "column 'fsID' is given twice": ("a,b\n1,2\n", {"recording": "a", "fsID": "b"}),
    "by number where a table has no header, and otherwise by name; 'b' is not a number": (
        "a,b\n1,2\n",
        {"file": 0, "labels": "b"},
    ),
    r"no column slice_file_name or file, and no column class or labels; the columns are a, b\. Say": ("a,b\n1,2\n", {}),
    r"no column class or labels; the columns are file, b\..*'labels': …": ("file,b\n1,2\n", {}),
    "line 2 has more cells than the header; put a cell with ',' in quotes": ("file,labels\na.wav,dog,siren\n", {}),
    r"line 3: \[dog, siren\] is not a list of labels in quotes": ("file;labels\na;['x']\nb;[dog, siren]\n", {}),
    "t.csv: no clip has a label": ("file,labels\na,\nb,\n", {}),
    r"a class name may not hold ' \+ '.*a column with several classes per cell is one of labels": (
        "file,class\na,x + y\n",
        {},
    ),
    "line 3: fold must be a whole number, not one$": ("file,fold,labels\na,1,x\nb,one,x\n", {}),
    r"line 1: \.\./a is not in the folder": ("../a,x\n", {"file": 0, "class": 1}),
    "not a CSV": ("", {"file": 0, "class": 1}),
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_wrong_is_said(tmp_path, message):
    text, columns = BAD[message]
    with pytest.raises(DatasetError, match=message) as caught:
        read(tmp_path, text, columns)
    assert "np." not in str(caught.value) and "\n" not in str(caught.value)


def test_of_several_tables_the_one_that_is_wrong_is_named(tmp_path):
    text = "file,fold,labels\na,1,x\n"
    read(tmp_path, text, name="1.csv")
    read(tmp_path, text.replace("a,1", "b,1"), name="2.csv")
    tables = [tmp_path / "1.csv", tmp_path / "2.csv"]
    assert read_tables(tables)["slice_file_name"].tolist() == ["a", "b"]
    for wrong, message in {
        "file,fold,labels\nb,1,x\nc,1.5,x\n": r"2\.csv: line 3: fold must be",
        "file,labels\nb,x\n": r"2\.csv: no column fold, which 1\.csv has",
        "file,fold,recording,labels\nb,1,7,x\n": r"1\.csv: no column fsID, which 2\.csv has",
        "file,fold,labels\n": r"2\.csv: no rows",
    }.items():
        tables[1].write_text(wrong)
        with pytest.raises(DatasetError, match=message):
            read_tables(tables)
    tables[1].write_text("file,fold,labels,start,end\nb,1,x,0.5,1\n")
    assert read_tables(tables)["end"].isna().tolist() == [True, False]


def test_tables_that_are_not_there(tmp_path):
    with pytest.raises(DatasetError, match="no table to read"):
        read_tables([])
    opened(layouts.fsd50k, tmp_path)
    with pytest.raises(
        DatasetError, match=r"no table meta/\*\.csv\. Tables there: FSD50K\.ground_truth/dev\.csv, .*eval"
    ):
        open_folder(tmp_path, table="meta/*.csv")
    with pytest.raises(DatasetError, match=r"no table in metadata/ or here; name it .*Tables there: FSD50K"):
        open_folder(tmp_path, columns={"file": "fname"})
    for pattern in ("", "/**/nowhere.csv"):
        with pytest.raises(DatasetError, match="not a pattern of files below"):
            open_folder(tmp_path, table=pattern)
    shutil.rmtree(tmp_path / "FSD50K.ground_truth")
    with pytest.raises(DatasetError, match=r"no table \*\.csv\. Tables there: none"):
        open_folder(tmp_path, table="*.csv")


@pytest.mark.parametrize("name", ["mini", "urbansound8k", "measured"])
def test_sets_with_a_table_take_no_other(name):
    for given in ({"table": "t.csv"}, {"columns": {"file": "x"}}):
        with pytest.raises(DatasetError, match=f"{name}: this data set has its own table"):
            datasets.load(name, **given)


def test_load_hands_table_and_columns_through(tmp_path):
    table, columns = layouts.esc50(tmp_path)
    assert len(datasets.load(tmp_path, table=table, columns=columns).clips) == 40


# --- files ------------------------------------------------------------------------------------------------------------


def paths(root, text, *files, **given):
    sounds(root, *files)
    (root / "t.csv").write_text(text)
    return open_folder(root, **given).clips["path"].tolist()


def test_files_are_found_anywhere_below(tmp_path):
    text = "file,class\n64760,x\n1.5,x\nsub/c.wav,x\nelsewhere/d.wav,x\n"
    files = ["deep/er/64760.flac", "deep/1.5.wav", "deep/1.wav", "deep/sub/c.wav", "other/sub2/c.wav", "deep/d.wav"]
    assert paths(tmp_path, text, *files) == ["deep/er/64760.flac", "deep/1.5.wav", "deep/sub/c.wav", "deep/d.wav"]
    (tmp_path / "deep" / "1.5.wav").unlink()
    (tmp_path / "deep" / "1.5").mkdir()
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    assert open_folder(tmp_path).missing["slice_file_name"].tolist() == ["1.5"]


def test_of_several_files_the_fold_the_table_or_its_folder_chooses(tmp_path):
    text, files = "file,fold,class\na,dev,x\na,eval,x\n", ["set.dev_audio/a.wav", "set.eval_audio/a.wav"]
    assert paths(tmp_path / "1", text, *files) == files
    files = ["all/train/a.wav", "all/train_noisy/a.wav"]
    assert paths(tmp_path / "2", "file,fold,class\na,train,x\n", *files) == files[:1]
    assert paths(tmp_path / "3", "file,class\na,x\n", "x/a.wav", "t/a.wav") == ["t/a.wav"]
    sounds(tmp_path / "4", "sound/one/a.wav", "sound/two/a.wav")
    read(tmp_path / "4", "file,class\na,x\n", name="lists/one/t.csv")
    assert open_folder(tmp_path / "4", table="lists/one/t.csv").clips["path"].tolist() == ["sound/one/a.wav"]


def test_a_name_that_may_be_two_files_is_refused(tmp_path):
    with pytest.raises(
        DatasetError, match=r"t\.csv: line 3: a may be x/a\.wav or y/a\.flac; write the name with its folder"
    ):
        paths(tmp_path, "file,class\nb,x\na,x\n", "x/a.wav", "y/a.flac", "b.wav")
    assert paths(tmp_path, "file,class\nx/a,x\n") == ["x/a.wav"]


def test_two_rows_that_are_one_file_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"line 4: a\.wav is the file a\.wav, and so is a in .*t\.csv: line 2; list"):
        paths(tmp_path, "file,class\na,x\nb,x\na.wav,y\n", "a.wav", "b.wav")
    with pytest.raises(DatasetError, match=r"line 3: a is the file sub/a\.wav, and so is a in .*line 2"):
        paths(tmp_path / "folds", "file,fold,class\na,dev,x\na,eval,y\n", "sub/a.wav")


def test_a_partial_copy_of_the_official_layout_is_not_searched(tmp_path, tones):
    shutil.copytree(tones, tmp_path / "d")
    shutil.move(tmp_path / "d" / "audio" / "fold2", tmp_path / "d" / "put away")
    data = open_folder(tmp_path / "d")
    assert len(data.missing) == 40 and set(data.missing["fold"]) == {2}


def test_missing_clips_are_counted_with_and_without_folds(tmp_path):
    opened(layouts.fsd50k, tmp_path)
    shutil.rmtree(tmp_path / "FSD50K.eval_audio")
    table, columns = "FSD50K.ground_truth/[de]*.csv", {"file": "fname", "fold": "TABLE"}
    data = open_folder(tmp_path, table=table, columns=columns)
    assert list(data.missing.columns) == [*COLUMNS, "labels"] and len(data.missing) == 12
    assert data.describe().endswith(
        "12 of 36 clips in the metadata are missing\n  folds whole: 1\n  folds not there: 2"
    )
    data = open_folder(tmp_path, table=table, columns={"file": "fname"})
    assert data.describe().endswith("12 of 36 clips in the metadata are missing")
    shutil.rmtree(tmp_path / "FSD50K.dev_audio")
    with pytest.raises(
        DatasetError, match=r"36 files in .*dev\.csv and 1 more is there, the first being audio/dev/64760$"
    ):
        open_folder(tmp_path, table=table, columns=columns)
    with pytest.raises(DatasetError, match=r"the first being 64760$"):
        open_folder(tmp_path, table=table, columns={"file": "fname"})


# --- the decoded copy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [layouts.fsdkaggle2019, layouts.fsd50k, layouts.urban_sed, layouts.row_per_label])
def test_examples_are_clips_with_no_other_class(tmp_path, make):
    data = opened(make, tmp_path)
    examples = ClipCache.open(data, progress=False).examples()
    assert tuple(examples) == data.taxonomy.classes
    sets = data.label_sets
    for i, row in enumerate(examples.values()):
        alone = (sets[:, i] == 1) & (sets.sum(1) == 1)
        assert sets[row, i] == 1 and (alone[row] or not alone.any())


def test_examples_of_classes_that_no_clip_has_are_left_out(tmp_path):
    sounds(tmp_path, "a.wav", "b.wav", "c.wav")
    (tmp_path / "t.csv").write_text('file,fold,labels\na,1,"siren,dog_bark"\nb,2,\nc,1,siren\n')
    cache = ClipCache.open(open_folder(tmp_path), progress=False)
    assert cache.examples() == cache.examples(fold=2) == {"dog_bark": 0, "siren": 2}
