"""The trainings whose curves are in docs/results.md."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Tasks that are trained with the same options.

    Attributes:
        configs: Presets.
        tasks: Environment steps of each task.
        seeds: Of the runs.
        options: Further options, as on the command line.
        bin: Environment steps whose training episodes are averaged into one point.
        published: Table of published curves to draw beside ours, of `reverie.track.runs.published`.
        beside: Another experiment to draw beside this one.
        label: What the curves are called in the legend.
    """

    configs: tuple[str, ...]
    tasks: dict[str, int]
    seeds: tuple[int, ...] = (0,)
    options: tuple[str, ...] = ()
    bin: int = 1000
    published: str = ""
    beside: str = ""
    label: str = ""


SMALL = ("small",)

EXPERIMENTS = {
    "quickstart": Experiment(
        ("quickstart",), {"gym_CartPole-v1": 20_000}, tuple(range(10)), label="one process"
    ),
    # As many environments, in processes of their own.
    "actors": Experiment(
        ("quickstart", "parallel"),
        {"gym_CartPole-v1": 20_000},
        tuple(range(3)),
        ("--ray.actors", "4", "--run.envs", "1"),
        beside="quickstart",
        label="4 actors",
    ),
    # As the original was run, which is what the quickstart was at first.
    "cartpole": Experiment(
        ("quickstart",),
        {"gym_CartPole-v1": 10_000},
        tuple(range(10)),
        ("--run.train_ratio", "256"),
    ),
    "small": Experiment(
        SMALL,
        {
            "gym_CartPole-v1": 10_000,
            "gym_Pendulum-v1": 10_000,
            "gym_Acrobot-v1": 10_000,
            "gym_tasks:Catch-v0": 10_000,
            "gym_tasks:Sliders-v0": 30_000,
            "gym_tasks:Console-v0": 10_000,
            "gym_MountainCarContinuous-v0": 50_000,
            "gym_LunarLander-v3": 50_000,
        },
        (0, 1),
        label="4 environments, train ratio 256",
    ),
    # Many steps instead of many updates for each: its landings are what it has to see.
    "lander": Experiment(
        SMALL,
        {"gym_LunarLander-v3": 300_000},
        (0, 1),
        ("--run.envs", "16", "--run.train_ratio", "64"),
        bin=5000,
        beside="small",
        label="16 environments, train ratio 64",
    ),
    # As the original was run: imagination from every step, and the loss scales of the paper.
    "pendulum": Experiment(
        SMALL,
        {"gym_Pendulum-v1": 10_000},
        tuple(range(5)),
        ("--agent.imag_last", "0", "--agent.loss_scales.vec", "1"),
    ),
    "bsuite": Experiment(
        SMALL,
        {
            "bsuite_catch/0": 10_000,
            "bsuite_discounting_chain/0": 10_000,
            "bsuite_deep_sea/0": 10_000,
            "bsuite_memory_len/0": 10_000,
            "bsuite_memory_len/1": 10_000,
            "bsuite_memory_len/2": 30_000,
            "bsuite_memory_len/3": 30_000,
            # The 10,000 episodes of the suite.
            "bsuite_memory_len/4": 60_000,
            "bsuite_memory_len/5": 70_000,
        },
        label="entropy of the paper",
    ),
    # Its reward is reached by chance once in a thousand episodes, as long as actions stay random:
    # with the paper's entropy the cost of each right move has ended that before.
    "deep_sea": Experiment(
        SMALL,
        {"bsuite_deep_sea/0": 30_000},
        tuple(range(3)),
        ("--agent.imag_loss.actent", "3e-2"),
        beside="bsuite",
        label="a hundred times the entropy",
    ),
    "minigrid": Experiment(
        (*SMALL, "minigrid"),
        {
            "gym_minigrid:MiniGrid-Empty-8x8-v0": 30_000,
            "gym_minigrid:MiniGrid-DoorKey-5x5-v0": 50_000,
            "gym_minigrid:MiniGrid-MemoryS7-v0": 100_000,
        },
        options=(
            "--env.gym.wrappers",
            "minigrid.wrappers:OneHotPartialObsWrapper",
            "minigrid.wrappers:ImgObsWrapper",
            "gymnasium.wrappers:FlattenObservation",
        ),
        label="classes of cells",
    ),
    "minigrid_pixels": Experiment(
        (*SMALL, "minigrid"),
        {"gym_minigrid:MiniGrid-Empty-8x8-v0": 30_000},
        beside="minigrid",
        label="pixels",
    ),
    "dmc": Experiment(
        ("dmc_proprio",),
        {
            "dmc_cartpole_balance": 30_000,
            "dmc_reacher_easy": 30_000,
            "dmc_ball_in_cup_catch": 30_000,
            "dmc_pendulum_swingup": 100_000,
        },
        # On a CPU a third of the time of imagination from all 64 steps.
        options=("--agent.imag_last", "8"),
        bin=10_000,
        published="dmc_proprio",
    ),
    "dmc_vision": Experiment(
        SMALL,
        {"dmc_cartpole_balance": 20_000},
        # Each of these 5,000 updates takes a second of one core.
        options=(
            *("--env.dmc.image", "true", "--env.dmc.proprio", "false"),
            *("--run.train_ratio", "128"),
        ),
        bin=4000,
        label="pixels",
    ),
    "pinpad": Experiment((*SMALL, "pinpad"), {"pinpad_three": 50_000}),
    # An eighth of the updates of the preset, which would take two days on a CPU, on
    # sequences of half the length, with the learning rate of `small` as they are few.
    "crafter": Experiment(
        ("crafter", "size1m"),
        {"crafter_reward": 30_000},
        options=(
            *("--run.train_ratio", "64", "--batch_length", "32", "--agent.imag_last", "8"),
            *("--agent.opt.lr", "3e-4", "--agent.opt.warmup", "100"),
        ),
        bin=3000,
    ),
}
"""By name: what is trained, and how."""
