#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# sysroot.sh DIR: unpacks the libraries that a build for aarch64 needs below DIR, as Debian and Ubuntu
# have them, and writes DIR/sysroot.ini for meson. Installs nothing, needs no root: apt gets lists
# and a state of its own. Exit 77 after a line that says why it can not.
set -eu
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ -e "$dir/sysroot.ini" ] && exit 0
skip() { echo "$*"; exit 77; }
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
	command -v "$tool" >/dev/null || skip "$tool is not installed"
done
for tool in apt-get dpkg-deb; do
	command -v "$tool" >/dev/null || skip "no $tool: libraries for aarch64 are taken from Debian"
done

mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" "$dir/root"
: >"$dir/status"
set -- -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$dir/state" \
	-o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" -o APT::Sandbox::User=root
cd "$dir"
{
	apt-get "$@" update
	urcu=$(apt-cache "$@" depends liburcu-dev | sed -n 's/.*Depends: \(liburcu[0-9][^ ]*\).*/\1/p')
	sodium=$(apt-cache "$@" depends libsodium-dev | sed -n 's/.*Depends: \(libsodium[0-9][^ ]*\).*/\1/p')
	b2=$(apt-cache "$@" depends libb2-dev | sed -n 's/.*Depends: \(libb2-[0-9][^ ]*\).*/\1/p')
	uring=$(apt-cache "$@" depends liburing-dev | sed -n 's/.*Depends: \(liburing[0-9][^ ]*\).*/\1/p')
	apt-get "$@" download libsodium-dev "$sodium" libb2-dev "$b2" liburcu-dev "$urcu" \
		liburing-dev "$uring" && ls ./*.deb
} >apt.log 2>&1 || skip "libraries for aarch64 can not be downloaded: $(tail -n 1 apt.log)"
for package in *.deb; do
	dpkg-deb -x "$package" root
done
rm -rf ./*.deb state cache
printf "[constants]\nsysroot = '%s/root'\n" "$dir" >sysroot.ini
