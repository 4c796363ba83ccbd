"""Write the man page and completions of the command: `generate.py [FOLDER]`.

They are made of its parser. The folder is this file's own if none is named.
"""

import sys
from pathlib import Path

import completions
import manpage

MADE = {
    "man/man1/procconn.1": manpage.page,
    "bash-completion/completions/procconn": completions.bash,
    "zsh/site-functions/_procconn": completions.zsh,
}


def main() -> None:
    """Write each file, in the folder where it is looked for below a prefix's share."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else __file__)
    folder = folder if folder.is_dir() else folder.parent
    for name, make in MADE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make())


if __name__ == "__main__":
    main()
