"""What a run folder may decide, and what only the user may."""

import os

import pytest

from reverie.config.load import load, load_run
from reverie.config.saved_runs import foreign
from reverie.config.saved_runs.foreign import read_run
from reverie.config.syntax import yaml_text
from reverie.errors import ConfigError


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """The keys of a user who has none yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def folder(tmp_path):
    """Writes the configuration of a run; keyword arguments are dotted options with `__`."""

    def make(**options):
        options = {name.replace("__", "."): value for name, value in options.items()}
        root = tmp_path / "run"
        load(overrides={"logdir": root, **options}).to_yaml(root / "config.yaml")
        return root

    return make


CODE = [
    ({"task": "dm_os:system"}, "the task 'dm_os:system'"),
    ({"task": "gym_evil:Id-v0"}, "the task 'gym_evil:Id-v0'"),
    ({"task": "evil:Env"}, "the task 'evil:Env'"),
    ({"agent__enc__typ": "evil:Encoder"}, "agent.enc.typ 'evil:Encoder'"),
    ({"env__gym__wrappers": ["evil:Wrapper"]}, "env.gym.wrappers ['evil:Wrapper']"),
    ({"replay__selector": "evil:Selector"}, "replay.selector 'evil:Selector'"),
    ({"agent__objectives": ["reward", "evil:loss"]}, "agent.objectives ['reward', 'evil:loss']"),
    (
        {"task": "gym_GymV21Environment-v0", "env__gym__kwargs": {"env_id": "evil:Id-v0"}},
        "env.gym.kwargs",
    ),
    ({"task": "gym_Ant-v5", "env__gym__kwargs": {"xml_file": ["/tmp/a.xml"]}}, "env.gym.kwargs"),
]


def test_a_saved_configuration_that_was_emptied_is_not_that_of_the_defaults(folder):
    root = folder()
    (root / "config.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"config\.yaml: it is empty, as a full disk"):
        read_run(root)


@pytest.mark.parametrize(("options", "named"), CODE)
def test_code_that_somebody_else_names_is_refused_in_one_line(folder, options, named):
    root = folder(**options)
    with pytest.raises(ConfigError) as caught:
        load_run(["--logdir", str(root)])
    message = str(caught.value)
    assert named in message
    assert "--trust" in message
    assert "\n" not in message
    config = load_run(["--logdir", str(root)], trust=True)
    assert config.task == options.get("task", "dummy_disc")
    assert foreign.sign(root)
    assert load_run(["--logdir", str(root)]) == config


def test_what_the_user_names_is_the_users(folder):
    root = folder(task="dm_os:system", agent__enc__typ="evil:Encoder")
    words = ["--logdir", str(root), "--task", "dm_os:system"]
    with pytest.raises(ConfigError, match=r"evil:Encoder"):
        load_run(words)
    words += ["--agent.enc.typ", "evil:Encoder", "--agent.enc.extra", "{}"]
    assert load_run(words).agent.enc.typ == "evil:Encoder"


def test_numbers_shapes_and_plain_words_need_no_trust(folder):
    kwargs = {"map_name": "8x8", "is_slippery": False, "goal": [1, 2.5, None]}
    root = folder(task="gym_FrozenLake-v1", env__gym__kwargs=kwargs, agent__dyn__deter=64, seed=3)
    config = load_run(["--logdir", str(root)])
    assert (config.env.gym.kwargs, config.agent.dyn.deter, config.seed) == (kwargs, 64, 3)
    root = folder(agent__objectives=["dynamics", "actor_critic"])
    assert load_run(["--logdir", str(root)]).agent.objectives == ("dynamics", "actor_critic")


def test_paths_and_other_texts_of_others_are_left_out_with_a_warning(folder, caplog):
    root = folder(run__from_checkpoint="/elsewhere", replay__priosignal="log/x", seed=3)
    config = load_run(["--logdir", str(root)])
    assert (config.run.from_checkpoint, config.replay.priosignal, config.seed) == ("", "model", 3)
    assert "run.from_checkpoint, replay.priosignal" in caplog.text
    foreign.sign(root)
    assert load_run(["--logdir", str(root)]).replay.priosignal == "log/x"


@pytest.mark.parametrize("trust", [False, True])
def test_how_the_machine_is_used_never_comes_from_a_folder(folder, trust):
    jax = {"platform": "cpu", "mock_devices": 2, "cache_dir": "/evil", "compute_dtype": "float16"}
    root = folder(jax=jax, run__save_every=7)
    foreign.sign(root)
    config = load_run(["--logdir", str(root)], trust=trust)
    default = load().jax
    # The one that a run goes on with: it sets the type of the latents in replay.
    assert config.jax == default.model_copy(update={"compute_dtype": "float16"})
    assert config.run.save_every == 7
    assert load_run(["--logdir", str(root), "--jax.platform", "cpu"]).jax.platform == "cpu"


def test_a_signature_is_of_one_user_and_of_the_texts_in_the_folder(folder, monkeypatch, tmp_path):
    root = folder(task="dm_mine:make")
    foreign.sign(root)
    mine = (root / "signature").read_text()
    assert read_run(root).code == {}
    content = (root / "config.yaml").read_text()
    (root / "config.yaml").write_text(content.replace("dm_mine", "dm_evil"))
    assert "task" in read_run(root).code
    # Numbers may be edited, and the folder moved.
    (root / "config.yaml").write_text(content.replace("seed: 0", "seed: 4"))
    root = root.rename(tmp_path / "moved")
    assert read_run(root).options["seed"] == 4
    assert read_run(root).code == {}
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    assert "task" in read_run(root).code
    foreign.sign(root)
    assert (root / "signature").read_text() != mine
    for content in (b"", b"\xff", b"0" * 64):
        (root / "signature").write_bytes(content)
        assert "task" in read_run(root).code


def test_without_a_place_for_a_key_nothing_is_signed(folder, state):
    state.write_text("a file where the folder would be")
    root = folder(task="dm_mine:make")
    assert not foreign.sign(root)
    assert "task" in read_run(root).code
    assert foreign.sign(folder())
    assert not (root / "signature").exists()


def test_the_key_is_for_its_user_alone(folder, state):
    foreign.sign(folder())
    assert os.stat(state / "reverie" / "key").st_mode & 0o077 == 0
    assert [path.name for path in (state / "reverie").iterdir()] == ["key"]


def test_links_of_others_lead_nowhere(folder, tmp_path):
    root = folder()
    (root / "checkpoints").mkdir()
    (root / "checkpoints" / "x").symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigError, match="is a link"):
        load_run(["--logdir", str(root)])
    assert load_run(["--logdir", str(root)], trust=True)


def test_options_that_are_no_more_are_left_out_where_they_changed_nothing(folder):
    root = folder(task="atari_pong")
    path = root / "config.yaml"
    content, place = path.read_text(), "  atari:\n"
    assert content.count(place) == 1
    path.write_text(content.replace(place, f"{place}    backend: process\n"))
    assert load_run(["--logdir", str(root)]).env.atari == load([]).env.atari
    path.write_text(content.replace(place, f"{place}    backend: native\n"))
    with pytest.raises(ConfigError, match=r"'env.atari.backend', which is no .* Remove the line"):
        load_run(["--logdir", str(root)])


BOMB = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "reference"),
        (".*\\.typ: evil:Class", "no option of this version"),
        ("env: {gym: {kwargs: {}}}\nenv.gym.kwargs.env_id: evil:Id", "no option"),
        ("seed: !!python/object/apply:os.system [true]", "not valid YAML"),
        ("seed: [1", "not valid YAML"),
        ("- 1", "must hold keys"),
        ("seed: .inf", "seed"),
        ("[" * 100_000, "not valid YAML"),
        ("? [1, 2]\n: 3", "no option|not valid YAML"),
    ],
)
def test_a_damaged_or_hostile_configuration_is_an_error(tmp_path, content, message):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_run(["--logdir", str(tmp_path)])


def test_options_are_signed_as_they_are_written(folder):
    root = folder(env__gym__kwargs={"b": {"é": "ü:x"}, "a": [1.5, None, True]})
    assert foreign.sign(root)
    assert read_run(root).code == {}
    assert yaml_text.read(root / "config.yaml")["env"]["gym"]["kwargs"]["b"] == {"é": "ü:x"}


def test_the_policy_devices_of_earlier_versions_are_not_in_the_way(folder):
    root = folder()
    path = root / "config.yaml"
    path.write_text(path.read_text().replace("policy_device: 0", "policy_devices: [0]"))
    assert "policy_devices: [0]" in path.read_text()
    assert load_run(["--logdir", str(root)], trust=True).jax.policy_device == 0
    assert foreign.read_config(path).jax.policy_device == 0
