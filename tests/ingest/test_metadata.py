from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.errors import MetadataError
from filterdb.ingest.metadata import load_metadata, typed

A, B = Path("/zoo/a/net.pth"), Path("/zoo/b/net.pth")
C, D = Path("/zoo/c.onnx"), Path("/zoo/d.tar.gz")


def load(tmp_path, text, files, encoding="utf-8"):
    path = tmp_path / "models.csv"
    path.write_bytes(text.encode(encoding))
    return load_metadata(path, files)


def test_rows_are_matched_by_file_name_and_cells_kept(tmp_path):
    found = load(tmp_path, "file,task,year\nc.onnx,ocr,2020\nd.tar.gz,,\n", [C, D])
    assert found.of_file == {C: {"task": "ocr", "year": 2020}, D: {"task": None, "year": None}}
    assert found.columns == ("task", "year")
    assert found.unmatched_rows == found.files_without_row == ()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_and_byte_order_mark(tmp_path, delimiter, encoding):
    text = 'file,task\r\nc.onnx,"say ""hi"""\r\n\r\n'.replace(",", delimiter)
    found = load(tmp_path, text, [C], encoding)
    assert found.of_file[C]["task"] == 'say "hi"'


def test_the_key_is_the_column_that_matches_most(tmp_path):
    text = "path,file,task\nx/weights.bin,c.onnx,ocr\nx/net.pth,d.tar.gz,detection\n"
    found = load(tmp_path, text, [A, C, D])
    assert {file: row["task"] for file, row in found.of_file.items()} == {C: "ocr", D: "detection"}
    assert found.renamed_columns == {"path": "csv_path"}
    assert found.files_without_row == (str(A),)


def test_the_longest_common_end_decides_between_files(tmp_path):
    found = load(tmp_path, "path,task\na/net.pth,one\nelse/b/net.pth,two\n", [A, B])
    assert {file: row["task"] for file, row in found.of_file.items()} == {A: "one", B: "two"}


def test_what_is_ambiguous_is_reported_not_guessed(tmp_path):
    found = load(tmp_path, "file,task\nnet.pth,one\nc.onnx,x\nc.onnx,y\nz.pt,z\n,e\n", [A, B, C])
    assert found.of_file == {}
    assert list(found.unmatched_rows) == [
        f"line 2: net.pth (fits 2 files: {A}, {B})",
        f"line 3: c.onnx (ambiguous: lines 3, 4 all name {C}, so none of them is used)",
        f"line 4: c.onnx (ambiguous: lines 3, 4 all name {C}, so none of them is used)",
        "line 5: z.pt (no such file)",
        "line 6: (empty) (names no file)",
    ]
    assert found.files_without_row == (str(A), str(B), str(C))


def test_a_name_without_suffix_and_a_path_of_windows_match(tmp_path):
    found = load(tmp_path, "model,task\nc,ocr\nzoo\\a\\net.pth,x\n", [A, B, C])
    assert {file: row["task"] for file, row in found.of_file.items()} == {C: "ocr", A: "x"}


def test_columns_take_the_catalogues_names_or_make_way_for_them(tmp_path):
    header = "file,Visual Category,training-dataset,SHA256,format,model,Mine,mine,rowid,,digest"
    found = load(tmp_path, f"{header}\nc.onnx,faces,coco,ab,pth,m,1,2,3,,d\n", [C])
    assert found.of_file[C] == {
        "visual_category": "faces", "training_dataset": "coco", "csv_SHA256": "ab",
        "csv_format": "pth", "csv_model": "m", "Mine": 1, "mine_2": 2, "csv_rowid": 3,
        "csv_digest": "d",
    }  # fmt: skip
    assert found.renamed_columns == {
        "SHA256": "csv_SHA256", "format": "csv_format", "model": "csv_model", "mine": "mine_2",
        "rowid": "csv_rowid", "digest": "csv_digest",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "", "-20"], [1, None, -20]),
        (["1", "2.5", "1e-3", ".5"], [1.0, 2.5, 0.001, 0.5]),
        (["1", "x"], ["1", "x"]),
        (["007", "8"], ["007", "8"]),
        (["1_000", "nan"], ["1_000", "nan"]),
        (["1234567890123456789012"], [1234567890123456789012.0]),
        (["", " "], [None, None]),
        (["-", "."], ["-", "."]),
        (["1e999"], ["1e999"]),
        (["e1"], ["e1"]),
        (["1.", "-.5E+2"], [1.0, -50.0]),
        (["inf", "0x10", "1.5"], ["inf", "0x10", "1.5"]),
        (["\u0663", "\uff11.5"], ["\u0663", "\uff11.5"]),
        (["."], ["."]),
        (["+e5", ".e1"], ["+e5", ".e1"]),
    ],
)
def test_a_column_of_numbers_is_numbers(cells, values):
    result = typed(cells, text=False)
    assert result == values
    assert [type(value) for value in result] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("task,year\nocr,1\n", "Call one of file, filename"),
        ("file,task\nc.onnx,a,b\n", "Line 2 .* has 3 cells"),
        ('file,task\nc.onnx,"a\n', "not a valid CSV"),
        ("file,task\nc.onnx,\u20ac\n", "UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, words):
    encoding = "utf-16" if "\u20ac" in text else "utf-8"
    with pytest.raises(MetadataError, match=words):
        load(tmp_path, text, [C], encoding)
    with pytest.raises(MetadataError, match="cannot be read"):
        load_metadata(tmp_path / "none.csv", [C])


def test_a_row_of_a_file_in_a_folder_that_is_one_model_belongs_to_the_folder(tmp_path):
    (tmp_path / "web.tfjs").mkdir()
    (tmp_path / "x.pth").touch()
    files = [tmp_path / "web.tfjs", tmp_path / "x.pth"]
    found = load(tmp_path, "file,task\nweb.tfjs/model.json,ocr\nx.pth/model.json,z\n", files)
    assert found.of_file == {tmp_path / "web.tfjs": {"task": "ocr"}}
    assert found.unmatched_rows == ("line 3: x.pth/model.json (no such file)",)


@given(st.lists(st.text("+-.eE019_ xnaif\u0663", max_size=8)))
def test_any_cells_are_typed(cells):
    for cell, value in zip(cells, typed(cells, text=False), strict=True):
        assert value == (float(cell) if isinstance(value, int | float) else cell.strip() or None)


def test_rows_are_named_by_the_line_on_which_they_start(tmp_path):
    text = 'file,task\r\n\r\nx.pt,"two\nlines\x0c\u2028"\ny.pt,z\x0cz\n'
    found = load(tmp_path, text, [C])
    assert found.unmatched_rows == ("line 3: x.pt (no such file)", "line 5: y.pt (no such file)")


def test_the_closer_of_two_rows_is_taken_and_the_other_told(tmp_path):
    found = load(tmp_path, "file,task\nb/net.pth,one\na/b/net.pth,two\n", [Path("/a/b/net.pth")])
    assert [row["task"] for row in found.of_file.values()] == ["two"]
    assert found.unmatched_rows == ("line 2: b/net.pth (line 3 names /a/b/net.pth more closely)",)


def test_names_of_the_models_columns_beside_layers_are_not_given_away(tmp_path):
    found = load(tmp_path, "file,model_verdict,Model_KH,model_year\nc.onnx,a,b,c\n", [C])
    assert found.columns == ("csv_model_verdict", "csv_Model_KH", "model_year")
