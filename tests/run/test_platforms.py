"""What runs where a system lacks functions of Linux, and what says that it cannot run at all."""

import os
import subprocess
import sys

MACOS = """
import os, resource, select, signal

# Python's documentation marks these as missing on macOS.
for module, names in {
    os: "copy_file_range eventfd fdatasync getresuid getxattr memfd_create O_DIRECT O_TMPFILE "
        "pidfd_open pipe2 posix_fadvise posix_fallocate sched_getaffinity sched_setaffinity "
        "setresuid splice unshare waitid",
    resource: "prlimit",
    select: "epoll",
    signal: "sigtimedwait sigwaitinfo",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""

WINDOWS = """
import os
os.name = "nt"
import reverie
"""


def test_a_run_needs_nothing_that_macos_lacks(command, cache, tmp_path, monkeypatch):
    # Python imports it when it starts, in processes of environments as well.
    (tmp_path / "sitecustomize.py").write_text(MACOS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    words = ["train", "--configs", "debug", "--task", "gym_CartPole-v1", "--jax.cache_dir", cache]
    words += ["--run.env_backend", "async", "--run.steps", "60", "--run.final_eval_eps", "1"]
    run = command(*words, "--logdir", str(tmp_path / "run"))
    output, errors = run.communicate()
    assert run.returncode == 0, errors
    assert "AttributeError" not in output + errors
    assert "1 episode" in output, output


def test_windows_is_told_what_to_use():
    done = subprocess.run([sys.executable, "-c", WINDOWS], capture_output=True, text=True)
    assert "ImportError: Reverie runs on Linux and macOS, and in WSL on Windows" in done.stderr
