"""What a run chooses by itself: the size of the model, and of replay."""

import types

import jax
import pytest

import reverie
from reverie.config.load import load
from reverie.config.presets import sizes
from reverie.config.saved_runs.foreign import read_config
from reverie.config.schema import unset
from reverie.replay import budget
from reverie.replay.budget import BudgetError
from reverie.run.parts import build, defaults
from reverie.run.saved.folder import RunFolder
from reverie.run.scripts import launch
from reverie.spaces import Space

IMAGE = {"image": Space("image", (64, 64, 3), "uint8")}
NUMBERS = {"obs": Space("continuous", (4,), "float32")}
# A model that compiles in seconds; of its size only the widths are left to the run.
SMALL = {"deter": 32, "hidden": 16, "stoch": 4, "classes": 4, "depth": 4, "layers": 1}
TINY = {rf".*\.{name}": value for name, value in SMALL.items()} | {
    "batch_size": 2,
    "batch_length": 8,
    "report_length": 8,
    "run.train_ratio": 1,
}
TINY |= {"jax": {"fast_compile": True, "devices": [0]}, "run.env_backend": "sync", "run.envs": 2}


def placement(platform="cpu", limit=None):
    device = types.SimpleNamespace(memory_stats=lambda: limit and {"bytes_limit": limit})
    return types.SimpleNamespace(platform=platform, here=(device,))


@pytest.mark.parametrize(
    ("where", "spaces", "name"),
    [
        (placement(), IMAGE, "size1m"),
        (placement(), NUMBERS, "size1m"),
        (placement("gpu", 70e9), IMAGE, "size200m"),
        (placement("gpu", 70e9), NUMBERS, "size12m"),
        (placement("gpu", 15e9), IMAGE, "size100m"),
        (placement("gpu", 4e9), IMAGE, "size12m"),
        (placement("gpu", 1e9), NUMBERS, "size1m"),
        (placement("tpu"), IMAGE, "size1m"),
    ],
)
def test_the_size_is_chosen_by_device_memory_and_observations(where, spaces, name):
    config, (note,) = defaults.choose_size(load(configs="crafter"), where, spaces)
    assert config.agent == load(configs=name).agent
    assert note.startswith(f"Model {name}, chosen for ")


def test_what_is_set_is_never_chosen():
    gpu = placement("gpu", 70e9)
    for words in (["--configs", "crafter", "size1m"], ["--configs", "debug"]):
        config = load(words)
        assert defaults.choose_size(config, gpu, IMAGE) == (config, [])
    config, notes = defaults.choose_size(load(["--agent.dyn.deter", "64"]), placement(), IMAGE)
    assert (config.agent.dyn.deter, config.agent.dyn.hidden) == (64, 64)
    assert len(notes) == 1


def test_a_resume_keeps_what_was_chosen(tmp_path):
    chosen, _ = defaults.choose_size(load(configs="crafter"), placement(), IMAGE)
    kept = defaults.keep(load(configs=["crafter"], overrides={"seed": 3}), chosen)
    assert kept.agent == chosen.agent
    assert defaults.choose_size(kept, placement("gpu", 70e9), IMAGE) == (kept, [])
    # Another size that was asked for is not overruled: it is refused later, by name.
    assert defaults.keep(load(configs=["size12m"]), chosen).agent.dyn.deter == 2048
    config = load()
    assert defaults.keep(config, None) == config


@pytest.mark.parametrize("where", ["", "checkpoints", "checkpoints/000000100"])
def test_parameters_that_are_taken_bring_their_size(tmp_path, where):
    chosen, _ = defaults.choose_size(load(configs="crafter"), placement(), IMAGE)
    chosen.to_yaml(RunFolder(tmp_path).config)
    (tmp_path / where).mkdir(parents=True, exist_ok=True)
    kept = defaults.keep_size(load(), tmp_path / where)
    assert kept.agent == chosen.agent
    assert "replay.size" not in kept.sources
    (tmp_path / "config.yaml").write_text("another: program")
    assert unset(defaults.keep_size(load(), tmp_path), sizes()["size1m"])


@pytest.fixture
def small_machine(monkeypatch):
    """A machine with room for so many bytes of replay, in memory and on disk."""

    def free(size):
        monkeypatch.setattr(budget, "available_ram", lambda: size)
        monkeypatch.setattr(budget, "available_disk", lambda folder, shares: size)

    return free


def test_a_run_without_options_trains_and_goes_on(cache, tmp_path, capfd, small_machine):
    small_machine(50e6)
    options = {**TINY, "logdir": tmp_path / "run", "jax.cache_dir": cache}
    options |= {"replay.chunksize": 32, "run.save_every": 0}

    def stop(run):
        if run.updates:
            run.shutdown.late = lambda: True  # As when its time is up.

    outcome = reverie.train("CartPole-v1", run={"duration": 500}, callbacks=[stop], **options)
    saved = read_config(outcome.logdir / "config.yaml")
    assert saved.agent.policy.units == saved.agent.enc.simple.units == 64
    assert 100_000 < saved.replay.size < 300_000
    assert saved.run.steps == 1_000_000
    notes = capfd.readouterr().out
    assert "Model size1m, chosen for a CPU" in notes
    assert f"replay.size {saved.replay.size:,}: more of the 1,000,000 steps would not" in notes
    # With blocks everything is made anew, but for what the run has chosen.
    again = reverie.train(
        "CartPole-v1", configs="defaults", run={"steps": outcome.steps + 10}, **options
    )
    assert again.steps > outcome.steps
    assert read_config(outcome.logdir / "config.yaml").replay.size == saved.replay.size
    assert "chosen" not in capfd.readouterr().out
    more = {"script": "eval_only", "task": "gym_CartPole-v1"}
    assert launch(load(overrides={**options, **more})).evaluation


def test_a_refusal_names_the_model_where_its_latents_are_the_cause(tmp_path, small_machine):
    small_machine(1e9)
    options = {"logdir": tmp_path / "run", "replay.size": 1e6}
    with pytest.raises(BudgetError) as caught:
        reverie.train("CartPole-v1", configs="size200m", **options)
    message = str(caught.value)
    assert "(32.8 kB latents)" in message
    assert "on the disk. Choose a smaller model, such as --configs size12m or size1m" in message
    assert "image" not in message
    assert "lower replay.size to" in message
    assert not (tmp_path / "run").exists()


def test_a_machine_without_room_for_some_batches_is_refused(tmp_path, small_machine):
    small_machine(1e3)
    with pytest.raises(BudgetError, match="does not fit"):
        reverie.train("CartPole-v1", **TINY, logdir=tmp_path / "run")


@pytest.mark.parametrize("task", ["disc", "cont", "multi", "hybrid"])
def test_small_takes_images_numbers_and_every_kind_of_action(task):
    config = load(["--configs", "small", "--task", f"dummy_{task}"])
    spaces = build.EnvSource(config.task, config.env).spaces()
    kinds = {space.kind for space in spaces.obs.values()}
    assert {"image", "continuous", "discrete"} <= kinds
    made = build.agent(config, spaces.obs, spaces.act, "cpu")
    state = jax.eval_shape(made.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) < 1_500_000
