"""`python -m mobile_sr` and the `mobile-sr` script. Imports nothing before Ctrl-C is caught."""

import sys


def run():
    """Run the command line; an interrupt during its imports ends it as one during the command does: one line, status 130."""
    try:
        from mobile_sr import cli

        cli.run()
    except KeyboardInterrupt:
        print("\nmobile-sr: interrupted", file=sys.stderr, flush=True)
        sys.exit(130)


if __name__ == "__main__":
    run()
