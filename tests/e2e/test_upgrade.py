#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The end of the daemon under test (RINGTUN_BIN) under full load, and another one that takes over the
interface from whoever holds its descriptors."""

import os
import socket
import subprocess

from lib import netns, report, traffic
from lib.life import expect_clean, passed_descriptors
from lib.netns import has_socket, socket_path, wait_until
from lib.report import case, check, equal
from lib.tunnel import Tunnel, wg


def full_load(engine):
    def run(lab):
        t = Tunnel(lab, args_a=("-f", f"--io={engine}"), args_b=("-f", f"--io={engine}"))
        check(traffic.reaches(t.a.ns, t.b.v4), "no traffic")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        t.b.ns.popen("iperf3", "-s", **quiet)
        check(wait_until(lambda: ":5201 " in t.b.ns.out("ss", "-Hltn")), "no iperf3")
        t.a.ns.popen("iperf3", "-c", t.b.v4, "-P", "4", "-t", "20", **quiet)
        before = t.b.peer().rx
        check(wait_until(lambda: t.b.peer().rx > before + (64 << 20), 10), "no load")
        for end in (t.b, t.a):
            status, seconds = end.daemon.stop()
            equal(status, 0, "exit status")
            check(seconds < 1, f"took {seconds:.2f} s")
            expect_clean(end.ns, end.ifname)
            left = [f for f in os.listdir(netns.SOCKET_DIR) if end.ifname in f]
            check(not left, f"left behind: {left}")
    return run


for _engine in ("uring", "poll"):
    case(f"U-070 SIGTERM under full load: gone within 1 s, nothing left, {_engine}")(
        full_load(_engine))


@case("U-063 a second daemon takes passed descriptors over: the interface stays, up, as it was")
def takeover(lab):
    t = Tunnel(lab, up=False)
    t.a.daemon.stop()
    tun, listener = passed_descriptors(lab, t.a.ns, t.a.ifname)
    configured = False
    for _ in range(4):
        if not has_socket(t.a.ifname):  # the one before removed the name, as it must
            listener.close()
            listener = socket.socket(socket.AF_UNIX)
            lab.on_close(listener.close)
            listener.bind(socket_path(t.a.ifname))
            listener.listen(8)
        fds = (tun, listener.fileno())
        d = t.a.ns.daemon(t.a.ifname, env={"WG_TUN_FD": tun, "WG_UAPI_FD": listener.fileno()},
                          pass_fds=fds)
        wg("setconf", t.a.ifname, t.a.conf)
        if not configured:
            t.b.up()
            t.a.up()
            link = t.a.ns.out("ip", "-o", "address", "show", "dev", t.a.ifname)
            configured = True
        check(traffic.reaches(t.a.ns, t.b.v4, 8), "no traffic")
        equal(d.stop()[0], 0, "exit status")
        equal(t.a.ns.out("ip", "-o", "address", "show", "dev", t.a.ifname), link, "interface")


if __name__ == "__main__":
    report.main()
