/* SPDX-License-Identifier: MPL-2.0 */
/* The command line and the environment. */
#include "daemon/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	MIN_MTU = 68, /* RFC 791's least */
	/* From one segment to what the kernel calls GSO_LEGACY_MAX_SIZE: a super-packet must fit into a
	 * buffer. */
	MIN_GSO_MAX_SIZE = 2048,
	GSO_LEGACY_MAX_SIZE = 65535,
	DEFAULT_NICE = -13, /* src/adr/0007-priority.md */
};

/* What parsing one value needs to know. */
struct option_row;
typedef bool parse_fn(struct options *options, const struct option_row *row, const char *value);

struct option_row {
	const char *name;     /* long option; NULL = there is only the variable */
	const char *variable; /* NULL = there is only the flag */
	const char *arg;      /* what --help calls the value; NULL = none */
	const char *help;     /* NULL = accepted, not shown */
	parse_fn *parse;      /* false: the value is not acceptable */
	size_t field;         /* offset of what a shared parser sets */
	uint32_t min, max;    /* of parse_range() */
	bool may_be_zero;
	char letter; /* short option, or 0 */
};

static void *field_of(struct options *options, const struct option_row *row)
{
	return (char *)options + row->field;
}

/* Digits only, up to @max. */
static bool parse_number(const char *text, unsigned long max, unsigned long *ret)
{
	if (!isdigit((unsigned char)*text))
		return false;
	char *end;
	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (*end || errno || value > max)
		return false;
	*ret = value;
	return true;
}

static bool parse_foreground(struct options *options, const struct option_row *row,
			     const char *value)
{
	if (!value || strcmp(value, "1") == 0) /* the variable counts with exactly this */
		options->foreground = true;
	return true;
}

static bool parse_action(struct options *options, const struct option_row *row, const char *value)
{
	options->action = row->letter == 'h' ? OPTIONS_HELP : OPTIONS_VERSION;
	return true;
}

static bool parse_status(struct options *options, const struct option_row *row, const char *value)
{
	options->action = OPTIONS_STATUS;
	options->name = value;
	return true;
}

static bool parse_json(struct options *options, const struct option_row *row, const char *value)
{
	options->json = true;
	return true;
}

/* A descriptor above the standard ones; the Rust family writes -1 for none. */
static bool parse_fd(struct options *options, const struct option_row *row, const char *value)
{
	unsigned long number;
	int *fd = field_of(options, row);
	if (strcmp(value, "-1") == 0) {
		*fd = -1;
		return true;
	}
	if (!parse_number(value, INT_MAX, &number) || number <= STDERR_FILENO)
		return false;
	*fd = (int)number;
	return true;
}

static bool parse_string(struct options *options, const struct option_row *row, const char *value)
{
	const char **string = field_of(options, row);
	*string = value;
	return *value != '\0';
}

/* The row's least and most; 0 as well where that means something of its own. */
static bool parse_range(struct options *options, const struct option_row *row, const char *value)
{
	unsigned long number;
	uint32_t *field = field_of(options, row);
	if (!parse_number(value, row->max, &number) ||
	    (number < row->min && !(number == 0 && row->may_be_zero)))
		return false;
	*field = (uint32_t)number;
	return true;
}

static bool parse_nice(struct options *options, const struct option_row *row, const char *value)
{
	unsigned long number;
	bool is_raised = *value == '-';
	if (!parse_number(value + is_raised, 20, &number) || (number && !is_raised))
		return false;
	options->nice = -(int)number;
	return true;
}

static bool parse_io(struct options *options, const struct option_row *row, const char *value)
{
	static const char *const names[] = {
		[RINGTUN_IO_AUTO] = "auto",
		[RINGTUN_IO_URING] = "uring",
		[RINGTUN_IO_POLL] = "poll",
	};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			options->io = (enum ringtun_io)i;
			return true;
		}
	}
	return false;
}

static bool parse_switch(struct options *options, const struct option_row *row, const char *value)
{
	static const char *const names[] = {
		[RINGTUN_AUTO] = "auto",
		[RINGTUN_ON] = "on",
		[RINGTUN_OFF] = "off",
	};
	enum ringtun_switch *state = field_of(options, row);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			*state = (enum ringtun_switch)i;
			return true;
		}
	}
	return false;
}

static bool parse_disable_multi_queue(struct options *options, const struct option_row *row,
				      const char *value)
{
	options->multi_queue = RINGTUN_OFF;
	return true;
}

static void set_log_level(struct options *options, int level)
{
	options->log_level = level;
	options->log_requested = level != OPTIONS_SILENT;
}

