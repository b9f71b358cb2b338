/* SPDX-License-Identifier: MPL-2.0 */
/* Fuzz target: names and control messages as received from UDP sockets, and what is sent from what they
 * say. The first byte is the length of the name; bit 7 asks for well-formed headers. */
#include <netinet/in.h>

#include "fuzz/fuzz.h"
#include "udp/cmsg.h"

static struct bytes copy_bytes(const uint8_t *data, size_t len)
{
	return (struct bytes){ copy_of(data, len), len };
}

/* Turns (level, type, length, payload) into a control message, again and again. */
static struct bytes build(const uint8_t *data, size_t len)
{
	static const int levels[] = { IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, SOL_SOCKET };
	uint8_t p[2048] = { 0 };
	size_t n = 0;

	while (len >= 3 && n < 1500) {
		size_t payload = MIN((size_t)(data[2] % 40), len - 3);
		struct cmsghdr h = { .cmsg_len = CMSG_LEN(payload),
				     .cmsg_level = levels[data[0] % 4],
				     .cmsg_type = data[1] };
		memcpy(p + n, &h, sizeof(h));
		memcpy(p + n + CMSG_LEN(0), data + 3, payload);
		n += CMSG_SPACE(payload);
		data += 3 + payload;
		len -= 3 + payload;
	}
	return copy_bytes(p, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct udp_received got;

	if (len == 0)
		return 0;
	size_t name_len = MIN((size_t)(data[0] & 127), len - 1);
	struct bytes name = copy_bytes(data + 1, name_len);
	struct bytes control = data[0] & 128 ? build(data + 1 + name_len, len - 1 - name_len)
					     : copy_bytes(data + 1 + name_len, len - 1 - name_len);
	memset(&got, 0xa5, sizeof(got));
	udp_cmsg_parse(&got, name, control);
	sa_family_t family = got.from.to.sa.sa_family;
	CHECK(family == 0 || family == AF_INET || family == AF_INET6);
	if (endpoint_is_set(&got.from)) {
		union udp_cmsg_send out;
		size_t n = udp_cmsg_build(&out, &got.from, got.tos, (uint16_t)got.segment_len);
		CHECK(n <= sizeof(out));
	}
	free((void *)(uintptr_t)name.data);
	free((void *)(uintptr_t)control.data);
	return 0;
}
