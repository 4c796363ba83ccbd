"""Error messages for invalid command lines, with suggestions."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

_CUTOFF = 0.65  # of difflib: "out" matches "output", "dance" does not match "trace"


class Parser(argparse.ArgumentParser):
    """A parser that names the unknown argument, and suggests the nearest known one.

    It reports unknown arguments with the usage of the subcommand, while argparse
    reports them with that of the main parser.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse all arguments; exit with a message if one is unknown."""
        parsed, others = super().parse_known_args(args, namespace)
        for argument in others:
            if argument.startswith("-"):
                name = argument.partition("=")[0]
                options = {it.lstrip("-"): it for it in self._option_string_actions}
                near = options.get(nearest(name.lstrip("-"), options))
                hint = f"; did you mean {near}?" if near else ""
                self.error(f"unknown option {name}{hint}")
            self.error(f"unexpected argument {argument!r}")
        return parsed, others


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most similar; "" if none is similar enough."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for errors

    return next(iter(get_close_matches(word, known, n=1, cutoff=_CUTOFF)), "")
