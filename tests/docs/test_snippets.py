"""Every block and every short command, option, call, path and link in README and docs is tried.

Blocks are run in their order in a folder of their own, in short forms; what stands in the text is
looked up: commands, flags and options have to make a configuration, calls have to fit a signature.
"""

import ast
import importlib
import importlib.util
import inspect
import json
import pathlib
import re
import runpy
import shlex
import sys

import pytest

import reverie
from reverie import catalog, cli
from reverie.commands import help_texts
from reverie.config.load import load
from reverie.config.overlay import Overlay
from reverie.config.presets import presets
from reverie.config.schema import Config
from reverie.config.syntax.flags import split
from reverie.config.syntax.keys import groups
from reverie.envs.suites import gym
from reverie.run.trained import TrainedAgent

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path):
    """The fenced blocks of a document: (language, text)."""
    return FENCE.findall(path.read_text())


def commands(text):
    """The commands of a shell block, without comments and joined over line breaks."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def spans(path):
    """What stands between backticks in the text of a document."""
    text = FENCE.sub("", path.read_text())
    # A span may go over a line break, never over a paragraph.
    found = [
        match[2]
        for paragraph in text.split("\n\n")
        for match in re.finditer(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", paragraph, re.DOTALL)
    ]
    return list(dict.fromkeys(" ".join(each.split()) for each in found))


STANDS_FOR = {"TASK": "gym_CartPole-v1", "FOLDER": "logdir", "BLOCK": "crafter", "S": "0"}
STANDS_FOR |= {"NEW": "new", "FILE": "file"}
SECTIONS = "run|env|agent|replay|jax|logger"
ELSEWHERE = {"pip", "apt-get", "sudo", "bazel", "source", "xvfb-run", "bazel-bin"}
"""Programs that are not of this project."""
CHECKED = {"--task", "--logdir", "--seed", "--script"}
"""Options that the help of a command repeats."""


def flags_of(*texts):
    """The flags that texts name."""
    return {flag for text in texts for flag in re.findall(r"--[\w-]+", text)}


HELP = {name: flags_of(text) for name, (_, text) in cli._COMMANDS.items()}
SCRIPTS = flags_of(*(path.read_text() for path in (ROOT / "benchmarks").rglob("*.py")))


def check_flags(words, command=""):
    """Flags of the command itself are in its help; the others have to make a configuration."""
    if words == ["--configs"]:
        return
    own = HELP[command] if command else set().union(SCRIPTS, *HELP.values())
    names, given = split([STANDS_FOR.get(word, word) for word in words])
    names = [name for name in names if not name.endswith(".yaml")]
    assert set(names) <= {*presets()}
    options = []
    for flag in given:
        if flag.tokens and f"--{flag.key}" not in own - CHECKED:
            options += [f"--{flag.key}", *flag.tokens]
        elif f"--{flag.key}" not in own:
            check_option(flag.key)
    if not command and any(word.startswith("--ray.") for word in options):
        options += ["--script", "parallel", "--ray.inference", "server"]  # As the text around.
    load(options, configs=names)


def check_option(key):
    """An option or a section."""
    if key not in groups(Config):
        Overlay().find(key, "a document", "")


def check_program(line):
    """A line of any program."""
    words = shlex.split(line.partition(" > ")[0])
    while "=" in words[0]:
        words = words[1:]
    program, *rest = words
    if program == "reverie" and rest:
        command, *rest = rest
        assert command in HELP
        flags = [index for index, word in enumerate(rest) if word.startswith("--")]
        check_flags(rest[flags[0] :] if flags else [], command)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert not rest or rest[0] in targets
        for word in rest[1:]:
            check_flags(shlex.split(word.removeprefix("ARGS=")), "train")
    elif program == "python" and rest[0] not in ("-c", "my_env.py"):
        known = flags_of((ROOT / rest[0]).read_text())
        assert {word for word in rest[1:] if word.startswith("--")} <= known
    elif program not in ("python", "reverie"):
        assert pathlib.PurePath(program).parts[0] in ELSEWHERE


def resolve(name):
    """What a dotted name stands for."""
    first, *rest = name.split(".")
    found = {"reverie": reverie, "agent": TrainedAgent}[first]
    for part in rest:
        if inspect.ismodule(found) and not hasattr(found, part):
            found = importlib.import_module(f"{found.__name__}.{part}")
        else:
            found = getattr(found, part)
    return found


def check_call(snippet):
    """A call in Python: its function exists and takes these keywords."""
    call = ast.parse(snippet, mode="eval").body
    function = resolve(ast.unparse(call.func))
    named = {}
    for word in call.keywords:
        value = "x" if isinstance(word.value, ast.Name) else ast.literal_eval(word.value)
        named |= {word.arg: value} if word.arg else value
    if function is reverie.train:
        values = [ast.literal_eval(word) for word in call.args[1:]]
        configs = [value for value in values if value is not ...]
        load(configs=named.pop("configs", configs), overrides=named)
    else:
        assert named.keys() <= inspect.signature(function).parameters.keys()


def check_span(span):
    """Passes where it is right, and where it makes no claim that can be checked."""
    words = span.split()
    if words[0] in ("reverie", "make", "python"):
        check_program(span)
    elif span.startswith(("--", "'--")) and words[0] not in ("--no-deps",):
        check_flags(shlex.split(span))
    elif span in ("jax.jit",):
        pass  # Of JAX itself.
    elif found := re.fullmatch(rf"((?:{SECTIONS})\.[a-z]\w*(?:\.\w+)*)(?: (.+))?", span):
        check_option(found[1])
        if found[2]:
            load([f"--{found[1]}", *shlex.split(found[2])])
    elif re.fullmatch(r"(script|seed|batch_size): ?\w+", span):
        key, value = span.split(":")
        load([f"--{key}", value.strip()])
    elif re.match(r"(configs|run|env)=", span) or span.startswith("**{"):
        check_call(f"reverie.train(env, {span})")
    elif re.fullmatch(r"(reverie|agent)(\.[a-zA-Z_]\w*)+\(.*\)", span):
        check_call(span)
    elif re.fullmatch(r"(reverie|agent)(\.[a-z_]\w*)+", span) and not span.startswith("agent."):
        resolve(span)
    elif re.match(r"(src|tests|docs|examples|benchmarks|\.ci)/\S*$", span):
        assert (ROOT / span).exists()
    elif re.fullmatch(r"size\d+m|quickstart|debug|multicpu", span):
        assert span in presets()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_the_text_names_exists(path):
    wrong = []
    for span in spans(path):
        try:
            check_span(span)
        except Exception as error:
            wrong.append(f"{span}: {type(error).__name__}: {error}")
    assert not wrong


LINES = [
    (path.name, line)
    for path in DOCUMENTS
    for language, text in blocks(path)
    if language == "sh"
    for line in commands(text)
]


@pytest.mark.parametrize(("document", "line"), LINES, ids=[f"{d}: {x[:60]}" for d, x in LINES])
def test_commands_in_blocks_are_right(document, line):
    check_program(line)


def test_commands_in_the_help_and_in_examples_are_right():
    texts = [help_texts.USAGE, reverie.train.__doc__, *(text for _, text in cli._COMMANDS.values())]
    lines = [line for text in texts for line in commands(text)]
    for path in (ROOT / "examples").glob("*.py"):
        lines += commands(ast.get_docstring(ast.parse(path.read_text())))
    found = [line.strip() for line in lines]
    ours = [line for line in found if re.match(r"(\w+=\S+ )?(reverie|python) ", line)]
    calls = [line.removeprefix(">>> ") for line in found if line.startswith(">>> ")]
    assert len(ours) >= 6
    assert len(calls) >= 3
    for line in ours:
        check_program(line)
    for line in calls:
        check_call(line)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_blocks_say_what_they_are_and_links_lead_somewhere(path):
    assert {language for language, _ in blocks(path)} <= {"sh", "python", "text"}
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        name, _, anchor = target.partition("#")
        place = (path.parent / name) if name else path
        assert place.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", place.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles]
            assert anchor in anchors, target


def test_the_documented_blocks_are_those_that_there_are():
    text = (ROOT / "docs" / "configuration.md").read_text()
    section = (
        text.partition("## Blocks")[2].partition("\n## ")[0].partition("\n\nBlocks combine")[0]
    )
    assert sorted(re.findall(r"`(\w+)`", section)) == sorted(presets())


@pytest.mark.parametrize(
    "wrong",
    [
        "reverie trian --configs small",
        "reverie train --configs smal",
        "--run.stepz 3",
        "run.step",
        "run.env_backend fast",
        'env={"gym": {"sizes": [64, 64]}}',
        "reverie.evaluate(env)",
        "agent.evaluate(env, episods=3)",
        '**{"run.step": 3}',
        "src/reverie/nothing.py",
        "make tea",
        "python benchmarks/envs.py --atary",
    ],
)
def test_what_is_wrong_is_found(wrong):
    with pytest.raises(Exception):  # noqa: B017, PT011 Each kind has its own.
        check_span(wrong)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty folder in which commands are run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("reverie.run.planning.plan.SECONDS", 0.3)
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path)])
    return tmp_path


def smallest(words):
    """With the preset `debug` on top, and in place of `small`: one agent is compiled for both."""
    if "--configs" in words or "--task" in words:
        return [*("debug" if x == "small" else x for x in words), "--configs", "debug"]
    return words


def shortened(words, cache):
    """A training that takes seconds: the smallest preset on top, and a tenth of the steps."""
    words = smallest(words)
    if "--ray.actors" in words:
        words = [*words, "--ray.actors", "1", "--run.train_ratio", "0"]
    if "--run.steps" in words:
        place = words.index("--run.steps") + 1
        words = [*words[:place], str(int(words[place]) // 10), *words[place + 1 :]]
    else:
        words = [*words, "--run.steps", "40"]
    # The outputs of others are tried where they are tested; here they would ask the network.
    plain = ["--run.report_every", "0", "--logger.outputs", "terminal", "jsonl"]
    return [*words, *plain, "--jax.cache_dir", cache]


def play(line, cache, capsys, monkeypatch):
    """Runs a line of the `reverie` command; others are checked in test_snippets.py."""
    line, _, file = line.partition(" > ")
    words = shlex.split(line)
    if words[0] != "reverie" or words[1] == "view":  # Which serves until it is stopped.
        return
    if words[1] == "train":
        task = words[words.index("--task") + 1] if "--task" in words else ""
        suite, package = catalog.SUITES.get(task.partition("_")[0]), task.partition(":")[0]
        lacks = package in gym.PACKAGES and importlib.util.find_spec(package) is None
        if lacks or (suite and not suite.installed):
            return
        words = [*words[:2], *shortened(words[2:], cache)]
        # One learning agent on a task by name, and one on an own class, are enough compilation.
        if task not in ("", "CartPole-v1", "my_env:Target"):
            words += ["--random_agent", "true"]
    if words[1] == "plan":
        words = [*smallest(words), "--jax.cache_dir", cache]
        if "CartPole-v1" not in words:  # As above.
            words += ["--random_agent", "true"]
    if words[1] == "plot" and words[2].startswith("logdir/"):
        # The shortened run ends before an episode does on some tasks.
        with open(f"{words[2]}/scores.jsonl", "a") as scores:
            scores.write('{"step": 40, "time": 0.0, "episode/score": 1.0}\n')
    capsys.readouterr()
    assert cli.main(words[1:]) == 0, f"{line}: {capsys.readouterr().err}"
    output = capsys.readouterr().out
    if file:
        with open(file, "w") as target:
            target.write(output)


def play_all(document, desk, cache, capsys, monkeypatch):
    """Runs the blocks of a document in their order."""
    clusters = 0
    for number, (language, text) in enumerate(blocks(ROOT / document)):
        for line in commands(text) if language == "sh" else ():
            # A Ray takes long to start, and one shows that the commands do start it.
            clusters += "--ray." in line
            if clusters < 2 or "--ray." not in line:
                play(line, cache, capsys, monkeypatch)
        if language == "python":
            short = text.replace('configs="small"', 'configs="debug"')
            short = re.sub(r'"steps": [\d_]+', '"steps": 40', short)
            file = desk / ("my_env.py" if "class Target" in text else f"block{number}.py")
            file.write_text(short)
            runpy.run_path(str(file), run_name="__main__")


def test_the_readme(desk, cache, capsys, monkeypatch):
    play_all("README.md", desk, cache, capsys, monkeypatch)
    folder = desk / "logdir"
    assert (folder / "target" / "checkpoints").exists()
    assert (folder / "example" / "evaluation.json").exists()
    assert (folder / "target" / "evaluation.json").exists()
    assert (folder / "example" / "scores.png").exists()
    # What the text says beside the blocks: a check of the class, and the class by its name.
    code = next(span for span in spans(ROOT / "README.md") if span.startswith("python -c"))
    exec(shlex.split(code)[2], {})
    assert "steps per second" in capsys.readouterr().out
    words = "reverie train --configs small --task my_env:Target --logdir logdir/{task}"
    assert words.partition(" --logdir")[0] in (ROOT / "README.md").read_text()
    play(words, cache, capsys, monkeypatch)
    named = folder / "my_env_Target"
    assert (named / "checkpoints").exists()
    assert cli.main(["eval", str(named), "--episodes", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["scores"]) == 2
    more = ["--run.steps", "60", "--jax.fast_compile", "true"]
    assert cli.main(["train", "--logdir", str(named), *more]) == 0
    assert "Run finished after 60 environment steps" in capsys.readouterr().out
    assert cli.main(["envs", "check", "my_env:Target"]) == 0


# It starts a Ray, as test_parallel_command.py does.
SLOW = {"scale"}
NAMES = [path.stem for path in DOCUMENTS[1:]]


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=pytest.mark.slow) if x in SLOW else x for x in NAMES]
)
def test_the_docs(name, desk, cache, capsys, monkeypatch):
    play_all(f"docs/{name}.md", desk, cache, capsys, monkeypatch)
