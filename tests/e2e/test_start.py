#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""How the daemon under test (RINGTUN_BIN) starts: its socket file, refusals, going to the
background, descriptors that it is handed: sections 1 and 6 of the UAPI specification."""

import fcntl
import os
import random
import signal
import socket
import stat
import struct
import subprocess
import threading
import time

from lib import netns, report, traffic
from lib.life import expect_alive, expect_clean, expect_exit, set_link
from lib.netns import has_socket, socket_answers, socket_path, uapi_connect, wait_until
from lib.report import case, check, equal
from lib.tunnel import Tunnel, wg, wg_out

IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x1, 0x1000, 0x4000


# The socket file

@case("U-002 socket mode 0600 whatever the umask")
def socket_mode(lab):
    for umask in (0, 0o077):
        d = lab.netns().daemon(preexec_fn=lambda m=umask: os.umask(m))
        mode = os.lstat(socket_path(d.ifname)).st_mode
        equal(oct(stat.S_IMODE(mode)), oct(0o600), f"mode with umask {umask:o}")


@case("U-002 pitfall 71 missing directory is made with mode 0755, an existing one is not changed")
def socket_directory(lab):
    ns = lab.netns()
    for made, umask, expected in ((None, 0o077, 0o755), (0o700, 0o022, 0o700)):
        make = f"mkdir -m {made:o} /run/wireguard;" if made else ""
        ifname = lab.ifname()  # on a /run of its own: the real directory belongs to everybody
        d = ns.popen("unshare", "-m", "sh", "-c", f"""mount -t tmpfs -o mode=755 none /run
            {make} umask {umask:o}; exec {netns.ringtun_bin()} -f {ifname}""",
                     env=lab.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        directory = f"/proc/{d.pid}/root/run/wireguard"
        check(wait_until(lambda p=f"{directory}/{ifname}.sock": os.path.exists(p)), "no socket")
        st = os.stat(directory)
        equal(oct(stat.S_IMODE(st.st_mode)), oct(expected), "mode of the directory")
        equal((st.st_uid, st.st_gid), (0, 0), "owner of the directory")
        d.terminate()
        equal(d.wait(5), 0, "exit status")


@case("U-003 the name never exists without a listener behind it")
def never_refused(lab):
    ns = lab.netns()
    ifname = lab.ifname()
    refused, stop = [0], threading.Event()

    def connect_for_ever():
        while not stop.is_set():
            try:
                uapi_connect(ifname).close()
            except ConnectionRefusedError:
                refused[0] += 1
            except OSError:
                pass
    thread = threading.Thread(target=connect_for_ever, daemon=True)
    thread.start()
    for sig in (signal.SIGTERM, signal.SIGINT) * 4:
        ns.daemon(ifname).stop(sig)
    stop.set()
    thread.join()
    equal(refused[0], 0, "refused connections")


@case("U-004 stale socket at start is replaced")
def stale_socket(lab):
    ns = lab.netns()
    ifname = lab.ifname()
    os.makedirs(netns.SOCKET_DIR, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(socket_path(ifname))  # never listens: connections are refused
    d = ns.daemon(ifname)
    check("errno=0" in lab.uapi(d.ifname, "get=1\n\n"), "no answer")


@case("U-004 U-061 live socket is refused and its owner is not disturbed")
def live_socket(lab):
    first = lab.netns().daemon()
    inode = os.lstat(socket_path(first.ifname)).st_ino
    ns = lab.netns()
    for args in ((), ("-f",)):
        second = ns.background(first.ifname, args=args)
        equal(second.status, 1, f"exit status with {args}")
        check(second.stderr.strip(), "nothing on stderr")
        check(second.seconds < 3, f"took {second.seconds:.1f} s")
        check(not ns.has_link(first.ifname), "interface left behind")
        equal(netns.wait_gone(second.pids, 1), [], "processes left behind")
    equal(os.lstat(socket_path(first.ifname)).st_ino, inode, "inode of the socket")
    expect_alive(first, 0)


@case("U-004 waits up to a second for a predecessor that is going away")
def slow_predecessor(lab):
    ns = lab.netns()
    ifname = lab.ifname()
    os.makedirs(netns.SOCKET_DIR, exist_ok=True)
    s = socket.socket(socket.AF_UNIX)
    s.bind(socket_path(ifname))
    s.listen(16)

    def leave():
        os.unlink(socket_path(ifname))
        s.close()
    timer = threading.Timer(0.4, leave)
    timer.start()
    d = ns.background(ifname)
    timer.join()
    equal(d.status, 0, f"exit status ({d.stderr.strip()})")
    check(socket_answers(ifname), "no answer")


@case("U-004 U-078 killed at any moment of the start: the next one replaces all that is left",
      timeout=60)
def killed_anywhere(lab):
    rng = random.Random(4)
    for engine in ("auto", "poll"):
        ns, ifname, env = lab.netns(), lab.ifname(), {"RINGTUN_IO": engine}
        args = ("-f", "--user=nobody")  # with a process that removes the socket later
        for i in range(15):
            d = ns.daemon(ifname, args=args, env=env, wait=False)
            if i % 3:
                time.sleep(rng.uniform(0, 0.06))
            else:
                wait_until(lambda: has_socket(ifname), 3)  # pylint: disable=cell-var-from-loop
            d.process.kill()
            d.wait()
            n = ns.daemon(ifname, args=args, env=env)  # at once: raises unless it answers
            check("errno=0" in lab.uapi(ifname, "get=1\n\n"), "no answer")
            if i % 2:
                n.process.kill()  # at work
                n.wait()
            else:
                equal(n.stop()[0], 0, "exit status")
                expect_clean(ns, ifname)


# Set-up failures

def on_full_disk(ns, mount_at, options, *command, **kw):
    """Runs @command where a file system without room lies over @mount_at."""
    script = (f"mount --make-rprivate / && mount -t tmpfs -o {options} none {mount_at} &&"
              " exec \"$@\"")
    return ns.popen("unshare", "-m", "sh", "-c", script, "sh", *command, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)


@case("full disk: no room for the control socket or its directory: status 1, and it says so")
def full_socket_directory(lab):
    os.makedirs(netns.SOCKET_DIR, exist_ok=True)
    ns = lab.netns()
    for at in (os.path.realpath(netns.SOCKET_DIR), "/run"):
        for args in (("-f",), ()):
            ifname = lab.ifname()
            p = on_full_disk(ns, at, "nr_inodes=1", netns.ringtun_bin(), *args, ifname,
                             env=lab.environment())
            out = p.communicate(timeout=10)[0]
            equal(p.returncode, 1, f"exit status with {at} full, {args}: {out}")
            check("No space left on device" in out and "control socket" in out, f"says {out!r}")
            equal(netns.wait_gone(ns.pids(), 2), [], "processes left behind")
            check(not ns.has_link(ifname), "interface left behind")


@case("full disk: no room for the log: it goes on, and tells later how much it could not tell")
def full_log(lab):
    ns, ifname = lab.netns(), lab.ifname()
    disk, log = lab.path("disk"), lab.path("disk/log")
    os.mkdir(disk)
    fill = f"head -c 1M /dev/zero >{disk}/ballast; exec \"$@\""
    p = on_full_disk(ns, disk, "size=8k", "sh", "-c", fill, "sh", netns.ringtun_bin(), "-f",
                     "--verbosity=debug", f"--log={log}", ifname, env=lab.environment())
    check(wait_until(lambda: socket_answers(ifname), 5), "does not start without room for its log")
    for up in ("up", "down"):
        set_link(ns, ifname, up)
    check("errno=0" in lab.uapi(ifname, "get=1\n\n"), "no answer")
    inside = ("nsenter", "-m", "-t", p.pid)
    equal(ns.run(*inside, "cat", log).stdout, "", "what was written without room")
    ns.run(*inside, "rm", f"{disk}/ballast")
    set_link(ns, ifname, "up")
    check(wait_until(lambda: "interface is up" in ns.run(*inside, "cat", log).stdout, 3),
          "no log when there is room again")
    first = ns.run(*inside, "cat", log).stdout.splitlines()[0]
    check("lines were lost" in first, f"keeps to itself what got lost: {first}")
    p.send_signal(signal.SIGTERM)
    equal(p.wait(5), 0, "exit status")
    # a log that can not even be made
    p = on_full_disk(ns, disk, "nr_inodes=1", netns.ringtun_bin(), "-f", f"--log={log}", ifname,
                     env=lab.environment())
    out = p.communicate(timeout=10)[0]
    equal((p.returncode, "No space left on device" in out), (1, True), f"says {out!r}")


@case("U-065 U-061 interface name in use")
def name_in_use(lab):
    ns = lab.netns()
    for args in ((), ("-f",)):
        ifname = lab.ifname()
        ns.run("ip", "link", "add", ifname, "type", "veth", "peer", "name", "other")
        d = ns.background(ifname, args=args)
        equal(d.status, 1, f"exit status with {args}")
        check(d.stderr.strip(), "nothing on stderr")
        equal(netns.wait_gone(d.pids, 1), [], "processes left behind")
        check(not has_socket(ifname), "socket left behind")
        check("veth" in ns.out("ip", "-d", "link", "show", ifname), "not our veth any more")
        ns.run("ip", "link", "delete", ifname)


@case("U-065 a persistent unattached TUN device is taken over")
def persistent_tun(lab):
    for queues in ((), ("multi_queue",)):
        ns = lab.netns()
        ifname = lab.ifname()
        ns.run("ip", "tuntap", "add", "dev", ifname, "mode", "tun", *queues)
        index = ns.out("cat", f"/sys/class/net/{ifname}/ifindex")
        d = ns.background(ifname)
        equal(d.status, 0, f"exit status, {queues} ({d.stderr.strip()})")
        equal(ns.out("cat", f"/sys/class/net/{ifname}/ifindex"), index, "ifindex")
        os.kill(d.pid, signal.SIGTERM)
        check(wait_until(lambda x=d: not x.alive(), 1), "still running")


# Background

@case("U-061 U-062 the parent returns when the socket answers; the child is a daemon")
def background(lab):
    ns = lab.netns()
    for _ in range(5):
        d = ns.background()
        equal(d.status, 0, f"status of the parent ({d.stderr.strip()})")
        uapi_connect(d.ifname).close()  # at the first attempt
        check(ns.has_link(d.ifname), "no interface")
    equal(d.stdout, "", "stdout")
    pid = d.pid
    with open(f"/proc/{pid}/stat") as f:
        _, _, _, session, tty = f.read().rsplit(")", 1)[1].split()[:5]
    check(int(session) != os.getsid(0), f"still in the session {session} of its caller")
    equal(tty, "0", "controlling terminal")
    equal(os.readlink(f"/proc/{pid}/cwd"), "/", "working directory")
    for fd in range(3):
        equal(os.readlink(f"/proc/{pid}/fd/{fd}"), "/dev/null", f"descriptor {fd}")


@case("U-062 inherited descriptors are closed")
def inherited_fds(lab):
    ns = lab.netns()
    path = lab.write("inherited", "")
    with open(path) as f:
        os.dup2(f.fileno(), 77, inheritable=True)
        try:
            d = ns.background(pass_fds=(77, f.fileno()))
        finally:
            os.close(77)
    equal(d.status, 0, "status of the parent")
    links = [os.readlink(f"/proc/{d.pid}/fd/{n}") for n in os.listdir(f"/proc/{d.pid}/fd")]
    check(path not in links, f"{path} is open in the daemon")


@case("U-062 a daemon started with stdin, stdout and stderr closed")
def closed_stdio(lab):
    ns = lab.netns()
    ifname = lab.ifname()
    ns.run("sh", "-c", f"exec <&- >&- 2>&-; exec {netns.ringtun_bin()} {ifname}",
           env=lab.environment())
    check("errno=0" in lab.uapi(ifname, "get=1\n\n"), "no answer")
    wg("set", ifname, "listen-port", 12345)
    equal(wg_out("show", ifname, "listen-port"), "12345", "listen port")


# Descriptors handed in

def open_tun(ns, ifname, flags):
    with ns.enter():
        fd = os.open("/dev/net/tun", os.O_RDWR)
        try:
            fcntl.ioctl(fd, netns.TUNSETIFF, struct.pack("16sH22x", ifname.encode(), flags))
        except OSError:
            os.close(fd)
            raise
    return fd


def tun_fd(how, flags):
    def run(lab):
        t = Tunnel(lab, up=False)
        t.a.daemon.stop()
        ifname = lab.ifname()
        fd = open_tun(t.a.ns, ifname, IFF_TUN | IFF_NO_PI | flags)
        set_link(t.a.ns, ifname, "mtu", 1300)
        args, env = (("-f", "--tun-fd", fd), {}) if how == "--tun-fd" else (("-f",), {how: fd})
        d = t.a.ns.daemon("ignored", args=args, env=env, pass_fds=(fd,), wait=False)
        os.close(fd)  # only the daemon holds it now
        d.ifname = t.a.ifname = ifname
        d.wait_socket()
        equal(t.a.ns.out("cat", f"/sys/class/net/{ifname}/mtu").strip(), "1300", "MTU")
        wg("setconf", ifname, t.a.conf)
        t.b.up()
        t.a.up(1300)
        check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
        error = traffic.tcp_transfer(t.a.ns, t.b.ns, t.b.v4, 1 << 20) or \
            traffic.tcp_transfer(t.b.ns, t.a.ns, t.a.v4, 1 << 20)
        check(not error, f"TCP: {error}")
        equal(d.stop()[0], 0, "exit status")
        expect_clean(t.a.ns, ifname)
    return run


for _how in ("WG_TUN_FD", "--tun-fd"):
    for _name, _flags in (("plain", 0), ("vnet header", IFF_VNET_HDR)):
        case(f"U-063 {_how}, {_name}: name from TUNGETIFF, MTU kept, traffic")(
            tun_fd(_how, _flags))


@case("U-063 WG_TUN_FD and WG_UAPI_FD that are no such descriptor: status 1")
def bad_fds(lab):
    ns = lab.netns()
    null = os.open("/dev/null", os.O_RDWR)
    for variable in ("WG_TUN_FD", "WG_UAPI_FD"):
        for value in ("abc", "4x", "99", str(null)):
            d = ns.background(args=("-f",), env={variable: value}, pass_fds=(null,))
            equal(d.status, 1, f"exit status with {variable}={value}")
            check(d.stderr.strip(), f"nothing on stderr for {variable}={value}")
            expect_clean(ns, d.ifname)
    os.close(null)


@case("U-063 WG_UAPI_FD, listening: served, and its path is watched")
def uapi_fd_listening(lab):
    ns = lab.netns()
    ifname = lab.ifname()
    os.makedirs(netns.SOCKET_DIR, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(socket_path(ifname))
        s.listen(16)
        d = ns.daemon(ifname, env={"WG_UAPI_FD": s.fileno()}, pass_fds=(s.fileno(),))
    wg("set", ifname, "listen-port", 23456)
    equal(wg_out("show", ifname, "listen-port"), "23456", "listen port")
    os.unlink(socket_path(ifname))
    expect_exit(d)
    check(not ns.has_link(ifname), "interface still there")


@case("U-063 WG_TUN_FD and WG_UAPI_FD together, as wireguard-go starts its child")
def both_fds(lab):
    ns = lab.netns()
    ifname = lab.ifname()
    os.makedirs(netns.SOCKET_DIR, exist_ok=True)
    tun = open_tun(ns, ifname, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(socket_path(ifname))
        s.listen(16)
        d = ns.daemon(ifname, args=(), pass_fds=(tun, s.fileno()), env={
            "WG_TUN_FD": tun, "WG_UAPI_FD": s.fileno(), "WG_PROCESS_FOREGROUND": 1})
    os.close(tun)
    expect_alive(d)
    ns.run("ip", "link", "delete", "dev", ifname)
    expect_exit(d)


def uapi_fd_stream(how):
    def run(lab):
        ns = lab.netns()
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                fd = theirs.fileno()
                args, env = (("-f",), {how: fd}) if how == "WG_UAPI_FD" else \
                    (("-f", how, fd), {})
                d = ns.daemon(args=args, env=env, pass_fds=(fd,), wait=False)
            ours.settimeout(5)
            for request in (b"get=1\n\n", b"set=1\nlisten_port=34567\n\n", b"get=1\n\n"):
                ours.sendall(request)
                reply = b""
                while not reply.endswith(b"errno=0\n\n"):
                    part = ours.recv(4096)
                    check(part, f"closed after {reply!r}: {d.log()}")
                    reply += part
            check(b"listen_port=34567\n" in reply, f"got {reply!r}")
        expect_exit(d)
        expect_clean(ns, d.ifname)
    return run


for _how in ("WG_UAPI_FD", "--uapi-fd"):
    case(f"U-063 {_how}, a connected stream as BoringTun's; its end ends the daemon")(
        uapi_fd_stream(_how))


@case("U-064 interface name template")
def name_template(lab):
    ns = lab.netns()
    prefix = lab.ifname()
    lab.own_socket(f"{prefix}0")
    d = ns.background(f"{prefix}%d")
    equal(d.status, 0, f"status of the parent ({d.stderr.strip()})")
    check(ns.has_link(f"{prefix}0"), "no interface of that name")
    check(socket_answers(f"{prefix}0"), "no socket of that name")


if __name__ == "__main__":
    report.main()
