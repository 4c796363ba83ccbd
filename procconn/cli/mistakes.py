"""Errors in a command line, with the nearest known word."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

_LIKENESS = 0.65  # as difflib counts: "out" is like "output", "dance" unlike "trace"


class Parser(argparse.ArgumentParser):
    """A parser whose errors name the unknown argument and the nearest known one.

    That of a subcommand does so with its own usage: argparse leaves it to the parser of
    the whole command.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse all arguments; exit with a message if one is not known."""
        parsed, others = super().parse_known_args(args, namespace)
        for argument in others:
            if argument.startswith("-"):
                name = argument.partition("=")[0]
                options = {it.lstrip("-"): it for it in self._option_string_actions}
                near = options.get(nearest(name.lstrip("-"), options))
                meant = f"; did you mean {near}?" if near else ""
                self.error(f"unknown option {name}{meant}")
            self.error(f"unexpected argument {argument!r}")
        return parsed, others


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most like one; "" if none is."""
    from difflib import get_close_matches  # noqa: PLC0415 - seldom needed

    return next(iter(get_close_matches(word, known, n=1, cutoff=_LIKENESS)), "")
