"""Checks that span options, and those of image sizes."""

import pytest

from reverie.config.checks import check, check_image_size, check_spaces, image_sides
from reverie.config.load import load
from reverie.config.schema import Config
from reverie.config.sections.agent import AgentConfig
from reverie.errors import ConfigError
from reverie.spaces import Space


def problems(*words: str, **overrides) -> str:
    with pytest.raises(ConfigError) as caught:
        load(words, overrides=overrides)
    return str(caught.value)


def test_replay_holds_exactly_one_batch():
    argv = ["--batch_size", "2", "--batch_length", "40", "--consec_train", "3"]
    argv += ["--replay_context", "5"]
    assert load([*argv, "--replay.size", "250"]).replay.size == 250
    message = problems(*argv, "--replay.size", "249")
    assert "replay.size = 249" in message
    assert "= 250." in message
    assert "replay.size from flag --replay.size" in message


def test_prioritized_replay_refuses_float16_only():
    argv = ["--replay.fracs.uniform", "0.5", "--replay.fracs.priority", "0.5"]
    assert load([*argv, "--jax.compute_dtype", "bfloat16"]).replay.fracs.priority == 0.5
    assert load(["--jax.compute_dtype", "float16"]).jax.compute_dtype == "float16"
    message = problems(*argv, "--jax.compute_dtype", "float16")
    assert "gradient scaling" in message
    assert "artifacts" in message
    assert "jax.compute_dtype from flag --jax.compute_dtype" in message
    argv += ["--jax.compute_dtype", "float16", "--replay.priosignal", "log/surprise"]
    assert load(argv).replay.priosignal == "log/surprise"
    assert "expected model or log/NAME" in problems("--replay.priosignal", "surprise")


def test_fractions_sum_to_one():
    third = 1 / 3
    fracs = {"uniform": third, "priority": third, "recency": third}
    assert load(overrides={"replay.fracs": fracs}).replay.fracs.recency == third
    message = problems("--replay.fracs.recency", "0.2")
    assert "must sum to 1, got 1.2" in message


@pytest.mark.parametrize("key", ["agent.dyn.blocks", "agent.dec.simple.bspace"])
def test_deter_is_divisible_by_both_block_counts(key):
    message = problems(f"--{key}", "7")
    assert f"agent.dyn.deter = 8192 must be divisible by {key} = 7" in message
    assert "8190 or 8197" in message


def test_all_problems_are_listed_at_once():
    message = problems("--replay.size", "10", "--agent.dyn.deter", "100", "--agent.imag_last", "65")
    assert message.count("\n- ") == 4


HOSTS = ["--jax.coordinator", "10.0.0.1:1234", "--jax.processes"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--report_length", "65"], "report_length = 65 times consec_report = 1"),
        (["--consec_report", "3"], "must not exceed the 64 steps"),
        (["--agent.imag_last", "65"], "agent.imag_last = 65 must not exceed batch_length = 64"),
        (["--agent.imag_last", "1"], "agent.imag_last = 1 leaves no step"),
        (["--agent.policy.minstd", "2"], "agent.policy.minstd = 2.0 must not exceed"),
        (["--agent.enc.extra.a", "1"], "agent.enc.extra = {'a': 1} is for an encoder of your own"),
        (["--agent.opt.schedule", "cosine"], "needs agent.opt.anneal > agent.opt.warmup = 1000"),
        (["--agent.opt.momentum", "false", "--agent.opt.nesterov"], "agent.opt.nesterov = true"),
        (["--agent.retnorm.perclo", "95"], "agent.retnorm.perclo = 95.0 must be below"),
        (["--jax.devices", "0,1,2"], "batch_size = 16 must be divisible by the 3"),
        (["--jax.mock_devices", "4"], "expected jax.platform cpu, got auto"),
        (["--jax.devices", "0,1", "--jax.shards", "4"], "jax.shards = 4 must divide the 2"),
        (["--jax.processes", "2"], "jax.processes = 2 needs jax.coordinator HOST:PORT"),
        (
            ["--jax.coordinator", "10.0.0.1:1234"],
            "jax.coordinator = 10.0.0.1:1234 needs jax.processes N, the number of all processes",
        ),
        ([*HOSTS, "3"], "batch_size = 16 must be divisible by jax.processes = 3"),
        ([*HOSTS, "2", "--jax.process", "2"], "jax.process = 2 must be below jax.processes = 2"),
        ([*HOSTS, "4", "--jax.devices", "0,1,2,3,4,5,6,7"], "the 8 training devices of"),
        ([*HOSTS, "2", "--random_agent", "true"], "train_eval, got random_agent"),
        (
            [*HOSTS, "2", "--script", "eval_only"],
            "train_eval, got script eval_only",
        ),
        (
            ["--jax.platform", "cpu", "--jax.mock_devices", "2", "--jax.policy_device", "2"],
            "jax.policy_device = [2] goes beyond",
        ),
        (
            ["--task", "dmc_walker_walk", "--env.dmc.image", "false", "--env.dmc.proprio", "false"],
            "leave nothing to observe",
        ),
    ],
)
def test_options_that_do_not_fit(argv, words):
    assert words in problems(*argv)


