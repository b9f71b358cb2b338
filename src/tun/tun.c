/* SPDX-License-Identifier: MPL-2.0 */
/* /dev/net/tun: creation that never joins a device of somebody else, adoption, offloads. */
#include "tun/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/cleanup.h"
#include "tun/netlink.h"

enum { BUSY_TRIES = 50, BUSY_PAUSE_MSEC = 10 };

/* Linux 6.2; missing in older headers. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define OFFLOAD_TSO (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
#define OFFLOAD_USO (TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6) /* the kernel takes both or none */

static int tun_device_open(void)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* Attaches @fd to the device @name, creating it if need be; the kernel may complete the name. */
static int tun_attach(int fd, char name[static IFNAMSIZ], unsigned flags)
{
	struct ifreq ifr = { .ifr_flags = (short)flags };
	memcpy(ifr.ifr_name, name, IFNAMSIZ);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return -errno;
	memcpy(name, ifr.ifr_name, IFNAMSIZ);
	return 0;
}

/* What rtnetlink says of an existing tun device of this network namespace. */
struct tun_existing {
	bool has_pi; /* packet information headers; TUNGETIFF does not tell */
	bool is_persistent;
	bool is_multi_queue;
	uint32_t n_queues; /* attached and disabled ones; only told for multi-queue devices */
};

static int tun_query(const char *name, struct tun_existing *ret)
{
	int fd CLEANUP(close_fdp) = nl_open(0);
	if (fd < 0)
		return fd;

	struct ifinfomsg ifi = { .ifi_family = AF_UNSPEC };
	struct nl_request rq;
	struct nl_answer answer;
	nl_begin(&rq, RTM_GETLINK, (struct bytes){ (const uint8_t *)&ifi, sizeof(ifi) });
	nl_put(&rq, IFLA_IFNAME, name, strlen(name) + 1);
	nl_put_u32(&rq, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	int r = nl_transact(fd, &rq, &answer);
	if (r < 0)
		return r;

	struct bytes info = nl_find(answer.body, sizeof(ifi), IFLA_LINKINFO);
	struct bytes kind = nl_find(info, 0, IFLA_INFO_KIND);
	struct bytes data = nl_find(info, 0, IFLA_INFO_DATA);
	if (!data.data || kind.len != sizeof("tun") || memcmp(kind.data, "tun", kind.len) != 0)
		return -EBUSY; /* an interface of another kind */
	struct bytes persist = nl_find(data, 0, IFLA_TUN_PERSIST);
	struct bytes multi = nl_find(data, 0, IFLA_TUN_MULTI_QUEUE);
	struct bytes pi = nl_find(data, 0, IFLA_TUN_PI);
	ret->has_pi = pi.len == 1 && pi.data[0];
	ret->is_persistent = persist.len == 1 && persist.data[0];
	ret->is_multi_queue = multi.len == 1 && multi.data[0];
	ret->n_queues = nl_find_u32(data, 0, IFLA_TUN_NUM_QUEUES, 0) +
			nl_find_u32(data, 0, IFLA_TUN_NUM_DISABLED_QUEUES, 0);
	return 0;
}

/* U-065. A single-queue device that is in use answers EBUSY by itself; of a multi-queue one we would
 * become one more queue, so look before and, because others may do the same, after. */
static int tun_take_over(int fd, char name[static IFNAMSIZ], unsigned *flags)
{
	struct tun_existing dev;
	int r = tun_query(name, &dev);
	if (r < 0)
		return -EBUSY;
	if (!dev.is_persistent || dev.n_queues > 0)
		return -EBUSY;

	*flags &= ~(unsigned)IFF_MULTI_QUEUE;
	if (dev.is_multi_queue)
		*flags |= IFF_MULTI_QUEUE;
	r = tun_attach(fd, name, *flags);
	if (r < 0)
		return r == -EPERM ? -EPERM : -EBUSY;
	if (dev.is_multi_queue && (tun_query(name, &dev) < 0 || dev.n_queues != 1))
		return -EBUSY;
	return 0;
}

static int tun_create(int fd, char name[static IFNAMSIZ], unsigned *flags)
{
	int r = tun_attach(fd, name, *flags | IFF_TUN_EXCL);
	if (r == -EINVAL && (*flags & IFF_MULTI_QUEUE)) {
		*flags &= ~(unsigned)IFF_MULTI_QUEUE; /* refused: one queue is enough */
		r = tun_attach(fd, name, *flags | IFF_TUN_EXCL);
	}
	if (r == -EBUSY || r == -EEXIST)
		r = tun_take_over(fd, name, flags);
	return r;
}

/* A process that was killed lets go of its interface some milliseconds after its end if it had it in an
 * io_uring; its successor shall not fail for that. */
static int tun_create_patiently(int *ret_fd, char name[static IFNAMSIZ], unsigned *flags)
{
	static const struct timespec pause = { .tv_nsec = BUSY_PAUSE_MSEC * (long)NSEC_PER_MSEC };
	int r = -EBUSY;

	for (unsigned i = 0; i < BUSY_TRIES && r == -EBUSY; i++) {
		if (i > 0)
			(void)nanosleep(&pause, NULL);
		unsigned granted = *flags;
		int fd CLEANUP(close_fdp) = tun_device_open();
		r = fd < 0 ? fd : tun_create(fd, name, &granted);
		if (r == 0) {
			*flags = granted;
			*ret_fd = TAKE_FD(fd);
		}
	}
	return r;
}

/* More queues as long as the kernel gives some; fewer than wanted is no error. */
static void tun_add_queues(struct tun *tun, unsigned flags, uint16_t n_wanted)
{
	while (tun->n_queues < MIN(n_wanted, TUN_MAX_QUEUES)) {
		int fd CLEANUP(close_fdp) = tun_device_open();
		if (fd < 0 || tun_attach(fd, tun->name, flags) < 0)
			return;
		tun->fd[tun->n_queues++] = TAKE_FD(fd);
	}
}

unsigned tun_set_offloads(struct tun *tun, const struct tun_params *params)
{
	unsigned wanted = 0;
	if (tun->vnet_hdr && params->tso >= 0)
		wanted |= OFFLOAD_TSO;
	if (tun->vnet_hdr && params->uso >= 0)
		wanted |= OFFLOAD_USO;

	/* Older kernels refuse the whole set for one unknown bit. */
	const unsigned tries[] = { wanted, wanted & OFFLOAD_TSO, wanted & TUN_F_CSUM, 0 };
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		if (ioctl(tun->fd[0], TUNSETOFFLOAD, (unsigned long)tries[i]) == 0) {
			tun->offloads = tries[i];
			break;
		}
	}
	return tun->offloads;
}

