/* holdfast dump: on-media structures as JSON, as a mount would see them (journal replayed on a private copy). Reads only. */
#include "check/check.h"
#include "check/image.h"
#include "tool.h"
#include <dirent.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define I(x) ((json_int_t)(x))

struct dump {
	struct check_image *img;
	struct check c;
	struct hf_check_options opts;
	struct hf_check_result res;
	json_t *list;
};

static json_t *hex64(uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%016llx", (unsigned long long)v);
	return json_string(text);
}

static json_t *dump_one_super(const struct dump *d, uint32_t copy)
{
	const struct fmt_super *s = pm_at(d->c.pm, geo_super_off(&d->c.geo, copy));
	char uuid[37], label[65] = {0};
	bool ok = geo_verify_super(s, d->c.pm->size, copy) == 0;
	json_t *o;

	memcpy(label, s->label, 64);
	o = json_pack("{s:b,s:I,s:I,s:o,s:o,s:o,s:o,s:s,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "valid", ok, "version",
		      I(le32_get(s->version)), "copy", I(le32_get(s->copy)), "compat", hex64(le64_get(s->compat)), "incompat",
		      hex64(le64_get(s->incompat)), "ro_compat", hex64(le64_get(s->ro_compat)), "log_incompat",
		      hex64(le64_get(s->log_incompat)), "uuid", tool_uuid(s->uuid, uuid), "label", tool_json_name(label), "bytes",
		      I(le64_get(s->bytes)), "alloc_off", I(le64_get(s->alloc_off)), "lanes_off", I(le64_get(s->lanes_off)), "lanes",
		      I(le32_get(s->lanes)), "lane_bytes", I(le64_get(s->lane_bytes)), "first_data_block", I(le64_get(s->first_data)),
		      "devices", I(le32_get(s->ndevices)), "created_ns", I(le64_get(s->created_ns)), "repair_undo",
		      hex64(le64_get(s->repair_undo)), "stamp", hex64(le64_get(s->stamp)));
	return o;
}

/* The superblocks of the devices but the first. */
static json_t *dump_devices(const struct dump *d)
{
	json_t *list = json_array();

	for (uint32_t i = 1; i < d->c.geo.ndevices; i++)
		json_array_append_new(list, dump_one_super(d, FMT_COPY_OF(i)));
	return list;
}

static json_t *dump_super(struct dump *d)
{
	json_t *ckpt = json_array();
	uint64_t blk;
	jseq_t seq;

	for (blk = FMT_BLK_CKPT0; blk <= FMT_BLK_CKPT1; blk++) {
		bool ok = fmt_ckpt_decode(&d->c.geo, pm_load64(d->c.pm, mblk_to_moff(MBLK(blk))), &seq);

		json_array_append_new(ckpt, json_pack("{s:b,s:I}", "valid", ok, "sequence", ok ? I(seq.v) : I(0)));
	}
	return json_pack("{s:o,s:o,s:o,s:o}", "super", dump_one_super(d, 0), "second", dump_one_super(d, 1), "devices", dump_devices(d),
			 "checkpoint", ckpt);
}

static json_t *dump_items(const struct fmt_record *r)
{
	static const char *const kinds[] = {"?", "set64", "bits_set", "bits_clear", "copy", "data"};
	const le64_t *w = (const le64_t *)(const void *)(r + 1);
	const le64_t *end = (const le64_t *)(const void *)((const char *)r + le32_get(r->bytes));
	json_t *items = json_array();
	uint32_t i;

	for (i = 0; i < le32_get(r->items) && end - w >= 2; i++) {
		uint64_t head = le64_get(w[0]), arg = le64_get(w[1]);
		unsigned kind = FMT_ITEM_KIND(head);
		const char *name = kind <= FMT_ITEM_DATA ? kinds[kind] : "?";
		bool bits = kind == FMT_ITEM_BITS_SET || kind == FMT_ITEM_BITS_CLEAR;

		json_array_append_new(items, json_pack("{s:s,s:I,s:o}", "kind", name, bits ? "bit" : "offset", I(FMT_ITEM_OFF(head)),
						       kind == FMT_ITEM_SET64 ? "value" : (bits ? "count" : "bytes"),
						       kind == FMT_ITEM_SET64 ? hex64(arg) : json_integer(I(arg))));
		w += 2;
		if (kind == FMT_ITEM_COPY)
			w += min_u64(arg / 8, (uint64_t)(end - w));
		else if (kind == FMT_ITEM_DATA)
			w += min_u64(1, (uint64_t)(end - w));
	}
	return items;
}

static int dump_record(void *ctx, uint32_t lane, uint32_t half, uint64_t off, const struct fmt_record *r)
{
	json_array_append_new(ctx, json_pack("{s:I,s:I,s:I,s:I,s:I,s:o}", "sequence", I(le64_get(r->seq)), "lane", I(lane), "half", I(half),
					     "offset", I(off), "bytes", I(le32_get(r->bytes)), "items", dump_items(r)));
	return 0;
}

