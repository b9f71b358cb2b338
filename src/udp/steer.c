/* SPDX-License-Identifier: MPL-2.0 */
/* The program sees the UDP payload from offset 0. A load beyond its end makes it return 0, which is
 * the control socket: short and empty datagrams need no test. */
#include "udp/steer.h"

#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>

enum {
	TYPE_OFFSET = 0,
	TYPE_TRANSPORT = 4, /* message type of PROTOCOL section 11; udp/ knows no more of it */
	INDEX_OFFSET = 4,
};

int udp_steer_attach(int fd, uint32_t first, uint32_t n_workers)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TYPE_OFFSET),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TYPE_TRANSPORT, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, INDEX_OFFSET),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, n_workers),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, first),
		BPF_STMT(BPF_RET | BPF_A, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0)
		return -errno;
	return 0;
}
