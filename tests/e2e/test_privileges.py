#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""What the daemon under test (RINGTUN_BIN) gives up after set-up, seen from outside (/proc), from
inside (a system call of ours in each of its threads), and by what must still work."""

import ctypes
import errno
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time

from lib import confine, inject, netns, report, traffic
from lib.life import expect_clean, expect_exit, passed_descriptors, set_link
from lib.netns import has_socket, socket_path, wait_until
from lib.report import case, check, equal
from lib.tunnel import Keys, Tunnel, to_hex, wg, wg_out

NET_ADMIN, NET_BIND_SERVICE, SYS_NICE = 1 << 12, 1 << 10, 1 << 23
NOBODY = 65534
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
IORING_REGISTER_RESTRICTIONS = 11
LAYERS = ("groups", "no_new_privs", "capabilities", "landlock", "seccomp")
SWITCHES = {"no_new_privs": "no-new-privs", "capabilities": "drop-capabilities",
            "landlock": "landlock", "seccomp": "seccomp"}
ENGINES = ("uring", "poll")


def tasks(pid):
    """/proc/PID/task/*/status of each thread, as dictionaries."""
    result = []
    for tid in inject.threads(pid):
        with open(f"/proc/{pid}/task/{tid}/status") as f:
            result.append(dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line))
    return result


def expect_tasks(pid, **wanted):
    """Each thread's status has these values, numbers where they are numbers."""
    # The name of the control socket is there a moment before the last thread and seccomp are.
    wait_until(lambda: len(inject.threads(pid)) >= 4 and
               all(t["Seccomp"] == wanted.get("Seccomp", t["Seccomp"]) for t in tasks(pid)), 2)
    found = tasks(pid)
    check(len(found) >= 4, f"only {len(found)} threads")
    for task in found:
        for key, value in wanted.items():
            got = task[key].strip()
            if key.startswith("Cap"):  # CAP_SYS_NICE stays where RLIMIT_NICE can not be raised
                got = int(got, 16) & ~(SYS_NICE if key in ("CapEff", "CapPrm") else 0)
            equal(got, value, f"{key} of thread {task['Name']}")


def status(ifname):
    r = subprocess.run([netns.ringtun_bin(), "--status", ifname, "--json"], check=True, timeout=10,
                       stdout=subprocess.PIPE)
    return json.loads(r.stdout)


def sandbox(ifname):
    return status(ifname)["sandbox"]


def needs_sandbox(lab):
    """Skips where the build leaves layers out: a sanitizer's, or one without the libraries."""
    d = lab.netns().daemon()
    states = sandbox(d.ifname)
    d.stop()
    off = [layer for layer in LAYERS if states[layer] != "on"]
    if off:
        report.skip(f"not in this build or kernel: {', '.join(off)}")


def ids(uid, gid=None):
    return {"Uid": "\t".join([str(uid)] * 4),
            "Gid": "\t".join([str(uid if gid is None else gid)] * 4)}


# What is given up

def full(engine):
    def run(lab):
        needs_sandbox(lab)
        t = Tunnel(lab, args_a=("-f", f"--io={engine}"))
        check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
        equal(status(t.a.ifname)["io"], engine, "engine")
        expect_tasks(t.a.daemon.pid, NoNewPrivs="1", Seccomp="2", Groups="",
                     CapEff=NET_ADMIN | NET_BIND_SERVICE, CapPrm=NET_ADMIN | NET_BIND_SERVICE,
                     CapInh=0, CapAmb=0, CapBnd=0)
        equal({k: v for k, v in sandbox(t.a.ifname).items() if k in LAYERS},
              {layer: "on" for layer in LAYERS}, "status")
        held = sandbox(t.a.ifname)["held_capabilities"]
        check(held in ("cap_net_admin,cap_net_bind_service", "0x801400"), f"held: {held}")
        check(status(t.a.ifname)["keys_locked"] is True, "keys are not in locked memory")
        equal(status(t.a.ifname).get("io_ring_limits"), "on" if engine == "uring" else None,
              "rings that take only what the engine needs")
    return run


for _engine in ENGINES:
    case(f"pitfall 71 every thread gave up everything but networking, {_engine}")(full(_engine))


def refused_inside(engine):
    def run(lab):
        if not inject.supported():
            report.skip("no way to call from inside on this machine")
        needs_sandbox(lab)
        t = Tunnel(lab, args_a=("-f", f"--io={engine}"))
        check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
        pid = t.a.daemon.pid
        for tid in inject.threads(pid):
            for what in (("openat", inject.AT_FDCWD, b"/etc/hostname", os.O_RDONLY),
                         ("socket", socket.AF_PACKET, socket.SOCK_RAW, 0),
                         ("mkdirat", inject.AT_FDCWD, b"/tmp/inside", 0o700),
                         ("setuid", 0), ("kill", os.getpid(), 0),
                         ("mprotect", 0, 4096, 7)):
                equal(inject.call(pid, tid, *what), -errno.EPERM, f"{what[0]} in thread {tid}")
            equal(inject.call(pid, tid, "clone", 0x11), -errno.EAGAIN, f"clone in thread {tid}")
        check(traffic.reaches(t.a.ns, t.b.v4), "no traffic afterwards")
        try:
            r = inject.call(pid, pid, "execve", b"/bin/true", 0, 0)
            check(False, f"execve returned {r}")
        except inject.Killed as e:
            equal(e.args[0], signal.SIGSYS, "what ended the process after execve")
    return run


for _engine in ENGINES:
    case(f"seccomp: no thread may open, fork, make code; execve kills, {_engine}", timeout=60)(
        refused_inside(_engine))


@case("Landlock holds in every thread without seccomp; without both a thread may open files")
def landlock_inside(lab):
    if not inject.supported():
        report.skip("no way to call from inside on this machine")
    needs_sandbox(lab)
    name = lab.write("file", "x").encode()
    for args, wanted in ((("--seccomp=off",), -errno.EACCES),
                         (("--seccomp=off", "--landlock=off"), None)):
        d = lab.netns().daemon(args=("-f", *args))
        lab.uapi(d.ifname, "get=1\n\n")
        for tid in inject.threads(d.pid):
            for path in (name, b"/etc/hostname", b"/run/wireguard"):
                r = inject.call(d.pid, tid, "openat", inject.AT_FDCWD, path, os.O_RDONLY)
                check(r == wanted if wanted else r >= 0, f"{args} openat of {path}: {r}")
            r = inject.call(d.pid, tid, "unlinkat", inject.AT_FDCWD, b"/tmp/no/such/file", 0)
            check(r < 0, "unlinkat")
        equal(d.stop()[0], 0, "exit status")


# Switches

@case("each layer has a switch, as option and as variable, and the status tells")
def switches(lab):
    needs_sandbox(lab)
    ns = lab.netns()
    for layer, switch in SWITCHES.items():
        variable = f"RINGTUN_{switch.upper().replace('-', '_')}"
        for kw in ({"args": ("-f", f"--{switch}=off")}, {"env": {variable: "off"}}):
            d = ns.daemon(**kw)
            lab.uapi(d.ifname, "get=1\n\n")
            equal(sandbox(d.ifname)[layer], "off", f"{layer} with {kw}")
            task = tasks(d.pid)[-1]
            if layer == "no_new_privs":
                equal(task["NoNewPrivs"], "0", "NoNewPrivs")
            if layer == "capabilities":
                check(int(task["CapEff"], 16) & 1, "CAP_CHOWN is gone")
            if layer == "seccomp":
                equal(task["Seccomp"], "0", "Seccomp")
            d.stop()
        d = ns.daemon(args=("-f", f"--{switch}=on"))
        equal(sandbox(d.ifname)[layer], "on", layer)
        d.stop()


MISSING = {  # system calls whose failure makes a layer impossible
    "landlock": ("landlock_create_ruleset", errno.ENOSYS, None),
    "landlock disabled": ("landlock_create_ruleset", errno.EOPNOTSUPP, None),
    "no_new_privs": ("prctl", errno.EINVAL, confine.PR_SET_NO_NEW_PRIVS),
    "capabilities": ("capset", errno.EPERM, None),
    "seccomp": ("seccomp", errno.ENOSYS, None),
}


def start_in(lab, *preexec, args=("-f", "-v", "info"), wait=True):
    """A daemon in a namespace of its own that did @preexec first."""
    ns = Direct(lab.netns())
    return ns.daemon(args=args, wait=wait, preexec_fn=confine.all_of(*preexec))


class Direct(netns.Netns):
    """A namespace whose processes enter it by themselves, before their preexec_fn takes away that
    they may."""

    def __init__(self, ns):
        super().__init__(ns.lab, ns.name)

    def argv(self, *args):
        return list(map(str, args))

    def popen(self, *args, preexec_fn=None, **kw):
        fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY)

        def enter():
            netns.setns(fd)
            if preexec_fn:
                preexec_fn()
        try:
            return super().popen(*args, preexec_fn=enter, **kw)
        finally:
            os.close(fd)


@case("what the kernel lacks is done without, with one line in the log; `on` fails", timeout=60)
def degrade(lab):
    if not confine.supported():
        report.skip("no seccomp filter for this machine")
    needs_sandbox(lab)
    for name, (call, error, arg) in MISSING.items():
        layer = name.split()[0]
        deny = [confine.deny(call, error, arg)]
        if layer == "seccomp":
            deny.insert(0, confine.deny("prctl", errno.EINVAL, confine.PR_SET_SECCOMP))
            deny.reverse()  # the filter that is last can not be followed by another
        d = start_in(lab, *deny)
        lab.uapi(d.ifname, "get=1\n\n")
        state = sandbox(d.ifname)[layer]
        check(state.startswith("refused: "), f"{name}: {state}")
        lines = [x for x in d.log().splitlines() if f"sandbox: {layer} " in x]
        equal(len(lines), 1, f"lines about {name}")
        equal(d.stop()[0], 0, "exit status")
        d = start_in(lab, *deny, args=("-f", f"--{SWITCHES[layer]}=on"), wait=False)
        equal(d.wait(), 1, f"{name}: exit status with `on`")
        check(layer in d.log(), f"{name}: {d.log()}")
        expect_clean(lab.namespaces[-1], d.ifname)


@case("a kernel that does not limit rings: they work, one line in the log, and the status says so")
def unlimited_rings(lab):
    if not confine.supported():
        report.skip("no seccomp filter for this machine")
    t = Tunnel(lab, up=False)
    t.a.daemon.stop()
    t.a.daemon = t.a.ns.daemon(t.a.ifname, args=("-f", "-v", "info", "--io=uring"), preexec_fn=
                               confine.deny("io_uring_register", errno.EINVAL,
                                            arg1=IORING_REGISTER_RESTRICTIONS))
    wg("setconf", t.a.ifname, t.a.conf)
    t.b.up()
    t.a.up()
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    equal(status(t.a.ifname)["io_ring_limits"], f"refused: {os.strerror(errno.EINVAL)}", "status")
    equal(t.a.daemon.log().count("rings take any operation"), 1, "lines in the log")


# What still works

@case("fwmark and port change after set-up, also below 1024")
def fwmark_and_ports(lab):
    t = Tunnel(lab)
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    for port, mark in ((443, 0x1234), (40001, 0x77), (53, 0), (40001, 5)):
        equal(lab.uapi(t.a.ifname, f"set=1\nlisten_port={port}\nfwmark={mark}\n\n"), "errno=0",
              f"port {port}, mark {mark}")
        check(traffic.reaches(t.a.ns, t.b.v4), f"no traffic from port {port}")
    # The mark is on the packets: a rule that only they match leads to nowhere.
    t.a.ns.run("ip", "rule", "add", "fwmark", "5", "unreachable")
    equal(traffic.ping(t.a.ns, t.b.v4, count=1, wait=1).received, 0, "answers in spite of the rule")
    equal(lab.uapi(t.a.ifname, "set=1\nfwmark=6\n\n"), "errno=0", "another mark")
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic with another mark")


@case("threads are raised by RLIMIT_NICE or CAP_SYS_NICE, which stays only then")
def nice(lab):
    needs_sandbox(lab)
    d = lab.netns().daemon(args=("-f", "--nice=0"))
    expect_tasks(d.pid, Seccomp="2")
    equal(int(tasks(d.pid)[0]["CapEff"], 16), NET_ADMIN | NET_BIND_SERVICE, "capabilities")
    d = lab.netns().daemon(args=("-f", "--nice=-7"))
    expect_tasks(d.pid, Seccomp="2")
    for tid in inject.threads(d.pid):
        with open(f"/proc/{d.pid}/task/{tid}/stat") as f:
            name, rest = f.read().rsplit(")", 1)
        if "rt-" in name:
            equal(rest.split()[16], "-7", f"nice value of {name}")


@case("down and up, MTU and addresses change, handshakes go on under the sandbox")
def life(lab):
    t = Tunnel(lab, both_endpoints=True)
    for _ in range(3):
        set_link(t.a.ns, t.a.ifname, "down")
        set_link(t.a.ns, t.a.ifname, "up", "mtu", 1300)
        time.sleep(0.1)
        check(traffic.reaches(t.a.ns, t.b.v4, 8), "no traffic")
    equal(t.a.daemon.stop()[0], 0, "exit status")
    expect_clean(t.a.ns, t.a.ifname)


# Another user

def user_tunnel(lab, user="nobody"):
    return Tunnel(lab, args_a=("-f", f"--user={user}"))


def sweepers(ns, pid):
    return [p for p in ns.pids() if p != pid]


@case("pitfall 71 --user: ids, groups, capabilities, directory and socket; works on", timeout=60)
def user(lab):
    needs_sandbox(lab)
    for engine in ENGINES:
        t = Tunnel(lab, args_a=("-f", "--user=nobody", f"--io={engine}"))
        check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
        expect_tasks(t.a.daemon.pid, **ids(NOBODY), Groups="", NoNewPrivs="1", Seccomp="2",
                     CapEff=NET_ADMIN | NET_BIND_SERVICE, CapPrm=NET_ADMIN | NET_BIND_SERVICE,
                     CapBnd=0)
        st = os.stat(netns.SOCKET_DIR)
        equal((st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)), (0, 0, 0o755), "directory")
        st = os.stat(socket_path(t.a.ifname))
        equal((st.st_uid, stat.S_IMODE(st.st_mode)), (0, 0o600), "socket")
        equal(sandbox(t.a.ifname)["uid"], NOBODY, "user in the status")
        for port in (443, 40001):
            equal(lab.uapi(t.a.ifname, f"set=1\nlisten_port={port}\nfwmark={port}\n\n"), "errno=0",
                  "port and mark")
            check(traffic.reaches(t.a.ns, t.b.v4), f"no traffic from port {port}")
        (sweeper,) = sweepers(t.a.ns, t.a.daemon.pid)
        with open(f"/proc/{sweeper}/status") as f:
            text = f.read()
        for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1",
                     "Seccomp:\t2"):
            check(line in text, f"the sweeper's status lacks {line}")
        equal(len(os.listdir(f"/proc/{sweeper}/fd")), 2, "descriptors of the sweeper")
        code, seconds = t.a.daemon.stop()
        equal(code, 0, "exit status")
        check(seconds < 1, f"took {seconds:.2f} s")
        expect_clean(t.a.ns, t.a.ifname)
        check(wait_until(lambda x=t: not x.a.ns.pids(), 1), "the sweeper is still there")


@case("--user: the socket goes on kill -9 and ip link delete; a replaced one stays")
def user_ends(lab):
    needs_sandbox(lab)
    ns = lab.netns()
    d = ns.daemon(args=("-f", "--user", "nobody"))
    lab.uapi(d.ifname, "get=1\n\n")  # an answer: the start is over
    d.stop(signal.SIGKILL)
    check(wait_until(lambda: not has_socket(d.ifname), 1), "socket still there after kill -9")
    d = ns.daemon(args=("-f", "--user", "nobody"))
    ns.run("ip", "link", "delete", "dev", d.ifname)
    expect_exit(d)
    expect_clean(ns, d.ifname)
    d = ns.daemon(args=("-f", "--user", "nobody"))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(socket_path(d.ifname) + ".other")
        s.listen(1)
        os.rename(socket_path(d.ifname) + ".other", socket_path(d.ifname))
        expect_exit(d)
        check(wait_until(lambda: not ns.pids(), 1), "the sweeper is still there")
        check(has_socket(d.ifname), "the other's socket was removed")


@case("--user: a number, the background, nobody who exists, and an ordinary user who asks")
def user_names(lab):
    ns = lab.netns()
    d = ns.background(args=("--user=12345",))
    equal(d.status, 0, "status of the parent")
    daemon = [p for p in d.pids if len(inject.threads(p)) > 1]
    equal(len(daemon), 1, "daemons")
    for pid in daemon:
        expect_tasks(pid, **ids(12345))
        os.kill(pid, signal.SIGTERM)
    check(wait_until(lambda: not d.alive(), 1), "still running after 1 s")
    expect_clean(ns, d.ifname)
    d = ns.background(args=("--user=no-such-user",))
    equal(d.status, 1, "status with an unknown user")
    check("user" in d.stderr, d.stderr)
    expect_clean(ns, d.ifname)
    d = ns.background(env={"RINGTUN_USER": "nobody", "WG_SUDO": "1"})
    equal(d.status, 0, "status with RINGTUN_USER")
    expect_tasks([p for p in d.pids if len(inject.threads(p)) > 1][0], **ids(NOBODY))


@case("pitfall 70 71 WG_SUDO: 1 keeps user and capabilities, 0 becomes who logged in, if known")
def wg_sudo(lab):
    needs_sandbox(lab)
    ns = lab.netns()
    for kw in ({"env": {"WG_SUDO": "1"}}, {"args": ("-f", "--disable-drop-privileges")}):
        d = ns.daemon(**kw)
        check(int(tasks(d.pid)[0]["CapEff"], 16) & 1, f"{kw}: CAP_CHOWN is gone")
        equal(sandbox(d.ifname)["capabilities"], "off", "status")
        equal(sandbox(d.ifname)["seccomp"], "on", "status")
        d.stop()
    d = ns.daemon(env={"WG_SUDO": "0", "SUDO_UID": str(NOBODY)})
    expect_tasks(d.pid, Uid="\t".join([str(NOBODY)] * 4))
    d.stop()
    expect_clean(ns, d.ifname)
    d = ns.daemon(env={"WG_SUDO": "0", "SUDO_UID": ""})  # no terminal either
    lab.uapi(d.ifname, "get=1\n\n")
    d.stop()


# Little or nothing to begin with

def become_nobody():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def mount(source, target, flags):
    if netns.libc.mount(source.encode(), target.encode(), None, flags, None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {source} {target}")


def own_files(lab):
    """A preexec_fn that gives nobody a /dev/net/tun and a socket directory, and their paths."""
    sockets, device = lab.path("sockets"), lab.path("tun")
    os.chmod(lab.dir, 0o755)
    os.mkdir(sockets)
    os.chown(sockets, NOBODY, NOBODY)
    os.mknod(device, stat.S_IFCHR | 0o666, os.stat("/dev/net/tun").st_rdev)
    os.chmod(device, 0o666)
    os.makedirs(netns.SOCKET_DIR, exist_ok=True)

    def run():
        if netns.libc.unshare(CLONE_NEWNS) != 0:
            os._exit(125)
        mount("none", "/", MS_REC | MS_PRIVATE)
        mount(device, "/dev/net/tun", MS_BIND)
        mount(sockets, os.path.realpath(netns.SOCKET_DIR), MS_BIND)
    return run, sockets


def ask(path, text):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(path)
        s.sendall(text.encode())
        reply = b""
        while not reply.endswith(b"\n\n") and (chunk := s.recv(65536)):
            reply += chunk
    return reply.decode()


def wait_path(d, path):
    check(wait_until(lambda: os.path.exists(path) or not d.alive(), 5) and d.alive(), d.log())


@case("an ordinary user with setcap cap_net_admin+ep: traffic, mark, everything given up", timeout=60)
def setcap(lab):
    if not shutil.which("setcap"):
        report.skip("needs the command setcap")
    needs_sandbox(lab)
    binary = lab.path("ringtun")
    shutil.copy(netns.ringtun_bin(), binary)
    os.chmod(binary, 0o755)
    if subprocess.run(["setcap", "cap_net_admin+ep", binary], check=False).returncode:
        report.skip("no file capabilities on this file system")
    files, sockets = own_files(lab)
    t = Tunnel(lab, up=False)
    t.a.daemon.stop()
    ns = Direct(t.a.ns)
    t.a.daemon = d = ns.daemon(t.a.ifname, binary=binary, args=("-f", "-v", "info"), wait=False,
                               preexec_fn=confine.all_of(files, become_nobody))
    path = f"{sockets}/{d.ifname}.sock"
    wait_path(d, path)
    public = to_hex(t.b.keys.public)
    equal(ask(path, f"set=1\nprivate_key={to_hex(t.a.keys.private)}\nlisten_port=51820\nfwmark=9\n"
              f"public_key={public}\nendpoint=192.0.2.2:51820\nallowed_ip={t.b.v4}/32\n"
              f"allowed_ip={t.b.v6}/128\n\n"), "errno=0\n\n", "configuration")
    t.b.up()
    t.a.up()
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    expect_tasks(d.pid, **ids(NOBODY), NoNewPrivs="1", Seccomp="2", CapEff=NET_ADMIN,
                 CapPrm=NET_ADMIN)
    for layer in LAYERS:
        check(f"sandbox.{layer}=on\n" in ask(path, "status=1\n\n"), f"{layer} is not on")
    equal(d.stop()[0], 0, "exit status")
    check(not os.path.exists(path), "socket still there")
    check(not t.a.ns.has_link(d.ifname), "interface still there")


@case("no privilege at all, with passed descriptors: traffic; a mark is refused, as it must be")
def no_privileges(lab):
    needs_sandbox(lab)
    t = Tunnel(lab, up=False)
    t.a.daemon.stop()
    tun, listener = passed_descriptors(lab, t.a.ns, t.a.ifname)
    os.chmod(os.path.dirname(netns.ringtun_bin()), 0o755)
    binary = lab.path("ringtun")
    shutil.copy(netns.ringtun_bin(), binary)
    os.chmod(binary, 0o755)
    os.chmod(lab.dir, 0o755)
    ns = Direct(t.a.ns)
    t.a.daemon = d = ns.daemon(
        t.a.ifname, binary=binary, env={"WG_TUN_FD": tun, "WG_UAPI_FD": listener.fileno()},
        pass_fds=(tun, listener.fileno()), preexec_fn=become_nobody)
    wg("setconf", t.a.ifname, t.a.conf)
    t.b.up()
    t.a.up()
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    expect_tasks(d.pid, **ids(NOBODY), NoNewPrivs="1", Seccomp="2", CapEff=0, CapPrm=0)
    equal(lab.uapi(t.a.ifname, "set=1\nfwmark=1\n\n"), f"errno=-{errno.EPERM}", "fwmark")
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic after that")
    equal(d.stop()[0], 0, "exit status")


def user_namespace():
    netns.libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: else the files below are root's
    if netns.libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        os._exit(124)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {NOBODY} 1"),
                       ("gid_map", f"0 {NOBODY} 1")):
        with open(f"/proc/self/{name}", "w") as f:
            f.write(text)


@case("a container's default seccomp profile: poll instead of io_uring, the layers hold")
def container(lab):
    if not confine.supported():
        report.skip("no seccomp filter for this machine")
    needs_sandbox(lab)
    t = Tunnel(lab, up=False)
    t.a.daemon.stop()
    t.a.daemon = Direct(t.a.ns).daemon(t.a.ifname, preexec_fn=confine.container())
    wg("setconf", t.a.ifname, t.a.conf)
    t.b.up()
    t.a.up()
    check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
    equal(status(t.a.ifname)["io"], "poll", "engine")
    for layer in LAYERS:
        equal(sandbox(t.a.ifname)[layer], "on", layer)
    equal(t.a.daemon.stop()[0], 0, "exit status")
    expect_clean(t.a.ns, t.a.ifname)


@case("a rootless container: user and network namespace of an ordinary user")
def rootless(lab):
    if not confine.supported():
        report.skip("no seccomp filter for this machine")
    needs_sandbox(lab)
    binary = lab.path("ringtun")
    shutil.copy(netns.ringtun_bin(), binary)
    os.chmod(binary, 0o755)
    files, sockets = own_files(lab)
    name = lab.ifname()
    d = Direct(lab.netns()).daemon(
        name, binary=binary, args=("-f", "-v", "info"), wait=False,
        preexec_fn=confine.all_of(files, become_nobody, user_namespace, confine.container()))
    path = f"{sockets}/{name}.sock"
    wait_path(d, path)
    enter = ["nsenter", "-t", str(d.pid), "-n"]
    subprocess.run([*enter, "ip", "link", "set", name, "up"], check=True)
    equal(ask(path, f"set=1\nprivate_key={to_hex(Keys().private)}\nlisten_port=443\nfwmark=7\n\n"),
          "errno=0\n\n", "configuration")
    ports = subprocess.run([*enter, "ss", "-Hanu"], check=True, stdout=subprocess.PIPE, text=True)
    check(":443 " in ports.stdout, f"no socket on port 443: {ports.stdout}")
    expect_tasks(d.pid, NoNewPrivs="1", CapEff=NET_ADMIN | NET_BIND_SERVICE)
    text = ask(path, "status=1\n\n")
    for layer in LAYERS[1:]:  # groups can not be left in such a namespace
        check(f"sandbox.{layer}=on\n" in text, f"{layer} is not on: {text}")
    equal(d.stop()[0], 0, "exit status")
    check(not os.path.exists(path), "socket still there")


if __name__ == "__main__":
    report.main()
