"""Rules that stand written, held by a machine: which layer may include which, format, scripts, manuals."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent

# A folder of src, and those whose headers it may include besides its own: docs/architecture.md.
# Written as the arrows are; what they reach, they reach.
ARROWS = {
    "base": [],
    "model": ["base"],
    "host": ["base"],
    "agent": [],
    "qmp": ["base", "agent"],
    "store": ["model"],
    "qemu": ["model", "qmp", "host"],
    "net": ["store", "host"],
    "image": ["store", "qemu"],
    "keeper": ["qemu", "net", "store"],
    "ops": ["keeper", "image", "net"],
    "cli": ["ops"],
    "top": ["keeper"],
    "helpers": ["base"],
}

# What a private header is private to: its own layer.
PRIVATE = re.compile(r"private to this layer|private to the keeper|private to lodge-keeper", re.I)

SOURCES = sorted(TOP.glob("src/**/*.[ch]"))


def reach(layer):
    found = {layer}
    for below in ARROWS[layer]:
        found |= reach(below)
    return found


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if match:
            yield number, match[1]


def layer_of(path):
    return path.relative_to(TOP / "src").parts[0]


def test_every_folder_is_a_layer():
    folders = {path.name for path in (TOP / "src").iterdir() if path.is_dir()}
    assert folders <= set(ARROWS), "say in ARROWS what the new layer may include"


def test_the_rule_itself_catches():
    assert "cli" not in reach("ops") and "store" in reach("cli") and "qmp" not in reach("store")


@pytest.mark.parametrize("layer", sorted({layer_of(path) for path in SOURCES}))
def test_includes_go_down_only(layer):
    wrong = []
    for path in (TOP / "src" / layer).rglob("*.[ch]"):
        is_test = "tests" in path.parts
        for number, header in includes(path):
            where = f"{path.relative_to(TOP)}:{number}: {header}"
            if header == "config.h":
                continue
            if "/" not in header:
                # agent and helper programs stand alone: files of their own folder
                if not (path.parent / header).exists():
                    wrong.append(f"{where}: write the layer before it")
                continue
            target = header.split("/")[0]
            if not (TOP / "src" / header).exists():
                wrong.append(f"{where}: no such header")
            elif target not in reach(layer):
                wrong.append(f"{where}: {layer} may not know {target}")
            elif (target != layer and not is_test
                  and PRIVATE.search((TOP / "src" / header).read_text()[:600])):
                wrong.append(f"{where}: it is private to {target}")
    assert not wrong, "\n".join(wrong)


def test_own_header_comes_first():
    wrong = []
    for path in SOURCES:
        header = path.with_suffix(".h")
        if path.suffix == ".c" and header.exists() and layer_of(path) != "helpers":
            names = [name for _, name in includes(path) if name != "config.h"]
            own = str(header.relative_to(TOP / "src"))
            if names[:1] not in ([own], [header.name]):
                wrong.append(f"{path.relative_to(TOP)}: {own} is not its first header")
    assert not wrong, "\n".join(wrong)


def test_every_layer_says_what_it_is():
    missing = [path.name for path in (TOP / "src").iterdir()
               if path.is_dir() and list(path.glob("*.c")) and not (path / "README.md").exists()]
    assert not missing


def test_files_and_functions_end_in_time():
    """Think at 600 lines, split before 1,000."""
    long = [f"{path.relative_to(TOP)}: {count} lines" for path in SOURCES
            for count in [len(path.read_text().splitlines())] if count >= 1000]
    assert not long, "\n".join(long)


def test_no_goto():
    found = [f"{path.relative_to(TOP)}:{number}" for path in SOURCES
             for number, line in enumerate(path.read_text().splitlines(), 1)
             if re.match(r"\s*goto\s+\w+;", line)]
    assert not found


def run(*words):
    done = subprocess.run(words, cwd=TOP, capture_output=True, text=True)
    return done.returncode, (done.stdout + done.stderr)[-4000:]


def tracked(*patterns):
    if (TOP / ".git").exists():
        done = subprocess.run(["git", "ls-files", *patterns], cwd=TOP, capture_output=True, text=True)
        if done.returncode == 0:
            return [name for name in done.stdout.split() if (TOP / name).exists()]
    return [str(path.relative_to(TOP)) for path in TOP.rglob("*") if path.is_file()
            and "build" not in path.parts[len(TOP.parts)]]


@pytest.mark.skipif(not shutil.which("clang-format"), reason="no clang-format")
def test_clang_format():
    status, text = run("clang-format", "--dry-run", "-Werror", *map(str, SOURCES))
    assert status == 0, text


def is_shell(name):
    path = TOP / name
    with open(path, "rb") as file:
        first = file.readline(80)
    return re.match(rb"#!\s*(/usr)?/bin/(env )?(ba|da)?sh\b", first) is not None


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck")
def test_shellcheck():
    scripts = [name for name in tracked() if (TOP / name).is_file() and is_shell(name)]
    assert "tools/install-deps" in scripts
    status, text = run("shellcheck", "-x", "-P", "SCRIPTDIR", *scripts)
    assert status == 0, text


def test_python_compiles():
    for name in tracked("*.py") + ["tests/run", "man/make-page"]:
        text = (TOP / name).read_text()
        if name.endswith(".py") or "python" in text.splitlines()[0]:
            compile(text, name, "exec")


# Tables in the code and what is written of them


def keys(file, table):
    text = (TOP / file).read_text()
    body = text[text.index(f"{table}[] = {{"):]
    return re.findall(r'^    \{"([a-z-]+)", LODGE_TYPE', body[:body.index("\n};")], re.M)


@pytest.mark.parametrize("table", ["guest_keys", "disk_keys", "nic_keys"])
def test_the_manual_names_every_key(table):
    page = TOP / "build/man/lodge-guest.conf.5"
    if not page.exists():
        pytest.skip("manuals are not built")
    text = page.read_text().replace("\\-", "-")
    names = keys("src/model/guest.c", table)
    assert len(names) >= 4
    assert [name for name in names if f"{name}=" not in text] == []


def test_every_file_of_a_store_is_tested_with_a_name_that_exists():
    """Paths named in the manuals and the README are of this tree."""
    wrong = []
    for name in ["README.md", "CONTRIBUTING.md", "docs/architecture.md"]:
        path = TOP / name
        if path.exists():
            for link in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
                if not (path.parent / link).exists():
                    wrong.append(f"{name}: {link}")
    assert not wrong, "\n".join(wrong)


def words_of_tables(path):
    """All words of a test's strings, without those that explain it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    said = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    return {word for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
            and id(node) not in said for word in re.split(r"[\s:]+", node.value)}


def test_every_step_that_can_be_interrupted_is_walked():
    """Each lodge_fault() of the source is in a table of the end-to-end tests."""
    steps = {step for path in SOURCES for step in re.findall(r'lodge_fault\("([^"]+)"\)', path.read_text())}
    walked = set().union(*map(words_of_tables, (TOP / "tests/end-to-end").glob("test_*.py")))
    assert len(steps) > 40 and not steps - walked, f"no test ends a command at {sorted(steps - walked)}"
