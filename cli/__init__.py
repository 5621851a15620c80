"""The command line of stdvid. Importing it is cheap; what is heavy is imported inside the command that needs it."""
