"""What is printed: colours, JSON, help, completion, manuals."""

import json
import os
import re
import shlex
import shutil
import subprocess

import pytest

from lodge import BUILD, TOP, UNSUPPORTED, fake

GUESTS = ("alpha", "alpine", "beta")


@pytest.fixture(scope="module")
def some(shared):
    for name in GUESTS:
        shared.make(name)
    return shared


# Help


def commands(lodge):
    """The table of commands, as `lodge --help` shows it."""
    text = lodge("--help").out
    return re.findall(r"^  ((?:[a-z]+ )?[a-z]+) {2,}", text[text.index("Guests"):], re.M)


def options(help_text):
    found = {"--json": False, "--quiet": False, "--help": False, "-q": False, "-h": False}
    for short, name, value in re.findall(r"^  (-\w, )?(--[a-z-]+)( [A-Z:]+)?", help_text, re.M):
        found[name] = bool(value)
        if short:
            found[short[:2]] = bool(value)
    return found


def test_help_lists_the_commands(lodge):
    found = commands(lodge)
    assert {"create", "list", "show", "start", "stop", "kill", "restart", "pause", "resume", "delete",
            "ssh", "exec", "log", "image list", "image build", "check"} <= set(found)
    assert lodge("help").out == lodge("--help").out == lodge("-h").out == lodge().out
    assert re.match(r"lodge \d+\.\d+", lodge("--version").out)


def test_each_command_has_help_with_examples_that_parse(lodge):
    for command in commands(lodge):
        text = lodge("help", *command.split()).out
        assert text == lodge(*command.split(), "--help").out
        assert text.startswith(f"lodge {command}")
        known = options(text)
        examples = re.search(r"Examples.*?\n((?:  .*\n)+)", text)[1].splitlines()
        assert examples
        for example in examples:
            pipeline = example.split(" # ")[0].split("|")
            words = next((shlex.split(part) for part in pipeline if part.split()[0] == "lodge"), [])
            assert words, example
            name = " ".join(words[1:1 + len(command.split())])
            assert name == command, example
            words = words[1 + len(command.split()):]
            if command in ("ssh", "exec"):
                first = next(i for i, word in enumerate(words) if not word.startswith("-")
                             and (i == 0 or not known.get(words[i - 1])))
                words = words[:first]
            for word in words:
                if word.startswith("-") and word not in ("-", "--"):
                    assert word.split("=")[0] in known, f"{example}: {word}"


def test_lines_of_help_fit_a_terminal(lodge):
    for command in [[]] + [name.split() for name in commands(lodge)]:
        for line in lodge(*command, "--help").out.splitlines():
            if not line.startswith(("  -", "  lodge", "  echo")):
                assert len(line) <= 100, line


# JSON


READING = [["list"], ["show", "alpha"], ["image", "list"], ["image", "show", "tiny"],
           ["image", "show", "debian-12"], ["check"]]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_json(some, words):
    result = some(*words, "--json", status=None)
    assert result.status in (0, UNSUPPORTED)
    assert result.json and "\033" not in result.out and result.err == ""


def test_json_of_verbs(some):
    steps = [["create", "jay", "--os", "tiny", "--no-start"], ["start", "jay", "--no-wait"],
             ["pause", "jay"], ["resume", "jay"], ["kill", "jay"], ["delete", "jay", "--yes"]]
    for words in steps:
        result = some(*words, "--json")
        value = result.json
        [value] = [value] if isinstance(value, dict) else value
        assert value["name"] == "jay" and value["took_ms"] >= 0, result
        assert result.err == "", "no progress beside it"


def test_json_of_images(some, tmp_path):
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"], check=True)
    value = some("image", "import", "mine", disk, "--json").json
    assert value["name"] == "mine" and value["here"] is True
    [value] = some("image", "delete", "mine", "--yes", "--json").json
    assert value["name"] == "mine"


def test_quiet(some):
    result = some("create", "shh", "--os", "tiny", "--no-start", "--quiet")
    assert result.out == result.err == ""
    some("delete", "shh", "--yes", "-q")


def test_an_empty_list(lodge):
    result = lodge("list")
    assert result.out == "" and "lodge create" in result.err
    assert lodge("list", "--json").json == []
    assert lodge("list", "--names").out == ""


# Colours


def test_colours(some):
    for words in (["list"], ["show", "alpha"], ["--help"], ["check"]):
        _, shown = some.on_terminal(*words)
        assert "\033[" in shown, f"{words} on a terminal"
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            _, shown = some.on_terminal(*words, env=env)
            assert "\033" not in shown, f"{words} with {env}"
        assert "\033" not in some(*words, status=None).out, f"{words} into a pipe"
    _, shown = some.on_terminal("show", "none")
    assert "\033[31mlodge:\033[0m" in shown
    assert "\033" not in some("show", "none", status=3).err


