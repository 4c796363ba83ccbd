"""The options of each subcommand, in a module of its name.

Each has `add_options`; MORE, which follows the summary in the description; and EXAMPLE.
None imports what the subcommand needs to run.
"""
