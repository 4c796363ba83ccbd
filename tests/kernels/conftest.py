"""These tests need a machine on which nobody else listens: a guest has one."""

import os

collect_ignore = [] if "PROCCONN_ALONE" in os.environ else ["test_alone.py"]
