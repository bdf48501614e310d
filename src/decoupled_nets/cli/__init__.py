"""The command ``decoupled``, one file a command."""
