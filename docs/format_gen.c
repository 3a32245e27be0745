/* Prints the tables of docs/FORMAT.md from src/format/format.h: every struct, with each field's
 *offset and size.
 *
 *	format_gen              print the tables
 *	format_gen FORMAT.md    exit 1 if the file's tables are not these (the text between the
 *marks)
 */
#include "format/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct field {
	const char *name;
	size_t off, size;
};

struct table {
	const char *name;
	size_t size;
	const struct field *field;
	size_t n;
};

#define F(s, m)                                                                                    \
	{                                                                                          \
#m, offsetof(struct s, m), sizeof(((struct s *)0)->m)                              \
	}
#define T(s)                                                                                       \
	{                                                                                          \
#s, sizeof(struct s), s##_fields, sizeof(s##_fields) / sizeof(s##_fields[0])       \
	}

static const struct field fmt_super_fields[] = {
    F(fmt_super, magic),      F(fmt_super, csum),	  F(fmt_super, version),
    F(fmt_super, copy),	      F(fmt_super, compat),	  F(fmt_super, incompat),
    F(fmt_super, ro_compat),  F(fmt_super, log_incompat), F(fmt_super, uuid),
    F(fmt_super, label),      F(fmt_super, seed),	  F(fmt_super, bytes),
    F(fmt_super, alloc_off),  F(fmt_super, lanes_off),	  F(fmt_super, lane_bytes),
    F(fmt_super, lanes),      F(fmt_super, ndevices),	  F(fmt_super, first_data),
    F(fmt_super, created_ns), F(fmt_super, repair),	  F(fmt_super, repair_undo), F(fmt_super, stamp), F(fmt_super, reserved0),
    F(fmt_super, devices),    F(fmt_super, reserved),
};
static const struct field fmt_device_fields[] = {
    F(fmt_device, uuid),
    F(fmt_device, frames),
    F(fmt_device, reserved),
};
static const struct field fmt_ckpt_fields[] = {F(fmt_ckpt, c), F(fmt_ckpt, zero)};
static const struct field fmt_record_fields[] = {
    F(fmt_record, csum),
    F(fmt_record, seq),
    F(fmt_record, bytes),
    F(fmt_record, items),
};
static const struct field fmt_inode_fields[] = {
    F(fmt_inode, csum),	     F(fmt_inode, ino),	    F(fmt_inode, gen),	  F(fmt_inode, mode),
    F(fmt_inode, nlink),     F(fmt_inode, uid),	    F(fmt_inode, gid),	  F(fmt_inode, size),
    F(fmt_inode, blocks),    F(fmt_inode, root),    F(fmt_inode, xroot),  F(fmt_inode, xbytes),
    F(fmt_inode, height),    F(fmt_inode, xheight), F(fmt_inode, flags),  F(fmt_inode, atime),
    F(fmt_inode, mtime),     F(fmt_inode, ctime),   F(fmt_inode, btime),  F(fmt_inode, rdev),
    F(fmt_inode, dir_depth), F(fmt_inode, zero),    F(fmt_inode, orphan), F(fmt_inode, inline_data),
};
static const struct field fmt_bucket_head_fields[] = {
    F(fmt_bucket_head, csum),	F(fmt_bucket_head, magic), F(fmt_bucket_head, depth),
    F(fmt_bucket_head, prefix), F(fmt_bucket_head, owner), F(fmt_bucket_head, owner_gen),
    F(fmt_bucket_head, self),	F(fmt_bucket_head, zero),  F(fmt_bucket_head, tag),
};
static const struct field fmt_dirent_fields[] = {
    F(fmt_dirent, key),
    F(fmt_dirent, target),
    F(fmt_dirent, check),
    F(fmt_dirent, name),
};
static const struct field fmt_bucket_fields[] = {F(fmt_bucket, head), F(fmt_bucket, slot)};
static const struct field fmt_orphan_fields[] = {
    F(fmt_orphan, csum),  F(fmt_orphan, ino),	F(fmt_orphan, gen),  F(fmt_orphan, entry),
    F(fmt_orphan, fblk),  F(fmt_orphan, kind),	F(fmt_orphan, fork), F(fmt_orphan, level),
    F(fmt_orphan, zero0), F(fmt_orphan, zero1), F(fmt_orphan, zero),
};
static const struct field fmt_xattr_head_fields[] = {
    F(fmt_xattr_head, csum),  F(fmt_xattr_head, magic), F(fmt_xattr_head, bytes),
    F(fmt_xattr_head, owner), F(fmt_xattr_head, count), F(fmt_xattr_head, zero),
};
static const struct field fmt_xattr_fields[] = {
    F(fmt_xattr, value_bytes),
    F(fmt_xattr, name_bytes),
    F(fmt_xattr, zero),
};