@pytest.mark.parametrize(
    "argv",
    [
        ["--report_length", "64"],
        ["--report_length", "65", "--run.report_every", "0"],
        ["--report_length", "65", "--agent.report", "false"],
        ["--report_length", "65", "--consec_train", "2"],
        ["--agent.imag_last", "64"],
        ["--agent.imag_last", "1", "--agent.repval_loss", "false"],
        ["--agent.enc.typ", "mine:Encoder", "--agent.enc.extra.a", "1"],
        ["--agent.opt.schedule", "linear", "--agent.opt.anneal", "1001"],
        ["--agent.valnorm.perclo", "95"],
        ["--jax.devices", "0,1,2,3"],
        [*HOSTS, "2", "--jax.process", "1", "--jax.devices", "0,1,2,3", "--jax.shards", "2"],
        ["--jax.coordinator", "slurm"],
        [*HOSTS, "1"],
        ["--env.dmc.image", "false", "--env.dmc.proprio", "false"],
    ],
)
def test_options_that_just_fit(argv):
    check(load(argv))


def test_options_without_effect_are_refused_where_the_user_has_just_given_them():
    message = "ray.actors is for script parallel, got train: add --configs parallel."
    assert message in problems("--ray.actors", "4")
    assert message in problems(**{"ray.actors": 4})
    served = {"ray.inference_device": 1, "ray.inference_platform": "cuda"}
    both = "ray.inference_device and ray.inference_platform"
    message = problems("--script", "parallel", **served)
    assert f"{both} are for ray.inference server, got actor." in message


def test_options_of_actors_in_a_file_may_be_left_unused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("ray.actors: 4")
    assert load(["--configs", str(path)]).ray.actors == 4


def test_a_configuration_built_by_hand_can_be_checked():
    config = Config.model_validate({"replay": {"size": 5}})
    with pytest.raises(ConfigError, match=r"replay\.size = 5 cannot hold one batch"):
        check(config)


@pytest.mark.parametrize(
    ("mults", "outer", "sides"),
    [
        ((2, 3, 4, 4), False, range(48, 257, 16)),
        ((2, 3, 4, 4), True, range(24, 129, 8)),
        ((2, 3, 4), False, range(24, 129, 8)),
        ((1,), True, range(3, 17)),
    ],
)
def test_sides_that_a_stack_takes(mults, outer, sides):
    agent = AgentConfig.model_validate({"enc": {"simple": {"mults": mults, "outer": outer}}})
    assert image_sides(agent.enc.simple) == sides


@pytest.mark.parametrize("shape", [(48, 48, 3), (256, 256, 1), (64, 112, 7), (64, 64)])
def test_sizes_that_work(shape):
    check_image_size(shape, AgentConfig().enc.simple)


