/* SPDX-License-Identifier: MPL-2.0 */
/* The TUN as an interface: set-up, and everything that may happen to it afterwards (P-400 - P-406,
 * U-071 - U-077, PITFALLS 62 - 64). */
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "io/net_fixture.h"
#include "tun/link.h"
#include "tun/tun.h"

static struct tun tun;
static struct link_monitor monitor;
static struct link_state state;

static void open_all(void)
{
	fixture_enter_netns();
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/net/tun");
	struct tun_params p = { .name = "wg0", .n_queues = 1 };
	cr_assert(eq(int, tun_open(&tun, &p), 0));
	cr_assert(eq(int, link_monitor_open(&monitor, tun.fd[0]), 0));
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
}

/* Whether the monitor's descriptor is readable within a second. */
static bool is_notified(void)
{
	struct pollfd p = { .fd = monitor.fd, .events = POLLIN };
	return poll(&p, 1, 1000) == 1;
}

/* A child that keeps a second namespace alive; its pid names it for ip(8). */
static pid_t other_netns(void)
{
	int ready[2];
	cr_assert(eq(int, pipe(ready), 0));
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, 9);
		if (unshare(CLONE_NEWNET) == 0 && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	char c;
	cr_assert(eq(int, read(ready[0], &c, 1), 1));
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void run_in(pid_t pid, const char *command)
{
	char line[256];
	snprintf(line, sizeof(line), "nsenter -n -t %d %s", pid, command);
	fixture_run(line);
}

static void move_to(pid_t pid)
{
	char line[256];
	snprintf(line, sizeof(line), "ip link set wg0 netns %d", pid);
	fixture_run(line);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static char *file_text(const char *path)
{
	static char text[64];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	cr_assert(gt(int, n, 0), "%s", path);
	text[n] = '\0';
	close(fd);
	return text;
}

Test(link, sets_up_what_a_tunnel_needs)
{
	open_all();
	unsigned done = 0;
	struct link_params p = { .mtu = 1420, .txqueuelen = 4000, .gso_max_size = 61612 };
	cr_assert(eq(int, link_setup("wg0", &p, &done), 0));
	cr_assert(eq(uint, done,
		     LINK_TXQUEUELEN | LINK_GSO_MAX_SIZE | LINK_NO_ADDR_GEN | LINK_NO_REDIRECTS));
	fixture_run("ip -d link show wg0 | grep -q 'mtu 1420 .*qlen 4000'");
	fixture_run("ip -d link show wg0 | grep -q 'addrgenmode none .*gso_max_size 61612'");
	cr_assert(eq(str, file_text("/proc/sys/net/ipv4/conf/wg0/send_redirects"), (char *)"0\n"));
	fixture_run("ip link set wg0 up; ! ip -6 addr show dev wg0 | grep -q fe80");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(eq(u32, state.mtu, 1420));
}

Test(link, an_impossible_mtu_is_an_error)
{
	open_all();
	struct link_params p = { .mtu = 20 };
	cr_assert(eq(int, link_setup("wg0", &p, NULL), -EINVAL));
	p.mtu = 65536;
	cr_assert(eq(int, link_setup("wg0", &p, NULL), -EINVAL));
	p.mtu = 65535;
	cr_assert(eq(int, link_setup("wg0", &p, NULL), 0));
	cr_assert(eq(int, link_setup("wg9", &p, NULL), -ENODEV));
}

Test(link, gso_max_size_is_a_whole_number_of_segments)
{
	cr_assert(eq(u32, link_gso_max_size(1420), 61612));
	for (uint32_t mtu = 0; mtu <= 65535; mtu++) {
		uint32_t size = link_gso_max_size(mtu), real = mtu < 104 ? 104 : mtu;
		uint32_t n = (size - 52) / (real - 52);
		cr_assert(eq(u32, size, n * (real - 52) + 52));
		cr_assert(le(u32, n, 128));
		cr_assert(n == 1 || n * (real + 32) <= 65507);
		cr_assert(n == 128 || (n + 1) * (real + 32) > 65507);
	}
}

Test(link, follows_up_down_mtu_and_name)
{
	open_all();
	cr_assert(not(state.is_up));
	cr_assert(eq(str, state.name, (char *)"wg0"));
	cr_assert(eq(u32, state.ifindex, if_nametoindex("wg0")));
	cr_assert(not(state.must_poll));

	fixture_link_up("wg0");
	cr_assert(is_notified());
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(state.is_up);
	cr_assert(not(state.was_down));
	fixture_run("ip link set wg0 mtu 9000");
	cr_assert(is_notified());
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(eq(u32, state.mtu, 9000));

	fixture_link_down("wg0");
	fixture_link_up("wg0");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(state.is_up);
	cr_assert(state.was_down, "a flap between two reads is not lost");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(not(state.was_down));

	fixture_link_down("wg0");
	fixture_run("ip link set wg0 name tunnel7");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(not(state.is_up));
	cr_assert(eq(str, state.name, (char *)"tunnel7"));
}

Test(link, other_interfaces_do_not_matter)
{
	open_all();
	fixture_run(
		"ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v0 down");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(not(state.is_up));
	fixture_link_up("wg0");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	fixture_run("ip link set v0 up; ip link set v0 down; ip link del v0");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(state.is_up);
	cr_assert(not(state.was_down));
}

Test(link, deletion_is_told_from_a_move)
{
	open_all();
	fixture_run("ip link del wg0");
	cr_assert(is_notified());
	cr_assert(eq(int, link_monitor_read(&monitor, &state), -ENODEV));
	struct link_monitor second;
	cr_assert(eq(int, link_monitor_open(&second, tun.fd[0]), -ENODEV));
	link_monitor_close(&monitor);
}

static void follow_there_and_back(void)
{
	pid_t there = other_netns();
	fixture_link_up("wg0");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	move_to(there);
	cr_assert(is_notified());
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(not(state.is_up));
	cr_assert(state.was_down);
	cr_assert(not(state.must_poll));

	run_in(there, "ip link set wg0 mtu 1280 up");
	cr_assert(is_notified(), "events of the other namespace arrive");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(state.is_up);
	cr_assert(eq(u32, state.mtu, 1280));
	run_in(there, "ip link set wg0 down");
	run_in(there, "ip link set wg0 up");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(state.was_down);

	/* Back, and deleted from a third one. */
	char line[128];
	snprintf(line, sizeof(line), "ip link set wg0 netns %d", getpid());
	run_in(there, line);
	cr_assert(is_notified());
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(eq(u32, state.ifindex, if_nametoindex("wg0")));
	/* One of the same number over there is somebody else. */
	snprintf(line, sizeof(line), "ip link add v0 index %u type veth peer index 99 name v1",
		 state.ifindex);
	run_in(there, line);
	run_in(there, "ip link set v0 up");
	run_in(there, "ip link set v0 down");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(not(state.was_down));

	pid_t third = other_netns();
	move_to(third);
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	run_in(third, "ip link del wg0");
	cr_assert(is_notified());
	cr_assert(eq(int, link_monitor_read(&monitor, &state), -ENODEV));
	end(there);
	end(third);
}

Test(link, follows_into_other_namespaces)
{
	open_all();
	follow_there_and_back();
}

/* Keeps @caps only. */
static void drop_to(uint64_t caps)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = {
		{ .effective = (uint32_t)caps, .permitted = (uint32_t)caps }, { 0 }
	};
	cr_assert(eq(int, syscall(SYS_capset, &h, d), 0));
}

/* What the daemon has after dropping privileges; the helper commands need theirs, so a child of before
 * the drop does the moving. */
Test(link, follows_with_cap_net_admin_only)
{
	open_all();
	pid_t there = other_netns();
	int go[2];
	cr_assert(eq(int, pipe(go), 0));
	pid_t mover = fork();
	if (mover == 0) {
		char c;
		while (read(go[0], &c, 1) == 1) {
			if (c == 'm')
				move_to(there);
			if (c == 'u')
				run_in(there, "ip link set wg0 up");
		}
		_exit(0);
	}
	drop_to(1ULL << CAP_NET_ADMIN);
	cr_assert(eq(int, write(go[1], "m", 1), 1));
	cr_assert(is_notified());
	usleep(100000);
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(not(state.must_poll));
	cr_assert(eq(int, write(go[1], "u", 1), 1));
	cr_assert(is_notified());
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(state.is_up);
	close(go[1]);
	close(go[0]);
	kill(mover, SIGKILL);
	end(there);
}

/* Opened as in a container, without CAP_NET_BROADCAST: nothing is heard, but asking still works. */
Test(link, says_when_it_has_to_be_polled)
{
	open_all();
	pid_t there = other_netns();
	link_monitor_close(&monitor);
	pid_t mover = fork();
	if (mover == 0) {
		usleep(200000);
		move_to(there);
		run_in(there, "ip link set wg0 up");
		_exit(0);
	}
	drop_to(1ULL << CAP_NET_ADMIN);
	cr_assert(eq(int, link_monitor_open(&monitor, tun.fd[0]), 0));
	waitpid(mover, NULL, 0);
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(state.must_poll);
	cr_assert(state.is_up);
	end(there);
}

/* U-077: the namespace goes away with the TUN in it. */
Test(link, notices_the_end_of_the_namespace)
{
	open_all();
	pid_t there = other_netns();
	move_to(there);
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	end(there);
	int r = 0;
	for (int i = 0; i < 200 && r != -ENODEV; i++) { /* the kernel cleans up in its own time */
		r = link_monitor_read(&monitor, &state);
		usleep(10000);
	}
	cr_assert(eq(int, r, -ENODEV));
}

/* PITFALLS 62: more events than the socket can hold. */
Test(link, survives_a_storm_of_events)
{
	open_all();
	setsockopt(monitor.fd, SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int));
	for (int i = 0; i < 500; i++) {
		fixture_link_up("wg0");
		fixture_link_down("wg0");
	}
	fixture_link_up("wg0");
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(state.is_up);
	fixture_link_down("wg0");
	cr_assert(is_notified());
	cr_assert(eq(int, link_monitor_read(&monitor, &state), 0));
	cr_assert(not(state.is_up));
}
