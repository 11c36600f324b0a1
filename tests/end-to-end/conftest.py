"""End-to-end tests: the real program, real QEMU, real guests.

One store holds the images, built once by whichever worker comes first; each test gets a store of its
own that shares them. A test's guests are deleted by Lodge at its end, and it fails if anything of them
is left, on disk or among the processes. LODGE_TEST_IMAGES=FOLDER keeps the images from one run to the
next.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from lodge import LONG_S, PROGRAM, Lodge, describe, processes_with, wait_until

# What tells most at a glance, then what takes longest, so that all workers end at about one time.
ORDER = ["test_output", "test_story", "test_crash", "test_backup", "test_debian", "test_images",
         "test_states"]
TEST_LIMIT_S = 240


def pytest_collection_modifyitems(items):
    """Guests of debian-12 not at once: its image is built meanwhile."""
    def rank(item):
        name = item.path.stem
        return ORDER.index(name) if name in ORDER else len(ORDER)
    items.sort(key=rank)


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs root")
    if not PROGRAM.exists():
        pytest.exit(f"{PROGRAM} is not there: build it first (make)", 2)
    if "LODGE_TEST_IMAGES" not in os.environ:  # the first process: workers inherit it
        config.own_images = Path(tempfile.mkdtemp(prefix="lodge-e2e-images-"))
        config.own_images.chmod(0o755)
        os.environ["LODGE_TEST_IMAGES"] = str(config.own_images / "store")


def pytest_unconfigure(config):
    own = getattr(config, "own_images", None)
    if own is not None:
        for pid in processes_with(f"LODGE_DIR={own}"):
            os.kill(pid, 9)
        shutil.rmtree(own, ignore_errors=True)


def pytest_runtest_setup(item):
    if any(item.iter_markers("root")) and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture(scope="session")
def folder():
    """All that this run writes. Others may look in: QEMU runs as a user of its own."""
    path = Path(tempfile.mkdtemp(prefix="lodge-e2e-"))
    path.chmod(0o755)
    yield path
    pids = processes_with(f"={path}")
    lines = describe(pids)
    for pid in pids:
        os.kill(pid, 9)
    shutil.rmtree(path, ignore_errors=True)
    assert not pids, f"processes outlived the tests:\n{lines}"
    assert not path.exists(), f"{path} could not be removed"


@contextlib.contextmanager
def alone(folder):
    """One worker at a time."""
    with open(folder / "tests.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def images(request):
    """The store with the images. debian-12 is built in the background: see `debian_image`."""
    lodge = Lodge(os.environ["LODGE_TEST_IMAGES"])
    lodge.folder.mkdir(parents=True, exist_ok=True)
    with alone(lodge.folder):
        if not (lodge.folder / "images/tiny").exists():
            print(lodge("image", "build", "tiny", timeout_s=10 * LONG_S).err)
        wanted = any(item.path.stem == "test_debian" for item in request.session.items)
        began = (lodge.folder / "debian-build.log").exists()
        if wanted and not began and not (lodge.folder / "images/debian-12").exists():
            build_debian(lodge)
    return lodge


def build_debian(lodge):
    log = lodge.folder / "debian-build.log"
    script = '"$@" >>"$log" 2>&1; echo $? >"$log.status"'
    log.touch()
    subprocess.Popen(["sh", "-c", script, "sh", *lodge.argv(["image", "build", "debian-12"])],
                     env={**lodge.env, "log": str(log)}, stdin=subprocess.DEVNULL,
                     start_new_session=True)


@pytest.fixture(scope="session")
def debian_image(images):
    log, status = images.folder / "debian-build.log", images.folder / "debian-build.log.status"
    if log.exists():
        wait_until(lambda: status.exists() and status.read_text(), 10 * LONG_S, "debian-12 is built")
        assert status.read_text() == "0\n", f"building debian-12: {log.read_text()}"
    return images


def new_store(folder, images, name):
    path = Path(tempfile.mkdtemp(prefix=name[:30] + "-", dir=folder))
    path.chmod(0o755)
    (path / ".ssh").mkdir()
    lodge = Lodge(path / "store")
    lodge.folder.mkdir()
    lodge.share_images(images)
    # One key for all: making one takes longer than many a test.
    if (images.folder / "ssh").exists():
        shutil.copytree(images.folder / "ssh", lodge.folder / "ssh")
    return lodge


def close(lodge, failed):
    """Lodge itself cleans up, completely; if the test has failed already, that is not looked at."""
    try:
        if not failed:
            left = lodge.remove()
            assert not left, "left behind:\n" + "\n".join(left)
    finally:
        lodge.destroy()
        shutil.rmtree(lodge.folder.parent, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


@pytest.fixture(autouse=True)
def alarm(images):
    """A test that hangs fails, rather than holding up all others."""
    def on_alarm(number, frame):
        raise TimeoutError(f"the test took longer than {TEST_LIMIT_S} s")
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(TEST_LIMIT_S)
    yield
    signal.alarm(0)


@pytest.fixture
def lodge(request, folder, images):
    """A store of the test's own."""
    store = new_store(folder, images, request.node.name.split("[")[0])
    yield store
    close(store, getattr(request.node, "failed", True))


@pytest.fixture(scope="module")
def shared(request, folder, images):
    """A store for a module's tests together."""
    store = new_store(folder, images, request.module.__name__)
    yield store
    close(store, False)


@pytest.fixture
def switches(tmp_path_factory, folder):
    """A folder for the front of PATH, where tests put programs that wait or fail."""
    path = Path(tempfile.mkdtemp(prefix="path-", dir=folder))
    path.chmod(0o755)
    return path
