"""What readers share: tables, numbers, media, pointers of git-lfs, sheets, and splits that share nothing."""

import zipfile

import pytest

from tests.datasets.test_emotion_sets import POINTER, put_xlsx
from tests.datasets.test_readers import put, read, touch
from unifusion import catalog
from unifusion.conversation import Example
from unifusion.datasets._files import Listed, file_of, half, is_pointer, media_files, number_of, one_of, rows_of, text_of
from unifusion.datasets._sheets import sheet_rows
from unifusion.errors import DatasetError


def test_a_missing_file_is_named_with_where_it_is_got(tmp_path):
    with pytest.raises(DatasetError, match=r"holds none of a\.csv, b\.csv .*unpacked in; the set is got from example page\."):
        file_of(tmp_path, "a.csv", "b.csv", where="example page")
    touch(tmp_path, "b.csv")
    assert file_of(tmp_path, "a.csv", "b.csv").name == "b.csv" and file_of(tmp_path / "b.csv", "x").name == "b.csv"
    with pytest.raises(DatasetError, match=r"is no folder; .*got from example page\."):
        media_files(tmp_path / "none", (".wav",), "example page")


def test_numbers_have_bounds_and_broken_ones_a_line(tmp_path):
    assert number_of(" 0.5 ", tmp_path, 3, 0, 1) == 0.5
    for word in ("2", "x", "", "nan", "inf"):
        with pytest.raises(DatasetError, match=f"line 3: '{word}'; wanted a number from 0 to 1"):
            number_of(word, tmp_path, 3, 0, 1)


def test_tables_keep_quoted_commas_and_lines(tmp_path):
    put(tmp_path / "a.csv", '\ufeffname,text\n1,"a, ""b""\nc"\n2,d\n3\n')
    rows = rows_of(tmp_path / "a.csv", ("name", "text"))
    assert next(rows) == (3, {"name": "1", "text": 'a, "b"\nc'}) and next(rows)[0] == 4
    with pytest.raises(DatasetError, match="line 5: too few fields"):
        next(rows)
    (tmp_path / "b.csv").write_bytes(b"name\n\x93quoted\x94 \x85\n")
    assert text_of(tmp_path / "b.csv").endswith("“quoted” …\n")
    with pytest.raises(DatasetError, match="did you mean 'happy'"):
        one_of("hapy", {"happy": "happy"}, tmp_path, 1)


def test_pointers_of_git_lfs_are_told_from_short_files(tmp_path):
    put(tmp_path / "a.wav", POINTER)
    put(tmp_path / "b.wav", "RIFF")
    put(tmp_path / "c.wav", POINTER + "x" * 500)
    touch(tmp_path, "d.wav")
    assert [is_pointer(tmp_path / f"{n}.wav") for n in "abcd"] == [True, False, False, False]
    with pytest.raises(DatasetError, match=r"a\.wav is a pointer of git-lfs"):
        media_files(tmp_path, (".wav",))


@pytest.mark.parametrize("name", ["ravdess", "emodb", "fsdd"])
def test_clips_that_are_pointers_stop_the_older_readers_too(tmp_path, name):
    file = {"ravdess": "03-01-06-01-02-01-12", "emodb": "03a01Fa", "fsdd": "7_jackson_32"}[name]
    put(tmp_path / f"{file}.wav", POINTER)
    with pytest.raises(DatasetError, match="pointer of git-lfs"):
        read(name, tmp_path)


def test_val_and_test_of_one_held_out_part_may_share_and_train_may_not():
    class Halves(Listed):
        one_held_out = True

    rows = [Example(id=str(i), group="a", split=s) for i, s in enumerate(("val", "test"))]
    assert len(Halves(rows, None, "x")) == 2
    with pytest.raises(DatasetError, match="a in held out and train"):
        Halves([*rows, Example(id="9", group="a", split="train")], None, "x")
    with pytest.raises(DatasetError, match="a in test and val"):
        Listed(rows, None, "x")
    assert {half(f"g{i}") for i in range(20)} == {"val", "test"}


def test_a_recording_in_two_published_parts_is_found_whichever_is_asked_for(tmp_path):
    head = "audiocap_id,youtube_id,start_time,caption\n"
    put(tmp_path / "train.csv", head + "1,ab,30,Rain\n")
    put(tmp_path / "val.csv", head + "2,cd,30,Wind\n")
    put(tmp_path / "test.csv", head + "3,ab,10,Rain again\n")
    for split in ("val", "test", None):
        with pytest.raises(DatasetError, match="in test and train"):
            read("audiocaps", tmp_path, split=split)


def test_sheets(tmp_path):
    put_xlsx(tmp_path / "a.xlsx", [("name", "label"), (None, None), ("x & y", 2), (3, 4.0)])
    assert list(sheet_rows(tmp_path / "a.xlsx", ("name", "label"))) == [
        (3, {"name": "x & y", "label": "2"}), (4, {"name": "3", "label": "4"}),
    ]  # fmt: skip
    with pytest.raises(DatasetError, match="no column 'votes'; its columns are name, label"):
        list(sheet_rows(tmp_path / "a.xlsx", ("votes",)))
    put_xlsx(tmp_path / "empty.xlsx", [(None,)])
    with pytest.raises(DatasetError, match="is empty"):
        list(sheet_rows(tmp_path / "empty.xlsx", ("name",)))
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", "<worksheet><row>")
    with pytest.raises(DatasetError, match="save it as CSV"):
        list(sheet_rows(tmp_path / "b.xlsx", ("name",)))


@pytest.mark.parametrize(
    "name", ["avamerg", "iemocap", "crema_d", "mer", "dfew", "ami", "meld", "goemotions", "fer2013", "ravdess", "emodb"]
)
def test_a_set_that_is_not_there_is_said_where_to_get(tmp_path, name):
    with pytest.raises(DatasetError) as caught:
        read(name, tmp_path / "none")
    assert str(tmp_path) in caught.value.found and ("got from" in caught.value.remedy), caught.value


@pytest.mark.parametrize(
    "name", ["avamerg", "iemocap", "crema_d", "mer", "dfew", "ami", "folder", "meld", "goemotions", "fer2013", "ravdess", "emodb"]
)
def test_docstrings_say_source_licence_layout_and_a_raw_row(name):
    text = " ".join((catalog.load("datasets", name).__doc__ or "").split())
    assert all(word in text for word in ("Source:", "Licence:", "on disk:", "One raw", "group"))
