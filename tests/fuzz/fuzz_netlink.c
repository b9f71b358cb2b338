/* SPDX-License-Identifier: MPL-2.0 */
/* Fuzz target: what rtnetlink and the TUN's ioctls answer. The system calls of src/tun/ are wrapped; the
 * input decides what each of them gives: an error, any bytes, or a well-formed message with any
 * attributes. Whatever the kernel says, every function ends, reads nothing that was not there and
 * leaves its output alone when it fails. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "fuzz/fuzz.h"
#include "tun/link.h"
#include "tun/netlink.h"
#include "tun/route.h"

ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags);
int __wrap_ioctl(int fd, unsigned long request, ...);
unsigned __wrap_if_nametoindex(const char *name);

enum { MAX_MESSAGE = 20000 };

static struct input in;

static size_t take_bytes(uint8_t *ret, size_t max)
{
	size_t n = take8(&in);
	n |= (size_t)(take8(&in) & 63) << 8;
	struct input part = take_part(&in, MIN(n, max));
	if (part.len > 0)
		memcpy(ret, part.data, part.len);
	return part.len;
}

/* Few, so that a run of one errno, as loops meet it, is likely. */
static int some_errno(uint8_t which)
{
	static const int errors[] = { EAGAIN, EINTR,  ENOBUFS, ENODEV, EPERM,      EBADFD,
				      EBADF,  ENOTTY, EINVAL,  ENOMEM, EOPNOTSUPP, EPROTO };
	return errors[which % ARRAY_SIZE(errors)];
}

/* Header, fixed part and attributes with lengths that fit, for the most part. */
static size_t make_message(uint8_t *ret)
{
	struct nlmsghdr h = { .nlmsg_type = take8(&in) & 1 ? RTM_NEWLINK : NLMSG_ERROR };
	size_t n = sizeof(h) + take_bytes(ret + sizeof(h), 64);

	for (uint8_t i = take8(&in) % 8; i > 0 && n + 600 < MAX_MESSAGE; i--) {
		struct nlattr a = { .nla_type = take8(&in) };
		size_t payload = take_bytes(ret + n + sizeof(a), 512);
		a.nla_len = (uint16_t)(sizeof(a) + payload);
		memcpy(ret + n, &a, sizeof(a));
		n += ROUND_UP(sizeof(a) + payload, (size_t)NLA_ALIGNTO);
	}
	h.nlmsg_len = (uint32_t)n;
	memcpy(ret, &h, sizeof(h));
	return n;
}

static size_t make_ack(uint8_t *ret)
{
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
	} ack = { .h = { .nlmsg_len = sizeof(ack), .nlmsg_type = NLMSG_ERROR } };

	if (take8(&in) & 1)
		ack.e.error = -some_errno(take8(&in));
	memcpy(ret, &ack, sizeof(ack));
	return sizeof(ack);
}

/* The length, or -1 and errno. @ret has room for MAX_MESSAGE bytes. */
static ssize_t make_datagram(uint8_t *ret)
{
	uint8_t kind = take8(&in);

	memset(ret, 0, MAX_MESSAGE);
	switch (in.len == 0 ? 0 : kind & 7) {
	case 0:
		errno = in.len == 0 ? EAGAIN : some_errno(kind >> 3);
		return -1;
	case 1 ... 2:
		return (ssize_t)take_bytes(ret, MAX_MESSAGE);
	case 3:
		return (ssize_t)make_ack(ret);
	case 4: {
		size_t n = NLMSG_ALIGN(make_message(ret));
		return (ssize_t)(n + make_ack(ret + n));
	}
	default:
		return (ssize_t)make_message(ret);
	}
}

ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags)
{
	static uint8_t datagram[MAX_MESSAGE + 64];
	ssize_t n = make_datagram(datagram);
	if (n < 0)
		return n;
	memcpy(buf, datagram, MIN(len, (size_t)n));
	return flags & MSG_TRUNC ? n : (ssize_t)MIN(len, (size_t)n);
}

