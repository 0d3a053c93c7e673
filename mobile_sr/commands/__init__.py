"""One module per command, with HELP, add_arguments(parser) and run(args), which returns the exit status."""