/* The names of all programs that this one stands in for. */
static bool parse_verbosity(struct options *options, const struct option_row *row,
			    const char *value)
{
	static const struct {
		const char *name;
		int level;
	} levels[] = {
		{ "silent", OPTIONS_SILENT },     { "off", OPTIONS_SILENT },
		{ "error", RINGTUN_LOG_ERROR },   { "warn", RINGTUN_LOG_ERROR },
		{ "info", RINGTUN_LOG_INFO },     { "debug", RINGTUN_LOG_DEBUG },
		{ "verbose", RINGTUN_LOG_DEBUG }, { "trace", RINGTUN_LOG_DEBUG },
	};
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcasecmp(value, levels[i].name) == 0) {
			set_log_level(options, levels[i].level);
			return true;
		}
	}
	return false;
}

static bool parse_verbose(struct options *options, const struct option_row *row, const char *value)
{
	set_log_level(options, RINGTUN_LOG_DEBUG);
	return true;
}

/* wireguard-go's variable: what it does not know means "error" (U-063). */
static bool parse_go_log_level(struct options *options, const struct option_row *row,
			       const char *value)
{
	if (strcmp(value, "verbose") == 0 || strcmp(value, "debug") == 0)
		set_log_level(options, RINGTUN_LOG_DEBUG);
	else if (strcmp(value, "silent") == 0)
		set_log_level(options, OPTIONS_SILENT);
	else
		set_log_level(options, RINGTUN_LOG_ERROR);
	return true;
}

static bool add_note(struct options *options, const struct option_row *row)
{
	assert(options->n_notes < OPTIONS_MAX_NOTES);
	options->notes[options->n_notes++] = row->name;
	return true;
}

static bool parse_ignored(struct options *options, const struct option_row *row, const char *value)
{
	for (unsigned i = 0; i < options->n_notes; i++)
		if (options->notes[i] == row->name)
			return true;
	return add_note(options, row);
}

/* Documented as WG_SUDO=1, and refused by the option parsers of those who document it. Here any
 * text is taken, and what means "no" means no: privileges are to be dropped. */
static bool parse_sudo(struct options *options, const struct option_row *row, const char *value)
{
	static const char *const no[] = { "0", "false", "no", "off" };
	options->keep_privileges = true;
	if (!value)
		options->user = NULL; /* the flag beats a variable, and a flag before it */
	for (size_t i = 0; value && i < ARRAY_SIZE(no); i++)
		if (strcasecmp(value, no[i]) == 0)
			options->keep_privileges = false;
	options->login_user = !options->keep_privileges;
	return true;
}

static bool parse_user(struct options *options, const struct option_row *row, const char *value)
{
	options->keep_privileges = false;
	return parse_string(options, row, value);
}

#define FIELD(f) .field = offsetof(struct options, f)