static json_t *dump_journal(struct dump *d)
{
	json_t *records = json_array();
	int err = journal_walk(check_image_medium(d->img), &d->c.geo, dump_record, records);

	return json_pack("{s:o,s:o}", "records", records, "error", err ? json_string(hf_errormsg()) : json_null());
}

/* The inode's image; NULL with a message if there is none. */
static const struct fmt_inode *dump_find(struct dump *d, uint64_t ino)
{
	const struct fmt_inode *i;

	d->c.seen = calloc((size_t)(d->c.geo.nblocks + 63) / 64, 8);
	if (!d->c.seen)
		return NULL;
	check_itable(&d->c);
	i = check_inode_at(&d->c, INUM(ino));
	if (!i)
		tool_error("there is no inode %llu", (unsigned long long)ino);
	return i;
}

static json_t *dump_inode(struct dump *d, uint64_t ino)
{
	const struct fmt_inode *i = dump_find(d, ino);
	char mode[11];

	if (!i)
		return NULL;
	return json_pack("{s:I,s:b,s:I,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:I,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "inode",
			 I(le64_get(i->ino)), "valid", fmt_inode_verify(&d->c.geo, i, INUM(ino)) == 0, "generation", I(le64_get(i->gen)),
			 "mode", tool_mode(le32_get(i->mode), mode), "mode_bits", I(le32_get(i->mode)), "links", I(le32_get(i->nlink)),
			 "uid", I(le32_get(i->uid)), "gid", I(le32_get(i->gid)), "size", I(le64_get(i->size)), "blocks",
			 I(le64_get(i->blocks)), "flags", I(le16_get(i->flags)), "root", hex64(le64_get(i->root)), "height",
			 I(i->height), "xroot", hex64(le64_get(i->xroot)), "xheight", I(i->xheight), "xattr_bytes",
			 I(le32_get(i->xbytes)), "atime_ns", I(le64_get(i->atime)), "mtime_ns", I(le64_get(i->mtime)), "ctime_ns",
			 I(le64_get(i->ctime)), "btime_ns", I(le64_get(i->btime)), "rdev_or_parent", I(le64_get(i->rdev)), "dir_depth",
			 I(i->dir_depth), "orphan_slot_plus_1", I(le32_get(i->orphan)));
}

static int dump_entry(void *ctx, const struct map_visit *v)
{
	static const char *const kinds[] = {"hole", "block", "huge", "node"};
	unsigned kind = fmt_entry_kind_of(v->entry);

	json_array_append_new(ctx, json_pack("{s:I,s:I,s:s,s:I,s:b,s:b,s:I}", "level", I(v->level), "file_block", I(v->fblk.v), "kind",
					     kind < 4 ? kinds[kind] : "?", "block", I(fmt_entry_blk(v->entry).v), "punched",
					     (v->entry & FMT_ENT_PUNCHED) != 0, "valid", v->verify_err == 0, "at", I(v->where.v)));
	return 0;
}

static json_t *dump_map(struct dump *d, uint64_t ino)
{
	const struct fmt_inode *i = dump_find(d, ino);
	json_t *data = json_array(), *xattr = json_array();

	if (!i) {
		json_decref(data);
		json_decref(xattr);
		return NULL;
	}
	if (i->height <= FMT_MAX_HEIGHT)
		map_walk(d->c.pm, &d->c.geo, INUM(ino), FMT_FORK_DATA, le64_get(i->root), i->height, dump_entry, data);
	if (i->xheight <= FMT_MAX_HEIGHT)
		map_walk(d->c.pm, &d->c.geo, INUM(ino), FMT_FORK_XATTR, le64_get(i->xroot), i->xheight, dump_entry, xattr);
	return json_pack("{s:I,s:o,s:o}", "inode", I(ino), "content", data, "attributes", xattr);
}

static int dump_dirent(void *ctx, const struct dir_entry *e, int verify_err)
{
	json_array_append_new(ctx, json_pack("{s:o,s:I,s:I,s:o,s:b}", "name", tool_json_name(e->name), "inode", I(e->ino.v), "type",
					     I(e->type), "key", hex64(e->key), "valid", verify_err == 0));
	return 0;
}

struct dump_dir_ctx {
	struct dump *d;
	uint64_t ino, gen;
	json_t *buckets;
};

