"""For all tests: checked shapes and types, quick compilation, and one cache of compiled programs.

The model code checks the shapes and types of its arrays while it runs. The hook has to be in place
before the checked packages are imported for the first time; pytest loads this file before any test
module.
"""

import gc
import os
import sys

import jax
import jaxtyping
import pytest

CHECKED = ["reverie.nn", "reverie.world", "reverie.agent"]

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):  # A later XLA has no such flags, and ends the process for it.
    QUICK += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""Tests compile many programs and run each a few times: without these optimizations a program of
the agent compiles three times faster. Other flags in the environment replace these, also none."""

jaxtyping.install_import_hook(CHECKED, "beartype.beartype")
# Arrays of different rank broadcast silently otherwise, which hides a missing axis.
jax.config.update("jax_numpy_rank_promotion", "raise")
# XLA reads them when it first compiles; processes that tests start have them too.
os.environ.setdefault("XLA_FLAGS", QUICK)
# Many tests start processes, which read their modules compiled, and pytest takes seconds to rewrite
# the assertions of those that have changed.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A process reads its token for a local Ray once, and some tests have a home folder of their own.
os.environ["RAY_AUTH_TOKEN"] = "of-the-tests" * 4


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """The folder of compiled programs of this test run, instead of the user's.

    All processes share it, those of pytest-xdist and those that tests start.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # Each worker has a folder of its own in that of the run.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        yield str(folder / "cache" / "reverie" / "compiled")


def pytest_collection_finish():
    """What is there now stays, so that no collection of garbage has to look at it again.

    Such a look at all modules and tests takes 0.3 seconds, and compiling causes many.
    """
    gc.collect()
    gc.freeze()
    # Tracing makes so many objects that the default of 700 takes a tenth of the time of a test.
    gc.set_threshold(50_000)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Runs of one process share the programs of equal agents, see shared_programs.py."""
    from shared_programs import shared_programs  # After the import hook.

    with shared_programs():
        return (yield)