/* In the order of --help. Of two variables for one thing the later row wins. */
/* clang-format off */
static const struct option_row rows[] = {
	{ "foreground", "WG_PROCESS_FOREGROUND", NULL,
	  "stay in the foreground", .parse = parse_foreground, .letter = 'f' },
	{ "threads", "WG_THREADS", "N",
	  "worker threads; 0 = one per core", .parse = parse_range, FIELD(n_workers),
	  .max = OPTIONS_MAX_THREADS, .letter = 't' },
	{ NULL, "LOG_LEVEL", NULL, NULL, .parse = parse_go_log_level },
	{ "verbosity", "WG_LOG_LEVEL", "LEVEL",
	  "silent, error, info or debug", .parse = parse_verbosity, .letter = 'v' },
	{ "verbose", NULL, NULL, "as --verbosity=debug", .parse = parse_verbose },
	{ "log", "WG_LOG_FILE", "FILE",
	  "append the log to FILE", .parse = parse_string, FIELD(log_file), .letter = 'l' },
	{ "tun-fd", "WG_TUN_FD", "N",
	  "use this configured TUN descriptor", .parse = parse_fd, FIELD(tun_fd) },
	{ "uapi-fd", "WG_UAPI_FD", "N",
	  "use this listening or connected control socket", .parse = parse_fd, FIELD(uapi_fd) },
	{ "mtu", "RINGTUN_MTU", "BYTES", "MTU of a new interface", .parse = parse_range, FIELD(mtu),
	  .min = MIN_MTU, .max = UINT16_MAX },
	{ "txqueuelen", "RINGTUN_TXQUEUELEN", "N",
	  "queue length of a new interface", .parse = parse_range, FIELD(txqueuelen),
	  .max = INT32_MAX },
	{ "gso-max-size", "RINGTUN_GSO_MAX_SIZE", "BYTES",
	  "largest super-packet of a new interface; 0 = by its MTU",
	  .parse = parse_range, FIELD(gso_max_size),
	  .min = MIN_GSO_MAX_SIZE, .max = GSO_LEGACY_MAX_SIZE, .may_be_zero = true },
	{ "nice", "RINGTUN_NICE", "N",
	  "nice value of the threads, -20 to 0 (as started)", .parse = parse_nice },
	{ "io", "RINGTUN_IO", "ENGINE", "auto, uring or poll", .parse = parse_io },
	{ "tun-tso", "RINGTUN_TUN_TSO", "auto|on|off",
	  "TCP super-packets from and to the interface", .parse = parse_switch, FIELD(tun_tso) },
	{ "tun-uso", "RINGTUN_TUN_USO", "auto|on|off",
	  "UDP super-packets from and to the interface", .parse = parse_switch, FIELD(tun_uso) },
	{ "udp-gso", "RINGTUN_UDP_GSO", "auto|on|off",
	  "send runs of datagrams in one call", .parse = parse_switch, FIELD(udp_gso) },
	{ "udp-gro", "RINGTUN_UDP_GRO", "auto|on|off",
	  "receive runs of datagrams in one call", .parse = parse_switch, FIELD(udp_gro) },
	{ "multi-queue", "RINGTUN_MULTI_QUEUE", "auto|on|off",
	  "one queue of the interface per worker", .parse = parse_switch, FIELD(multi_queue) },
	{ "disable-multi-queue", NULL, NULL,
	  "as --multi-queue=off", .parse = parse_disable_multi_queue },
	{ "steering", "RINGTUN_STEERING", "auto|on|off",
	  "let the kernel choose a datagram's worker", .parse = parse_switch, FIELD(steering) },
	{ "cpu-mask", "RINGTUN_CPU_MASK", "LIST",
	  "vector kernels to allow: none, avx2,avx512", .parse = parse_string, FIELD(cpu_mask) },
	{ "user", "RINGTUN_USER", "NAME",
	  "become this user after set-up", .parse = parse_user, FIELD(user) },
	{ "no-new-privs", "RINGTUN_NO_NEW_PRIVS", "auto|on|off",
	  "never gain privileges again", .parse = parse_switch, FIELD(no_new_privs) },
	{ "drop-capabilities", "RINGTUN_DROP_CAPABILITIES", "auto|on|off",
	  "keep only what networking needs", .parse = parse_switch, FIELD(capabilities) },
	{ "landlock", "RINGTUN_LANDLOCK", "auto|on|off",
	  "no files but the control socket", .parse = parse_switch, FIELD(landlock) },
	{ "seccomp", "RINGTUN_SECCOMP", "auto|on|off",
	  "no system calls but those in use", .parse = parse_switch, FIELD(seccomp) },
	{ "disable-drop-privileges", "WG_SUDO", NULL,
	  "keep user and capabilities", .parse = parse_sudo },
	{ "status", NULL, "INTERFACE",
	  "show the state of a running daemon", .parse = parse_status },
	{ "json", NULL, NULL, "with --status: as JSON", .parse = parse_json },
	{ "version", NULL, NULL, "show the version", .parse = parse_action, .letter = 'V' },
	{ "help", NULL, NULL, "show this help", .parse = parse_action, .letter = 'h' },
	/* Others' options without a meaning here. */
	{ "disable-connected-udp", NULL, NULL, NULL, .parse = parse_ignored },
	{ "socket-buffer-size", NULL, "BYTES", NULL, .parse = parse_ignored },
	{ "tun-name-file", "WG_TUN_NAME_FILE", "FILE", NULL, .parse = parse_ignored },
};
/* clang-format on */

enum {
	N_ROWS = ARRAY_SIZE(rows),
	FIRST_LONG = 256, /* getopt values above every letter */
};

/* Speaks like getopt_long(), which reports the errors that it finds by itself. */
static int refuse(const char *program, const char *kind, const char *name, const char *value)
{
	(void)fprintf(stderr, "%s: unusable value '%s' of %s%s\n", program, value, kind, name);
	return -EINVAL;
}

/* Returns the first row whose variable has an unusable value, or NULL. */
static const struct option_row *parse_environment(struct options *options)
{
	const struct option_row *bad = NULL;
	for (size_t i = 0; i < N_ROWS; i++) {
		const char *value = rows[i].variable ? getenv(rows[i].variable) : NULL;
		if (value && *value && !rows[i].parse(options, &rows[i], value) && !bad)
			bad = &rows[i];
	}
	return bad;
}