static int dump_bucket(void *ctx, const struct map_visit *v)
{
	struct dump_dir_ctx *x = ctx;
	unsigned depth = 63u - (unsigned)__builtin_clzll(v->fblk.v + 1);
	uint64_t prefix = v->fblk.v + 1 - (1ull << depth);
	json_t *entries;
	int err;

	if (v->verify_err || fmt_entry_kind_of(v->entry) != FMT_ENT_BLOCK)
		return 0;
	entries = json_array();
	err = dir_bucket_walk(x->d->c.pm, &x->d->c.geo, INUM(x->ino), x->gen, depth, prefix, fmt_entry_blk(v->entry), dump_dirent,
			      entries);
	json_array_append_new(x->buckets, json_pack("{s:I,s:o,s:I,s:b,s:o}", "depth", I(depth), "prefix", hex64(prefix), "block",
						    I(fmt_entry_blk(v->entry).v), "valid", err >= 0, "entries", entries));
	return 0;
}

static json_t *dump_dir(struct dump *d, uint64_t ino)
{
	const struct fmt_inode *i = dump_find(d, ino);
	struct dump_dir_ctx x = {.d = d, .ino = ino};

	if (!i)
		return NULL;
	if ((le32_get(i->mode) & 0170000) != 0040000) {
		tool_error("inode %llu is no directory", (unsigned long long)ino);
		return NULL;
	}
	x.gen = le64_get(i->gen);
	x.buckets = json_array();
	if (i->height <= FMT_MAX_HEIGHT)
		map_walk(d->c.pm, &d->c.geo, INUM(ino), FMT_FORK_DATA, le64_get(i->root), i->height, dump_bucket, &x);
	return json_pack("{s:I,s:I,s:I,s:o}", "inode", I(ino), "names", I(le64_get(i->size)), "parent", I(le64_get(i->rdev)), "buckets",
			 x.buckets);
}

/* One character per block, so that a person sees it too: '#' in use, '.' free. */
static json_t *dump_frame(struct dump *d, uint64_t f)
{
	char bits[HF_BLOCKS_PER_FRAME + 1] = {0};
	unsigned b, used = 0;

	if (f >= d->c.geo.nframes) {
		tool_error("there is no frame %llu; the volume has %llu", (unsigned long long)f, (unsigned long long)d->c.geo.nframes);
		return NULL;
	}
	for (b = 0; b < HF_BLOCKS_PER_FRAME; b++) {
		uint64_t word = pm_load64(d->c.pm, moff_add(d->c.geo.alloc_off, f * HF_LINE + b / 64 * 8));
		bool set = word >> (b % 64) & 1;

		bits[b] = set ? '#' : '.';
		used += set;
	}
	return json_pack("{s:I,s:I,s:I,s:s}", "frame", I(f), "first_block", I(f * HF_BLOCKS_PER_FRAME), "used", I(used), "blocks", bits);
}

static json_t *dump_what(struct dump *d, const char *what, const char *number, int *status)
{
	static const struct {
		const char *name;
		json_t *(*fn)(struct dump *, uint64_t);
	} numbered[] = {{"inode", dump_inode}, {"map", dump_map}, {"dir", dump_dir}, {"frame", dump_frame}};
	uint64_t n = 0;
	size_t i;

	*status = EXIT_FAILED;
	if (!what || (!strcmp(what, "super") && !number))
		return dump_super(d);
	if (!strcmp(what, "journal") && !number)
		return dump_journal(d);
	for (i = 0; i < sizeof(numbered) / sizeof(numbered[0]); i++) {
		if (strcmp(what, numbered[i].name))
			continue;
		if (number && tool_parse_number(number, 10, UINT64_MAX, &n))
			return numbered[i].fn(d, n);
		*status = tool_usage("'%s' wants a number", what);
		return NULL;
	}
	*status = tool_usage("nothing is called '%s'", what);
	return NULL;
}

int cmd_dump(int argc, char **argv)
{
	bool json = true;
	int err, status = tool_options(argc, argv, "VOLUME [super | journal | inode N | map N | dir N | frame N]",
				       "Prints on-media structures as JSON, for debugging. Changes nothing. Records that wait in the journal\n"
				       "are replayed on a private copy first, so that what is printed is what a mount would see.",
				       NULL, true, NULL, NULL, &json);
	struct dump d = {.opts = {.struct_size = sizeof(d.opts)}};
	uint64_t records;
	json_t *out;

	if (status >= 0)
		return status;
	if (argc - optind < 1 || argc - optind > 3)
		return tool_usage("a VOLUME is needed");
	err = check_image_open(argv[optind], &d.img, &records);
	if (err)
		return tool_fail(err, "%s", argv[optind]);
	if (check_image_journal_error(d.img))
		tool_error("%s: %s; shown without the journal", argv[optind], check_image_journal_error(d.img));
	d.c = (struct check){.pm = check_image_pm(d.img), .geo = *check_image_geo(d.img), .opts = &d.opts, .res = &d.res};
	out = dump_what(&d, argc - optind > 1 ? argv[optind + 1] : NULL, argc - optind > 2 ? argv[optind + 2] : NULL, &status);
	if (out)
		status = tool_json_print(out);
	free(d.c.seen);
	free(d.c.iblock);
	free(d.c.ibitmap);
	free(d.c.links);
	check_image_close(&d.img);
	return status;
}
