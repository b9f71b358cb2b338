/* SPDX-License-Identifier: MPL-2.0 */
/* Fuzz target: command line and environment. The input is a list of words that end with a zero byte. A
 * word's first byte says what it is: an option's name, alone or with the rest as its value, a variable
 * with the rest as its value, or the rest as it stands. Whatever they say, it is refused, or what comes
 * out is in range. */
#include <errno.h>

#include "daemon/options.h"
#include "fuzz/fuzz.h"

enum { MAX_WORDS = 40, MAX_WORD_LEN = 300 };

struct line {
	char *argv[MAX_WORDS + 2];
	int argc;
};

static void add(struct line *l, const char *flag, const char *value)
{
	char word[2 * MAX_WORD_LEN];
	(void)snprintf(word, sizeof(word), "%s%s", flag, value);
	l->argv[l->argc++] = strdup(word); /* of exactly its size */
	require(l->argv[l->argc - 1] != NULL, "out of memory");
}

static void add_word(struct line *l, uint8_t kind, const char *rest)
{
	char flag[64];
	const char *name, *variable;
	if (kind >> 6 == 3) {
		add(l, "", rest);
		return;
	}
	if (!options_row(63 - (kind & 63), &name, &variable)) /* a word has no zero byte */
		return;
	(void)snprintf(flag, sizeof(flag), "--%s%s", name ? name : "", kind >> 6 == 1 ? "=" : "");
	switch (kind >> 6) {
	case 0:
		add(l, flag, "");
		break;
	case 1:
		add(l, flag, rest);
		break;
	default:
		require(!variable || setenv(variable, rest, 1) == 0, "setenv");
		break;
	}
}

static void parse_words(struct line *l, const uint8_t *data, size_t len)
{
	add(l, "ringtun", "");
	while (len > 0 && l->argc <= MAX_WORDS) {
		char rest[MAX_WORD_LEN];
		const uint8_t *end = memchr(data, 0, len);
		size_t n = end ? (size_t)(end - data) : len;
		size_t n_rest = n > 0 ? MIN(n - 1, sizeof(rest) - 1) : 0;
		memcpy(rest, data + (n > 0), n_rest);
		rest[n_rest] = '\0';
		if (n > 0)
			add_word(l, data[0], rest);
		data += MIN(n + 1, len);
		len -= MIN(n + 1, len);
	}
	l->argv[l->argc] = NULL;
}

static void check(const struct options *o, int r)
{
	require(r == 0 || r == -EINVAL, "error");
	require(o->n_notes <= OPTIONS_MAX_NOTES, "notes");
	require(o->tun_fd == -1 || o->tun_fd > 2, "TUN descriptor");
	require(o->uapi_fd == -1 || o->uapi_fd > 2, "control descriptor");
	require(o->n_workers <= OPTIONS_MAX_THREADS, "threads");
	require(o->mtu == 0 || o->mtu >= 68, "MTU");
	require(o->txqueuelen <= INT32_MAX && o->gso_max_size <= UINT16_MAX, "lengths");
	require(o->io <= RINGTUN_IO_POLL && o->steering <= RINGTUN_OFF, "choices");
	require(o->nice >= -20 && o->nice <= 0, "nice");
	if (r < 0 || o->action == OPTIONS_HELP || o->action == OPTIONS_VERSION)
		return;
	require(o->name || o->tun_fd > 2, "no interface");
	require(!o->name || options_name_is_usable(o->name), "name of the interface");
	require(!o->log_file || o->log_file[0], "log file");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static FILE *null;
	struct line l = { .argc = 0 };
	struct options o;
	FILE *old = stderr;

	if (!null)
		null = fopen("/dev/null", "w");
	require(null != NULL, "no /dev/null");
	const char *flag, *variable;
	for (size_t i = 0; options_row(i, &flag, &variable); i++)
		if (variable)
			(void)unsetenv(variable);
	parse_words(&l, data, len);
	stderr = null; /* one complaint per input is not to be read */
	int r = options_parse(&o, l.argc, l.argv);
	if (r == 0 && o.action == OPTIONS_HELP)
		options_print_help(null);
	stderr = old;
	check(&o, r);
	options_clear_environment();
	require(!getenv("WG_TUN_FD") && !getenv("WG_UAPI_FD"), "descriptors are handed on");
	for (int i = 0; i < l.argc; i++)
		free(l.argv[i]);
	return 0;
}
