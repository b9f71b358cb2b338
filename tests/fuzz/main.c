/* SPDX-License-Identifier: MPL-2.0 */
/* Runs a fuzz target over files and directories of inputs, so that a corpus is replayed by any
 * compiler and in every test run. Each input is handed over in memory of exactly its size. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	MAX_INPUT_LEN = 16 * 1024 * 1024,
};

static void close_filep(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

static void close_dirp(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* All functions below return the number of inputs, or -1 after a message. */
static int replay_file(const char *path, size_t len)
{
	FILE *file CLEANUP(close_filep) = fopen(path, "rb");
	if (!file || len > MAX_INPUT_LEN) {
		(void)fprintf(stderr, "%s: %s\n", path, strerror(file ? EFBIG : errno));
		return -1;
	}
	uint8_t *data CLEANUP(free_ptrp) = malloc(len ? len : 1);
	if (!data || fread(data, 1, len, file) != len) {
		(void)fprintf(stderr, "%s: can not be read\n", path);
		return -1;
	}
	/* The name comes first: it is what matters when the next line is a crash. */
	(void)printf("%s\n", path);
	(void)fflush(stdout);
	(void)LLVMFuzzerTestOneInput(data, len);
	return 1;
}

static int replay_path(const char *path, unsigned depth);

static int replay_dir(const char *path, unsigned depth)
{
	DIR *dir CLEANUP(close_dirp) = opendir(path);
	if (!dir) {
		(void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}

	int n_inputs = 0;
	const struct dirent *entry;
	while ((entry = readdir(dir)) != NULL) {
		char child[4096];
		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(child, sizeof(child), "%s/%s", path, entry->d_name) >=
		    (int)sizeof(child))
			return -1;
		int n = replay_path(child, depth + 1);
		if (n < 0)
			return -1;
		n_inputs += n;
	}
	return n_inputs;
}

static int replay_path(const char *path, unsigned depth)
{
	struct stat st;
	if (stat(path, &st) < 0 || depth > 8) {
		(void)fprintf(stderr, "%s: %s\n", path, strerror(depth > 8 ? ELOOP : errno));
		return -1;
	}
	if (S_ISDIR(st.st_mode))
		return replay_dir(path, depth);
	return replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
	int n_inputs = 0;
	for (int i = 1; i < argc; i++) {
		int n = replay_path(argv[i], 0);
		if (n < 0)
			return 1;
		n_inputs += n;
	}
	(void)printf("%d inputs\n", n_inputs);
	return n_inputs ? 0 : 1; /* an empty corpus tests nothing */
}
