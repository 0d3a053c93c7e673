"""The command-line parser of this folder's modules: --help, and one line with exit status 2 for bad input."""

import argparse

from mobile_sr import cli
from mobile_sr.errors import UserError


class Parser(cli.Parser):
    """The parser of `python -m tools.zoo.NAME`; the module's docstring is the help."""

    def __init__(self, name, doc):
        form = argparse.RawDescriptionHelpFormatter
        name = f"python -m tools.zoo.{name}"
        super().__init__(prog=name, description=doc, formatter_class=form, inherited_absl_flags=None)

    def run(self, function, *arguments):
        """Return the function's result; a UserError ends the process."""
        UserError.names_options = True
        try:
            return function(*arguments)
        except UserError as error:
            self.exit(2, f"{self.prog}: {error}\n")
