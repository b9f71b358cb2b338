/* SPDX-License-Identifier: MPL-2.0 */
/* The client of `status=1`. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/macro.h"
#include "daemon/status.h"

#define KEY_A "00108310518720928b30d38f41149351559761969b71d79f8218a39259a7a29a"

static char out[8192];

static int print(const char *reply, bool json)
{
	FILE *in = fmemopen((char *)reply, strlen(reply), "r");
	memset(out, 0, sizeof(out));
	FILE *to = fmemopen(out, sizeof(out) - 1, "w");
	int r = status_print(in, to, json);
	fclose(to);
	fclose(in);
	return r;
}

static void expect(const char *reply, bool json, const char *expected)
{
	cr_assert(eq(int, print(reply, json), 0), "%s", reply);
	cr_assert(eq(str, out, (char *)expected));
}

Test(status, text)
{
	expect("version=0.1.0\nworkers=2\nerrno=0\n\n", false, "version: 0.1.0\nworkers: 2\n");
	expect("version=0.1.0\nworker=0\nloops=5\npublic_key=" KEY_A "\ntx_bytes=1\nerrno=0\n\n",
	       false,
	       "version: 0.1.0\n\n  worker: 0\n  loops: 5\n\n  public_key: "
	       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopo=\n  tx_bytes: 1\n");
}

Test(status, json_values)
{
	expect("a=1\nb=true\nc=false\nd=x\ne=\nf=007\ng=0\nh=-1\ni=1.5\nj=12345678901234567890\n"
	       "k=q\"u\\o\nl=null\nm=a=b\nerrno=0\n\n",
	       true,
	       "{\"a\":1,\"b\":true,\"c\":false,\"d\":\"x\",\"e\":\"\",\"f\":\"007\",\"g\":0,"
	       "\"h\":\"-1\",\"i\":\"1.5\",\"j\":\"12345678901234567890\",\"k\":\"q\\\"u\\\\o\","
	       "\"l\":\"null\",\"m\":\"a=b\"}\n");
}

Test(status, json_groups)
{
	expect("a=1\ndrop.x=2\ndrop.y=3\nload.x=4\nb=5\nerrno=0\n\n", true,
	       "{\"a\":1,\"drop\":{\"x\":2,\"y\":3},\"load\":{\"x\":4},\"b\":5}\n");
	expect("drop.x=2\nerrno=0\n\n", true, "{\"drop\":{\"x\":2}}\n");
}

Test(status, json_sections)
{
	expect("v=1\nworker=0\nloops=5\ndrop.x=1\nworker=1\nloops=6\npublic_key=" KEY_A
	       "\ndrop.y=7\npublic_key=" KEY_A "\nerrno=0\n\n",
	       true,
	       "{\"v\":1,\"worker\":[\n{\"worker\":0,\"loops\":5,\"drop\":{\"x\":1}},\n"
	       "{\"worker\":1,\"loops\":6}],\"peer\":[\n"
	       "{\"public_key\":\"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopo=\","
	       "\"drop\":{\"y\":7}},\n"
	       "{\"public_key\":\"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopo=\"}]}\n");
	expect("worker=0\nerrno=0\n\n", true, "{\"worker\":[\n{\"worker\":0}]}\n");
	expect("drop.x=1\nworker=0\nerrno=0\n\n", true,
	       "{\"drop\":{\"x\":1},\"worker\":[\n{\"worker\":0}]}\n");
	expect("errno=0\n\n", true, "{}\n");
}

Test(status, a_terminal_is_not_told_what_to_do)
{
	expect("a=\x1b[2Jx\nerrno=0\n\n", false, "a: ?[2Jx\n");
}

Test(status, errors)
{
	cr_assert(eq(int, print("errno=12\n\n", false), -12));
	cr_assert(eq(int, print("errno=-71\n\n", true), -71));
	cr_assert(eq(str, out, (char *)""));
	static const char *const replies[] = { "a\n", "a=1\n", "a=1", "errno=0", "\n" };
	for (size_t i = 0; i < ARRAY_SIZE(replies); i++)
		cr_assert(eq(int, print(replies[i], false), -EPROTO), "%s", replies[i]);
}

Test(status, nobody_there)
{
	cr_assert(eq(int, status_ask("/nonexistent", "wg0", false), -ENOENT));
}