/* What the kernel says about the namespace: the bytes behind the header stay as they are. */
static void make_nsid(uint8_t *control)
{
	struct cmsghdr h = { .cmsg_len = CMSG_LEN(sizeof(int)),
			     .cmsg_level = SOL_NETLINK,
			     .cmsg_type = NETLINK_LISTEN_ALL_NSID };

	memcpy(control, &h, sizeof(h));
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	const size_t msg_control_len = msg->msg_controllen;
	ssize_t n = __wrap_recv(fd, msg->msg_iov->iov_base, msg->msg_iov->iov_len, 0);
	if (n < 0)
		return n;
	memset(msg->msg_control, 0, msg->msg_controllen);
	size_t n_control = take_bytes(msg->msg_control, msg->msg_controllen);
	msg->msg_controllen = n_control;
	if (n_control == msg_control_len && *(uint8_t *)msg->msg_control == 0xff)
		make_nsid(msg->msg_control);
	return n;
}

ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags)
{
	struct nlmsghdr h;

	CHECK(len >= sizeof(h));
	memcpy(&h, buf, sizeof(h));
	CHECK(h.nlmsg_len == len); /* our own requests are well-formed */
	if ((take8(&in) & 15) != 15)
		return (ssize_t)len;
	errno = some_errno(take8(&in));
	return -1;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	uint8_t how = take8(&in);
	va_list ap;

	if ((how & 7) == 7) {
		errno = some_errno(how >> 3);
		return -1;
	}
	if (request == TUNGETIFF) {
		va_start(ap, request);
		struct ifreq *ifr = va_arg(ap, struct ifreq *);
		va_end(ap);
		(void)take_bytes((uint8_t *)ifr->ifr_name, sizeof(ifr->ifr_name));
		return 0;
	}
	/* a namespace: one of two files */
	return open(how & 8 ? "/dev/null" : "/dev/zero", O_RDONLY | O_CLOEXEC);
}

unsigned __wrap_if_nametoindex(const char *name)
{
	return take8(&in);
}

static void read_link(void)
{
	struct link_monitor m = { .fd = -1, .query_fd = -1, .tun_fd = -1, .nsid = -1 };

	m.hears_all = take8(&in) & 1;
	for (int i = 0; i < 4 && in.len > 0; i++) {
		struct link_state s, before;
		memset(&s, 0xa5, sizeof(s));
		memcpy(&before, &s, sizeof(s));
		int r = link_monitor_read(&m, &s);
		CHECK(r <= 0);
		if (r < 0)
			CHECK(memcmp(&s, &before, sizeof(s)) == 0);
		else
			CHECK(memchr(s.name, 0, sizeof(s.name)) != NULL);
		(void)!link_monitor_set_gso(&m, take8(&in));
	}
}

static void read_routes(void)
{
	struct route_monitor m = { .fd = -1, .query_fd = -1 };
	struct endpoint e = { 0 };
	uint8_t how = take8(&in);

	e.to.sa.sa_family = how & 1 ? AF_INET : AF_INET6;
	e.from_ifindex = how >> 4;
	if (how & 8)
		e.from_ifindex = 0;
	else if (how & 1)
		e.from.in4.s_addr = 1;
	else
		e.from.in6.s6_addr[how & 2 ? 0 : 15] = 0xfe;
	(void)route_monitor_read(&m);
	(void)route_source_holds(&m, &e, how & 4 ? 7 : 0);
}

static void set_up_link(void)
{
	struct link_params p = { .mtu = take8(&in),
				 .txqueuelen = take8(&in),
				 .gso_max_size = take8(&in) };
	unsigned done = 0xa5;

	if (link_setup("wg0", &p, &done) < 0)
		CHECK(done == 0xa5);
}

/* The finder itself, in memory of exactly the size. */
static void find(void)
{
	uint8_t skip = take8(&in), type = take8(&in);
	uint8_t *copy = copy_of(in.data, in.len);
	struct bytes body = { copy, in.len }, b = nl_find(body, skip, type);
	if (b.data)
		CHECK(b.data >= copy && b.data + b.len <= copy + in.len);
	(void)nl_find_u32(body, skip, type, 0);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	in = (struct input){ data, len };
	switch (take8(&in) & 3) {
	case 0:
		read_link();
		break;
	case 1:
		read_routes();
		break;
	case 2:
		set_up_link();
		break;
	default:
		find();
		break;
	}
	return 0;
}