def test_a_closed_pipe_and_a_full_one(some):
    done = subprocess.run(some.argv(["list"]), env=some.env, stdout=open("/dev/full", "w"),
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "could not be written" in done.stderr
    done = subprocess.run(["sh", "-c", '"$0" list | true; echo ok', some.program], env=some.env,
                          capture_output=True, text=True)
    assert done.stdout == "ok\n"


def test_what_a_guest_or_person_wrote_obeys_nobody_s_terminal(some):
    some.set("beta", "guest", description="x")
    text = some.conf("beta").read_text().replace("description=x", "description=a\033]0;b\007c")
    good = some.conf("beta").read_text()
    some.conf("beta").write_text(text)
    for words in (["list"], ["show", "beta"], ["start", "beta"]):
        result = some(*words, status=None)
        assert "\033" not in result.out + result.err and "\007" not in result.out + result.err
    some.conf("beta").write_text(good)


# Completion


def complete(lodge, *words):
    """What bash offers for the last word."""
    script = lodge("completion", "bash").out
    line = " ".join(("lodge", *words))
    ask = (f"{script}\nlodge() {{ {lodge.program} \"$@\"; }}\ncompopt() {{ :; }}\n"
           f"COMP_LINE={shlex.quote(line)}; COMP_POINT={len(line)}\n_lodge\n"
           "printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = subprocess.run(["bash", "-c", ask], env=lodge.env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("words,expected", [
    (["cre"], ["create"]),
    (["show", "al"], ["alpha", "alpine"]),
    (["start", "alpha", "b"], ["beta"]),
    (["image", "b"], ["build"]),
    (["image", "show", "ti"], ["tiny"]),
    (["create", "x", "--os", "debian-1"], ["debian-12", "debian-13"]),
    (["create", "x", "--mem"], ["--memory"]),
    (["stop", "--t"], ["--timeout"]),
    (["list", "--n"], ["--names"]),
    (["help", "snapshot", "cr"], ["create"]),
    (["set", "alpha", "memory-ma"], ["memory-max="]),
    (["set", "alpha", "disk.root.iops-"], ["disk.root.iops-read=", "disk.root.iops-write="]),
    # bash replaces what stands behind the last "=" only.
    (["set", "alpha", "accel=k"], ["kvm"]),
    (["create", "x", "--firmware", ""], ["auto", "bios", "uefi"]),
    (["stop", "--timeout", "1m", "alpha", "be"], ["beta"]),
    (["ssh", "alpha", "al"], []),
    (["disk", "detach", "alpha", "r"], ["root"]),
    (["cdrom", "alpha", "e"], ["eject"]),
    (["cp", "alph"], ["alpha:"]),
    (["completion", "z"], ["zsh"]),
])
def test_bash_completion(some, words, expected):
    assert sorted(complete(some, *words)) == expected


def test_completion_knows_snapshots_and_files(some, tmp_path):
    some("snapshot", "create", "beta", "before-upgrade")
    try:
        assert complete(some, "snapshot", "restore", "beta", "b") == ["before-upgrade"]
        assert complete(some, "snapshot", "create", "beta", "b") == []
    finally:
        some("snapshot", "delete", "beta", "before-upgrade", "--yes")
    (tmp_path / "rescue.iso").touch()
    assert complete(some, "cdrom", "beta", "insert", f"{tmp_path}/res") == [
        f"{tmp_path}/rescue.iso"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completion(some, tmp_path):
    script = some("completion", "fish").out
    ask = f"{script}\nfunction lodge; {some.program} $argv; end\ncomplete -C 'lodge image b'"
    env = {**some.env, "HOME": str(tmp_path)}
    done = subprocess.run(["fish", "-c", ask], env=env, capture_output=True, text=True)
    assert done.stdout.split("\t")[0] == "build", done


def test_completion_scripts_are_sound(some, tmp_path):
    for shell in ("bash", "zsh", "fish"):
        text = some("completion", shell).out
        assert "lodge __complete" in text
        path = tmp_path / shell
        path.write_text(text)
        if shutil.which(shell):
            subprocess.run([shell, "-n", path], check=True)
    subprocess.run(["bash", "-n", tmp_path / "bash"], check=True)


# Manuals


PAGES = ["lodge.1", "lodge-guest.conf.5", "lodge-keeper.8"]


@pytest.mark.parametrize("page", PAGES)
def test_manual_renders(page):
    path = BUILD / "man" / page
    assert path.exists()
    if shutil.which("man"):
        done = subprocess.run(["man", "--warnings", "-Tutf8", "-l", path], capture_output=True,
                              text=True, env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
        assert done.returncode == 0 and done.stderr == "", done.stderr
        assert len(done.stdout.splitlines()) > 20


def test_the_manual_names_every_command_and_option(some):
    text = (BUILD / "man/lodge.1").read_text().replace("\\-", "-").replace("\\fB", "").replace(
        "\\fR", "")
    for command in commands(some):
        assert f"lodge {command}" in text
        for option in options(some("help", *command.split()).out):
            if option.startswith("--") and option not in ("--json", "--quiet", "--help"):
                assert option in text, f"{command} {option}"


def test_check_tells_the_truth_and_quickly(some):
    result = some("check", "--json", status=None)
    assert result.status in (0, UNSUPPORTED)
    value = result.json
    assert value["can-run"] is (result.status == 0)
    times = [some("check", status=None).seconds for _ in range(3)]
    assert min(times) < 1


def test_check_without_qemu(some, switches):
    (switches / "true").symlink_to(shutil.which("true"))
    result = some("check", env={"PATH": str(switches)}, status=UNSUPPORTED)
    assert "no program qemu-system-x86_64" in result.out


@pytest.mark.parametrize("count", [300])
def test_a_list_of_many_is_quick(lodge, count):
    """Definitions are read, nobody is asked."""
    (lodge.folder / "guests").mkdir()
    for i in range(count):
        folder = lodge.guest_folder(f"g{i:03}")
        folder.mkdir()
        (folder / "guest.conf").write_text(f"[guest]\nmemory=64M\ndescription=number {i}\n")
    assert len(lodge("list").out.splitlines()) == count + 1
    assert len(lodge("list", "--json").json) == count
    assert min(lodge("list").seconds for _ in range(3)) < 0.5
    shutil.rmtree(lodge.folder / "guests")


def test_the_tools_name_packages_for_every_distribution():
    for manager in ("apt", "dnf", "pacman", "zypper", "apk", "emerge"):
        text = (TOP / "tools/install-deps").read_text()
        for kind in ("run", "build", "image", "check"):
            assert f"{manager}_{kind}=" in text
