import resource

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.replay.files import format
from reverie.replay.files.format import DamagedFile

FIELDS = {"serial": 3, "big": 2**127, "names": ["a", "b"]}
ARRAYS = {
    "image": np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3),
    "deter": np.linspace(-1, 1, 10).reshape(5, 2).astype(ml_dtypes.bfloat16),
    "film": np.repeat(np.arange(19, dtype=np.uint8), 48).reshape(19, 4, 4, 3),
    "flag": np.array([True, False, True, True, False]),
    "empty": np.zeros((5, 0), np.float32),
}


@pytest.fixture(scope="module", params=["plain", "compressed"])
def content(request, tmp_path_factory):
    if request.param == "compressed":
        pytest.importorskip("lz4")
    path = tmp_path_factory.mktemp("format") / "file"
    format.write(path, FIELDS, ARRAYS, compress=() if request.param == "plain" else ARRAYS)
    return path, path.read_bytes()


def same(path):
    fields, arrays = format.read(path)
    assert fields == FIELDS
    assert list(arrays) == list(ARRAYS)
    for key, array in ARRAYS.items():
        assert arrays[key].dtype == array.dtype
        np.testing.assert_array_equal(arrays[key], array)


def test_what_is_written_is_read(content):
    path, _ = content
    same(path)
    assert format.File(path).fields == FIELDS
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_an_uncompressed_file_is_what_it_always_was(tmp_path):
    path = tmp_path / "file"
    format.write(path, {"a": 1}, {"key": np.arange(3, dtype=np.uint8)})
    header = (
        b'{"fields": {"a": 1}, "arrays": {"key": '
        b'{"dtype": "uint8", "shape": [3], "start": 0, "crc": 139757951}}}'
    )
    content = path.read_bytes()
    assert content[16 : 16 + len(header)] == header
    assert content[128:] == bytes([0, 1, 2]) + bytes(61)


@settings(deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(content, data):
    _, good = content
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= 1 << data.draw(st.integers(0, 7))
    path = content[0].with_name("flipped")
    path.write_bytes(bad)
    try:
        format.read(path)
    except DamagedFile:
        return
    same(path)


@settings(deadline=None)
@given(data=st.data())
def test_a_torn_file_is_found(content, data):
    _, good = content
    # The last array is empty and the one before ends with padding that carries nothing.
    path = content[0].with_name("torn")
    path.write_bytes(good[: data.draw(st.integers(0, len(good) - 64))])
    with pytest.raises(DamagedFile):
        format.read(path)


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    format.write(path, FIELDS, ARRAYS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            format.write(path, FIELDS, {"large": np.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    same(path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
