"""Entry point of `python -m mobile_sr` and the `mobile-sr` script. Imports nothing before Ctrl-C is handled."""

import sys


def run() -> None:
    """Run the command line. An interrupt prints one line and exits with status 130, also during the imports."""
    try:
        from mobile_sr import cli

        cli.run()
    except KeyboardInterrupt:
        print("\nmobile-sr: interrupted", file=sys.stderr, flush=True)
        sys.exit(130)


if __name__ == "__main__":
    run()
