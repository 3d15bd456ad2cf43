"""Completion of commands, options, presets and choices for shells, made from the schema."""

import re
from collections.abc import Mapping
from typing import Any

from reverie.config.presets import presets
from reverie.config.schema import Config
from reverie.config.syntax.keys import Leaf, leaves

SHELLS = ("bash", "zsh", "fish")

BASH = """\
# reverie completion bash > ~/.local/share/bash-completion/completions/reverie
_reverie() {
  local cur=${COMP_WORDS[COMP_CWORD]} i words=
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W "@COMMANDS@" -- "$cur"))
    return
  fi
  if [[ $cur == -* ]]; then
    words="@OPTIONS@"
    case ${COMP_WORDS[1]} in
@OWN@
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    return
  fi
  for ((i = COMP_CWORD - 1; i > 1; i--)); do [[ ${COMP_WORDS[i]} == -* ]] && break; done
  case ${COMP_WORDS[i]} in
@VALUES@
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"; compgen -f -- "$cur")
}
complete -o filenames -F _reverie reverie
"""

ZSH = """\
#compdef reverie
# reverie completion zsh > "${fpath[1]}/_reverie"
_reverie() {
  local words_ i
  if ((CURRENT == 2)); then
    compadd -- @COMMANDS@
    return
  fi
  if [[ $words[CURRENT] == -* ]]; then
    words_="@OPTIONS@"
    case $words[2] in
@OWN@
    esac
    compadd -- ${=words_}
    return
  fi
  for ((i = CURRENT - 1; i > 2; i--)); do [[ $words[i] == -* ]] && break; done
  case $words[i] in
@VALUES@
  esac
  compadd -- ${=words_}
  _files
}
if [[ $funcstack[1] == _reverie ]]; then _reverie "$@"; else compdef _reverie reverie; fi
"""

FISH = """\
# reverie completion fish > ~/.config/fish/completions/reverie.fish
function __reverie_after
  # Whether the newest option before the cursor is one of these.
  for word in (commandline -opc)[-1..1]
    string match -q -- '-*' $word; and contains -- $word $argv; and return 0
    string match -q -- '-*' $word; and return 1
  end
  return 1
end
complete -c reverie -n __fish_use_subcommand -f -a "@COMMANDS@"
"""


def script(shell: str, own: Mapping[str, str]) -> str:
    """What a shell reads to complete `reverie`.

    Args:
        shell: bash, zsh or fish.
        own: Help by command, which names the flags that are no options of a run.
    """
    options = leaves(Config)
    flags = {name: _flags(text, options) for name, text in own.items()}
    choices: dict[str, list[str]] = {" ".join(sorted({*presets()} - {"defaults"})): ["--configs"]}
    for key, leaf in options.items():
        if values := "true false" if leaf.kind is bool else " ".join(leaf.choices):
            choices.setdefault(values, []).append(f"--{key}")
    keys = " ".join(f"--{key}" for key in options)
    if shell == "fish":
        return _fish(own, flags, options, choices)
    name, text = {"bash": ("words", BASH), "zsh": ("words_", ZSH)}[shell]
    parts = {
        "COMMANDS": " ".join(own),
        "OPTIONS": f"--configs --help {keys}",
        "OWN": "\n".join(f'    {x}) {name}+=" {f}" ;;' for x, f in flags.items() if f),
        "VALUES": "\n".join(f'  {"|".join(x)}) {name}="{v}" ;;' for v, x in choices.items()),
    }
    return re.sub("@([A-Z]+)@", lambda found: parts[found[1]], text)


def _fish(
    own: Mapping[str, str],
    flags: Mapping[str, str],
    options: Mapping[str, Leaf],
    choices: Mapping[str, list[str]],
) -> str:
    lines = [FISH.replace("@COMMANDS@", " ".join(own)).rstrip()]
    for command, names in flags.items():
        seen = f'-n "__fish_seen_subcommand_from {command}"'
        lines += [f"complete -c reverie {seen} -l {x.removeprefix('--')}" for x in names.split()]
    later = '-n "not __fish_use_subcommand"'
    for key, leaf in options.items():
        doc = re.sub(r"['\\\\]", "", leaf.doc)
        lines.append(f"complete -c reverie {later} -l {key} -d '{doc}'")
    lines.append(f"complete -c reverie {later} -l configs -d 'Preset blocks or yaml files'")
    for values, keys in choices.items():
        lines.append(f'complete -c reverie -n "__reverie_after {" ".join(keys)}" -a "{values}"')
    return "\n".join(lines) + "\n"


def _flags(text: str, options: Mapping[str, Any]) -> str:
    """The flags in the help of a command that are no options of a run."""
    found = dict.fromkeys(re.findall(r"(?<![\w-])--[a-z][\w-]*+(?!\.\w)", text))
    return " ".join(x for x in found if x != "--configs" and x.removeprefix("--") not in options)
