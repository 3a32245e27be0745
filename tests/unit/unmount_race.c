/* Calls that change who uses a volume in the middle of an unmount's look at that: they are seen as a user or as under way. */
#include "file_vol.h"
#include "dir/name.h"
#include "file/volume.h"
#include "pin/pin.h"

#include <pthread.h>
#include <semaphore.h>

static struct {
	hf_volume *vol;
	hf_file *file;
	hf_view *view;
	pthread_t thread;
	sem_t inside, go_on;
	bool ended;
	void (*look)(void); /* what happens after the open files were counted, before views are */
	int looks;	    /* the how manieth time; 0: no more */
} t;
static _Thread_local bool caller;

static void stay(void)
{
	if (!caller)
		return;
	sem_post(&t.inside);
	sem_wait(&t.go_on);
}

/* A call that opens a file stays in here. */
int __real_name_walk(struct fs *fs, struct inode *start, const char *path, unsigned flags, struct inode **out, char *last, bool *is_dir);
int __wrap_name_walk(struct fs *fs, struct inode *start, const char *path, unsigned flags, struct inode **out, char *last, bool *is_dir);

int __wrap_name_walk(struct fs *fs, struct inode *start, const char *path, unsigned flags, struct inode **out, char *last, bool *is_dir)
{
	stay();
	return __real_name_walk(fs, start, path, flags, out, last, is_dir);
}

/* And one that has taken its view away, here. */
void __real_view_holes_run(struct inode *in, bool all);
void __wrap_view_holes_run(struct inode *in, bool all);

void __wrap_view_holes_run(struct inode *in, bool all)
{
	stay();
	__real_view_holes_run(in, all);
}

uint64_t __real_pin_count(const struct fs *fs);
uint64_t __wrap_pin_count(const struct fs *fs);

uint64_t __wrap_pin_count(const struct fs *fs)
{
	if (!caller && t.looks && --t.looks == 0)
		t.look();
	return __real_pin_count(fs);
}

static void *open_it(void *arg)
{
	(void)arg;
	caller = true;
	OK(hf_open(t.vol, "/f", HF_O_RDWR, 0, &t.file));
	return NULL;
}

static void *unmap_it(void *arg)
{
	(void)arg;
	caller = true;
	OK(hf_view_unmap(&t.view));
	return NULL;
}

static void begin(void *(*fn)(void *))
{
	CU_ASSERT_FATAL(pthread_create(&t.thread, NULL, fn, NULL) == 0);
	sem_wait(&t.inside);
}

static void begin_unmap(void)
{
	begin(unmap_it);
}

static void end(void)
{
	if (t.ended)
		return;
	t.ended = true;
	sem_post(&t.go_on);
	pthread_join(t.thread, NULL);
}

static void prepare(void (*look)(void), int looks, bool view)
{
	struct hf_view_options o = {.struct_size = sizeof(o), .prot = HF_VIEW_READ};
	hf_file *f;
	void *at;

	memset(&t, 0, sizeof(t));
	sem_init(&t.inside, 0, 0);
	sem_init(&t.go_on, 0, 0);
	t.vol = vol_memory(16 * MIB);
	f = vol_create(t.vol, "/f");
	if (view)
		OK(hf_view_map(f, 0, FRM, &o, &at, &t.view));
	OK(hf_close(&f));
	t.look = look;
	t.looks = looks;
}

static void test_open(void)
{
	hf_volume *vol;

	prepare(end, 1, false);
	begin(open_it);
	vol = t.vol;
	GET(-EBUSY, hf_unmount(&vol));
	end();
	OK(hf_close(&t.file));
	OK(hf_unmount(&t.vol));
}

static void test_unmap(void)
{
	hf_volume *vol;

	prepare(begin_unmap, 1, true);
	vol = t.vol;
	GET(-EBUSY, hf_unmount(&vol));
	end();
	OK(hf_unmount(&t.vol));
}

static bool taken_apart(void)
{
	return atomic_load(&t.vol->forced) == VOLUME_GONE;
}

/* looks 1: as what is left is counted; 2: as the last one would take it apart. */
static void test_open_forced(void)
{
	for (int looks = 1; looks <= 2; looks++) {
		prepare(end, looks, false);
		begin(open_it);
		(void)hf_unmount_force(t.vol);
		CU_ASSERT_FALSE(taken_apart());
		end();
		CU_ASSERT_FALSE(taken_apart());
		OK(hf_close(&t.file));
		CU_ASSERT(taken_apart());
	}
}

static void test_unmap_forced(void)
{
	for (int looks = 1; looks <= 2; looks++) {
		prepare(begin_unmap, looks, true);
		(void)hf_unmount_force(t.vol);
		CU_ASSERT_FALSE(taken_apart());
		end();
		CU_ASSERT(taken_apart());
	}
}

int main(void)
{
	static const struct hf_case cases[] = {
	    {"an unmount, and a file that is being opened", test_open},
	    {"an unmount, and a view that is being unmapped", test_unmap},
	    {"by force, and a file that is being opened", test_open_forced},
	    {"by force, and a view that is being unmapped", test_unmap_forced},
	};

	return hf_run_suite("unmount and a call under way", cases, HF_COUNT(cases));
}
