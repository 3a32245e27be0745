/* The device for programs: stores of their own, poison, and what a crash does to it in place. */
#include "crash/explore.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096u

HF_API int hf_crash_media_new(hf_crash_media **out, uint64_t bytes,
			      const struct hf_crash_model *model)
{
	err_clear();
	if (!out)
		return err_set(-EINVAL, "crash: the out-parameter is NULL");
	*out = NULL;
	if (model && (unsigned)model->granularity > HF_CRASH_PAGE)
		return err_set(-EINVAL, "crash: unknown granularity %d", (int)model->granularity);
	return media_new(out, bytes, model);
}

HF_API void hf_crash_media_delete(hf_crash_media **media)
{
	if (media)
		media_delete(media);
}

HF_API void *hf_crash_media_addr(hf_crash_media *media)
{
	return media->mem;
}

HF_API uint64_t hf_crash_media_bytes(const hf_crash_media *media)
{
	return media->bytes;
}

static void in_range(const hf_crash_media *media, uint64_t off, size_t len)
{
	bool inside_the_device = pm_in_range(media->pm, MOFF(off), len);

	HF_ASSERT(inside_the_device);
}

HF_API void hf_crash_store(hf_crash_media *media, uint64_t off, const void *src, size_t len)
{
	in_range(media, off, len);
	pm_store(media->pm, MOFF(off), src, len);
}

HF_API void hf_crash_store64(hf_crash_media *media, uint64_t off, uint64_t value)
{
	in_range(media, off, 8);
	HF_ASSERT(off % 8 == 0);
	pm_store64(media->pm, MOFF(off), le64toh(value));
}

HF_API void hf_crash_store_nt(hf_crash_media *media, uint64_t off, const void *src, size_t len)
{
	in_range(media, off, len);
	pm_copy_nt(media->pm, MOFF(off), src, len);
}

HF_API void hf_crash_flush(hf_crash_media *media, uint64_t off, size_t len)
{
	in_range(media, off, len);
	pm_flush(media->pm, MOFF(off), len);
}

HF_API void hf_crash_fence(hf_crash_media *media)
{
	pm_fence(media->pm);
}

/* ---- direct ranges */

static void direct_add(hf_crash_media *media, uint64_t off, uint64_t len)
{
	struct direct *d = realloc(media->directs, (media->ndirects + 1) * sizeof(*d));

	if (!d) {
		media->out_of_memory = true;
		return;
	}
	media->directs = d;
	media->directs[media->ndirects++] = (struct direct){off, len};
}

HF_API void hf_crash_direct(hf_crash_media *media, uint64_t off, size_t len, bool on)
{
	in_range(media, off, len);
	pthread_mutex_lock(&media->mutex);
	if (on) {
		direct_add(media, off, len);
	} else {
		media_capture(media);
		for (size_t i = 0; i < media->ndirects; i++)
			if (media->directs[i].off == off && media->directs[i].len == len) {
				media->directs[i] = media->directs[--media->ndirects];
				break;
			}
	}
	pthread_mutex_unlock(&media->mutex);
}

/* ---- poison */

static int poison_page(hf_crash_media *media, uint64_t page)
{
	if (media->poison_fd < 0)
		media->poison_fd = memfd_create("holdfast-poison", MFD_CLOEXEC);
	if (media->poison_fd < 0 || mmap(media->mem + page * PAGE, PAGE, PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_FIXED, media->poison_fd, 0) == MAP_FAILED)
		return err_set(-ENOMEM, "crash: no memory to poison a page");
	media->poisoned[page / 64] |= 1ull << (page % 64);
	media->npoisoned++;
	return 0;
}

static int unpoison_page(hf_crash_media *media, uint64_t page)
{
	uint8_t *at = media->mem + page * PAGE;

	if (mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, media->mem_fd,
		 (off_t)(page * PAGE)) == MAP_FAILED)
		return err_set(-ENOMEM, "crash: no memory to heal a page");
	media->poisoned[page / 64] &= ~(1ull << (page % 64));
	media->npoisoned--;
	for (uint64_t no = page * PAGE / HF_LINE; no < (page + 1) * PAGE / HF_LINE; no++)
		media_apply(media, no, CHOICE_ALL, media->mem + no * HF_LINE);
	return 0;
}

HF_API int hf_crash_poison(hf_crash_media *media, uint64_t off, size_t len, bool on)
{
	int err = 0;

	in_range(media, off, len);
	pthread_mutex_lock(&media->mutex);
	for (uint64_t p = off / PAGE; len > 0 && p <= (off + len - 1) / PAGE && !err; p++) {
		bool is = media->poisoned[p / 64] >> (p % 64) & 1;

		if (is != on)
			err = on ? poison_page(media, p) : unpoison_page(media, p);
	}
	pthread_mutex_unlock(&media->mutex);
	return err;
}

/* ---- crashes in place */

HF_API void hf_crash_power_fail(hf_crash_media *media, uint64_t seed)
{
	struct hf_crash_media *m = media;

	pthread_mutex_lock(&m->mutex);
	media_capture(m);
	media_fail_in_place(m, seed);
	pthread_mutex_unlock(&m->mutex);
}

HF_API void hf_crash_kill(hf_crash_media *media)
{
	pthread_mutex_lock(&media->mutex);
	media_capture(media);
	media_kill_in_place(media);
	pthread_mutex_unlock(&media->mutex);
}

/* ---- volumes */

HF_API int hf_crash_media_format(hf_crash_media *media, uint64_t seed)
{
	static const uint8_t uuid[16] = {'c', 'r', 'a', 's', 'h'};
	struct mkfs_args args = {
	    .uuid = uuid, .seed = hash_mix(seed) | 1, .now_ns = CRASH_EPOCH_NS};

	err_clear();
	return mkfs_write(media->pm, &args);
}

HF_API int hf_crash_media_mount(hf_crash_media *media, hf_volume **out)
{
	struct hf_mount_options opts = {
	    .struct_size = sizeof(opts), .max_cached_inodes = 256, .use_ids = true};
	struct pm *pm;
	int err;

	err_clear();
	*out = NULL;
	err = media_open_pm(media, &pm);
	return err ? err : volume_open(pm, &opts, out);
}
