"""Options of the environment suites. Each task reads the section of its own suite only.

Defaults are the settings under which published DreamerV3 scores were measured.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import create_model

from reverie.catalog import announced
from reverie.options import (
    SPACES,
    TASK,
    Bool,
    Float,
    ForeignConfig,
    Int,
    Names,
    PathText,
    Section,
    Size,
    option,
)

CAMERA = "Camera number; -1: the suite's own choice for the task."
REPEAT = "Environment steps per agent step; the action is repeated and rewards are summed."
SIZE = "Height and width of images, in pixels."


class GymConfig(ForeignConfig):
    """Any registered gymnasium id: `gym_CartPole-v1`."""

    wrappers: Names = option(
        (),
        "Wrappers around each environment, the innermost first: `module:Class` or "
        "`module:function`, called with the environment.",
        fixed=SPACES,
        expects="a list of classes or functions as 'module:Class'",
    )
    repeat: Int = option(1, REPEAT, fixed=TASK, ge=1, le=1000)
    info_mask: Literal["auto", "use", "ignore"] = option(
        "auto",
        'Whether `info["action_mask"]` says which actions are valid; auto: one reset of a '
        "temporary environment tells.",
        fixed=SPACES,
    )


class DmcConfig(Section):
    """DeepMind Control: `dmc_walker_walk`."""

    repeat: Int = option(1, REPEAT, fixed=TASK, ge=1, le=1000)
    size: Size = option((64, 64), SIZE, fixed=SPACES)
    camera: Int = option(-1, CAMERA, fixed=TASK, ge=-1)
    image: Bool = option(True, "Observe a rendered image.", fixed=SPACES)
    proprio: Bool = option(True, "Observe the task's own state vectors.", fixed=SPACES)


class CrafterConfig(Section):
    """Crafter: `crafter_reward`."""

    size: Size = option((64, 64), SIZE, fixed=SPACES)
    logs: Bool = option(False, "Log the inventory too; achievements are always logged.")


class DummyConfig(Section):
    """The built-in test environment, which has every kind of space: `dummy_disc`."""

    length: Int = option(100, "Steps per episode.", ge=1, fixed=TASK)
    size: Size = option((64, 64), SIZE, fixed=SPACES)


class AtariConfig(Section):
    """Atari games, full protocol: `atari_pong`."""

    size: Size = option((96, 96), SIZE, fixed=SPACES)
    repeat: Int = option(4, "Frames per agent step.", fixed=TASK, ge=1, le=1000)
    sticky: Bool = option(True, "Repeat the last action with probability 0.25.", fixed=TASK)
    gray: Bool = option(True, "Observe gray images in place of colours.", fixed=SPACES)
    actions: Literal["all", "needed"] = option(
        "all", "The full action set, or the one that the game needs.", fixed=SPACES
    )
    lives: Literal["unused", "discount", "reset"] = option(
        "unused", "On a lost life: nothing, a terminal flag without reset, or a reset.", fixed=TASK
    )
    noops: Int = option(
        30, "Largest number of random no-ops at the start of an episode.", ge=0, fixed=TASK
    )
    autostart: Bool = option(False, "Press fire at the start where the game needs it.", fixed=TASK)
    pooling: Int = option(
        2, "Last frames of a step that are combined into its image.", ge=1, fixed=TASK
    )
    aggregate: Literal["max", "mean"] = option("max", "How these frames are combined.", fixed=TASK)
    resize: Literal["bilinear", "area"] = option(
        "bilinear", "Interpolation of the resize.", fixed=TASK
    )
    clip_reward: Bool = option(False, "Replace rewards by their sign.", fixed=TASK)


class Atari100kConfig(AtariConfig):
    """Atari games, 100k-step protocol: `atari100k_pong`."""

    size: Size = option((64, 64), SIZE, fixed=SPACES)
    sticky: Bool = option(False, "Repeat the last action with probability 0.25.", fixed=TASK)
    gray: Bool = option(False, "Observe gray images in place of colours.", fixed=SPACES)
    actions: Literal["all", "needed"] = option(
        "needed", "The full action set, or the one that the game needs.", fixed=SPACES
    )


class ProcgenConfig(Section):
    """ProcGen: `procgen_coinrun`."""

    size: Size = option(
        (96, 96),
        SIZE + " Over 64 they are made of a rendering of 512x512, which is many times slower.",
        fixed=SPACES,
    )
    resize: Literal["bilinear", "area"] = option(
        "bilinear", "Interpolation where the size is not 64x64.", fixed=TASK
    )
    mode: Literal["easy", "hard", "extreme", "memory", "exploration"] = option(
        "hard", "Distribution of levels; the last three exist for some games only.", fixed=TASK
    )
    num_levels: Int = option(
        0, "How many different levels there are; 0: no limit.", ge=0, fixed=TASK
    )
    start_level: Int = option(
        0, "The first of `num_levels`, which has to be set then.", ge=0, fixed=TASK
    )


class DmlabConfig(Section):
    """DeepMind Lab: `dmlab_rooms_watermaze`."""

    size: Size = option((64, 64), SIZE, fixed=SPACES)
    repeat: Int = option(4, REPEAT, fixed=TASK, ge=1, le=1000)
    actions: Literal["popart", "impala"] = option(
        "popart", "Action set: `popart` 15, with fine and coarse turns; `impala` 9.", fixed=SPACES
    )
    episodic: Bool = option(
        True,
        "The end of an episode is a termination; otherwise a truncation, as by a time limit.",
        fixed=TASK,
    )
    instructions: Literal["auto", "always", "never"] = option(
        "auto",
        "Observe the text of the level, hashed to numbers; `auto`: in levels named `language_...`.",
        fixed=SPACES,
    )
    held_out: Bool = option(
        False,
        "Play as for evaluation: seeds that training never sees, and the level for tests.",
        fixed=TASK,
    )
    use_seed: Bool = option(True, "Seed the level generator from the run seed.")
    renderer: Literal["software", "hardware"] = option("software", "How images are drawn.")
    level_cache: PathText = option("", "Folder where compiled maps are kept; empty: none.")
    dataset: PathText = option(
        "",
        "Folder of the pictures of psychlab_arbitrary_visuomotor_mapping and "
        "psychlab_continuous_recognition; empty: as the engine was built.",
    )


class MinecraftConfig(Section):
    """Minecraft through MineRL: `minecraft_diamond`."""

    size: Size = option((64, 64), SIZE, fixed=SPACES)
    break_speed: Float = option(100.0, "Multiple of the block breaking speed.", gt=0, fixed=TASK)
    length: Int = option(36000, "Steps after which an episode is cut off.", ge=1, fixed=TASK)
    sticky_attack: Int = option(
        30, "Steps that an attack goes on; used with `break_speed` 1 only.", ge=0, fixed=TASK
    )
    sticky_jump: Int = option(
        10, "Steps that a jump goes on, forward; 0: one step.", ge=0, fixed=TASK
    )
    pitch: Float = option(
        60.0, "Degrees by which the player may look up or down.", ge=0, le=90, fixed=TASK
    )
    logs: Bool = option(False, "Log every inventory count too; the milestones are always logged.")


class BsuiteConfig(Section):
    """The behaviour suite: `bsuite_catch/0`."""

    record: Bool = option(
        False, "Write bsuite's own result files, for training and not for evaluation."
    )
    folder: PathText = option("", "Where they go; empty: the folder `bsuite` of the run folder.")


class PinpadConfig(Section):
    """PinPad: `pinpad_three`."""

    length: Int = option(10_000, "Steps after which an episode is cut off.", ge=1, fixed=TASK)
    size: Size = option((64, 64), SIZE + " Multiples of 16.", fixed=SPACES)


class LangroomConfig(Section):
    """LangRoom: `langroom_answer_only`."""

    length: Int = option(200, "Steps after which an episode is cut off.", ge=1, fixed=TASK)
    size: Size = option((64, 64), SIZE + " The image is a square.", fixed=SPACES)
    view: Int = option(2, "Cells that are seen in each direction.", ge=1, fixed=SPACES)
    vocab: Int = option(15, "Words that can be said; 15 have a meaning.", ge=15, fixed=SPACES)


class DmConfig(ForeignConfig):
    """Any dm_env environment: `dm_module:factory`."""

    repeat: Int = option(1, REPEAT, fixed=TASK, ge=1, le=1000)


class EnvpoolConfig(ForeignConfig):
    """Any EnvPool id: `envpool_Pong-v5`."""


class MemmazeConfig(Section):
    """Memory Maze: `memmaze_9x9`."""

    size: Size = option((64, 64), SIZE, fixed=SPACES)
    color: Bool = option(
        False, "Observe the colour to look for as numbers beside the border.", fixed=SPACES
    )


class LoconavConfig(Section):
    """Locomotion and navigation in DeepMind Control mazes: `loconav_ant_maze_m`."""

    size: Size = option((64, 64), SIZE, fixed=SPACES)
    repeat: Int = option(1, REPEAT, fixed=TASK, ge=1, le=1000)
    camera: Int = option(-1, CAMERA, fixed=TASK, ge=-1)


class EnvConfig(Section):
    """Environment suites; a task reads its own."""

    gym: GymConfig = GymConfig()
    dmc: DmcConfig = DmcConfig()
    crafter: CrafterConfig = CrafterConfig()
    dummy: DummyConfig = DummyConfig()
    atari: AtariConfig = AtariConfig()
    atari100k: Atari100kConfig = Atari100kConfig()
    procgen: ProcgenConfig = ProcgenConfig()
    dmlab: DmlabConfig = DmlabConfig()
    minecraft: MinecraftConfig = MinecraftConfig()
    bsuite: BsuiteConfig = BsuiteConfig()
    pinpad: PinpadConfig = PinpadConfig()
    langroom: LangroomConfig = LangroomConfig()
    dm: DmConfig = DmConfig()
    envpool: EnvpoolConfig = EnvpoolConfig()
    memmaze: MemmazeConfig = MemmazeConfig()
    loconav: LoconavConfig = LoconavConfig()


# Suites of other packages, which have to be installed before the program starts.
if not TYPE_CHECKING and announced()[0]:
    EnvConfig = create_model(
        "EnvConfig",
        __base__=EnvConfig,
        __module__=__name__,
        __doc__=EnvConfig.__doc__,
        **{
            name: (suite.options, option(suite.options(), suite.about))
            for name, suite in announced()[0].items()
        },
    )
