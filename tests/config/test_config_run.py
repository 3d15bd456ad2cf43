"""The configuration of a run that may have begun already."""

import os

import pytest

from reverie import cli
from reverie.config.load import RUN_CONFIG, load, load_run
from reverie.errors import ConfigError


@pytest.fixture
def saved(tmp_path):
    """A run folder with the configuration of a run."""
    folder = tmp_path / "run"
    config = load(["--configs", "debug", "--task", "gym_CartPole-v1", "--logdir", str(folder)])
    config.to_yaml(folder / RUN_CONFIG)
    return config


def on_this_machine(saved):
    """What goes on of a saved run: how the machine was used stays behind."""
    dtype = saved.jax.compute_dtype
    jax = load().jax.model_copy(update={"compute_dtype": dtype})
    return saved.model_copy(update={"jax": jax})


def test_the_logdir_alone_goes_on_with_the_saved_configuration(saved):
    expected = on_this_machine(saved)
    assert load_run(["--logdir", saved.logdir]) == expected != saved
    assert load_run([f"--logdir={saved.logdir}"]) == expected
    assert load_run(overrides={"logdir": saved.logdir}) == expected


def test_a_run_goes_on_in_a_folder_with_braces(tmp_path):
    folder = tmp_path / "{x}" / "run"
    load(["--task", "gym_CartPole-v1"]).to_yaml(folder / RUN_CONFIG)
    assert load_run(["--logdir", str(folder)]).logdir == str(folder)


def test_flags_and_overrides_lie_over_it(saved):
    config = load_run(["--logdir", saved.logdir, "--run.steps", "77", r"--.*\.lr", "0.5"])
    assert (config.run.steps, config.agent.opt.lr) == (77, 0.5)
    assert config.agent.dyn.deter == saved.agent.dyn.deter
    config = load_run(overrides={"logdir": saved.logdir, "run": {"envs": 3}})
    assert (config.run.envs, config.batch_size) == (3, saved.batch_size)


def test_the_home_folder_is_understood_and_a_moved_run_keeps_its_new_place(saved, monkeypatch):
    home, name = os.path.split(saved.logdir)
    monkeypatch.setenv("HOME", home)
    moved = os.path.join(home, "moved")
    os.rename(saved.logdir, moved)
    config = load_run(["--logdir", "~/moved"])
    assert (config.logdir, config.task) == (moved, saved.task)
    # Without a run in the folder it is a new one.
    assert load_run(["--logdir", f"~/{name}"]).task == "dummy_disc"


def test_its_own_task_changes_nothing_and_another_one_is_a_new_configuration(saved):
    assert load_run(["--logdir", saved.logdir, "--task", saved.task]) == on_this_machine(saved)
    words = ["--logdir", saved.logdir, "--task", "gym_Pendulum-v1"]
    assert load_run(words) == load(words)


def test_blocks_make_a_new_configuration(saved):
    words = ["--logdir", saved.logdir, "--configs", "size1m"]
    assert load_run(words) == load(words)
    overrides = {"logdir": saved.logdir}
    assert load_run(configs="size1m", overrides=overrides) == load(words)


def test_a_wrong_logdir_is_reported_as_ever(tmp_path):
    with pytest.raises(ConfigError, match="Flag --logdir: expected one value"):
        load_run(["--logdir"])
    with pytest.raises(ConfigError, match="Option logdir = 3 from overrides"):
        load_run(overrides={"logdir": 3})
    (tmp_path / RUN_CONFIG).write_text("[")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_run(["--logdir", str(tmp_path)])


def test_the_options_of_a_run_are_printed_for_another_one(saved, capsys, tmp_path):
    assert cli.main(["config", "--from", saved.logdir, "--configs", "size1m", "--seed", "3"]) == 0
    (tmp_path / "mine.yaml").write_text(printed := capsys.readouterr().out)
    assert f"batch_size: 2  # set by file {saved.logdir}/config.yaml; default 16" in printed
    printed = load(["--configs", str(tmp_path / "mine.yaml")])
    assert printed.agent.dyn.deter == 512
    assert (printed.seed, printed.task, printed.jax) == (3, saved.task, saved.jax)
