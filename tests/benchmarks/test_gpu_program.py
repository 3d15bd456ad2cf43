"""Counting what a program launches, on a text worked out by hand and on the agent's programs."""

import importlib.util
import json
import subprocess
import sys

import gpu_program
import pytest

LAUNCHES = 3100
"""Of an update of size1m with vectors in bfloat16, rounded up."""

HLO = """
%step (p: (s32[], f32[3,8])) -> (s32[], f32[3,8]) {
  %p = (s32[], f32[3,8]{1,0}) parameter(0)
  %rows = f32[3,8]{1,0} get-tuple-element(%p), index=1
  %new = f32[3,8]{1,0} fusion(%rows), kind=kLoop, calls=%f
  ROOT %t = (s32[], f32[3,8]{1,0}) tuple(%new)
}

ENTRY %main (x: bf16[4,4]) -> bf16[4,4] {
  %x = bf16[4,4]{1,0} parameter(0)
  %b = bf16[16]{0} bitcast(%x)
  %loop = (s32[], f32[3,8]{1,0}) while(%b), body=%step, metadata={op_name="jit(f)/while"}, \
backend_config={"known_trip_count":{"n":"3"}}
  ROOT %y = bf16[4,4]{1,0} fusion(%x), kind=kLoop, calls=%f
}
""".replace("\\\n", "")


def test_loops_count_as_often_as_they_run():
    cost, loops = gpu_program.count(HLO)
    assert cost.launches == {"fusion": 3 + 1}
    assert loops == [{"origin": "jit(f)/while", "trips": 3, "launches": 1}]
    # A trip reads and writes one row of eight floats; what follows all of its arrays.
    assert cost.bytes == 3 * 2 * 8 * 4 + 2 * 16 * 2


def test_without_the_plugin_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax_plugins.xla_cuda13", None)
    assert gpu_program.main([]) == 1
    assert "-e '.[card]'" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["update", "report", "policy"])
def test_programs_for_a_card(program):
    if not importlib.util.find_spec("jax_cuda13_plugin"):
        pytest.skip(gpu_program.MISSING)
    command = [sys.executable, gpu_program.__file__, "--program", program, "--json"]
    result = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert 0 < result["launches"] < LAUNCHES
    assert result["temporary_bytes"] > 0
    assert result["estimated_s"] > 0