static bool tun_name_is_valid(const char *name)
{
	return name && name[0] != '\0' && strlen(name) < IFNAMSIZ;
}

static int tun_set_vnet_header_len(int fd)
{
	int len = sizeof(struct virtio_net_hdr);
	return ioctl(fd, TUNSETVNETHDRSZ, &len) < 0 ? -errno : 0;
}

int tun_open(struct tun *ret, const struct tun_params *params)
{
	if (!tun_name_is_valid(params->name))
		return -EINVAL;

	struct tun tun = { .vnet_hdr = params->vnet_hdr >= 0 };
	unsigned flags = IFF_TUN | IFF_NO_PI;
	if (tun.vnet_hdr)
		flags |= IFF_VNET_HDR;
	if (params->n_queues > 1 && params->multi_queue >= 0)
		flags |= IFF_MULTI_QUEUE;
	memcpy(tun.name, params->name, strlen(params->name));

	int fd CLEANUP(close_fdp) = -1;
	int r = tun_create_patiently(&fd, tun.name, &flags);
	if (r < 0)
		return r;
	if (tun.vnet_hdr && (r = tun_set_vnet_header_len(fd)) < 0)
		return r;

	tun.multi_queue = flags & IFF_MULTI_QUEUE;
	tun.fd[0] = TAKE_FD(fd);
	tun.n_queues = 1;
	if (tun.multi_queue && params->multi_queue >= 0)
		tun_add_queues(&tun, flags, params->n_queues);
	tun_set_offloads(&tun, params);
	*ret = tun;
	return 0;
}

int tun_adopt(struct tun *ret, int fd, const struct tun_params *params)
{
	struct ifreq ifr = { 0 };
	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return errno == EBADF || errno == EBADFD ? -errno : -EINVAL;
	unsigned flags = (uint16_t)ifr.ifr_flags;
	struct tun_existing dev;
	if (!(flags & IFF_TUN) || (tun_query(ifr.ifr_name, &dev) == 0 && dev.has_pi))
		return -EINVAL;
	int fl = fcntl(fd, F_GETFL);
	if (fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;

	struct tun tun = {
		.fd = { fd },
		.n_queues = 1,
		.multi_queue = flags & IFF_MULTI_QUEUE,
		.vnet_hdr = flags & IFF_VNET_HDR,
	};
	memcpy(tun.name, ifr.ifr_name, IFNAMSIZ - 1);
	int r = tun.vnet_hdr ? tun_set_vnet_header_len(fd) : 0;
	if (r < 0)
		return r;
	if (tun.vnet_hdr)
		tun_set_offloads(&tun, params);
	*ret = tun;
	return 0;
}

bool tun_is_alive(const struct tun *tun)
{
	struct ifreq ifr = { 0 };
	return tun->n_queues > 0 && ioctl(tun->fd[0], TUNGETIFF, &ifr) == 0;
}

void tun_close(struct tun *tun)
{
	while (tun->n_queues > 0)
		(void)close(tun->fd[--tun->n_queues]);
}

bool tun_has_tso(const struct tun *tun)
{
	return tun->offloads & TUN_F_TSO4;
}

bool tun_has_uso(const struct tun *tun)
{
	return tun->offloads & TUN_F_USO4;
}
