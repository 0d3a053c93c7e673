"""Functions from the user's files, and the recipes that they return: what is refused, and how it is said."""

import re
import subprocess
import sys
import textwrap

import pytest

from mobile_sr.errors import UserError
from mobile_sr.training import recipes, user_code

RECIPE = """
    import helper
    from mobile_sr.training.recipes import Recipe

    def plain():
        return Recipe(name="mine", network={"network": "espcn", "scale": 2}, steps=4)

    def scaled(scale, smoke=False):
        r = plain()
        r.network["scale"], r.steps = scale, 2 if smoke else r.steps
        return r

    def raises():
        return {}[
            "key"]

    def exits():
        raise SystemExit(3)

    def with_fields(**fields):
        r = plain()
        vars(r).update(fields)
        return r

    def dictionary():
        return {"steps": 4}

    def no_steps():
        return with_fields(steps=0)

    def bad_loss():
        return with_fields(loss="charbonier")

    def bad_factors():
        return with_fields(brightness_factors=[])

    def bad_network():
        return with_fields(network={"network": "espcn"})

    def bad_hook():
        r = plain()
        r.hooks.data = [1, 2]
        return r

    def list_field():
        return with_fields(brightness_factors=[1, 0.5])
"""


@pytest.fixture
def files(tmp_path):
    """A folder with a recipe file, a neighbour that it imports, and a file that cannot be run."""
    for name, text in (
        ("own.py", RECIPE),
        ("helper.py", "LOADED = 1"),
        ("syntax.py", "x = 1\ndef f(:\n"),
        ("fails.py", "\n1 / 0"),
    ):
        (tmp_path / name).write_text(textwrap.dedent(text))
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("own.py", r"--recipe .*own\.py: expected FILE\.py:FUNCTION, such as .*own\.py:recipe$"),
        ("own.py:", r"--recipe .*own\.py:: expected FILE\.py:FUNCTION, such as .*own\.py:recipe$"),
        ("own.txt:plain", r"expected FILE\.py:FUNCTION, such as FILE\.py:NAME$"),
        ("none.py:plain", r"--recipe .*none\.py: no such file$"),
        ("own.py:plane", r"own\.py has no function plane; did you mean plain\?$"),
        ("own.py:zzz", r"own\.py has no function zzz; it has plain, scaled, .*"),
        ("own.py:zzz_x2", r"own\.py has no function zzz; it has plain"),
        ("own.py:Recipe", r"TypeError: .* missing 3 required positional arguments"),
        ("syntax.py:f", r"^mobile-sr train: syntax\.py:2: SyntaxError: invalid syntax$"),
        ("fails.py:f", r"^mobile-sr train: fails\.py:2: ZeroDivisionError: division by zero$"),
        ("own.py:raises", r"^mobile-sr train: own\.py:14: KeyError: 'key'$"),
        ("own.py:exits", r"own\.py:18: SystemExit: 3$"),
        ("own.py:dictionary", r"own\.py:dictionary returned a dict; expected a mobile_sr\.training\.recipes\.Recipe$"),
        ("own.py:scaled", r"own\.py:scaled needs a scale; add it to the name, as in own\.py:scaled_x3$"),
        ("own.py:plain_x2", r"own\.py:plain has no argument scale, which the scale 2 needs$"),
        ("own.py:no_steps", r"own\.py:no_steps: steps is 0; must be a whole number of at least 1$"),
        ("own.py:bad_loss", r"own\.py:bad_loss: loss is 'charbonier'; must be one of .*; did you mean charbonnier\?$"),
        ("own.py:bad_factors", r"brightness_factors is \[\]; must be comma-separated numbers"),
        ("own.py:bad_network", r"expected a dict with a network and a scale from 1 to 16"),
        ("own.py:bad_hook", r"hooks\.data is a list; expected a function \(step, batch, patch, rng\) -> \(lr, hr\)$"),
    ],
)
def test_refusals(files, tmp_path, run_here, reference, said):
    done = run_here("train", "--recipe", files / reference, "--data", files, "--out", tmp_path / "run")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert re.search(said, line), line
    assert not (tmp_path / "run").exists()


def test_recipes_of_functions(files, run_here):
    assert recipes.load(f"{files}/own.py:plain", steps=7, seed=3) == recipes.Recipe(
        "mine", {"network": "espcn", "scale": 2}, 7, seed=3
    )
    small = recipes.load(f"{files}/own.py:scaled_x4", smoke=True)
    assert (small.network["scale"], small.steps) == (4, 2)
    assert recipes.load(f"{files}/own.py:list_field").brightness_factors == (1, 0.5)
    assert recipes.has_scale("own.py:plain")
    assert recipes.expected_init("own.py:plain") is None
    with pytest.raises(UserError, match="own.py:plain has no argument smoke, which --smoke needs"):
        recipes.load(f"{files}/own.py:plain", smoke=True)
    done = run_here("search", "--recipe", files / "own.py:plain", "--data", files, "--out", files / "run")
    assert (done.returncode, "is not a search" in done.stderr) == (2, True)


def test_recipe_objects(files):
    recipe = recipes.load(f"{files}/own.py:plain")
    recipes.override(copy := recipes.load(recipe, steps=9, net="edsr"), ["network.blocks=1"])
    assert (copy.steps, copy.network) == (9, {"network": "edsr", "scale": 2, "blocks": 1})
    assert (recipe.steps, recipe.network) == (4, {"network": "espcn", "scale": 2})
    with pytest.raises(UserError, match="--smoke: a Recipe object is used as it is"):
        recipes.load(recipe, smoke=True)
    with pytest.raises(UserError, match="--net fsrcn: expected FILE.py:FUNCTION or a network; did you mean fsrcnn?"):
        recipes.load(recipe, net="fsrcn")
    recipe.patch = 0
    with pytest.raises(UserError, match="recipe mine: patch is 0; must be a whole number of at least 1"):
        recipes.load(recipe)


def test_a_file_is_run_once_for_each_content(tmp_path):
    file = tmp_path / "counted.py"
    file.write_text("values = []\ndef add(x):\n    values.append(x)\n    return values\ndef get():\n    return values\n")
    user_code.load(f"{file}:add", "--net")(5)
    assert user_code.load(f"{file}:get", "--net")() == [5]
    file.write_text(file.read_text().replace("[]", "[1]"))
    assert user_code.load(f"{file}:get", "--net")() == [1]


def test_identity(tmp_path):
    file = tmp_path / "some.py"
    file.write_text(
        "import functools\ndef f(a, b): pass\ng = functools.partial(f, 1)\nclass C:\n    def __call__(self): pass\nc = C()\n"
    )
    digest = subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout.split()[0]
    for name, shown in (("f", "f"), ("g", "f"), ("C", "C"), ("c", "C")):
        function = user_code.load(f"{file}:{name}", "--net")
        assert user_code.identity(function) == {"function": f"some.py:{shown}", "sha256": digest}
    names = {}
    exec("def typed(): pass", names)  # noqa: S102
    assert user_code.identity(names["typed"]) == {"function": "typed", "sha256": None}


def test_plain_recipes_run_no_file(tmp_path):
    """A file in the working folder whose name a recipe or network could be taken for stays alone."""
    for name in ("xlsr_x3.py", "espcn.py", "helper.py"):
        (tmp_path / name).write_text("raise SystemExit('was run')")
    code = "from mobile_sr.training import recipes; print(recipes.load('xlsr_x3').name)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "xlsr_x3\n"
