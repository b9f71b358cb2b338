#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Kernels that lack an offload (faults.c, preloaded): a switch that is `on` fails and says so, `auto` does
without, says why, and carries the same traffic."""

import errno
import os

from lib import netns, report
from lib.gateway import Gateway, faulty_kernel, one_of_everything, status
from lib.report import case, check, equal

SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF = 1, 51
IPPROTO_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
TUN_F_TSO, TUN_F_USO = 0x06, 0x60

LACKING = {  # what the kernel lacks, with which error, and how the state of `auto` is shown
    "udp-gso": ("E2E_NO_OPTION", (IPPROTO_UDP, UDP_SEGMENT), errno.ENOPROTOOPT, "off"),
    "udp-gro": ("E2E_NO_OPTION", (IPPROTO_UDP, UDP_GRO), errno.ENOPROTOOPT, "off"),
    "steering": ("E2E_NO_OPTION", (SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF), errno.EPERM, "off"),
    "tun-tso": ("E2E_NO_OFFLOAD", (TUN_F_TSO,), errno.EINVAL, "refused"),
    "tun-uso": ("E2E_NO_OFFLOAD", (TUN_F_USO,), errno.EINVAL, "refused"),
    "multi-queue": ("E2E_NO_QUEUES", (), errno.EINVAL, "refused"),
}
WHY = {"off": "the kernel does not know it", "refused": "by the kernel"}


def kernel_without(switch):
    variable, what, error, _ = LACKING[switch]
    return faulty_kernel(**{variable: " ".join(map(str, (*what, error)))})


def expect_refusal(ns, key, env, args):
    """The start ends with a message, and leaves nothing behind."""
    d = ns.daemon(args=("-f", "--threads=2", *args), env=env, wait=False)
    equal(d.wait(), 1, f"exit status with {args}")
    check(f"{key} was asked for, but" in d.log(), f"said {d.log()!r}")
    check(not ns.has_link(d.ifname), "the interface is still there")
    check(not os.path.exists(f"{netns.SOCKET_DIR}/{d.ifname}.sock"), "the socket is still there")
    return d.log()


def on_fails(switch):
    def run(lab):
        ns = lab.netns()
        key = switch.replace("-", "_")
        env = kernel_without(switch)
        said = expect_refusal(ns, key, env, (f"--{switch}=on",))
        expect_refusal(ns, key, {**env, f"RINGTUN_{key.upper()}": "on"}, ())
        if LACKING[switch][0] == "E2E_NO_OPTION":  # the kernel's own word is passed on
            check(os.strerror(LACKING[switch][2]) in said, f"said {said!r}")
        equal(ns.background(args=("--threads=2", f"--{switch}=on"), env=env).status, 1,
              "exit status in the background")
    return run


def auto_does_without(switch, engine):
    def run(lab):
        args = ("--io", engine, "--threads=2")
        env = kernel_without(switch)
        g = Gateway(lab, args, args, env_a=env, env_b=env)
        one_of_everything(g)
        key, shown = switch.replace("-", "_"), LACKING[switch][3]
        for end in (g.a, g.b):
            s = status(end)
            equal((s[key], s[f"{key}_why"]), (shown, WHY[shown]), key)
            others = {k: s[k] for k in (x.replace("-", "_") for x in LACKING) if k != key}
            if switch == "tun-tso":  # the kernel offers both or checksums only
                del others["tun_uso"]
            equal(set(others.values()), {"on"}, f"the others: {others}")
    return run


for _i, _switch in enumerate(LACKING):
    case(f"--{_switch}=on where the kernel can not: fails, says so, leaves nothing")(
        on_fails(_switch))
    _engine = ("uring", "poll")[_i % 2]
    case(f"--{_switch}=auto where the kernel can not: one of everything without it, {_engine}")(
        auto_does_without(_switch, _engine))


if __name__ == "__main__":
    report.main()
