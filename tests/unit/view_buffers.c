/* Buffers of reads and writes that lie in views (rule T8), and arguments that do. */
#include "view_vol.h"

#include <sys/mman.h>
#include <sys/uio.h>

static hf_volume *vol;
static hf_file *fa, *fb;
static hf_view *va, *vb;
static uint8_t *a, *b; /* views of fa and fb */

/* Two files of four frames and a hole of four, mapped for writing, nothing touched. */
static void begin(void)
{
	vol = vol_memory(64 * MIB);
	fa = view_file(vol, "a", 4, 1);
	fb = view_file(vol, "b", 4, 101);
	OK(hf_ftruncate(fa, 8 * FRM));
	OK(hf_ftruncate(fb, 8 * FRM));
	a = view_at(fa, 0, 9 * FRM, VIEW_RW, WAIT_NONE, &va);
	b = view_at(fb, 0, 9 * FRM, VIEW_RW, WAIT_NONE, &vb);
}

static void end(void)
{
	OK(hf_view_unmap(&va));
	OK(hf_view_unmap(&vb));
	OK(hf_close(&fa));
	OK(hf_close(&fb));
	OK(hf_unmount(&vol));
}

static int file_byte(hf_file *f, uint64_t off)
{
	uint8_t c = 0;

	return hf_pread(f, &c, 1, off) == 1 ? c : -1;
}

static void rule_T8_write_from_untouched_view(void)
{
	begin();
	GET(2 * FRM, hf_pwrite(fb, a + FRM, 2 * FRM, 0));
	CU_ASSERT_EQUAL(file_byte(fb, 0), 2);
	CU_ASSERT_EQUAL(file_byte(fb, 2 * FRM - 1), 3);
	GET(100, hf_pwrite(fb, a + 4 * FRM, 100, 3 * FRM)); /* from a hole */
	CU_ASSERT_EQUAL(file_byte(fb, 3 * FRM + 99), 0);
	CU_ASSERT_EQUAL(file_byte(fb, 3 * FRM + 100), 104);
	GET(100, hf_pwrite(fb, a + 3 * FRM, 100, 6 * FRM + 5)); /* into a hole */
	CU_ASSERT_EQUAL(file_byte(fb, 6 * FRM + 104), 4);
	end();
}

static void rule_T8_read_into_untouched_view(void)
{
	begin();
	GET(FRM, hf_pread(fb, a + FRM, FRM, FRM));
	CU_ASSERT_EQUAL(file_byte(fa, FRM), 102);
	GET(FRM, hf_pread(fb, a + 5 * FRM - 10, FRM, 0)); /* partly a hole: becomes a frame */
	CU_ASSERT_EQUAL(file_byte(fa, 5 * FRM - 11), 0);
	CU_ASSERT_EQUAL(file_byte(fa, 5 * FRM - 10), 101);
	CU_ASSERT_EQUAL(file_byte(fa, 6 * FRM - 11), 101);
	CU_ASSERT_TRUE(view_is_huge(fa, 5 * FRM));
	/* more buffer than memory: what is stored to counts */
	OK(hf_ftruncate(fb, 8 * FRM + 10));
	GET(10, hf_pread(fb, a + 8 * FRM - 10, 100, 8 * FRM));
	end();
}

static void rule_T8_same_file(void)
{
	begin();
	GET(FRM, hf_pwrite(fa, a, FRM, 3 * FRM));
	CU_ASSERT_EQUAL(file_byte(fa, 3 * FRM + 77), 1);
	GET(FRM, hf_pread(fa, a + FRM, FRM, 2 * FRM));
	CU_ASSERT_EQUAL(a[FRM + 5], 3);
	GET(FRM, hf_pwrite(fa, a + 2 * FRM, FRM, 5 * FRM)); /* allocates */
	CU_ASSERT_EQUAL(a[5 * FRM + 5], 3);
	GET(FRM, hf_pread(fa, a + 6 * FRM, FRM, 5 * FRM));
	CU_ASSERT_EQUAL(a[7 * FRM - 1], 3);
	/* a page onto itself */
	GET(FRM, hf_pwrite(fa, a + 7 * FRM, FRM, 7 * FRM));
	CU_ASSERT_EQUAL(a[8 * FRM - 1], 0);
	end();
}

static void rule_T8_vectors_and_append(void)
{
	struct iovec iov[3] = {{NULL, 100}, {NULL, 3 * 4096}, {NULL, 50}};
	uint8_t plain[100];
	uint64_t off;

	begin();
	memset(plain, 55, sizeof(plain));
	iov[0].iov_base = plain;
	iov[1].iov_base = a + FRM - 4096;
	iov[2].iov_base = b;
	GET(150 + 3 * 4096, hf_pwritev(fb, iov, 3, 2 * FRM));
	CU_ASSERT_EQUAL(file_byte(fb, 2 * FRM + 99), 55);
	CU_ASSERT_EQUAL(file_byte(fb, 2 * FRM + 100), 1);
	CU_ASSERT_EQUAL(file_byte(fb, 2 * FRM + 100 + 4096), 2);
	CU_ASSERT_EQUAL(file_byte(fb, 2 * FRM + 149 + 3 * 4096), 101);
	GET(150 + 3 * 4096, hf_preadv(fb, iov, 3, FRM));
	CU_ASSERT_EQUAL(plain[99], 102);
	CU_ASSERT_EQUAL(a[FRM + 8191], 102);
	CU_ASSERT_EQUAL(b[49], 102);
	GET(3 * FRM, hf_append(fb, a + FRM, 3 * FRM, &off));
	CU_ASSERT_EQUAL(off, 8 * FRM);
	CU_ASSERT_EQUAL(vol_size(fb), 11 * FRM);
	CU_ASSERT_EQUAL(file_byte(fb, 8 * FRM + 8192), 2);
	CU_ASSERT_EQUAL(file_byte(fb, 11 * FRM - 1), 4);
	end();
}

