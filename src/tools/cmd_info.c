/* holdfast df, info, stat: what a volume and its inodes are. */
#include "look.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MAX_EXTENTS 4096u
#define DEVICES_MAX 8u

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

/* A count that cannot be told. */
#define DF_UNKNOWN UINT64_MAX

static void df_line(const char *what, uint64_t blocks, uint64_t all)
{
	char a[32];

	if (blocks == DF_UNKNOWN)
		return;
	printf("  %-16s %12" PRIu64 " blocks %10s %6.2f%%\n", what, blocks, tool_human(blocks * 4096, a), percent(blocks, all));
}

/* Who has it mounted. */
struct df_owner {
	pid_t pid;
	char who[LOOK_WHO_BYTES];
};

static void df_print(const char *path, const struct hf_statfs *s, const struct df_owner *owner)
{
	char a[32];

	printf("%s: %s for files%s\n", path, tool_human(s->blocks * s->block_bytes, a), owner->who);
	df_line("used", s->blocks_used, s->blocks);
	df_line("busy (journal)", s->blocks_busy_journal, s->blocks);
	df_line("busy (pinned)", s->blocks_busy_pinned, s->blocks);
	df_line("free", s->blocks_free, s->blocks);
	printf("  frames of 2 MiB: %" PRIu64 " in all, %" PRIu64 " free, %" PRIu64 " full, %" PRIu64 " split\n", s->frames, s->frames_free,
	       s->frames_full, s->frames_split);
	printf("  free space in whole frames: %.1f%%\n", percent(s->frames_free * 512, s->blocks_free));
	if (s->inodes_used != DF_UNKNOWN)
		printf("  inodes: %" PRIu64 " used, %" PRIu64 " free without growing the table\n", s->inodes_used, s->inodes_free);
}

static json_t *df_count(uint64_t n)
{
	return n == DF_UNKNOWN ? json_null() : json_integer((json_int_t)n);
}

static json_t *df_json(const char *path, const struct hf_statfs *s, const struct df_owner *owner)
{
	return json_pack("{s:o,s:o,s:I,s:I,s:I,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "path", tool_json_name(path), "owner",
			 owner->pid > 0 ? json_integer(owner->pid) : json_null(), "block_bytes", (json_int_t)s->block_bytes, "blocks",
			 (json_int_t)s->blocks, "free", (json_int_t)s->blocks_free, "busy_journal", df_count(s->blocks_busy_journal),
			 "busy_pinned", (json_int_t)s->blocks_busy_pinned, "used", (json_int_t)s->blocks_used, "frames",
			 (json_int_t)s->frames, "frames_free", (json_int_t)s->frames_free, "frames_full", (json_int_t)s->frames_full,
			 "frames_split", (json_int_t)s->frames_split, "inodes_used", df_count(s->inodes_used), "inodes_free",
			 df_count(s->inodes_free));
}

/* Blocks of frame f that files can have, that are allocated, and that are busy. */
static void df_frame(const struct look *l, const struct look_pins *p, uint64_t f, struct hf_statfs *s)
{
	uint64_t first = l->geo.first_data.v, n = l->geo.end_data.v - first, w, used = 0, busy = 0;

	for (w = f * (HF_BLOCKS_PER_FRAME / 64); w < (f + 1) * (HF_BLOCKS_PER_FRAME / 64); w++) {
		uint64_t mine = look_mask(w, first, n), line = look_word(l, w);

		used += (uint64_t)__builtin_popcountll(line | ~mine);
		s->blocks_used += (uint64_t)__builtin_popcountll(line & mine);
		if (p->held)
			busy += (uint64_t)__builtin_popcountll(p->held[w] & mine & ~line);
	}
	s->blocks_busy_pinned += busy;
	s->frames_free += used + busy == 0;
	s->frames_full += used + busy == HF_BLOCKS_PER_FRAME;
}

/* A volume that a process has mounted: what is on the media, and what that process publishes. What waits for its journal
 * counts as free. */
