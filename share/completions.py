"""Completion for bash and for zsh."""

from collections import defaultdict
from collections.abc import Iterator

from vocabulary import Option, Subcommand, general, subcommands

from procconn.cli.values import EVENTS

_BASH = r"""
# Made of the command's parser by share/generate.py: do not edit.

_procconn_kind() # of value that an option of a subcommand takes
{
    kind=
    case $1 in
@KINDS@
    esac
}

_procconn()
{
    local word=$2 before=$3 command= kind= first= words= argument= i
    COMPREPLY=()
    if [[ ${COMP_WORDS[COMP_CWORD]} == = ]]; then # the value of --option=
        word=
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    for ((i = 1; i < COMP_CWORD; i++)); do
        _procconn_kind "$command ${COMP_WORDS[i]}"
        case "$command ${COMP_WORDS[i]}" in
            *' --') first=$((i + 1)) && break ;;
            *' '-*) ;;
            ' '*) command=${COMP_WORDS[i]} ;;
            *) first=$i && break ;;
        esac
        if [[ $kind ]]; then
            [[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))
            ((i++))
        fi
    done

    case $command in
@WORDS@
    esac
    if [[ $argument == COMMAND && $first ]]; then
        kind=COMMAND
    else
        _procconn_kind "$command $before"
        if [[ $word == -* || -z $argument ]]; then
            kind=${kind:-WORDS}
        else
            kind=${kind:-$argument}
        fi
    fi

    case $kind in
        WORDS) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word") ;;
        USER) mapfile -t COMPREPLY < <(compgen -u -- "$word") ;;
        FILE)
            compopt -o filenames 2> /dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            ;;
        PID)
            words=(/proc/[1-9]*)
            mapfile -t COMPREPLY < <(compgen -W "${words[*]##*/}" -- "$word")
            ;;
        LIST)
            [[ $word == *,* ]] && before=${word%,*}, || before=
            compopt -o nospace 2> /dev/null
            mapfile -t COMPREPLY < <(
                compgen -P "$before" -W '@EVENTS@' -- "${word##*,}"
            )
            ;;
        COMMAND)
            first=${first:-$COMP_CWORD}
            if declare -F _command_offset > /dev/null; then
                _command_offset "$first"
            elif ((COMP_CWORD == first)); then
                mapfile -t COMPREPLY < <(compgen -c -- "$word")
            else
                compopt -o filenames 2> /dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
            fi
            ;;
    esac
}

complete -F _procconn procconn
"""

_ZSH = r"""
#compdef procconn
# Made of the command's parser by share/generate.py: do not edit.

_procconn() {
    local context state state_descr line ret=1
    typeset -A opt_args

    _arguments -C \
@GENERAL@
        '1: :->command' \
        '*:: :->argument' && ret=0

    case $state in
        command)
            local -a commands=(
@COMMANDS@
            )
            _describe -t commands command commands && ret=0
            ;;
        argument)
            case $words[1] in
@EACH@
            esac
            ;;
    esac
    return ret
}

_procconn "$@"
"""

_ZSH_ACTIONS = {
    "FILE": "_files",
    "PID": "_pids",
    "USER": "_users",
    "LIST": f"_values -s , event {' '.join(EVENTS)}",
    "COMMAND": "_command_names -e",
}


def bash() -> str:
    """Make the function for bash, which needs no other one."""
    each = list(subcommands())
    of_kinds: dict[str, list[str]] = defaultdict(list)
    for it in each:
        for option in it.options:
            if option.value:
                of_kinds[option.value] += [f"'{it.name} {f}'" for f in option.flags]
    kinds = [
        f"        {' | '.join(them)}) {_bash_kind(kind)} ;;"
        for kind, them in of_kinds.items()
    ]
    words = [_bash_words("''", [*(it.name for it in each), *_flags(general())], "")]
    words += [
        _bash_words(it.name, [*_flags(it.options), *_HELP], it.argument) for it in each
    ]
    return _filled(
        _BASH,
        KINDS="\n".join(kinds),
        WORDS="\n".join(words),
        EVENTS=" ".join(EVENTS),
    )


def zsh() -> str:
    """Make the function for zsh's own system."""
    each = list(subcommands())
    commands = [f"{' ' * 16}'{it.name}:{_described(it.summary)}'" for it in each]
    return _filled(
        _ZSH,
        GENERAL="\n".join(f"        {_spec(it)} \\" for it in general()),
        COMMANDS="\n".join(commands),
        EACH="\n".join(line for it in each for line in _zsh_case(it)),
    )


_HELP = ("--help",)


def _filled(template: str, **parts: str) -> str:
    for name, part in parts.items():
        template = template.replace(f"@{name}@", part)
    return template.removeprefix("\n")


def _flags(options: tuple[Option, ...]) -> list[str]:
    return [option.flags[-1] for option in options]


def _bash_words(pattern: str, words: list[str], kind: str) -> str:
    argument = f" argument={kind}" if kind else ""
    return f"        {pattern}) words='{' '.join(words)}'{argument} ;;"


def _bash_kind(value: str) -> str:
    return f"kind=WORDS words='{_choices(value)}'" if "|" in value else f"kind={value}"


def _choices(value: str) -> str:
    return value.replace("|", " ")


def _zsh_case(command: Subcommand) -> Iterator[str]:
    specs = [_spec(option) for option in command.options]
    specs.append("'(- *)'{-h,--help}'[show this help message and exit]'")
    if command.argument == "COMMAND":
        specs += ["'(-):command: _command_names -e'", "'*:: :_normal'"]
    elif command.argument:
        star = "*" if command.repeated else ""
        name = command.argument.lower()
        specs.append(f"'{star}:{name}:{_ZSH_ACTIONS.get(command.argument, ' ')}'")
    yield f"{' ' * 16}{command.name})"
    yield " \\\n".join([f"{' ' * 20}_arguments -S", *(" " * 24 + it for it in specs)])
    yield f"{' ' * 20}ret=$?"
    yield f"{' ' * 20};;"


def _spec(option: Option) -> str:
    """Write how zsh's _arguments wants an option."""
    text = _described(option.text)
    value = ""
    flags = list(option.flags)
    if option.value:
        few = f"({_choices(option.value)})" if "|" in option.value else " "
        value = f":{option.value.lower()}:{_ZSH_ACTIONS.get(option.value, few)}"
        flags = [f"{it}=" if it.startswith("--") else f"{it}+" for it in flags]
    if len(flags) == 1:
        return f"'{flags[0]}[{text}]{value}'"
    excluded = " ".join(option.flags)
    return f"'({excluded})'{{{','.join(flags)}}}'[{text}]{value}'"


def _described(text: str) -> str:
    for special in "[]:":
        text = text.replace(special, f"\\{special}")
    return text.replace("'", "'\\''")