/* What cannot be mapped is -EFAULT, or a short count where something came before; no signal. */
static void rule_T8_bad_pages_are_efault(void)
{
	hf_view *ro;
	uint8_t *r;

	begin();
	r = view_at(fa, 0, FRM, HF_VIEW_READ, WAIT_NONE, &ro);
	FAILS(EFAULT, hf_pwrite(fb, a + 8 * FRM, 100, 0)); /* beyond the end of file */
	CU_ASSERT_EQUAL(file_byte(fb, 0), 101);
	FAILS(EFAULT, hf_append(fb, a + 8 * FRM, 100, NULL));
	FAILS(EFAULT, hf_pread(fb, a + 8 * FRM, 100, 0));
	FAILS(EFAULT, hf_pread(fb, r, 100, 0));
	FAILS(EFAULT, hf_pwrite(fb, a + 9 * FRM, 100, 0)); /* between two views */
	GET(100, hf_pwrite(fb, r, 100, 0));
	GET(50, hf_pwrite(fb, a + 8 * FRM - 50, 100, FRM));
	CU_ASSERT_EQUAL(file_byte(fb, FRM + 49), 0);
	CU_ASSERT_EQUAL(file_byte(fb, FRM + 50), 102);
	OK(hf_view_unmap(&ro));
	FAILS(EFAULT, hf_pwrite(fb, r, 100, 0));
	end();
}

/* A page in the middle of the buffer that is not there does not cut the write in two. */
static void rule_T8_write_stays_one_transaction(void)
{
	struct hf_info before, after;

	begin();
	CU_ASSERT_EQUAL(touch_get(a), 1);
	CU_ASSERT_EQUAL(touch_get(SLOT(a, 1)), 2);
	OK(hf_fallocate(fb, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * FRM, FRM));
	OK(hf_info(vol, &before));
	/* into a hole, in place, into a hole, for which the page was never touched */
	GET(3 * FRM, hf_pwrite(fb, a, 3 * FRM, 2 * FRM));
	OK(hf_info(vol, &after));
	CU_ASSERT_EQUAL(after.commits - before.commits, 1);
	CU_ASSERT_EQUAL(file_byte(fb, 5 * FRM - 1), 3);
	end();
}

static void rule_T8_other_arguments(void)
{
	struct iovec *iov;
	struct hf_stat *st;
	struct hf_dirent *d;
	hf_file **file;
	hf_dir *dir;
	hf_view *vc;
	char *c;

	begin();
	/* paths, vectors, results: each in a page that was never touched */
	c = view_at(fa, 4 * FRM, FRM, VIEW_RW, WAIT_NONE, &vc);
	strcpy(c, "x");
	OK(hf_view_unmap(&vc));
	OK(hf_open(vol, (char *)(a + 4 * FRM), HF_O_RDWR | HF_O_CREAT, 0644,
		   (hf_file **)(void *)(b + 4 * FRM)));
	file = (hf_file **)(void *)(b + 4 * FRM);
	iov = (struct iovec *)(void *)(b + 5 * FRM);
	GET(4, hf_pwrite(*file, "name", 4, 0));
	GET(1, hf_fsetxattr(*file, "user.v", a + FRM, 1000, 0) == 0);
	GET(1000, hf_fgetxattr(*file, "user.v", b + FRM, 1000));
	CU_ASSERT_EQUAL(b[FRM + 999], 2);
	st = (struct hf_stat *)(void *)(b + 6 * FRM);
	OK(hf_fstat(*file, st));
	CU_ASSERT_EQUAL(st->size, 4);
	*iov = (struct iovec){.iov_base = a + 5 * FRM, .iov_len = 4};
	GET(4, hf_preadv(*file, iov, 1, 0));
	CU_ASSERT_EQUAL(memcmp(a + 5 * FRM, "name", 4), 0);
	OK(hf_close(file));
	OK(hf_opendir(vol, "/", &dir));
	d = (struct hf_dirent *)(void *)(b + 7 * FRM);
	for (int i = 0; i < 5; i++)
		GET(1, hf_readdir(dir, d));
	GET(0, hf_readdir(dir, d));
	OK(hf_closedir(&dir));
	end();
}

static const struct hf_case cases[] = {
    {"rule_T8_write_from_untouched_view", rule_T8_write_from_untouched_view},
    {"rule_T8_read_into_untouched_view", rule_T8_read_into_untouched_view},
    {"rule_T8_same_file", rule_T8_same_file},
    {"rule_T8_vectors_and_append", rule_T8_vectors_and_append},
    {"rule_T8_bad_pages_are_efault", rule_T8_bad_pages_are_efault},
    {"rule_T8_write_stays_one_transaction", rule_T8_write_stays_one_transaction},
    {"rule_T8_other_arguments", rule_T8_other_arguments},
};

int main(void)
{
	touch_install();
	return hf_run_suite("view_buffers", cases, HF_COUNT(cases));
}
