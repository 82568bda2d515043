"""The command line of armseg. One file per command; nothing in `armseg_core` imports it."""
