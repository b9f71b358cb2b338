/* SPDX-License-Identifier: MPL-2.0 */
/* The client of `status=1`. It prints while it reads, so it needs no memory for a big table. */
#include "daemon/status.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/key_text.h"
#include "daemon/uapi_socket.h"

enum {
	TIMEOUT_SEC = 10,
	MAX_ERRNO = 4096,
	MAX_NUMBER_LEN = 19, /* digits; what is longer may not fit a reader's integer */
};

enum section {
	SECTION_DEVICE,
	SECTION_WORKERS,
	SECTION_PEERS,
	N_SECTIONS,
};

/* Key that begins an object of the section, and the name of its array in JSON. */
static const struct {
	const char *key, *array;
} sections[N_SECTIONS] = {
	[SECTION_WORKERS] = { "worker", "worker" },
	[SECTION_PEERS] = { "public_key", "peer" },
};

struct printer {
	FILE *out;
	bool json;
	enum section section;
	bool has_started; /* something was printed */
	bool has_member;  /* of the innermost open object */
	char group[64];   /* that is open, without its dot; "" = none */
};

static void json_string(FILE *out, const char *text)
{
	(void)fputc('"', out);
	for (const char *c = text; *c; c++) {
		if (*c == '"' || *c == '\\')
			(void)fputc('\\', out);
		if ((unsigned char)*c < ' ')
			(void)fprintf(out, "\\u%04x", (unsigned char)*c);
		else
			(void)fputc(*c, out);
	}
	(void)fputc('"', out);
}

static bool is_json_literal(const char *value)
{
	size_t len = strspn(value, "0123456789");
	if (len && !value[len])
		return len <= MAX_NUMBER_LEN && (value[0] != '0' || len == 1);
	return strcmp(value, "true") == 0 || strcmp(value, "false") == 0;
}

static void json_name(struct printer *p, const char *name)
{
	if (p->has_member)
		(void)fputc(',', p->out);
	p->has_member = true;
	json_string(p->out, name);
	(void)fputc(':', p->out);
}

static void json_close_group(struct printer *p)
{
	if (p->group[0]) {
		(void)fputc('}', p->out);
		p->has_member = true; /* the object around it has one: this group */
	}
	p->group[0] = '\0';
}

/* Opens the group of "group.name", if it is another than the open one; returns the name. */
static const char *json_enter_group(struct printer *p, const char *key)
{
	const char *dot = strchr(key, '.');
	size_t len = dot ? (size_t)(dot - key) : 0;
	if (len == 0 || len >= sizeof(p->group)) {
		dot = NULL; /* no name, or too long a one, is no group of ours */
		len = 0;
	}
	if (strlen(p->group) == len && strncmp(p->group, key, len) == 0)
		return dot ? dot + 1 : key;

	json_close_group(p);
	if (!dot)
		return key;
	(void)snprintf(p->group, sizeof(p->group), "%.*s", (int)len, key);
	json_name(p, p->group);
	(void)fputc('{', p->out);
	p->has_member = false;
	return dot + 1;
}

/* The end of what a section has open: its last object, and its array. */
static void json_leave_section(struct printer *p)
{
	json_close_group(p);
	if (p->section == SECTION_DEVICE)
		return;
	(void)fputs("}]", p->out);
	p->has_member = true;
}

static void json_begin_object(struct printer *p, enum section section)
{
	if (p->section == section) {
		json_close_group(p);
		(void)fputs("},\n{", p->out);
	} else {
		json_leave_section(p);
		json_name(p, sections[section].array);
		(void)fputs("[\n{", p->out);
	}
	p->has_member = false;
}

static void print_pair(struct printer *p, const char *key, const char *value)
{
	if (!p->json) {
		(void)fprintf(p->out, "%s%s: %s\n", p->section == SECTION_DEVICE ? "" : "  ", key,
			      value);
		return;
	}
	key = json_enter_group(p, key);
	json_name(p, key);
	if (is_json_literal(value))
		(void)fputs(value, p->out);
	else
		json_string(p->out, value);
}

static enum section section_of(const char *key)
{
	for (unsigned i = SECTION_WORKERS; i < N_SECTIONS; i++)
		if (strcmp(key, sections[i].key) == 0)
			return (enum section)i;
	return SECTION_DEVICE;
}

static void print_line(struct printer *p, const char *key, const char *value)
{
	char base64[KEY_BASE64_LEN + 1];
	uint8_t public_key[KEY_LEN];
	enum section section = section_of(key);

	if (!p->has_started && p->json)
		(void)fputc('{', p->out);
	p->has_started = true;
	if (section == SECTION_PEERS && key_from_hex(public_key, value, strlen(value))) {
		key_to_base64(base64, public_key);
		base64[KEY_BASE64_LEN] = '\0';
		value = base64;
	}
	if (section != SECTION_DEVICE) {
		if (p->json)
			json_begin_object(p, section);
		else
			(void)fputc('\n', p->out);
		p->section = section;
	}
	print_pair(p, key, value);
}

static void print_end(struct printer *p)
{
	if (!p->json)
		return;
	if (!p->has_started)
		(void)fputc('{', p->out);
	json_leave_section(p);
	(void)fputs("}\n", p->out);
}

/* Removes the line's end and control characters, which a terminal would obey. False without one. */
static bool tidy_line(char *line, ssize_t len)
{
	if (len < 1 || line[len - 1] != '\n')
		return false;
	line[len - 1] = '\0';
	for (char *c = line; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	return true;
}

int status_print(FILE *in, FILE *out, bool json)
{
	struct printer p = { .out = out, .json = json };
	char *line CLEANUP(free_ptrp) = NULL;
	size_t room = 0;

	for (;;) {
		ssize_t len = getline(&line, &room, in);
		if (!tidy_line(line, len))
			return -EPROTO;
		char *equals = strchr(line, '=');
		if (!equals)
			return -EPROTO;
		*equals = '\0';
		if (strcmp(line, "errno") != 0) {
			print_line(&p, line, equals + 1);
			continue;
		}
		long error = labs(strtol(equals + 1, NULL, 10));
		if (error)
			return error < MAX_ERRNO ? (int)-error : -EPROTO;
		print_end(&p);
		return 0;
	}
}

static void close_filep(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

int status_ask(const char *dir, const char *name, bool json)
{
	static const char request[] = "status=1\n\n";
	static const struct timeval timeout = { .tv_sec = TIMEOUT_SEC };

	int fd CLEANUP(close_fdp) = -1;
	int r = uapi_socket_connect(dir, name, &fd);
	if (r < 0)
		return r;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		return -errno;

	FILE *in CLEANUP(close_filep) = fdopen(fd, "r");
	if (!in)
		return -errno;
	fd = -1; /* now the stream's */
	r = status_print(in, stdout, json);
	if (r == 0 && fflush(stdout) != 0)
		return -errno;
	return r;
}
