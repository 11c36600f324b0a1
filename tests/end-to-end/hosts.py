"""A host in network namespaces: what networks do there reaches nothing of this machine's."""

import contextlib
import ctypes
import http.server
import os
import subprocess
import threading

from lodge import Lodge, wait_until

OUTSIDE4, OUTSIDE6 = "192.0.2.1", "2001:db8::1"
HOST4, HOST6 = "192.0.2.2", "2001:db8::2"


class Namespace:
    """A network namespace, held by a process that sleeps; with @mounts one of mounts too."""

    def __init__(self, mounts=False):
        flags = ["--net", "--mount"] if mounts else ["--net"]
        # Its environment is emptied: it is no process of the store under test.
        self.holder = subprocess.Popen(["unshare", *flags, "sleep", "infinity"], env={},
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.pid}/ns/net") != own, 20, "a namespace")
        wait_until(lambda: open(f"/proc/{self.pid}/comm").read() == "sleep\n", 20, "its holder")
        self.prefix = ["nsenter", "-t", str(self.pid), "-n", *(["-m"] if mounts else [])]
        self.sh("ip link set lo up; cd /proc/sys/net/ipv6/conf;"
                " echo 0 > all/accept_dad; echo 0 > default/accept_dad")

    @property
    def pid(self):
        return self.holder.pid

    def sh(self, script, status=0, timeout_s=60):
        """Run a shell script in it; what it printed. @status None: any will do."""
        done = subprocess.run([*self.prefix, "sh", "-ec", script], capture_output=True, text=True,
                              timeout=timeout_s)
        assert status is None or done.returncode == status, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def close(self):
        self.holder.kill()
        self.holder.wait()


class Host:
    """A host with an uplink eth0 to a namespace "outside", and a Lodge that runs on it."""

    def __init__(self, lodge, system_store=False):
        self.outside = Namespace()
        self.space = Namespace(mounts=system_store)
        self.space.sh(
            f"ip link add eth0 type veth peer name up0 netns {self.outside.pid};"
            f"ip addr add {HOST4}/24 dev eth0; ip addr add {HOST6}/64 dev eth0 nodad;"
            f"ip link set eth0 up; ip route add default via {OUTSIDE4}")
        self.outside.sh(f"ip addr add {OUTSIDE4}/24 dev up0; ip addr add {OUTSIDE6}/64 dev up0 nodad;"
                        "ip link set up0 up")
        self.space.sh(f"ip -6 route add default via {OUTSIDE6}")
        env = None
        prefix = list(self.space.prefix)
        if system_store:
            # The folder stands where the system's is, for this namespace alone.
            self.space.sh(f"mkdir -p /var/lib/lodge /run/lodge {lodge.run_folder};"
                          f"mount --bind {lodge.folder} /var/lib/lodge;"
                          f"mount --bind {lodge.run_folder} /run/lodge")
            prefix += ["env", "-u", "LODGE_DIR"]
            env = {"LODGE_TEST": str(lodge.folder)}
        self.lodge = Lodge(lodge.folder, prefix=prefix, env=env)

    def sh(self, script, **options):
        return self.space.sh(script, **options)

    @contextlib.contextmanager
    def listening(self, port, handler):
        """An HTTP server of this process that the host's namespace reaches at @port; what it was asked
        for is in its list `asked`, if the handler puts it there."""
        made = []

        def run():
            # A thread may be in a namespace of its own.
            with open(f"/proc/{self.space.pid}/ns/net", encoding="ascii") as space:
                assert ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0x40000000) == 0
            made.append(http.server.ThreadingHTTPServer(("", port), handler))
            made[0].asked = []
            made[0].serve_forever(poll_interval=0.05)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        wait_until(lambda: made and hasattr(made[0], "asked"), 20, "the HTTP server")
        try:
            yield made[0]
        finally:
            made[0].shutdown()
            made[0].server_close()
            thread.join()

    def state(self):
        """Links, addresses, routes, rules and settings, for comparing before and after."""
        return self.sh(
            "ip -o link | sed 's/^[0-9]*: //'; ip -o addr | sed 's/^[0-9]*: //; s/valid_lft.*//; s/ tentative//; s/ nodad//';"
            "ip route show table all; ip -6 route show table all; ip neigh show proxy;"
            "nft list ruleset; cd /proc/sys/net; for key in ipv4/ip_forward ipv6/conf/*/forwarding"
            " ipv6/conf/*/accept_ra ipv4/conf/*/proxy_arp ipv6/conf/*/proxy_ndp;"
            " do echo $key $(cat $key); done").splitlines()

    def close(self):
        self.space.close()
        self.outside.close()