static const struct field fmt_redo_entry_fields[] = {
    F(fmt_redo_entry, to),
    F(fmt_redo_entry, from),
    F(fmt_redo_entry, csum),
};
static const struct field fmt_redo_fields[] = {
    F(fmt_redo, csum), F(fmt_redo, magic), F(fmt_redo, count), F(fmt_redo, self),
    F(fmt_redo, next), F(fmt_redo, zero),  F(fmt_redo, entry),
};

static const struct table tables[] = {
    T(fmt_super),  T(fmt_device),     T(fmt_ckpt),	  T(fmt_record),
    T(fmt_inode),  T(fmt_bucket),     T(fmt_bucket_head), T(fmt_dirent),
    T(fmt_orphan), T(fmt_xattr_head), T(fmt_xattr),
    T(fmt_redo),   T(fmt_redo_entry),
};

#define MARK_BEGIN "<!-- tables: from docs/format_gen.c -->\n"
#define MARK_END   "<!-- end of tables -->\n"

static void print_table(FILE *out, const struct table *t)
{
	size_t at = 0;

	fprintf(out,
		"### struct %s, %zu bytes\n\n| offset | size | field |\n| ---: | ---: | --- |\n",
		t->name, t->size);
	for (size_t i = 0; i < t->n; i++) {
		/* Every byte belongs to a named field: a forgotten one, or padding, would show
		 * here. */
		if (t->field[i].off != at) {
			fprintf(stderr, "struct %s: bytes %zu to %zu have no name\n", t->name, at,
				t->field[i].off);
			exit(1);
		}
		fprintf(out, "| %zu | %zu | `%s` |\n", t->field[i].off, t->field[i].size,
			t->field[i].name);
		at = t->field[i].off + t->field[i].size;
	}
	if (at != t->size) {
		fprintf(stderr, "struct %s: %zu bytes at the end have no name\n", t->name,
			t->size - at);
		exit(1);
	}
	fputc('\n', out);
}

static void print_all(FILE *out)
{
	fputc('\n', out);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		print_table(out, &tables[i]);
}

static char *read_all(const char *path)
{
	FILE *f = fopen(path, "r");
	char *buf = calloc(1, 1u << 20);

	if (!f || !buf) {
		perror(path);
		exit(1);
	}
	buf[fread(buf, 1, (1u << 20) - 1, f)] = '\0';
	fclose(f);
	return buf;
}

static int compare(const char *path)
{
	char *want = NULL, *doc = read_all(path), *from, *to;
	size_t want_len = 0;
	FILE *f = open_memstream(&want, &want_len);
	int rc = 1;

	if (!f)
		return 1;
	print_all(f);
	fclose(f);
	from = strstr(doc, MARK_BEGIN);
	to = strstr(doc, MARK_END);
	if (from && to) {
		from += strlen(MARK_BEGIN);
		rc = to < from || (size_t)(to - from) != want_len ||
		     memcmp(from, want, want_len) != 0;
	}
	if (rc)
		fprintf(stderr,
			"%s: its tables are not those of format.h: put the output of format_gen "
			"between its "
			"marks\n",
			path);
	free(want);
	free(doc);
	return rc;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return compare(argv[1]);
	print_all(stdout);
	return 0;
}
