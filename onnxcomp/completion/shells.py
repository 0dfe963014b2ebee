"""click's completion for bash, zsh and fish, with two things that it lacks.

A value may go on (``prune,`` or ``prune.sparsity=``): no space is put behind it. And bash breaks words at
``=``, so that ``prune.criterion=ob`` is three words there: they are one again here, and what it is given
back is the part behind the last ``=``.
"""

from __future__ import annotations

import os
import re
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

PROGRAM, VARIABLE = "onnxcomp", "_ONNXCOMP_COMPLETE"

BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response type value item
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    for item in $response; do
        IFS=',' read -r type value <<< "$item"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            part) compopt -o nospace; COMPREPLY+=("$value") ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a plain described parts response
    local type key descr
    (( ! $+commands[%(prog_name)s] )) && return 1
    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \
%(complete_var)s=zsh_complete %(prog_name)s)}")
    for type key descr in ${response}; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            part) parts+=("$key") ;;
            plain) if [[ "$descr" == "_" ]]; then plain+=("$key"); else described+=("$key:$descr"); fi ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain
    (( $#parts )) && compadd -U -S '' -V unsorted -a parts
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

FISH = """\
function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \
COMP_CWORD=(commandline -t) %(prog_name)s)
    for item in $response
        set -l found (string split -m 1 "," -- $item)
        switch $found[1]
            case dir
                __fish_complete_directories $found[2]
            case file
                __fish_complete_path $found[2]
            case plain part
                echo $found[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class Bash(BashComplete):
    """Words that bash broke at ``=`` are put together, and what is before the last one stays."""

    source_template = BASH
    taken = ""  # of the word to complete, what bash takes for a word before it

    @staticmethod
    def _check_version() -> None:
        """Nothing to ask: of what is older than bash 4.4 the script itself fails."""

    def get_completion_args(self) -> tuple[list[str], str]:
        count = int(os.environ["COMP_CWORD"]) + 1
        line = os.environ["COMP_WORDS"].split("\n")[:count]
        words = _joined(line + [""] * (count - len(line)))
        incomplete = words[-1]
        self.taken = incomplete[: incomplete.rfind("=") + 1] if "=" in line else ""
        if incomplete[:1] not in ("'", '"'):
            split = split_arg_string(incomplete)
            incomplete = split[0] if split else ""
        return [word for text in words[1:-1] for word in split_arg_string(text)], incomplete.lstrip("'\"")

    def format_completion(self, item: CompletionItem[Any]) -> str:
        value = item.value
        if item.type in ("plain", "part") and self.taken and value.startswith(self.taken):
            value = value[len(self.taken) :]
        return f"{item.type},{value}"


def _joined(words: list[str]) -> list[str]:
    """``--set prune.criterion = ob`` as the three words that it was."""
    found: list[str] = []
    for word in words:
        if found and (word == "=" or found[-1].endswith("=")) and re.match(r"[^=]", found[-1]):
            found[-1] += word
        else:
            found.append(word)
    return found


class Zsh(ZshComplete):
    """No space behind a part."""

    source_template = ZSH


class Fish(FishComplete):
    """Values that hold a comma stay whole; fish itself puts no space behind ``,``, ``.``, ``=`` and ``/``."""

    source_template = FISH


SHELLS = {"bash": Bash, "zsh": Zsh, "fish": Fish}
INSTALL = {
    "bash": "# Put this into ~/.bashrc:  source <(onnxcomp completion bash)",
    "zsh": "# Put this into ~/.zshrc, after compinit:  source <(onnxcomp completion zsh)",
    "fish": "# Run once:  onnxcomp completion fish > ~/.config/fish/completions/onnxcomp.fish",
}


def register() -> None:
    """Let click use these for what the scripts ask."""
    for shell in SHELLS.values():
        add_completion_class(shell)


def script(shell: str, program: click.Command) -> str:
    """What a shell is to read; its first or second line says how."""
    text = SHELLS[shell](program, {}, PROGRAM, VARIABLE).source()
    if shell == "zsh":  # #compdef has to be the first line
        first, _, rest = text.partition("\n")
        return f"{first}\n{INSTALL[shell]}\n{rest}"
    return f"{INSTALL[shell]}\n{text}"
