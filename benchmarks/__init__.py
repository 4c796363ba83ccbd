"""How fast, how cheap: measured side by side with others. Run by `make bench`."""
