"""Raw formats: READERS is the one table of what armseg can read, and `sniff` finds the row of a file."""
