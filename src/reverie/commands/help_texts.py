"""What `reverie --help` and `reverie COMMAND --help` print."""

USAGE = """\
Usage: reverie COMMAND [--configs BLOCK ...] [--KEY VALUE ...]

Examples:
  reverie train --configs quickstart
  reverie train --configs small --task my_env:MyEnv --logdir logdir/mine
  reverie train --configs crafter size12m --run.train_ratio 64 --logdir ~/logdir/{timestamp}
  reverie train --logdir logdir/mine --run.steps 2e5    # goes on with a run
  reverie eval logdir/mine --episodes 10
  reverie runs logdir

Commands:
  train     Train an agent, or go on with the run in the same --logdir.
  eval      Play episodes with a trained agent and write evaluation.json.
  video     Film episodes of a trained agent.
  plan      Say what a run would take: memory, disk and hours.
  plot      Draw learning curves: of a run, or of several beside each other.
  doctor    Say whether a run is healthy, and what to try if not.
  view      Show runs in a browser: curves, episodes, the agent's dreams.
  runs      List the runs in a folder: state, steps, score.
  info      Print versions, devices and paths, and what is known of a run, for a bug report.
  metrics   Explain the metrics of a run, with their newest values.
  config    Print the resolved configuration with the documentation of every option.
  envs      List the suites of environments, or check an environment.
  completion  Print what bash, zsh or fish need to complete commands, options and presets.

`reverie COMMAND --help` tells more. `reverie --version` prints the version.
Set REVERIE_DEBUG=1 to see tracebacks of errors."""

TRAIN = """\
Usage: reverie train [--configs BLOCK ...] [--KEY VALUE ...]

  reverie train --configs quickstart
  reverie train --configs small --task my_env:MyEnv --logdir logdir/mine
  reverie train --logdir logdir/mine --run.steps 2e5
  reverie train --configs quickstart --logdir logdir/three --seeds 0 1 2

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
  --seeds N ...        One run for each seed, one after the other, in folders seed-N of --logdir or
                       where {seed} stands in it. The same command goes on where it was stopped.
  --script NAME        train, train_eval, parallel or eval_only.
  --trust              Let a run folder that was made elsewhere name code, which is run.
  --KEY VALUE          Any option of `reverie config`; KEY may be a regular expression."""

EVAL = """\
Usage: reverie eval FOLDER [--episodes N] [--video] [--json] [--KEY VALUE ...]

  reverie eval logdir/mine --episodes 20
  reverie eval logdir/mine --task my_env:MyEnv --video

Plays episodes with the newest checkpoint of a run and writes evaluation.json in its folder.

  FOLDER           Run folder; also as --logdir FOLDER.
  --episodes N     Number of episodes, 10 by default.
  --video          Also write a video of the episodes of the first environment.
  --json           Print the result as JSON and nothing else.
  --trust          Let a folder that was made elsewhere name code, which is run.
  --KEY VALUE      Options that replace those of the run, such as --run.eval_envs 1."""

VIDEO = """\
Usage: reverie video FOLDER [--episodes N] [--output FILE] [--KEY VALUE ...]

  reverie video logdir/mine --episodes 3

Films whole episodes of the newest checkpoint of a run, with reward and value drawn in, at the speed
of the environment, into evaluation.mp4 in its folder. One environment plays one episode after the
other, so that they are not those of reverie eval; evaluation.json stays as it is.

  FOLDER           Run folder; also as --logdir FOLDER.
  --episodes N     Number of episodes, 3 by default.
  --output FILE    Where to write, as .mp4 or .gif.
  --trust          Let a folder that was made elsewhere name code, which is run.
  --KEY VALUE      Options that replace those of the run: --task my_env:MyEnv for an environment
                   that was passed from Python, --seed N for other episodes."""

PLAN = """\
Usage: reverie plan [--configs BLOCK ...] [--card NAME] [--KEY VALUE ...]

  reverie plan --configs crafter size12m
  reverie plan --configs atari100k --task atari100k_pong --card h100

Takes the options of `reverie train`, builds what the run would need, measures some updates and
steps, and prints memory, disk, speed and hours until run.steps. No file of a run is written or
changed; compiled programs are kept for its start. Exit code 1 if something does not fit.

  --card NAME  A GPU that is not here: b200, h200, h100, a100, a100-80gb, l40s, l4, rtx5090,
               rtx4090 or rtx3090. Model, memory and time are then estimated from its published
               figures, and only the environments are measured. `this` machine by default."""

