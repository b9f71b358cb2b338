# SPDX-License-Identifier: MPL-2.0
"""What the life-cycle checks ask of a daemon: is it well, has it ended, is nothing left."""

import fcntl
import os
import socket
import struct
import subprocess
import time

from .netns import TUNSETIFF, has_socket, socket_answers, socket_path
from .report import check, equal


def expect_clean(ns, ifname):
    check(not has_socket(ifname), f"{socket_path(ifname)} is still there")
    check(not ns.has_link(ifname), f"interface {ifname} is still there")


def expect_exit(daemon, within=1.0):
    """The daemon ends by itself, with status 0."""
    start = time.monotonic()
    try:
        equal(daemon.wait(within), 0, "exit status")
    except subprocess.TimeoutExpired:
        check(False, f"still running after {within} s")
    return time.monotonic() - start


def expect_alive(daemon, seconds=0.3):
    time.sleep(seconds)
    check(daemon.alive(), f"ended: {daemon.log()}")
    check(socket_answers(daemon.ifname), "its socket does not answer")


def set_link(ns, ifname, *what):
    ns.run("ip", "link", "set", "dev", ifname, *what)


def passed_descriptors(lab, ns, name):
    """A TUN and a listening control socket, made by who may, to be handed over."""
    with ns.enter():
        tun = os.open("/dev/net/tun", os.O_RDWR)
        flags = 0x0001 | 0x1000 | 0x4000  # IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    lab.on_close(lambda: os.close(tun))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(socket_path(name))
    listener.listen(8)
    lab.on_close(listener.close)
    return tun, listener
