/* What workloads are made of. */
#include "steps.h"

#include <linux/falloc.h>
#include <stdlib.h>

/* Bytes that no other place has, and none of them zero. */
static void pattern(uint8_t *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(hash_mix2(seed, i / 8) >> (i % 8 * 8)) | 1;
}

static int64_t write_to(hf_file *f, const struct load_step *s)
{
	uint8_t *buf = malloc(s->len + 1);
	int64_t ret;

	if (!buf)
		return -ENOMEM;
	pattern(buf, s->len, hash_bytes(s->name, strlen(s->name), s->off + s->len));
	ret = s->off == STEP_APPEND ? hf_append(f, buf, s->len, NULL)
				    : hf_pwrite(f, buf, s->len, s->off);
	free(buf);
	return ret;
}

static int64_t with_file(struct load_world *w, const struct load_step *s, unsigned how,
			 int64_t (*fn)(hf_file *f, const struct load_step *s))
{
	hf_file *f;
	int64_t ret = hf_open(w->vol, s->a, how, 0644, &f);
	int closed;

	if (ret)
		return ret;
	ret = fn ? fn(f, s) : 0;
	closed = hf_close(&f);
	return ret < 0 ? ret : closed;
}

int64_t step_create(struct load_world *w, const struct load_step *s)
{
	return with_file(w, s, HF_O_RDWR | HF_O_CREAT | HF_O_EXCL, NULL);
}

int64_t step_put(struct load_world *w, const struct load_step *s)
{
	return with_file(w, s, HF_O_RDWR | HF_O_CREAT, write_to);
}

int64_t step_write(struct load_world *w, const struct load_step *s)
{
	return with_file(w, s, HF_O_RDWR, write_to);
}

static int64_t allocate(hf_file *f, const struct load_step *s)
{
	return hf_fallocate(f, s->flags, s->off, s->len);
}

int64_t step_fallocate(struct load_world *w, const struct load_step *s)
{
	return with_file(w, s, HF_O_RDWR, allocate);
}

static int64_t sync_it(hf_file *f, const struct load_step *s)
{
	(void)s;
	return hf_fsync(f);
}

int64_t step_fsync(struct load_world *w, const struct load_step *s)
{
	return with_file(w, s, HF_O_RDWR, sync_it);
}

int64_t step_truncate(struct load_world *w, const struct load_step *s)
{
	return hf_truncate(w->vol, s->a, s->off);
}

int64_t step_mkdir(struct load_world *w, const struct load_step *s)
{
	return hf_mkdir(w->vol, s->a, 0755);
}

int64_t step_rmdir(struct load_world *w, const struct load_step *s)
{
	return hf_rmdir(w->vol, s->a);
}

int64_t step_rename(struct load_world *w, const struct load_step *s)
{
	return hf_rename(w->vol, s->a, s->b, (unsigned)s->flags);
}

int64_t step_link(struct load_world *w, const struct load_step *s)
{
	return hf_link(w->vol, s->a, s->b);
}

int64_t step_symlink(struct load_world *w, const struct load_step *s)
{
	return hf_symlink(w->vol, s->a, s->b);
}

int64_t step_long_symlink(struct load_world *w, const struct load_step *s)
{
	char target[1001];

	memset(target, 't', 1000);
	target[1000] = 0;
	return hf_symlink(w->vol, target, s->b);
}

int64_t step_unlink(struct load_world *w, const struct load_step *s)
{
	return hf_unlink(w->vol, s->a);
}

int64_t step_setxattr(struct load_world *w, const struct load_step *s)
{
	uint8_t *buf = malloc(s->len + 1);
	int64_t ret;

	if (!buf)
		return -ENOMEM;
	pattern(buf, s->len, s->len);
	ret = hf_lsetxattr(w->vol, s->a, s->b, buf, s->len, 0);
	free(buf);
	return ret;
}

int64_t step_removexattr(struct load_world *w, const struct load_step *s)
{
	return hf_lremovexattr(w->vol, s->a, s->b);
}

int64_t step_chmod(struct load_world *w, const struct load_step *s)
{
	return hf_chmod(w->vol, s->a, (uint32_t)s->flags);
}

int64_t step_checkpoint(struct load_world *w, const struct load_step *s)
{
	(void)s;
	return journal_checkpoint(w->vol->fs.journal);
}

int64_t step_syncfs(struct load_world *w, const struct load_step *s)
{
	(void)s;
	return hf_syncfs(w->vol);
}

int64_t step_open(struct load_world *w, const struct load_step *s)
{
	return hf_open(w->vol, s->a, HF_O_RDWR, 0, &w->file[s->flags]);
}

int64_t step_open_write(struct load_world *w, const struct load_step *s)
{
	return write_to(w->file[s->flags], s);
}

int64_t step_open_truncate(struct load_world *w, const struct load_step *s)
{
	return hf_ftruncate(w->file[s->flags], s->off);
}

int64_t step_open_allocate(struct load_world *w, const struct load_step *s)
{
	return hf_fallocate(w->file[s->flags], FALLOC_FL_KEEP_SIZE, s->off, s->len);
}

int64_t step_tmpfile(struct load_world *w, const struct load_step *s)
{
	hf_file *f;
	int64_t ret = hf_open(w->vol, s->a, HF_O_RDWR | HF_O_TMPFILE, 0600, &f);
	int closed;

	if (ret)
		return ret;
	ret = write_to(f, s);
	if (ret >= 0 && s->b)
		ret = hf_flink(f, s->b);
	closed = hf_close(&f);
	return ret < 0 ? ret : closed;
}

/* Many files in one directory. */
int64_t step_fill_dir(struct load_world *w, const struct load_step *s)
{
	int64_t ret = 0;

	for (int i = 0; i < s->flags && ret == 0; i++) {
		char path[80];
		struct load_step one = {.name = "", .a = path};

		snprintf(path, sizeof(path), "%s/%050d", s->a, i);
		ret = step_create(w, &one);
	}
	return ret;
}

/* Blocks with holes between: each has its own extent. */
int64_t step_scatter(struct load_world *w, const struct load_step *s)
{
	int64_t ret = 0;

	for (int i = 0; i < s->flags && ret >= 0; i++) {
		struct load_step one = {
		    .name = s->name, .a = s->a, .off = (uint64_t)i * 2 * HF_BLOCK_SIZE, .len = HF_BLOCK_SIZE};

		ret = step_put(w, &one);
	}
	return ret;
}

/* So that blocks which are handed out are not zeros. */
int64_t step_dirty(struct load_world *w, const struct load_step *s)
{
	uint8_t *buf = malloc(s->len);
	hf_file *f;
	int64_t ret = hf_open(w->vol, "old", HF_O_RDWR | HF_O_CREAT, 0644, &f);

	if (!buf || ret) {
		free(buf);
		return ret ? ret : -ENOMEM;
	}
	memset(buf, LOAD_OLD_BYTE, s->len);
	ret = hf_pwrite(f, buf, s->len, 0);
	free(buf);
	hf_close(&f);
	return ret < 0 ? ret : hf_unlink(w->vol, "old");
}

/* What follows is as if another thread did it: its records go to another lane. */
int64_t step_lane(struct load_world *w, const struct load_step *s)
{
	(void)w;
	journal_thread_number((uint32_t)s->flags);
	return 0;
}