PLOT = """\
Usage: reverie plot FOLDER [--output FILE]
       reverie plot FOLDER ... [--baseline NAME] [--x AXIS] [--output FILE]

  reverie plot logdir/*

Draws the learning curve of a run into scores.png in its folder. Of several runs, and of a folder of
runs, it draws one plot per task, as curves.png and as curves.html, a page that needs no network:
runs that differ in their seeds alone become their interquartile mean with a 95 % bootstrap
interval, others are named by the options in which they differ. The files come into the folder, or
into the current one if there are several.

  FOLDER           Run folder, or a folder of runs at any depth.
  --baseline NAME  published: curves of the paper (atari100k, dmc, procgen); original: what the
                   original code reached with the presets quickstart and small.
  --x AXIS         steps, frames (steps times action repeat, as papers count), or hours of training.
  --output FILE    One file, as .png or .html."""

DOCTOR = """\
Usage: reverie doctor FOLDER [--json]
       reverie doctor --env TASK [--json] [--KEY VALUE ...]

  reverie doctor logdir/mine
  reverie doctor --env Pendulum-v1

Says in plain words what of a run, finished or not, is healthy, what is not and what to try. The
folder is only read. With --env it looks at an environment before any run, in some minutes: what
`reverie envs check` finds, and whether a small model learns 500 random steps by heart. Exit code
0 if nothing is wrong, 1 with warnings, 2 if something is sick.

  FOLDER         Run folder; also as --logdir FOLDER.
  --env TASK     Task, or gymnasium id.
  --json         Print the lines as JSON and nothing else.
  --trust        Let a folder that was made elsewhere name code, which is run.
  --KEY VALUE    Options beside those of the preset small, such as --env.dmc.repeat 2."""

VIEW = """\
Usage: reverie view [FOLDER] [--port N] [--host ADDRESS]

  reverie view logdir

Serves a page that shows all runs in a folder, also while they train, and prints its address. The
folder is only read. Needs the extra `view`.

  FOLDER          Folder in which run folders lie, or a run folder; the current one by default.
  --port N        By default the first free one from 6060 on.
  --host ADDRESS  Address to listen on. By default nobody but this machine reaches the page; with
                  another one, such as 0.0.0.0, the printed address holds a token that is asked for.
  --trust         Let run folders that were made elsewhere name code, which is run."""

CONFIG = """\
Usage: reverie config [--from FOLDER] [--configs BLOCK ...] [--KEY VALUE ...]

  reverie config --configs dmc_vision size12m
  reverie config --from logdir/mine > mine.yaml

Prints the resolved configuration as YAML with the documentation, bounds and origin of every
option. The output can be saved as a .yaml file and passed to --configs: {timestamp} in the logdir
stays as it is.

  --from FOLDER  The options of the run in a folder; it may be one of the original implementation
                 of DreamerV3."""

ENVS = """\
Usage: reverie envs
       reverie envs check TASK [--steps N] [--KEY VALUE ...]

  reverie envs
  reverie envs check dmc_walker_walk

Lists the suites of environments, which of them are installed, and how to install the others.

check builds an environment, plays random actions, and says what an agent could not use or learn
from, and how to mend it. TASK is a task such as dmc_walker_walk or gym_my_package:MyEnv-v0, or just
a gymnasium id. Exit code 1 if training would fail.

  --steps N      Random steps to take, 200 by default.
  --KEY VALUE    Options of the suite, such as --env.dmc.repeat 2; see `reverie config`."""

RUNS = """\
Usage: reverie runs [FOLDER] [--json]

  reverie runs logdir
  reverie runs logdir --json | jq '.[] | select(.state == "stale") | .folder'

Lists all runs below a folder, the current one by default: state, task, model, steps, mean score of
the latest 20 episodes, time left and when anything was written. A run is running, finished,
stopped after a save, or stale: it was killed, or writes nothing. The folders are only read.

  FOLDER   Where to look, also through links.
  --json   Print everything that is known of them as JSON and nothing else."""

INFO = """\
Usage: reverie info [FOLDER] [--json]

  reverie info
  reverie info logdir/mine

Prints versions, devices, paths and settings, which a bug report needs, and what is known of the
run in a folder: state, steps, model, newest checkpoint, sizes of its parts. Runs with equal
options and seed have the same hash.

  FOLDER   Run folder; also as --logdir FOLDER.
  --json   Print it as JSON and nothing else."""

METRICS = """\
Usage: reverie metrics [PART ...] [FOLDER]

  reverie metrics
  reverie metrics loss/ rec
  reverie metrics logdir/mine rand

Explains what runs log, as docs/metrics.md does: what each metric means and what healthy runs show.

  PART     Metrics with all of these parts in their names.
  FOLDER   Run folder: what it has logged, with the newest values."""

COMPLETION = """\
Usage: reverie completion bash|zsh|fish

  reverie completion bash > ~/.local/share/bash-completion/completions/reverie
  reverie completion zsh > "${fpath[1]}/_reverie"
  reverie completion fish > ~/.config/fish/completions/reverie.fish

Prints what the shell reads to complete commands, options, presets and choices of options. Options
of suites of other packages are among them if they are installed."""