/* The table as getopt_long() wants it. */
static void describe(struct option longs[N_ROWS + 1], char shorts[2 * N_ROWS + 1])
{
	size_t n_longs = 0;
	size_t n_shorts = 0;
	for (size_t i = 0; i < N_ROWS; i++) {
		const struct option_row *row = &rows[i];
		if (!row->name)
			continue;
		longs[n_longs++] = (struct option){
			.name = row->name,
			.has_arg = row->arg ? required_argument : no_argument,
			.val = FIRST_LONG + (int)i,
		};
		if (!row->letter)
			continue;
		shorts[n_shorts++] = row->letter;
		if (row->arg)
			shorts[n_shorts++] = ':';
	}
	longs[n_longs] = (struct option){ 0 };
	shorts[n_shorts] = '\0';
}

static const struct option_row *find_row(int val)
{
	if (val >= FIRST_LONG)
		return &rows[val - FIRST_LONG];
	for (size_t i = 0; i < N_ROWS; i++)
		if (rows[i].letter == val)
			return &rows[i];
	return NULL; /* '?': getopt_long() has said why */
}

static int parse_arguments(struct options *options, int argc, char **argv)
{
	struct option longs[N_ROWS + 1];
	char shorts[2 * N_ROWS + 1];
	describe(longs, shorts);

	optind = 0; /* start anew, also in a test's second call */
	int val;
	while ((val = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct option_row *row = find_row(val);
		if (!row)
			return -EINVAL;
		if (!row->parse(options, row, optarg))
			return refuse(argv[0], "--", row->name, optarg);
	}
	return 0;
}

bool options_name_is_usable(const char *name)
{
	size_t len = strlen(name);
	const char *percent = strchr(name, '%');

	if (!len || len >= IF_NAMESIZE || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (const char *c = name; *c; c++)
		if (*c == '/' || *c == ':' || isspace((unsigned char)*c) ||
		    iscntrl((unsigned char)*c))
			return false;
	return !percent || (percent[1] == 'd' && !strchr(percent + 1, '%'));
}

/* What is left on the command line: the interface. */
static int take_name(struct options *options, int argc, char **argv)
{
	int n_left = argc - optind;
	if (n_left > (options->action == OPTIONS_STATUS ? 0 : 1)) {
		(void)fprintf(stderr, "%s: too many arguments\n", argv[0]);
		return -EINVAL;
	}
	if (n_left)
		options->name = argv[optind];
	if (!options->name && options->tun_fd < 0) {
		(void)fprintf(stderr, "%s: no interface name\n", argv[0]);
		return -EINVAL;
	}
	if (options->name && !options_name_is_usable(options->name)) {
		(void)fprintf(stderr, "%s: unusable interface name '%s'\n", argv[0], options->name);
		return -EINVAL;
	}
	return 0;
}

int options_parse(struct options *options, int argc, char **argv)
{
	*options = (struct options){
		.action = OPTIONS_RUN,
		.tun_fd = -1,
		.uapi_fd = -1,
		.log_level = RINGTUN_LOG_ERROR,
		.nice = DEFAULT_NICE,
	};

	const struct option_row *bad = parse_environment(options);
	int r = parse_arguments(options, argc, argv);
	if (r < 0 || options->action == OPTIONS_HELP || options->action == OPTIONS_VERSION)
		return r; /* help is given whatever the environment holds */
	if (bad)
		return refuse(argv[0], "", bad->variable, getenv(bad->variable));
	return take_name(options, argc, argv);
}

void options_clear_environment(void)
{
	(void)unsetenv("WG_TUN_FD");
	(void)unsetenv("WG_UAPI_FD");
}

bool options_row(size_t i, const char **ret_flag, const char **ret_variable)
{
	if (i >= N_ROWS)
		return false;
	*ret_flag = rows[i].name;
	*ret_variable = rows[i].variable;
	return true;
}

void options_print_help(FILE *to)
{
	(void)fprintf(to, "Usage: ringtun [options] INTERFACE\n"
			  "       ringtun --status INTERFACE [--json]\n\n"
			  "Options, and the variables that say the same:\n");
	for (size_t i = 0; i < N_ROWS; i++) {
		const struct option_row *row = &rows[i];
		char flag[64];
		if (!row->help)
			continue;
		(void)snprintf(flag, sizeof(flag), "%c%c%s--%s%s%s", row->letter ? '-' : ' ',
			       row->letter ? row->letter : ' ', row->letter ? ", " : "  ",
			       row->name, row->arg ? "=" : "", row->arg ? row->arg : "");
		(void)fprintf(to, "  %-30s %s", flag, row->help);
		if (row->variable)
			(void)fprintf(to, " (%s)", row->variable);
		(void)fprintf(to, "\n");
	}
	(void)fprintf(to, "\nThe options of wireguard-go, BoringTun, NepTUN and GotaTun are "
			  "accepted; see ringtun(8).\n");
}
