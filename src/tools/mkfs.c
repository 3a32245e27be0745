/* mkfs.holdfast: makes an empty volume. */
#include "tool.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct mkfs {
	struct hf_format_options opts;
	uint8_t uuid[16];
};

static bool mkfs_option(void *ctx, char letter, const char *name, const char *arg)
{
	struct mkfs *m = ctx;

	(void)name;
	switch (letter) {
	case 's':
		return tool_parse_size(arg, &m->opts.bytes) && m->opts.bytes > 0;
	case 'L':
		m->opts.label = arg;
		return strlen(arg) <= 63;
	case 'U':
		m->opts.uuid = m->uuid;
		return tool_parse_uuid(arg, m->uuid);
	case 'f':
		m->opts.force = true;
		return true;
	default:
		m->opts.sparse = true;
		return true;
	}
}

static int print_made(const char *path, bool json)
{
	struct hf_mount_options ro = {.struct_size = sizeof(ro), .flags = HF_MOUNT_RDONLY};
	struct hf_info info;
	struct hf_statfs sf;
	hf_volume *vol;
	char uuid[37], a[32], b[32];
	int err = hf_mount(&vol, path, &ro);

	if (err)
		return tool_fail(err, "%s was formatted, but does not open", path);
	hf_info(vol, &info);
	hf_statfs(vol, &sf);
	tool_uuid(info.uuid, uuid);
	if (json) {
		json_t *o = json_pack("{s:o,s:s,s:o,s:I,s:I,s:s,s:s,s:s}", "path", tool_json_name(path), "uuid", uuid, "label",
				      tool_json_name(info.label), "bytes", (json_int_t)info.bytes, "blocks_free",
				      (json_int_t)sf.blocks_free, "kind", info.kind, "granularity", info.granularity, "survives",
				      info.survives);
		tool_json_print(o);
	} else {
		printf("%s: %s, %s for files, uuid %s%s%s%s\n", path, tool_human(info.bytes, a),
		       tool_human(sf.blocks_free * sf.block_bytes, b), uuid, *info.label ? ", label '" : "", info.label,
		       *info.label ? "'" : "");
		printf("%s at %s granularity; what returns survives: %s\n", info.kind, info.granularity, info.survives);
	}
	return tool_unmount(&vol, EXIT_OK);
}

/* A:B, as such a volume is named from now on. */
static char *join(char **names)
{
	char *list = strdup(*names), *more;

	while (list && *++names) {
		if (asprintf(&more, "%s:%s", list, *names) < 0)
			more = NULL;
		free(list);
		list = more;
	}
	return list;
}

/* A file that is named like the list, or like a part of it, is what the list would be taken for: the wrong thing would be formatted. */
static const char *taken_for(char **names, const char *list)
{
	for (; *names; names++)
		if (strchr(*names, ':') && access(*names, F_OK) == 0)
			return *names;
	return access(list, F_OK) == 0 ? list : NULL;
}

int main(int argc, char **argv)
{
	static const struct tool_option options[] = {
		{"size", 's', true, "size of the volume, of each device (64M, 1.5G); needed when the file does not exist"},
		{"label", 'L', true, "label, up to 63 bytes"},
		{"uuid", 'U', true, "uuid (default: random)"},
		{"force", 'f', false, "format although the place holds something"},
		{"sparse", 0, false, "do not allocate the file's blocks; a full host then shows as an I/O error later"},
		{0},
	};
	struct mkfs m = {.opts = {.struct_size = sizeof(m.opts), .uid = geteuid(), .gid = getegid()}};
	bool json = false;
	int status, err;
	const char *file;
	char *volume;

	tool_begin("mkfs.holdfast");
	status = tool_options(argc, argv, "[-s SIZE] [-L LABEL] [-U UUID] [-f] [--sparse] [--json] VOLUME...",
			      "Makes an empty holdfast volume on a device-DAX node or in a file, which is created if need be.\n"
			      "Several make one volume, one behind the other; it is then named A:B, and SIZE is that of each.\n"
			      "Refuses a place that holds something (a known signature, or anything but zeros in its first or last MiB)\n"
			      "without -f.",
			      options, true, mkfs_option, &m, &json);
	if (status >= 0)
		return status;
	if (argc - optind < 1)
		return tool_usage("a VOLUME is needed");
	volume = join(argv + optind);
	if (!volume)
		return tool_fail(-ENOMEM, "%s", argv[optind]);
	file = argc - optind > 1 ? taken_for(argv + optind, volume) : NULL;
	if (file) {
		status = tool_usage("there is a file named '%s', and it is not clear what is meant: rename it", file);
		free(volume);
		return status;
	}
	err = hf_format(volume, &m.opts);
	status = err ? tool_fail(err, "%s", volume) : tool_finish(print_made(volume, json));
	free(volume);
	return status;
}