@pytest.mark.parametrize("shape", [(32, 64, 3), (64, 32, 3), (272, 64, 3), (64, 50, 3), (0, 64, 3)])
def test_sizes_that_do_not(shape):
    with pytest.raises(ConfigError) as caught:
        check_image_size(shape, AgentConfig().enc.simple, "Observation image")
    message = str(caught.value)
    assert f"Observation image is {shape[0]}x{shape[1]} pixels" in message
    assert "48..256 in steps of 16" in message
    assert "agent.enc.simple.outer" in message


def test_the_size_of_the_chosen_suite_is_checked_at_load_time():
    argv = ["--env.dmc.size", "60", "64"]
    assert load(argv).env.dmc.size == (60, 64)
    message = problems(*argv, "--task", "dmc_walker_walk")
    assert "env.dmc.size is 60x64 pixels" in message
    assert "env.dmc.size from flag --env.dmc.size" in message
    state_only = ["--task", "dmc_walker_walk", "--env.dmc.image", "false"]
    assert load([*argv, *state_only]).env.dmc.image is False
    assert load(["--task", "gym_CartPole-v1"]).env.gym.size == ()
    assert "env.gym.size is 50x50" in problems("--task", "gym_X-v1", "--env.gym.size", "50,50")


def test_a_suite_without_a_section_has_no_size():
    assert load(["--task", "unknown_robot"]).suite == "unknown"


def test_an_own_encoder_checks_its_images_itself():
    argv = ["--task", "dmc_walker_walk", "--env.dmc.size", "24,24"]
    argv += ["--agent.dec.simple.outer", "--agent.enc.typ", "mine:Encoder"]
    assert load(argv).env.dmc.size == (24, 24)
    assert "agent.enc.simple" in problems(*argv[:-2])


def image(*shape: int) -> Space:
    return Space("image", shape, "uint8")


VECTOR = Space("continuous", (5,), "float32")


def test_spaces_that_the_model_takes():
    check_spaces({"image": image(64, 64, 3), "depth": image(64, 64, 1), "v": VECTOR}, AgentConfig())
    check_spaces({"v": VECTOR}, AgentConfig())


def test_images_of_different_sizes_cannot_share_convolutions():
    with pytest.raises(ConfigError, match="got a 64x64, b 48x64"):
        check_spaces({"b": image(48, 64, 3), "a": image(64, 64, 3)}, AgentConfig())


def test_an_image_of_a_wrong_size_names_its_key():
    with pytest.raises(ConfigError, match=r"cam is 50x64 pixels.*env\.gym\.size"):
        check_spaces({"cam": image(50, 64, 3), "v": VECTOR}, AgentConfig())


def test_an_image_with_its_channels_in_front_is_told_so():
    with pytest.raises(ConfigError, match=r"cam has the shape \(3, 64, 64\): .* to the end"):
        check_spaces({"cam": image(3, 64, 64)}, AgentConfig())


def test_thousands_of_classes_are_taken_and_millions_refused_with_advice():
    def choice(count):
        return {"goal": Space("discrete", (), "int32", (count,)), "v": VECTOR}

    check_spaces(choice(50_000), AgentConfig())
    with pytest.raises(ConfigError, match=r"goal has 10,000,000 classes.*MultiDiscrete.*Box"):
        check_spaces(choice(10_000_000), AgentConfig())


def test_decoder_and_encoder_must_both_take_the_image():
    agent = AgentConfig.model_validate({"enc": {"simple": {"outer": True}}})
    with pytest.raises(ConfigError, match=r"which agent\.dec\.simple does not take"):
        check_spaces({"cam": image(40, 40, 3)}, agent)
    with pytest.raises(ConfigError, match=r"which agent\.enc\.simple does not take"):
        check_spaces({"cam": image(144, 144, 3)}, agent)


def test_decoder_channels_are_divisible_by_its_blocks():
    agent = AgentConfig.model_validate({"dec": {"simple": {"depth": 3}}})
    with pytest.raises(ConfigError, match=r"bspace = 8, got 12 channels"):
        check_spaces({"cam": image(64, 64, 3)}, agent)
    check_spaces({"v": VECTOR}, agent)
