"""The command line: `voicepilot --help`."""
