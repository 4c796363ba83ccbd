"""Generate the man page and the shell completions: `generate.py [DIRECTORY]`.

They are generated from the command-line parser. The default is this file's directory.
"""

import sys
from pathlib import Path

import completions
import manpage

GENERATORS = {
    "man/man1/procconn.1": manpage.page,
    "bash-completion/completions/procconn": completions.bash,
    "zsh/site-functions/_procconn": completions.zsh,
}


def main() -> None:
    """Write the files. The directory corresponds to PREFIX/share."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, generate in GENERATORS.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generate())


if __name__ == "__main__":
    main()
