/* What the command-line tools share: messages, sizes, a progress bar, JSON output, exit statuses. */
#ifndef HF_TOOLS_TOOL_H
#define HF_TOOLS_TOOL_H

#include <holdfast.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

extern const char *tool_name;		/* "mkfs.holdfast", "holdfast put" */

/* The first call of each main: sets the name, and makes sure that 0, 1 and 2 are no volume's descriptors. */
void tool_begin(const char *name);
/* "name: message" on standard error. */
void tool_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same with the library's sentence for err behind it; returns EXIT_FAILED. */
int tool_fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "try --help" and EXIT_USAGE. */
int tool_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Standard output could not be written (a full disk, a closed pipe): EXIT_FAILED, else status. */
int tool_finish(int status);

/* 4096, 64K, 1.5G, 2TiB: powers of 1024. */
bool tool_parse_size(const char *text, uint64_t *out);
/* Non-negative whole number up to max. */
bool tool_parse_number(const char *text, int base, uint64_t max, uint64_t *out);
/* "1.5 GiB", in a buffer of the caller. */
const char *tool_human(uint64_t bytes, char buf[32]);
/* "2026-01-02 03:04:05.123456789" in local time. */
const char *tool_time(int64_t ns, char buf[48]);
const char *tool_uuid(const uint8_t uuid[16], char buf[37]);
bool tool_parse_uuid(const char *text, uint8_t uuid[16]);
/* "drwxr-xr-x" */
const char *tool_mode(uint32_t mode, char buf[11]);
/* A name for the terminal: control bytes as \ooo. Out is at least 4 * strlen + 1 bytes. */
const char *tool_quote(const char *name, char *out, size_t size);

/* Prints the object on one line or indented, and frees it. Bytes that are not UTF-8 must not be in it: tool_json_name. */
int tool_json_print(json_t *obj);
/* A JSON string of any bytes: those that are not UTF-8 become \u00XX of their value. */
json_t *tool_json_name(const char *name);

/* A bar on standard error, only when that is a terminal and it is not --json. */
struct progress {
	const char *what;
	bool on, shown;
	int64_t last_ns;
};
void progress_begin(struct progress *p, const char *what, bool wanted);
void progress_update(struct progress *p, uint64_t done, uint64_t total, const char *unit);
void progress_end(struct progress *p);

int64_t tool_now_ns(void);		/* monotonic */

/* ---- holdfast's commands: argv[0] is the command's name; the status is returned */
typedef int tool_command(int argc, char **argv);
tool_command cmd_put, cmd_get, cmd_ls, cmd_cat, cmd_stat, cmd_mkdir, cmd_rm, cmd_mv, cmd_ln, cmd_truncate, cmd_punch, cmd_df,
	cmd_info, cmd_dump, cmd_bench, cmd_busy, cmd_frames, cmd_crash, cmd_scrub, cmd_grow;

/* The options of a command: fills *json, leaves optind at the first operand, answers --help and bad options. Returns -1 to go
 * on, otherwise the exit status. Each option is told to fn, which returns false for a bad argument. */
struct tool_option {
	const char *name;		/* long name without --, or NULL */
	char letter;			/* 0: none */
	bool has_arg;
	const char *help;
};
int tool_options(int argc, char **argv, const char *synopsis, const char *about, const struct tool_option *options, bool json_too,
		 bool (*fn)(void *ctx, char letter, const char *name, const char *arg), void *ctx, bool *json);
/* Mounts or says why not (NULL). */
hf_volume *tool_mount(const char *path, unsigned flags);
/* The same for looking: read-only, or read-write where the journal has something to replay. */
hf_volume *tool_mount_to_look(const char *path);
/* Unmounts and folds a failure into status. */
int tool_unmount(hf_volume **vol, int status);

#endif