static int df_mounted(const char *path, struct hf_statfs *s, struct df_owner *owner)
{
	struct look_pins pins;
	struct look l;
	uint64_t f;
	int err = look_open(path, &l);

	if (err)
		return err;
	owner->pid = l.owner;
	memcpy(owner->who, l.who, sizeof(owner->who));
	*s = (struct hf_statfs){.block_bytes = HF_BLOCK_SIZE, .blocks = geo_blocks(&l.geo), .frames = l.geo.nframes};
	err = look_pins_try(path, &l, &pins);
	for (f = 0; !err && f < l.geo.nframes; f++)
		df_frame(&l, &pins, f, s);
	s->blocks_used -= l.geo.end_data.v - l.geo.first_data.v - geo_blocks(&l.geo);	/* the volume's own, among them */
	s->frames_split = s->frames - s->frames_free - s->frames_full;
	s->blocks_free = s->blocks - s->blocks_used - s->blocks_busy_pinned;
	s->blocks_busy_journal = s->inodes_used = s->inodes_free = DF_UNKNOWN;
	look_pins_free(&pins);
	look_close(&l);
	return err;
}

/* A mount for reading does not count what a dead process left pinned; the next one for writing will not hand it out. */
static void df_add_dead(const char *path, struct hf_statfs *s)
{
	struct hf_statfs dead;
	struct df_owner owner;

	if (df_mounted(path, &dead, &owner) || owner.pid || dead.blocks_busy_pinned <= s->blocks_busy_pinned)
		return;
	dead.blocks_busy_journal = s->blocks_busy_journal;
	dead.blocks_free -= s->blocks_busy_journal;
	dead.inodes_used = s->inodes_used;
	dead.inodes_free = s->inodes_free;
	*s = dead;
}

static int df_read(const char *path, struct hf_statfs *s, struct df_owner *owner)
{
	struct hf_mount_options ro = {.struct_size = sizeof(ro), .flags = HF_MOUNT_RDONLY};
	hf_volume *vol;
	int err = hf_mount(&vol, path, &ro);

	*owner = (struct df_owner){0};
	if (err == -EBUSY) {
		err = df_mounted(path, s, owner);
		return err ? tool_fail(err, "%s", path) : EXIT_OK;
	}
	if (err)
		vol = tool_mount(path, 0);		/* it may have to be recovered */
	if (!vol)
		return EXIT_FAILED;
	hf_statfs(vol, s);
	if (tool_unmount(&vol, EXIT_OK) != EXIT_OK)
		return EXIT_FAILED;
	df_add_dead(path, s);
	return EXIT_OK;
}

/* Opens the first operand for looking at it. */
static hf_volume *mount_to_look(int argc, char **argv, int *status)
{
	if (argc - optind < 1) {
		*status = tool_usage("a VOLUME is needed");
		return NULL;
	}
	*status = EXIT_FAILED;
	return tool_mount_to_look(argv[optind]);
}

int cmd_df(int argc, char **argv)
{
	bool json = false;
	int status = tool_options(argc, argv, "[--json] VOLUME",
				  "Shows how a volume's space is used. 'Busy' blocks are free on the media but may not be handed out yet: until\n"
				  "the next checkpoint of the journal, or because a pin holds them.",
				  NULL, true, NULL, NULL, &json);
	struct hf_statfs s;
	struct df_owner owner;

	if (status >= 0)
		return status;
	if (argc - optind < 1)
		return tool_usage("a VOLUME is needed");
	status = df_read(argv[optind], &s, &owner);
	if (status != EXIT_OK)
		return status;
	if (json)
		return tool_json_print(df_json(argv[optind], &s, &owner));
	df_print(argv[optind], &s, &owner);
	return EXIT_OK;
}

static void info_device(unsigned n, const struct hf_device *d)
{
	char a[32], b[32], node[32] = "";

	if (d->numa_node >= 0)
		snprintf(node, sizeof(node), ", NUMA node %d", d->numa_node);
	printf("device %u     %s: %s, %s granularity, %s from %s on%s\n", n, d->path, d->kind, d->granularity, tool_human(d->bytes, a),
	       d->media_off ? tool_human(d->media_off, b) : "0", node);
}

static json_t *info_devices(const struct hf_device *d, int n)
{
	json_t *list = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:o,s:s,s:s,s:I,s:I,s:o}", "path", tool_json_name(d[i].path), "kind", d[i].kind,
						      "granularity", d[i].granularity, "media_offset", (json_int_t)d[i].media_off,
						      "bytes", (json_int_t)d[i].bytes, "numa_node",
						      d[i].numa_node >= 0 ? json_integer(d[i].numa_node) : json_null()));
	return list;
}

