"""What `reverie --help` and `reverie COMMAND --help` print."""

USAGE = """\
Usage: reverie COMMAND [--configs BLOCK ...] [--KEY VALUE ...]

Commands:
  train     Train an agent, or go on with the run in the same --logdir.
  eval      Play episodes with a trained agent and write evaluation.json.
  plot      Draw the learning curve of a run.
  config    Print the resolved configuration with the documentation of every option.
  envs      List the suites of environments, or check an environment.
  bench     Measure the speed and the memory of updates, policy calls and start-up.

Examples:
  reverie train --configs quickstart
  reverie train --configs crafter size12m --run.train_ratio 64 --logdir ~/logdir/{timestamp}
  reverie eval ~/logdir/20260101T120000 --episodes 10 --video
  reverie config --configs dmc_vision

`reverie COMMAND --help` tells more. `reverie --version` prints the version.
Set REVERIE_DEBUG=1 to see tracebacks of errors."""

TRAIN = """\
Usage: reverie train [--configs BLOCK ...] [--KEY VALUE ...]

Trains an agent. The same command with the same --logdir goes on with the saved run; so does
--logdir alone, and options beside it change what may change.

  --configs BLOCK ...  Preset blocks or yaml files; later ones win. Blocks: quickstart (CartPole),
                       small (own environments), debug; crafter, dmc_proprio, dmc_vision and
                       others; size1m to size400m.
  --task TASK          Environment, such as CartPole-v1, dmc_walker_walk, crafter_reward, or
                       my_module:MyEnv for one of your own.
  --logdir FOLDER      Run folder; {timestamp} becomes the start time, {task} the task and {seed}
                       the seed.
  --seed N             Seed of environments, replay and agent.
  --script NAME        train, train_eval or eval_only.
  --trust              Let a run folder that was made elsewhere name code, which is run.
  --KEY VALUE          Any option of `reverie config`; KEY may be a regular expression."""

EVAL = """\
Usage: reverie eval FOLDER [--episodes N] [--video] [--json] [--KEY VALUE ...]

Plays episodes with the newest checkpoint of a run and writes evaluation.json in its folder.

  FOLDER           Run folder; also as --logdir FOLDER.
  --episodes N     Number of episodes, 10 by default.
  --video          Also write a video of the episodes of the first environment.
  --json           Print the result as JSON and nothing else.
  --trust          Let a folder that was made elsewhere name code, which is run.
  --KEY VALUE      Options that replace those of the run, such as --run.eval_envs 1."""

PLOT = """\
Usage: reverie plot FOLDER [--output FILE]

Draws the learning curve of a run into scores.png in its folder, or into FILE."""

CONFIG = """\
Usage: reverie config [--from FOLDER] [--configs BLOCK ...] [--KEY VALUE ...]

Prints the resolved configuration as YAML with the documentation, bounds and origin of every
option. The output can be saved as a .yaml file and passed to --configs: {timestamp} in the logdir
stays as it is.

  --from FOLDER  The options of the run in a folder; it may be one of the original implementation
                 of DreamerV3."""

ENVS = """\
Usage: reverie envs
       reverie envs check TASK [--steps N] [--KEY VALUE ...]

Lists the suites of environments, which of them are installed, and how to install the others.

check builds an environment, plays random actions, and says what an agent could not use or learn
from, and how to mend it. TASK is a task such as dmc_walker_walk or gym_my_package:MyEnv-v0, or just
a gymnasium id. Exit code 1 if training would fail.

  --steps N      Random steps to take, 200 by default.
  --KEY VALUE    Options of the suite, such as --env.dmc.repeat 2; see `reverie config`."""

BENCH = """\
Usage: reverie bench [--size SIZE] [--obs OBS] [--train] [--policy] [--startup] [--updates N]
                     [--dtype DTYPE] [--devices N] [--json] [--configs BLOCK ...] [--KEY VALUE ...]

Measures updates on synthetic batches and policy calls, each row in a process of its own. What the
columns mean is in docs/performance.md. Other programs should rest meanwhile.

  --size SIZE      Model sizes, such as size1m or size1m,size12m. By default size1m with vectors and
                   images and size12m with images.
  --obs OBS        Inputs: vector (24 numbers, 6 continuous actions) or image (64x64x3, 17 classes).
  --train          Measure updates; --policy policy calls on one core; --startup the time from the
                   command to the first update of a run in Crafter, with and without a compilation
                   cache. Without these, updates, and if --size and --obs are left out policy calls.
  --updates N      Timed updates of each row, 20 by default.
  --dtype DTYPE    Compute dtype: float32, bfloat16 or float16; as --jax.compute_dtype.
  --devices N      Devices that share the batch, such as 0,1; as --jax.devices.
  --json           Print one JSON document and nothing else; times in seconds, memory in bytes.
  --KEY VALUE      Any option of `reverie config`."""
