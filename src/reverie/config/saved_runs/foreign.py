"""Run folders: their options are read as data, but for those that this user's trainings made."""

import contextlib
import dataclasses
import hashlib
import hmac
import logging
import os
import pathlib
import re
import secrets
from collections.abc import Collection, Mapping
from typing import Any

from reverie.catalog import SUITES
from reverie.config.nearest import shorten
from reverie.config.overlay import Overlay
from reverie.config.saved_runs.original import is_original, original_options
from reverie.config.schema import Config
from reverie.config.sections.agent import AgentConfig
from reverie.config.syntax import yaml_text
from reverie.config.syntax.keys import flatten, groups, leaves
from reverie.disk import whole_file
from reverie.errors import ConfigError

_log = logging.getLogger(__name__)

SIGNATURE = "signature"
"""Name of the file in a run folder that tells it from those of others."""

_CODE = {
    "replay.selector": "",
    "agent.enc.typ": "agent.enc.extra",
    "agent.objectives": "agent.extra",
    "env.gym.wrappers": "",
}
"""Options that may name a class or function, and those of its keyword arguments."""

# Options that earlier versions saved, with the values under which they do as this one without.
_REMOVED = {"env.atari.backend": "process", "env.atari100k.backend": "process"}


def read_options(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options in a saved configuration by dotted key, as they were written.

    Unlike in files that users write, keys are whole paths and nothing refers to anything else.
    Options that are no more are left out where their value changes nothing, and those of suites of
    other packages unless the task is of theirs.

    Raises:
        ConfigError: The file cannot be read, or a key is no option.
    """
    saved = flatten(yaml_text.read(path, saved=True), groups(Config))
    content = {key: value for key, value in saved if (key, value) not in _REMOVED.items()}
    content.pop("jax.policy_devices", None)  # A list in earlier versions; of machines, as all jax.
    suite = str(content.get("task", "")).partition("_")[0]
    content = {k: x for k, x in content.items() if not _of_others(k, {*SUITES, suite})}
    if suite not in SUITES and f"env.{suite}" in content:
        raise ConfigError(
            f"The run in {os.fspath(path)} has the suite {suite!r} of another package, which is "
            "not installed here. `reverie envs` lists the suites that are."
        )
    if unknown := sorted(set(content) - set(leaves(Config))):
        raise ConfigError(
            f"The configuration file {os.fspath(path)} holds {shorten(repr(unknown[0]))}, which is "
            "no option of this version of Reverie. Remove the line if it is of another version."
        )
    return content


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """What a run folder says of its run.

    Attributes:
        options: Dotted key -> value. Of a folder that no training of this user made, these are
            numbers, shapes and choices, and the name of the task.
        code: Options that name code, for which somebody else would decide, and what they name.
        source: The file, for messages.
    """

    options: dict[str, Any]
    code: dict[str, str]
    source: str

    def refuse(self, allowed: Collection[str] = ()) -> None:
        """Raises ConfigError if options name code, but for those that the user gave as well."""
        named = [what for key, what in self.code.items() if key not in allowed]
        if named:
            raise ConfigError(
                f"{self.source} would import or run {'; '.join(named)}, and the folder was not "
                "made by a training of yours here. If you trust whoever made it, add --trust "
                "(in Python: trust=True), or give these options yourself."
            )


def read_run(folder: pathlib.Path, trust: bool = False) -> SavedRun:
    """What the configuration in a run folder may decide, without what belongs to machines.

    Args:
        folder: Run folder.
        trust: Whether the user trusts whoever made it, so that it may name code.

    Raises:
        ConfigError: The configuration is damaged; or the folder is somebody else's and has links,
            through which other files would be written.
    """
    path = folder / "config.yaml"
    known, content = leaves(Config), read_options(path)
    options = {k: x for k, x in content.items() if not of_machine(k)}
    if trust or _signed(folder, content):
        return SavedRun(options, {}, f"file {path}")
    _refuse_links(folder)
    code = _named_code(options)
    kept = {key: x for key, x in options.items() if _is_data(key, x)}
    lost = [k for k, x in options.items() if k not in kept | code and not known[k].is_default(x)]
    if lost:
        _log.warning("Not taken from %s, which was made elsewhere: %s.", path, ", ".join(lost))
    return SavedRun(kept, code, f"file {path}")


def read_config(path: pathlib.Path) -> Config:
    """The configuration in a run folder as it was written, to compare another one with.

    Raises:
        ConfigError: It is damaged.
    """
    overlay = Overlay()
    overlay.update(read_options(path), f"file {path}")
    return overlay.config()


def of_machine(key: str) -> bool:
    """Whether an option says how a machine is used or where the folder lay, and stays there.

    Runs go on with `jax.compute_dtype`, which sets the type of the latents in replay.
    """
    return key.startswith(("jax.", "logdir")) and key != "jax.compute_dtype"


def sign(folder: pathlib.Path) -> bool:
    """Marks a run folder, whose configuration a training has written, as made by this user.

    Returns:
        Whether nothing is lost: the folder is marked, or its configuration names no code. Without
        room for a key of this user it cannot be marked.
    """
    options, key = read_options(folder / "config.yaml"), _key(make=True)
    if key is None:
        return not _named_code(options)
    with whole_file(folder / SIGNATURE) as partial:
        partial.write_text(_digest(key, options))
    return True


def _signed(folder: pathlib.Path, options: Mapping[str, Any]) -> bool:
    """Whether a training of this user has made a run folder with the texts of these options."""
    key = _key(make=False)
    try:
        found = (folder / SIGNATURE).read_bytes()[:100]
    except OSError:
        return False
    return key is not None and hmac.compare_digest(found, _digest(key, options).encode())


def _digest(key: bytes, options: Mapping[str, Any]) -> str:
    """The signature of the options that may hold any text; a folder may be moved."""
    known = leaves(Config)
    texts = {k: options[k] for k in sorted(options) if not known[k].plain and k != "logdir"}
    return hmac.new(key, yaml_text.dump(texts).encode(), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    """A secret of this user, which no one else can sign with; None if there is none."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    path = pathlib.Path(state).expanduser() / "reverie" / "key"
    try:
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = path.with_name(f"key-{secrets.token_hex(8)}")
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
            try:
                with contextlib.suppress(FileExistsError):  # Another process was first.
                    os.link(partial, path)
            finally:
                partial.unlink()
        key = path.read_bytes()
    except (OSError, RuntimeError):
        return None
    return key if len(key) == 32 else None


def _of_others(key: str, suites: Collection[str]) -> bool:
    """Whether an option is that of a suite which is none of these."""
    part, _, rest = key.partition(".")
    return part == "env" and rest.partition(".")[0] not in suites


def _named_code(options: Mapping[str, Any]) -> dict[str, str]:
    """Options that name code, and what."""
    found = {}
    for key, value in options.items():
        if key == "task":
            named = ":" in str(value) or str(value).startswith("dm_")
        elif key.endswith(".kwargs"):
            named = not _only_words(value)
        else:
            named = key in _CODE and ":" in str(value)
        if named:
            found[key] = f"{'the task' if key == 'task' else key} {shorten(repr(value))}"
            if extra := _CODE.get(key):
                found[extra] = f"its {extra}"
    return found


def _is_data(key: str, value: Any) -> bool:
    """Whether a value can be nothing but numbers, shapes, choices and plain words."""
    if key == "task":
        return True
    if key.startswith(("logger.", "run.from_checkpoint")):
        return False
    words = key.endswith(".kwargs") or key == "agent.objectives"
    return leaves(Config)[key].plain or (words and _only_words(value))


def _only_words(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _only_words(x) for k, x in value.items())
    if isinstance(value, list):
        return all(map(_only_words, value))
    if isinstance(value, str):
        # No name of a module's content, and no path.
        return re.fullmatch(r"[\w-]{0,64}", value) is not None
    return value is None or isinstance(value, bool | int | float)


def _refuse_links(folder: pathlib.Path) -> None:
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise ConfigError(
                f"{path} is a link, through which files elsewhere could be written, and the folder "
                "was not made by a training of yours here. Remove it, or add --trust (in Python: "
                "trust=True) if you trust whoever made it."
            )


def from_folder(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], list[str]]:
    """Options that match the run in a folder, of Reverie or of the original implementation.

    Returns:
        The options, and messages about those that were left out.

    Raises:
        ConfigError: There is no run in the folder, or its configuration is damaged.
    """
    path = pathlib.Path(folder).expanduser() / "config.yaml"
    content = yaml_text.read(path, saved=True)
    if is_original(content):
        return original_options(content)
    return {k: v for k, v in read_options(path).items() if k != "logdir"}, []


def read_agent(folder: pathlib.Path) -> AgentConfig:
    """The options of the agent of the run in a folder, of Reverie or of the original.

    Raises:
        ConfigError: There is none, its configuration is damaged, or its agent is one that Reverie
            does not have.
    """
    options, overlay = from_folder(folder)[0], Overlay()
    agent = {key: value for key, value in options.items() if key.startswith("agent.")}
    overlay.update(agent, f"file {folder / 'config.yaml'}")
    return overlay.config().agent
