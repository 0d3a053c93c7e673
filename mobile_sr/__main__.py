"""`python -m mobile_sr`."""

from mobile_sr.cli import run

run()
