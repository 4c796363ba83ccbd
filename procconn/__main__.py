"""Run the `procconn` command by `python -m procconn`."""

import sys

from procconn.cli import main

sys.exit(main())