static void info_print(const struct hf_info *i)
{
	char uuid[37], when[48], a[32], b[32], quoted[4 * sizeof(i->label)];

	printf("volume       %s\n", i->path);
	printf("label        %s\n", *i->label ? tool_quote(i->label, quoted, sizeof(quoted)) : "(none)");
	printf("uuid         %s\n", tool_uuid(i->uuid, uuid));
	printf("size         %s (%" PRIu64 " bytes)\n", tool_human(i->bytes, a), i->bytes);
	printf("created      %s\n", tool_time(i->created_ns, when));
	printf("medium       %s, %s granularity\n", i->kind, i->granularity);
	printf("survives     %s\n", i->survives);
	printf("journal      %u lanes of %s\n", i->lanes, tool_human(i->lane_bytes, b));
	printf("at mount     %" PRIu64 " transactions replayed, %" PRIu64 " orphans finished%s\n", i->replayed, i->orphans_finished,
	       i->used_second_superblock ? ", second superblock used" : "");
}

static json_t *info_json(const struct hf_info *i, const struct hf_device *d, int n)
{
	char uuid[37];

	return json_pack("{s:o,s:o,s:s,s:I,s:I,s:s,s:s,s:s,s:i,s:I,s:I,s:I,s:b,s:o}", "path", tool_json_name(i->path), "label",
			 tool_json_name(i->label), "uuid", tool_uuid(i->uuid, uuid), "bytes", (json_int_t)i->bytes, "created_ns",
			 (json_int_t)i->created_ns, "kind", i->kind, "granularity", i->granularity, "survives", i->survives, "lanes",
			 (int)i->lanes, "lane_bytes", (json_int_t)i->lane_bytes, "replayed", (json_int_t)i->replayed,
			 "orphans_finished", (json_int_t)i->orphans_finished, "used_second_superblock", i->used_second_superblock,
			 "devices", info_devices(d, n));
}

int cmd_info(int argc, char **argv)
{
	bool json = false;
	int status = tool_options(argc, argv, "[--json] VOLUME",
				  "Shows what a volume is. 'survives' is what a change that has returned survives:\n"
				  "power-fail, process-crash (kill -9, but not a power failure) or nothing.",
				  NULL, true, NULL, NULL, &json);
	struct hf_device d[DEVICES_MAX];
	struct hf_info i;
	hf_volume *vol;
	int n;

	if (status >= 0)
		return status;
	vol = mount_to_look(argc, argv, &status);
	if (!vol)
		return status;
	hf_info(vol, &i);
	n = hf_devices(vol, d, DEVICES_MAX);
	if (json)
		tool_json_print(info_json(&i, d, n));
	else
		info_print(&i);
	for (int k = 0; !json && k < n && (n > 1 || d[k].numa_node >= 0); k++)
		info_device((unsigned)k + 1, &d[k]);
	return tool_unmount(&vol, EXIT_OK);
}

static json_t *extents_json(hf_volume *vol, const struct hf_stat *st)
{
	struct hf_extent *e = malloc(MAX_EXTENTS * sizeof(*e));
	json_t *list = json_array();
	uint64_t off = 0;
	hf_file *file;
	size_t n = 0, i;

	if (e && S_ISREG(st->mode) && hf_inode_open(vol, st->id, HF_O_RDONLY, &file) == 0) {
		while (hf_extents(file, off, e, MAX_EXTENTS, &n) == 0 && n > 0) {
			for (i = 0; i < n; i++)
				json_array_append_new(list, json_pack("{s:I,s:I,s:I,s:b}", "offset", (json_int_t)e[i].off, "length",
								      (json_int_t)e[i].len, "media_offset",
								      (json_int_t)e[i].media_off, "huge", e[i].huge));
			off = e[n - 1].off + e[n - 1].len;
		}
		hf_close(&file);
	}
	free(e);
	return list;
}

static json_t *xattrs_json(hf_volume *vol, const struct hf_stat *st)
{
	ssize_t n = hf_inode_listxattr(vol, st->id, NULL, 0);
	char *names = n > 0 ? malloc((size_t)n) : NULL, *name;
	json_t *obj = json_array();

	if (names)
		n = hf_inode_listxattr(vol, st->id, names, (size_t)n);
	for (name = names; names && n > 0 && name < names + n; name += strlen(name) + 1)
		json_array_append_new(obj, json_pack("{s:o,s:I}", "name", tool_json_name(name), "bytes",
						     (json_int_t)hf_inode_getxattr(vol, st->id, name, NULL, 0)));
	free(names);
	return obj;
}

