/* SPDX-License-Identifier: MPL-2.0 */
/* A real TUN: who may have the name, what is negotiated, when it disappears. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdlib.h>

#include "io/net_fixture.h"
#include "tun/tun.h"

static void need_tun(void)
{
	fixture_enter_netns();
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/net/tun");
}

/* As another program would make it. */
static int foreign_tun(const char *name, unsigned flags, bool persist)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq ifr = { .ifr_flags = (short)(IFF_TUN | IFF_NO_PI | flags) };
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	cr_assert(eq(int, ioctl(fd, TUNSETIFF, &ifr), 0), "%s", strerror(errno));
	cr_assert(eq(int, ioctl(fd, TUNSETPERSIST, persist ? 1UL : 0UL), 0));
	return fd;
}

Test(tun, opens_with_offloads_and_vanishes_when_closed)
{
	need_tun();
	struct tun tun;
	struct tun_params p = { .name = "wg%d", .n_queues = 1 };
	cr_assert(eq(int, tun_open(&tun, &p), 0));
	cr_assert(eq(str, tun.name, (char *)"wg0"));
	cr_assert(tun.vnet_hdr);
	cr_assert(not(tun.multi_queue));
	cr_assert(eq(uint, tun.offloads & (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6),
		     TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6));
	cr_assert(eq(int, fcntl(tun.fd[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK));
	cr_assert(eq(int, fcntl(tun.fd[0], F_GETFD), FD_CLOEXEC));
	int len = 0;
	cr_assert(eq(int, ioctl(tun.fd[0], TUNGETVNETHDRSZ, &len), 0));
	cr_assert(eq(int, len, 10));
	cr_assert(tun_is_alive(&tun));
	cr_assert(ne(uint, if_nametoindex("wg0"), 0));
	tun_close(&tun);
	tun_close(&tun);
	cr_assert(not(tun_is_alive(&tun)));
	cr_assert(eq(uint, if_nametoindex("wg0"), 0));
}

Test(tun, switches_are_obeyed)
{
	need_tun();
	struct tun tun;
	struct tun_params p = { .name = "wg0", .n_queues = 4, .multi_queue = -1, .tso = -1 };
	cr_assert(eq(int, tun_open(&tun, &p), 0));
	cr_assert(eq(int, tun.n_queues, 1));
	cr_assert(eq(uint, tun.offloads & (TUN_F_TSO4 | TUN_F_TSO6), 0));
	p.uso = -1;
	cr_assert(eq(uint, tun_set_offloads(&tun, &p), 0));
	tun_close(&tun);

	p.vnet_hdr = -1;
	p.tso = p.uso = 0;
	cr_assert(eq(int, tun_open(&tun, &p), 0));
	cr_assert(not(tun.vnet_hdr));
	cr_assert(eq(uint, tun.offloads, 0));
	tun_close(&tun);
}

Test(tun, attaches_all_queues)
{
	need_tun();
	struct tun tun;
	struct tun_params p = { .name = "wg0", .n_queues = 4 };
	cr_assert(eq(int, tun_open(&tun, &p), 0));
	cr_assert(tun.multi_queue);
	cr_assert(eq(int, tun.n_queues, 4));
	for (int i = 0; i < 4; i++) {
		struct ifreq ifr = { 0 };
		cr_assert(eq(int, ioctl(tun.fd[i], TUNGETIFF, &ifr), 0));
		cr_assert(eq(str, ifr.ifr_name, (char *)"wg0"));
	}
	/* More than the kernel or we allow: as many as there are. */
	tun_close(&tun);
	p.n_queues = 1000;
	cr_assert(eq(int, tun_open(&tun, &p), 0));
	cr_assert(ge(int, tun.n_queues, 8));
	cr_assert(le(int, tun.n_queues, TUN_MAX_QUEUES));
	tun_close(&tun);
}

/* U-065. The multi-queue cases would end in sharing the device without the extra look. */
ParameterizedTestParameters(tun, a_name_in_use_is_busy)
{
	static int bits[8];
	for (int i = 0; i < 8; i++)
		bits[i] = i;
	return cr_make_param_array(int, bits, 8);
}

ParameterizedTest(int *bits, tun, a_name_in_use_is_busy)
{
	need_tun();
	int other = foreign_tun("wg0", *bits & 1 ? IFF_MULTI_QUEUE : 0, *bits & 2);
	struct tun tun = { .n_queues = 77 };
	struct tun_params p = { .name = "wg0", .n_queues = *bits & 4 ? 2 : 1 };
	cr_assert(eq(int, tun_open(&tun, &p), -EBUSY));
	cr_assert(eq(int, tun.n_queues, 77), "untouched");
	cr_assert(ne(uint, if_nametoindex("wg0"), 0));
	close(other);
}

Test(tun, another_kind_of_interface_is_busy)
{
	need_tun();
	fixture_run("ip link add wg0 type veth peer name wg1");
	struct tun tun;
	struct tun_params p = { .name = "wg0", .n_queues = 2 };
	cr_assert(eq(int, tun_open(&tun, &p), -EBUSY));
	p.n_queues = 1;
	cr_assert(eq(int, tun_open(&tun, &p), -EBUSY));
}

ParameterizedTestParameters(tun, takes_over_a_persistent_one)
{
	static int bits[4];
	for (int i = 0; i < 4; i++)
		bits[i] = i;
	return cr_make_param_array(int, bits, 4);
}

ParameterizedTest(int *bits, tun, takes_over_a_persistent_one)
{
	need_tun();
	close(foreign_tun("wg0", *bits & 1 ? IFF_MULTI_QUEUE : 0, true));
	unsigned ifindex = if_nametoindex("wg0");
	struct tun tun;
	struct tun_params p = { .name = "wg0", .n_queues = *bits & 2 ? 2 : 1 };
	cr_assert(eq(int, tun_open(&tun, &p), 0));
	cr_assert(eq(uint, if_nametoindex("wg0"), ifindex));
	cr_assert(eq(int, tun.n_queues, *bits == 3 ? 2 : 1));
	cr_assert(eq(int, tun.multi_queue, *bits & 1));
	cr_assert(tun.vnet_hdr);
	struct tun second;
	cr_assert(eq(int, tun_open(&second, &p), -EBUSY));
	tun_close(&tun);
	cr_assert(eq(uint, if_nametoindex("wg0"), ifindex), "the administrator's, it stays");
}

Test(tun, refuses_names_that_no_interface_can_have)
{
	need_tun();
	struct tun tun;
	const char *bad[] = { "", "sixteen-letters.", "a/b", "..", NULL };
	for (int i = 0; i < 5; i++) {
		struct tun_params p = { .name = bad[i], .n_queues = 1 };
		cr_assert(eq(int, tun_open(&tun, &p), -EINVAL));
	}
}

Test(tun, adopts_what_it_is_given)
{
	need_tun();
	struct tun tun = { .n_queues = 77 };
	struct tun_params p = { 0 };
	int fd = foreign_tun("given0", IFF_VNET_HDR, false);
	int len = 12;
	ioctl(fd, TUNSETVNETHDRSZ, &len);
	cr_assert(eq(int, tun_adopt(&tun, fd, &p), 0));
	cr_assert(eq(str, tun.name, (char *)"given0"));
	cr_assert(tun.vnet_hdr);
	cr_assert(eq(int, tun.n_queues, 1));
	cr_assert(ne(uint, tun.offloads, 0));
	cr_assert(eq(int, fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK));
	ioctl(fd, TUNGETVNETHDRSZ, &len);
	cr_assert(eq(int, len, 10));
	tun_close(&tun);

	fd = foreign_tun("given0", 0, false);
	cr_assert(eq(int, tun_adopt(&tun, fd, &p), 0));
	cr_assert(not(tun.vnet_hdr));
	tun_close(&tun);
}

Test(tun, adopts_nothing_else)
{
	need_tun();
	struct tun tun = { .n_queues = 77 };
	struct tun_params p = { 0 };
	cr_assert(eq(int, tun_adopt(&tun, 999, &p), -EBADF));
	cr_assert(eq(int, tun_adopt(&tun, 0, &p), -EINVAL), "not a TUN");
	int fd = open("/dev/net/tun", O_RDWR);
	cr_assert(eq(int, tun_adopt(&tun, fd, &p), -EBADFD), "not attached");
	struct ifreq ifr = { .ifr_flags = IFF_TUN };
	cr_assert(eq(int, ioctl(fd, TUNSETIFF, &ifr), 0));
	cr_assert(eq(int, tun_adopt(&tun, fd, &p), -EINVAL), "packet information");
	close(fd);
	fd = open("/dev/net/tun", O_RDWR);
	ifr.ifr_flags = IFF_TAP | IFF_NO_PI;
	cr_assert(eq(int, ioctl(fd, TUNSETIFF, &ifr), 0));
	cr_assert(eq(int, tun_adopt(&tun, fd, &p), -EINVAL), "TAP");
	cr_assert(eq(int, tun.n_queues, 77));
}

Test(tun, notices_deletion)
{
	need_tun();
	struct tun tun;
	struct tun_params p = { .name = "wg0", .n_queues = 2 };
	cr_assert(eq(int, tun_open(&tun, &p), 0));
	fixture_run("ip link del wg0");
	cr_assert(not(tun_is_alive(&tun)));
	tun_close(&tun);
}
