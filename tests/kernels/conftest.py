"""These tests run only in a guest: a machine without other listeners."""

import os

in_guest = "PROCCONN_ALONE" in os.environ
collect_ignore = [] if in_guest else ["test_alone.py", "test_installed.py"]
