# SPDX-License-Identifier: MPL-2.0
"""wg-quick(8) that drives the daemon under test, also where the kernel has WireGuard itself.

wg-quick tries the kernel first and gives up when its module is loaded. So an unmodified copy of it
runs beside an `ip` that knows no such link type, with the module hidden: wg-quick puts its own
directory first in PATH."""

import os
import shutil
import subprocess

IP_WITHOUT_WIREGUARD = """#!/bin/bash
if [[ "$*" == "link add "*" type wireguard" ]]; then
	echo "Error: Unknown device type." >&2
	exit 2
fi
exec {ip} "$@"
"""
HIDE_MODULE = """[[ ! -e /sys/module/wireguard ]] || mount -t tmpfs none /sys/module || exit
quick=$1 conf=$2
"""


def available():
    return all(map(shutil.which, ("wg-quick", "bash")))


class WgQuick:
    """wg-quick in one namespace for one interface, whose configuration file it may rewrite."""

    def __init__(self, ns, binary, conf):
        self.ns = ns
        self.binary = binary
        self.conf = conf
        self.directory = ns.lab.path("bin")
        if not os.path.isdir(self.directory):
            self.prepare()

    def prepare(self):
        os.mkdir(self.directory)
        shutil.copy(os.path.realpath(shutil.which("wg-quick")), f"{self.directory}/wg-quick")
        with open(f"{self.directory}/ip", "w") as f:
            f.write(IP_WITHOUT_WIREGUARD.format(ip=os.path.realpath(shutil.which("ip"))))
        os.chmod(f"{self.directory}/ip", 0o755)

    def argv(self, script):
        """Runs bash code that may call "$quick" ACTION "$conf"."""
        return ("bash", "-c", HIDE_MODULE + script, "bash", f"{self.directory}/wg-quick", self.conf)

    def environment(self, env=None):
        return self.ns.lab.environment(
            {"WG_QUICK_USERSPACE_IMPLEMENTATION": self.binary, **(env or {})})

    def run(self, action, check=True, timeout=30, env=None):
        """Its output is captured through pipes, as $(wg-quick up X) does: a daemon that holds
        them makes this time out."""
        return self.ns.run(*self.argv(f'"$quick" {action} "$conf"'), check=check, timeout=timeout,
                           stdin=subprocess.DEVNULL, env=self.environment(env))

    def up(self, **kw):
        return self.run("up", **kw)

    def down(self, **kw):
        return self.run("down", **kw)
