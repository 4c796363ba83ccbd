"""The options of the subcommands, one module for each.

A module has `add_options`; MORE, which follows the summary in the description; and
EXAMPLE. It does not import the subcommand, so that help is fast.
"""
