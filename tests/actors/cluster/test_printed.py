"""What a process prints, taken in a process of its own."""

import json
import subprocess
import sys

SCRIPT = """
import json, os, sys, time
from reverie.actors.cluster import printed
kept, found = printed.Printed(), []
os.write(1, eval(sys.argv[1]))
end = time.monotonic() + 200
while sum(map(len, found)) < int(sys.argv[2]) and time.monotonic() < end:
    found += kept.take()
    time.sleep(0.01)
with open(sys.argv[3], "w") as file:
    json.dump(found, file)
"""


def taken(written, count, folder, errors=subprocess.PIPE):
    """What arrives of it, as soon as this is so many characters."""
    words = [sys.executable, "-c", SCRIPT, written, str(count), str(folder / "found")]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=errors, check=True)
    return json.loads((folder / "found").read_text()), done.stderr


def test_lines_are_taken_and_still_reach_where_they_went(tmp_path):
    found, seen = taken("'one\\ntwö\\r\\n'.encode()", 6, tmp_path)
    assert found == ["one", "twö"]
    assert seen == "one\ntwö\r\n".encode()


def test_output_without_a_newline_comes_in_pieces_and_does_not_pile_up(tmp_path):
    found, _ = taken("b'x' * 50_000", 40_000, tmp_path)
    assert max(map(len, found)) == 10_000


def test_lines_are_taken_although_the_disk_of_the_log_is_full(tmp_path):
    with open("/dev/full", "w") as full:
        found, _ = taken("b'one\\ntwo\\n'", 6, tmp_path, full)
    assert found == ["one", "two"]
