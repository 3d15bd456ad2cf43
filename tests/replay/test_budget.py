import collections

import psutil
import pytest

from reverie.replay import budget
from reverie.replay.budget import choose_budget, estimate_budget
from reverie.replay.chunk import Layout
from reverie.spaces import Space

SPACES = {
    "image": Space("image", (64, 64, 3), "uint8"),
    "latent/deter": Space("continuous", (512,), "bfloat16"),
}
STEP = 64 * 64 * 3 + 512 * 2 + 4 + 3  # With the reward and three flags.
Disk = collections.namedtuple("Disk", "free")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Sets the free bytes of RAM and disk."""

    def free(ram, disk):
        memory = collections.namedtuple("Memory", "available")(ram)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
        monkeypatch.setattr("shutil.disk_usage", lambda path: Disk(disk))
        monkeypatch.setattr("reverie.machine._CGROUPS", tmp_path / "cgroup")

    return free


def test_what_fits_is_told_with_the_numbers(machine, tmp_path):
    machine(20e9, 100e9)
    found = estimate_budget(Layout(SPACES, ["latent/deter"]), 1_000_000, tmp_path / "no/such")
    assert found.disk == 1_000_000 * STEP
    assert found.ram == 1_000_000 * (STEP + budget.INDEX)
    assert found.problem == ""
    assert str(found) == (
        "Replay in RAM: 1,000,000 steps of 13.4 kB take 13.4 GB of RAM (20.0 GB free), "
        "13.3 GB of disk (100.0 GB free)."
    )


def test_too_little_ram(machine, tmp_path):
    machine(10e9, 100e9)
    layout = Layout(SPACES, ["latent/deter"])
    found = estimate_budget(layout, 1_000_000, tmp_path)
    assert "does not fit in RAM" in found.problem
    assert "replay.storage disk" in found.problem
    fits = int(10e9 / (STEP + budget.INDEX))
    assert f"replay.size to {fits:,} steps" in found.problem
    assert not estimate_budget(layout, fits, tmp_path).problem
    assert not estimate_budget(layout, 1_000_000, tmp_path, bound=2e9).problem
    assert "Lower replay.ram_gb" in estimate_budget(layout, 1_000_000, tmp_path, bound=12e9).problem


def test_too_little_disk(machine, tmp_path):
    machine(100e9, 10e9)
    layout = Layout(SPACES, ["latent/deter"])
    assert "does not fit on the disk" in estimate_budget(layout, 1_000_000, tmp_path).problem
    # Latents without room in memory are on the disk twice.
    roomy, tight = (estimate_budget(layout, 1_000_000, tmp_path, bound=r) for r in (4e9, 1e9))
    assert roomy.disk == 1_000_000 * STEP
    assert tight.disk == 1_000_000 * (STEP + 1024) - 0.5e9
    assert str(tmp_path) in tight.problem
    assert "replay.compress lz4" in tight.problem
    # What replay has written already is not missing.
    (tmp_path / "0000000000.chunk").write_bytes(bytes(1000))
    assert estimate_budget(layout, 1, tmp_path).disk_available == 10e9 + 1000
    # Nor what shards have written into folders of their own.
    (tmp_path / "shard-0").mkdir()
    (tmp_path / "shard-0" / "0000000000.chunk").write_bytes(bytes(500))
    assert estimate_budget(layout, 1, tmp_path).disk_available == 10e9 + 1500


def test_processes_have_their_part_of_what_they_share(machine, tmp_path):
    machine(8e9, 10e9)
    (tmp_path / "0000000000.chunk").write_bytes(bytes(1000))
    options = {"ram_shares": 2, "disk_shares": 4}
    found = estimate_budget(Layout(SPACES, ["latent/deter"]), 100_000, tmp_path, **options)
    assert (found.ram_available, found.disk_available) == (4e9, 2.5e9 + 1000)


def test_evaluation_episodes_take_memory_besides(machine, tmp_path):
    layout = Layout(SPACES, ["latent/deter"])
    others = 100_000 * (STEP + budget.INDEX)
    machine(10e9, 100e9)
    found = estimate_budget(layout, 500_000, tmp_path, held_out=100_000)
    assert found.ram == 500_000 * (STEP + budget.INDEX) + others
    assert "8.0 GB of RAM, 1.3 GB of it for evaluations (10.0 GB free)" in str(found)
    assert not found.problem
    found = estimate_budget(layout, 1_000_000, tmp_path, held_out=100_000)
    fits = int((10e9 - others) / (STEP + budget.INDEX))
    assert f"replay.size to {fits:,} steps or fewer, lower replay.eval_size, keep" in found.problem
    assert not estimate_budget(layout, fits, tmp_path, held_out=100_000).problem
    bounded = estimate_budget(layout, 1_000_000, tmp_path, bound=9.5e9, held_out=100_000)
    assert "Lower replay.ram_gb or replay.eval_size" in bounded.problem
    # Steps that live on disk get less memory, so that there is room for the others.
    chosen = choose_budget(layout, 1_000_000, tmp_path, "auto", 8e9, held_out=100_000)
    assert chosen.bound == budget.SHARE * 10e9 - others
    assert not chosen.problem


def test_nobody_knows_what_compressed_images_take(machine, tmp_path):
    layout = Layout(SPACES, ["latent/deter"])
    for bound in (None, 4e9):
        machine(100e9, 10e9)
        found = estimate_budget(layout, 1_000_000, tmp_path, bound, compress=True)
        assert found.problem == ""
        assert "13.3 GB of disk before compression (10.0 GB free)." in str(found)
        # In memory images are as large as ever.
        machine(3e9, 10e9)
        found = estimate_budget(layout, 1_000_000, tmp_path, bound, compress=True)
        assert "RAM" in found.problem
    machine(3e9, 10e9)
    found = choose_budget(layout, 1_000_000, tmp_path, "auto", bound=2e9, compress=True)
    assert (found.bound, found.problem) == (2e9, "")


def test_auto_takes_ram_if_everything_fits_with_room_for_training(machine, tmp_path):
    layout = Layout(SPACES, ["latent/deter"])
    needed = 1_000_000 * (STEP + budget.INDEX)

    def choose(ram, kind="auto"):
        machine(ram, 100e9)
        return choose_budget(layout, 1_000_000, tmp_path, kind, bound=2e9)

    assert choose(needed / budget.SHARE + 1).bound is None
    roomy = choose(needed / budget.SHARE - 1)
    assert roomy.bound == 2e9
    assert str(roomy).startswith("Replay on disk: ")
    assert choose(1e9).bound == budget.SHARE * 1e9
    assert not choose(1e9).problem
    assert choose(1e9, "ram").bound is None
    assert "replay.storage disk" in choose(1e9, "ram").problem
    assert choose(100e9, "disk").bound == 2e9
