"""An ordinary user, with the program as `make install` leaves it: all of it works in that user's own
folders, and nothing of it needs root."""

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from lodge import BUILD, LONG_S, TOP, Lodge, processes_with, wait_until

USER = "lodge-e2e"

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0,
        reason="mounting is not allowed here"),
    pytest.mark.skipif(not shutil.which("useradd"), reason="no useradd"),
]


@pytest.fixture(scope="module")
def installed(folder):
    """The tree that `meson install` makes, put where it is configured for by a mount of its own."""
    tree = folder / "installed"
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", tree], check=True,
                   capture_output=True)
    [prefix] = [line.split()[-1] for line in subprocess.run(
        ["meson", "introspect", "--buildoptions", BUILD], capture_output=True, text=True,
        check=True).stdout.replace("},", "\n").splitlines()
        if '"name": "prefix"' in line for line in [line.split('"value": "')[1].split('"')[0]]]
    return tree, prefix


class User(Lodge):
    """Commands of the user: no LODGE_DIR, a home of its own."""

    def __init__(self, home, tree, prefix):
        entry = pwd.getpwnam(USER)
        super().__init__(home / ".local/share/lodge", program=f"{prefix}/bin/lodge", prefix=[
            "unshare", "--mount", "sh", "-ec",
            f'mkdir -p {prefix}; mount --bind {tree}{prefix} {prefix}; exec "$@"', "-",
            "setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups"])
        self.uid, self.home = entry.pw_uid, home
        self.run_folder = home / "runtime/lodge"
        for name in ("LODGE_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            self.env.pop(name, None)
        self.env.update(HOME=str(home), USER=USER, LOGNAME=USER, SHELL="/bin/sh",
                        XDG_RUNTIME_DIR=str(home / "runtime"))

    def processes(self):
        return processes_with(f"HOME={self.home}")


@pytest.fixture(scope="module")
def user(folder, images, installed):
    home = folder / "home"
    subprocess.run(["useradd", "--create-home", "--home-dir", home, "--shell", "/bin/sh", USER],
                   check=True, capture_output=True)
    try:
        who = pwd.getpwnam(USER)
        (home / "runtime").mkdir(mode=0o700)
        os.chown(home / "runtime", who.pw_uid, who.pw_gid)
        them = User(home, *installed)
        yield them
        left = them.remove() if them.folder.exists() else []
        for pid in them.processes():
            os.kill(pid, 9)
        assert not left, left
    finally:
        subprocess.run(["userdel", "--force", USER], capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


def test_installed_files(installed):
    tree, prefix = installed
    root = Path(f"{tree}{prefix}")
    for name in ("bin/lodge", "libexec/lodge/lodge-keeper", "libexec/lodge/lodge-fetch",
                 "libexec/lodge/lodge-archive", "share/lodge/catalogue/tiny.conf",
                 "share/lodge/recipes/tiny", "share/man/man1/lodge.1",
                 "share/man/man5/lodge-guest.conf.5", "share/man/man8/lodge-keeper.8",
                 "share/bash-completion/completions/lodge.bash"):
        path = root / name
        assert path.exists() or Path(f"{path}.gz").exists(), name
    assert os.access(root / "share/lodge/recipes/tiny", os.X_OK)
    for path in root.rglob("*"):
        assert not path.lstat().st_mode & stat.S_ISUID and not path.is_symlink(), path
    units = {path.name for path in tree.rglob("*.service")}
    assert "lodge-guest@.service" in units
    for path in list(root.rglob("*.service")) + list(root.rglob("*lodge.bash")):
        assert str(TOP) not in path.read_text(), "no path of the build"


def test_uninstall_names_all_it_installed(installed):
    log = (BUILD / "meson-logs/install-log.txt").read_text()
    tree, prefix = installed
    for path in Path(f"{tree}{prefix}").rglob("*"):
        if path.is_file():
            assert str(path) in log, path


def test_an_image_is_built_by_the_user(user):
    result = user("image", "build", "tiny", timeout_s=5 * LONG_S)
    assert "Image tiny is here" in result.err
    for path in (user.folder / "images").rglob("*"):
        assert path.lstat().st_uid == user.uid


def test_the_story(user):
    user("create", "mine", "--os", "tiny", "--memory", "128M")
    assert "running" in user("list").out and user.state("mine") == "running"
    assert user.guest_folder("mine").is_dir() and user.run_path("mine", "state.json").exists()
    facts = Path(f"/proc/{user.qemu('mine')}/status").read_text()
    assert f"Uid:\t{user.uid}\t{user.uid}" in facts
    assert "Seccomp:\t2" in facts and "NoNewPrivs:\t1" in facts
    assert user("ssh", "mine", "hostname").out == "mine\n"
    assert user("exec", "mine", "--", "sh", "-c", "echo a; exit 4", status=4).out == "a\n"
    os.kill(user.keeper("mine"), 9)
    user("stop", "mine")
    assert user.state("mine") == "stopped"
    user("start", "mine", "--no-wait")
    user("kill", "mine")
    user("delete", "mine", "--yes")
    assert user.names() == [] and user.processes() == []


def test_root_s_guests_are_not_the_user_s(user, lodge):
    lodge.make("secret", "--memory", "64M")
    lodge("start", "secret", "--no-wait")
    env = {"LODGE_DIR": str(lodge.folder)}
    assert "secret" in user("list", "--names", env=env).out
    for words in (["show", "secret"], ["kill", "secret"], ["exec", "secret", "true"], ["ssh", "secret"],
                  ["delete", "secret", "--yes", "--force"], ["log", "secret"]):
        result = user(*words, env=env, status=None)
        assert result.status != 0 and "Permission denied" in result.message, result
    assert lodge.state("secret") == "running"


def test_without_a_runtime_folder(user):
    """As in a session without a login manager: XDG_RUNTIME_DIR is not set."""
    env = dict(user.env)
    env.pop("XDG_RUNTIME_DIR")
    other = User.__new__(User)
    other.__dict__.update(user.__dict__, env=env, run_folder=user.home / ".cache/lodge")
    other.make("plain", "--memory", "64M")
    other("start", "plain", "--no-wait")
    assert other.state("plain") == "running" and other.run_path("plain", "state.json").exists()
    wait_until(lambda: other.show("plain")["keeper"])
    other("delete", "plain", "--yes", "--force")