static json_t *stat_object(hf_volume *vol, const char *path, const struct hf_stat *st)
{
	char mode[11];

	return json_pack("{s:o,s:I,s:I,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "path", tool_json_name(path), "inode",
			 (json_int_t)st->id.ino, "generation", (json_int_t)st->id.gen, "mode", tool_mode(st->mode, mode), "mode_bits",
			 (json_int_t)st->mode, "links", (json_int_t)st->nlink, "uid", (json_int_t)st->uid, "gid",
			 (json_int_t)st->gid, "size", (json_int_t)st->size, "blocks_512", (json_int_t)st->blocks_512, "atime_ns",
			 (json_int_t)st->atime_ns, "mtime_ns", (json_int_t)st->mtime_ns, "ctime_ns", (json_int_t)st->ctime_ns,
			 "btime_ns", (json_int_t)st->btime_ns, "rdev", (json_int_t)st->rdev, "xattrs", xattrs_json(vol, st), "extents",
			 extents_json(vol, st));
}

static void stat_print(hf_volume *vol, const char *path, const struct hf_stat *st)
{
	json_t *extents = extents_json(vol, st), *xattrs = xattrs_json(vol, st), *v;
	char mode[11], when[48], target[4096], quoted[4 * 4096];
	ssize_t n;
	size_t i;

	printf("%s\n  inode %" PRIu64 " generation %" PRIu64 "  %s  links %u  uid %u  gid %u\n",
	       tool_quote(path, quoted, sizeof(quoted)), st->id.ino, st->id.gen, tool_mode(st->mode, mode), st->nlink, st->uid, st->gid);
	printf("  size %" PRIu64 "  blocks %" PRIu64 " (of 512 bytes)\n", st->size, st->blocks_512);
	if (S_ISBLK(st->mode) || S_ISCHR(st->mode))
		printf("  device %u:%u\n", major(st->rdev), minor(st->rdev));
	if (S_ISLNK(st->mode)) {
		n = hf_inode_readlink(vol, st->id, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		printf("  -> %s\n", tool_quote(target, quoted, sizeof(quoted)));
	}
	printf("  access %s\n", tool_time(st->atime_ns, when));
	printf("  modify %s\n", tool_time(st->mtime_ns, when));
	printf("  change %s\n", tool_time(st->ctime_ns, when));
	printf("  birth  %s\n", tool_time(st->btime_ns, when));
	json_array_foreach(xattrs, i, v)
		printf("  xattr %s (%" JSON_INTEGER_FORMAT " bytes)\n", tool_quote(json_string_value(json_object_get(v, "name")), quoted, sizeof(quoted)),
		       json_integer_value(json_object_get(v, "bytes")));
	json_array_foreach(extents, i, v)
		printf("  [%" JSON_INTEGER_FORMAT ", +%" JSON_INTEGER_FORMAT ") at %" JSON_INTEGER_FORMAT "%s\n",
		       json_integer_value(json_object_get(v, "offset")), json_integer_value(json_object_get(v, "length")),
		       json_integer_value(json_object_get(v, "media_offset")),
		       json_is_true(json_object_get(v, "huge")) ? " huge" : "");
	json_decref(extents);
	json_decref(xattrs);
}

int cmd_stat(int argc, char **argv)
{
	bool json = false;
	int i, err, status = tool_options(argc, argv, "[--json] VOLUME PATH...",
					  "Shows inodes: attributes, times, extended attributes, and where the content is on the media.",
					  NULL, true, NULL, NULL, &json);
	struct hf_stat st;
	hf_volume *vol;
	json_t *list;

	if (status >= 0)
		return status;
	if (argc - optind < 2)
		return tool_usage("VOLUME and PATH are needed");
	vol = mount_to_look(argc, argv, &status);
	if (!vol)
		return status;
	status = EXIT_OK;
	list = json ? json_array() : NULL;
	for (i = optind + 1; i < argc; i++) {
		err = hf_lstat(vol, argv[i], &st);
		if (err)
			status = tool_fail(err, "%s", argv[i]);
		else if (list)
			json_array_append_new(list, stat_object(vol, argv[i], &st));
		else
			stat_print(vol, argv[i], &st);
	}
	if (list)
		tool_json_print(list);
	return tool_unmount(&vol, status);
}
