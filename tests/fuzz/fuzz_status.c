/* SPDX-License-Identifier: MPL-2.0 */
/* Fuzz target: what --status makes of a daemon's reply. Whatever that is, JSON comes out well-formed. */
#include <ctype.h>

#include "daemon/status.h"
#include "fuzz/fuzz.h"

enum { MAX_DEPTH = 8 };

static void skip_space(const char **p)
{
	while (**p == ' ' || **p == '\n')
		(*p)++;
}

static bool take(const char **p, char c)
{
	skip_space(p);
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

static void json_string(const char **p)
{
	require(take(p, '"'), "no string");
	while (**p != '"') {
		require((unsigned char)**p >= ' ', "a raw control character, or no end");
		if (*(*p)++ != '\\')
			continue;
		char c = *(*p)++;
		require(c && strchr("\"\\/bfnrtu", c) != NULL, "escape");
		for (int i = 0; c == 'u' && i < 4; i++)
			require(isxdigit((unsigned char)*(*p)++), "code point");
	}
	(*p)++;
}

static void json_value(const char **p, int depth);

static void json_members(const char **p, char end, int depth)
{
	require(depth < MAX_DEPTH, "depth");
	if (take(p, end))
		return;
	do {
		if (end == '}') {
			json_string(p);
			require(take(p, ':'), "no colon");
		}
		json_value(p, depth);
	} while (take(p, ','));
	require(take(p, end), "not closed");
}

static void json_number(const char **p)
{
	const char *start = *p;
	while (isdigit((unsigned char)**p))
		(*p)++;
	require(*p > start && (*start != '0' || *p == start + 1), "number");
}

static void json_value(const char **p, int depth)
{
	if (take(p, '{'))
		json_members(p, '}', depth + 1);
	else if (take(p, '['))
		json_members(p, ']', depth + 1);
	else if (**p == '"')
		json_string(p);
	else if (strncmp(*p, "true", 4) == 0)
		*p += 4;
	else if (strncmp(*p, "false", 5) == 0)
		*p += 5;
	else
		json_number(p);
}

static int print(const uint8_t *data, size_t len, bool json, char **ret_text)
{
	char *text = NULL;
	size_t text_len = 0;
	FILE *in = fmemopen((void *)(uintptr_t)data, len, "r");
	FILE *out = open_memstream(&text, &text_len);

	require(in && out, "out of memory");
	int r = status_print(in, out, json);
	(void)fclose(in);
	(void)fclose(out);
	*ret_text = text;
	require(!json || strlen(text) == text_len, "a zero byte in JSON");
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *plain, *json;

	if (len == 0)
		return 0;
	int r = print(data, len, false, &plain);
	require(print(data, len, true, &json) == r, "the form changes the result");
	if (r == 0 && json[0]) {
		const char *p = json;
		json_value(&p, 0);
		skip_space(&p);
		require(!*p, "something after the end");
	}
	free(plain);
	free(json);
	return 0;
}
