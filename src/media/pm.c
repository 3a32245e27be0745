#include "media/arch.h"
#include "media/dax.h"
#include "media/place.h"
#include "media/pm_impl.h"
#include "media/poison.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PM_SIZE_MIN (2 * (uint64_t)HF_FRAME_SIZE)

static const struct pm_open_args args_none;

const char *pm_kind_name(enum pm_kind k)
{
	static const char *const names[] = {"device-dax", "dax-file", "file", "memfd"};

	return k <= PM_MEMFD ? names[k] : "?";
}

const char *pm_survives_name(enum pm_survives s)
{
	static const char *const names[] = {"nothing", "process-crash", "power-fail"};

	return s <= PM_POWER_FAIL ? names[s] : "?";
}

const char *pm_gran_name(enum pm_gran g)
{
	static const char *const names[] = {"byte", "cache-line", "page"};

	return g <= PM_PAGE ? names[g] : "?";
}

/* What was found out about a source before it is mapped. */
struct source {
	const char *path;
	int fd;
	uint64_t size;	/* as found; rounded down when mapped */
	uint64_t align; /* of addresses and lengths */
	enum pm_kind kind;
	enum pm_gran gran; /* what the medium needs */
	bool disk_sync;	   /* msync makes things durable (not: on tmpfs, where it does nothing) */
	bool volatile_memory;
};

/* ---- the map */

static uint64_t round_down(uint64_t x, uint64_t to)
{
	return x / to * to;
}

/* A reservation of our own, cut to the alignment: the kernel aligns a plain mmap of a file to its
 * page size only. NULL when there is no room. */
static uint8_t *map_reserve(uint64_t len, uint64_t align)
{
	uint8_t *raw, *at;
	size_t head;

	raw =
	    mmap(NULL, len + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (raw == MAP_FAILED)
		return NULL;
	at = (uint8_t *)(uintptr_t)round_up_u64((uintptr_t)raw, align);
	head = (size_t)(at - raw);
	if (head > 0)
		munmap(raw, head);
	if (align > head)
		munmap(at + len, align - head);
	return at;
}

/* Maps the file over the reservation. A regular file is tried with MAP_SYNC first: that it works is
 * what makes a file a DAX file. */
static int map_source(struct source *s, bool read_only, uint8_t *at, uint64_t len)
{
	int prot = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	void *p = MAP_FAILED;

	if (s->kind == PM_FILE) {
		p = mmap(at, len, prot, MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED, s->fd, 0);
		if (p != MAP_FAILED)
			s->kind = PM_FSDAX;
	}
	if (p == MAP_FAILED)
		p = mmap(at, len, prot, MAP_SHARED | MAP_FIXED, s->fd, 0);
	if (p == MAP_FAILED)
		return err_set(-errno, "%s: cannot be mapped (%llu bytes): %s", s->path,
			       (unsigned long long)len, strerror(errno));
	return 0;
}

static int pm_map(struct pm *pm, struct source *s)
{
	struct pm_priv *priv = pm_priv_of(pm);
	uint64_t align = max_u64(s->align, HF_FRAME_SIZE);
	uint64_t len = round_down(s->size, align);
	int err;

	if (len < PM_SIZE_MIN)
		return err_set(-EINVAL,
			       "%s: %llu bytes are too small for a volume: it needs at least %llu "
			       "bytes (4 MiB)",
			       s->path, (unsigned long long)s->size,
			       (unsigned long long)PM_SIZE_MIN);
	priv->map = map_reserve(len, align);
	if (!priv->map)
		return err_set(-ENOMEM, "%s: no address space for %llu bytes", s->path,
			       (unsigned long long)len);
	priv->map_len = len;
	err = map_source(s, pm->read_only, priv->map, len);
	if (err)
		return err;
	/* A child gets no map: it must not store to media that its parent truncates and reuses. */
	if (madvise(priv->map, len, MADV_DONTFORK) != 0)
		return err_set(-errno, "%s: MADV_DONTFORK: %s", s->path, strerror(errno));
	pm->base = priv->map;
	pm->size = len;
	pm->align = align;
	if (s->kind == PM_DEVDAX)
		priv->granule = align;
	return 0;
}

/* ---- libpmem2: its map object over our mapping. pmem2_map_new and pmem2_source_size are not
 * called: they crash on a device that is not under an ndctl namespace. */

/* libpmem2 has a lock around its list of maps, and does not look after it at a fork: a child that is
 * born meanwhile would wait for it for ever. So a fork waits for who is in there. */
static pthread_mutex_t pmem2_mutex = PTHREAD_MUTEX_INITIALIZER;

static void pmem2_fork_prepare(void)
{
	pthread_mutex_lock(&pmem2_mutex);
}

static void pmem2_fork_done(void)
{
	pthread_mutex_unlock(&pmem2_mutex);
}

static void pmem2_at_fork(void)
{
	pthread_atfork(pmem2_fork_prepare, pmem2_fork_done, pmem2_fork_done);
}

static int pm_pmem2_attach(struct pm *pm)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static const enum pmem2_granularity gran[] = {
	    PMEM2_GRANULARITY_BYTE, PMEM2_GRANULARITY_CACHE_LINE, PMEM2_GRANULARITY_PAGE};
	struct pm_priv *priv = pm_priv_of(pm);
	int rc = pmem2_source_from_fd(&priv->source, pm->fd);

	pthread_once(&once, pmem2_at_fork);
	if (rc == 0) {
		pthread_mutex_lock(&pmem2_mutex);
		rc = pmem2_map_from_existing(&priv->pmem2, priv->source, pm->base, pm->size,
					     gran[pm->gran]);
		pthread_mutex_unlock(&pmem2_mutex);
	}
	/* In a child, libpmem2 still knows the parent's maps, and this one may lie where one of
	 * them lay. Our own instructions do as well. */
	if (rc == 0 || rc == PMEM2_E_MAP_EXISTS)
		return 0;
	/* Its own codes start at -100000. */
	return err_set(rc < -4095 ? -EINVAL : rc, "%s: libpmem2: %s", pm->path, pmem2_errormsg());
}

/* libpmem2 1.12 loses the node that a map had in its tree (144 bytes per map) when the map is
 * deleted. Under AddressSanitizer every program with this layer would fail for it. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PM_LEAK_CHECKED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(PM_LEAK_CHECKED)
const char *__lsan_default_suppressions(void) __attribute__((visibility("default")));
const char *__lsan_default_suppressions(void)
{
	return "leak:libpmem2.so\n";
}
#endif

/* libpmem2's flush and bulk copy are as quick as ours and know more machines. Its page mode is not
 * used: where its msync fails it ends the process. */
static void pm_choose_ops(struct pm *pm)
{
	struct pm_priv *priv = pm_priv_of(pm);

	priv->ops = *arch_ops();
	if (priv->pmem2 && pm->gran == PM_LINE) {
		priv->ops.flush = pmem2_get_flush_fn(priv->pmem2);
		priv->ops.nt_bulk = pmem2_get_memcpy_fn(priv->pmem2);
	}
	pm->ops = &priv->ops;
}

/* ---- what survives */

static enum pm_survives pm_judge_survival(const struct source *s, enum pm_gran claimed,
					  bool no_msync)
{
	if (s->kind == PM_MEMFD)
		return PM_NOTHING;
	/* Claiming less work than the medium needs leaves the caches out. */
	if (claimed < s->gran || s->volatile_memory)
		return PM_PROCESS_CRASH;
	if (claimed == PM_PAGE && (no_msync || !s->disk_sync))
		return PM_PROCESS_CRASH;
	return PM_POWER_FAIL;
}

static int pm_set_granularity(struct pm *pm, const struct source *s,
			      const struct pm_open_args *args)
{
	struct pm_priv *priv = pm_priv_of(pm);

	pm->gran = args->force_gran ? args->gran : s->gran;
	if (pm->gran == PM_PAGE && s->kind == PM_DEVDAX)
		return err_set(-EINVAL, "%s: a dax device has no msync, so no page granularity",
			       s->path);
	priv->sync = pm->gran == PM_PAGE && s->disk_sync && !args->no_msync;
	pm->survives = pm_judge_survival(s, pm->gran, args->no_msync);
	return 0;
}

/* ---- struct pm */

static struct pm *pm_new(const char *path, const struct pm_open_args *args)
{
	struct pm *pm = calloc(1, sizeof(*pm));
	struct pm_priv *priv = calloc(1, sizeof(*priv));

	if (!pm || !priv) {
		free(pm);
		free(priv);
		return NULL;
	}
	pm->priv = priv;
	pm->fd = -1;
	pm->hook = args->hook;
	pm->read_only = args->read_only;
	pm->no_threads = args->no_threads;
	snprintf(pm->path, sizeof(pm->path), "%s", path);
	priv->page_size = (size_t)sysconf(_SC_PAGESIZE);
	priv->lost_first = UINT64_MAX;
	return pm;
}

static void pm_free(struct pm *pm)
{
	struct pm_priv *priv = pm_priv_of(pm);

	if (priv->id) {
		poison_unregister(pm);
		page_unregister(priv);
	}
	if (priv->pmem2) {
		pthread_mutex_lock(&pmem2_mutex);
		pmem2_map_delete(&priv->pmem2);
		pthread_mutex_unlock(&pmem2_mutex);
	}
	if (priv->source)
		pmem2_source_delete(&priv->source);
	/* In a child the range was not inherited, and may be in use for something else. */
	if (priv->map && (!pm->fork_token || !pm_is_child(pm)))
		munmap(priv->map, priv->map_len);
	if (pm->fd >= 0)
		close(pm->fd);
	free(priv);
	free(pm);
}

void pm_close(struct pm **pm)
{
	if (*pm)
		pm_free(*pm);
	*pm = NULL;
}

/* The end of every open: takes pm over, also when it fails. */
static int pm_finish(struct pm *pm, int err, struct pm **out)
{
	if (!err)
		err = guard_install();
	if (err) {
		pm_free(pm);
		return err;
	}
	pm_choose_ops(pm);
	pm->fork_token = fork_arm();
	err = poison_register(pm);
	if (err) {
		pm_free(pm);
		return err;
	}
	page_register(pm_priv_of(pm));
	*out = pm;
	return 0;
}

/* ---- sources */

static bool fs_is_memory(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) != 0)
		return false;
	return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC;
}

static int source_device(struct source *s, dev_t rdev, bool want_write)
{
	struct dax_facts facts;
	int err = dax_gather("/sys", rdev, &facts);

	if (err)
		return err_set(
		    -ENODEV,
		    "%s: not a dax device: a volume lives on /dev/daxX.Y or in a regular file",
		    s->path);
	err = dax_judge(s->path, &facts, want_write);
	if (err)
		return err;
	s->kind = PM_DEVDAX;
	s->size = facts.size;
	s->align = facts.align;
	s->gran = dax_gran(&facts);
	s->volatile_memory = facts.volatile_memory;
	return 0;
}

/* Looks before opening: opening the wrong device can have effects. */
static int source_inspect(struct source *s, bool want_write)
{
	struct stat st;
	int err = place_stat(s->path, &st);

	if (err)
		return err;
	if (S_ISCHR(st.st_mode))
		return source_device(s, st.st_rdev, want_write);
	s->kind = PM_FILE;
	s->gran = PM_PAGE;
	s->align = HF_FRAME_SIZE;
	return 0;
}

/* Not 0, 1 or 2: a program whose standard streams are closed would print into its volume. */
static int fd_not_standard(int fd)
{
	int high;

	if (fd < 0 || fd > 2)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	close(fd);
	return high;
}

static int source_open(struct source *s, const struct pm_open_args *args)
{
	int flags = (args->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY;
	struct stat st;

	s->fd = fd_not_standard(open(s->path, flags));
	if (s->fd < 0)
		return place_open_failed(s->path, -errno);
	if (fstat(s->fd, &st) != 0)
		return err_set(-errno, "%s: %s", s->path, strerror(errno));
	if (s->kind != PM_FILE)
		return S_ISCHR(st.st_mode)
			   ? place_trusted(s->path, &st)
			   : err_set(-ENODEV, "%s: was replaced while it was opened", s->path);
	if (!S_ISREG(st.st_mode))
		return err_set(-ENODEV, "%s: was replaced while it was opened", s->path);
	s->size = (uint64_t)st.st_size;
	s->disk_sync = !fs_is_memory(s->fd);
	return place_trusted(s->path, &st);
}

/* The kind is known only now: MAP_SYNC said what the file is. */
static void source_refine(struct source *s)
{
	struct dax_facts facts = {.subsystem_dax = false};
	struct stat st;

	if (s->kind != PM_FSDAX)
		return;
	if (fstat(s->fd, &st) == 0)
		dax_block_domain("/sys", st.st_dev, facts.domain);
	s->gran = dax_gran(&facts);
}

int pm_open(const char *path, const struct pm_open_args *args, struct pm **out)
{
	struct source s = {.path = path, .fd = -1};
	struct pm *pm;
	int err;

	*out = NULL;
	args = args ? args : &args_none;
	pm = pm_new(path, args);
	if (!pm)
		return err_set(-ENOMEM, "%s: no memory", path);
	err = source_inspect(&s, !args->read_only);
	if (!err)
		err = source_open(&s, args);
	pm->fd = s.fd;
	if (!err && !args->no_lock)
		err = pm_lock_fd(s.fd, path, args->read_only);
	if (!err)
		err = pm_map(pm, &s);
	if (!err) {
		source_refine(&s);
		pm->kind = s.kind;
		err = pm_set_granularity(pm, &s, args);
	}
	if (!err)
		err = pm_pmem2_attach(pm);
	return pm_finish(pm, err, out);
}

void pm_bad_blocks(const struct pm *pm, pm_range_fn *fn, void *ctx)
{
	struct stat st;

	if (pm->kind == PM_DEVDAX && fstat(pm->fd, &st) == 0)
		dax_bad_blocks("/sys", st.st_rdev, fn, ctx);
}

int pm_open_memfd(uint64_t size, const struct pm_open_args *args, struct pm **out)
{
	struct source s = {
	    .path = "memfd", .fd = -1, .size = size, .kind = PM_MEMFD, .gran = PM_PAGE};
	struct pm *pm;
	int err = 0;

	*out = NULL;
	args = args ? args : &args_none;
	pm = pm_new(s.path, args);
	if (!pm)
		return err_set(-ENOMEM, "memfd: no memory");
	pm->kind = PM_MEMFD;
	s.fd = fd_not_standard(memfd_create("holdfast", MFD_CLOEXEC));
	pm->fd = s.fd;
	if (s.fd < 0 || ftruncate(s.fd, (off_t)round_down(size, HF_FRAME_SIZE)) != 0)
		err = err_set(-errno, "memfd of %llu bytes: %s", (unsigned long long)size,
			      strerror(errno));
	if (!err)
		err = pm_map(pm, &s);
	if (!err)
		err = pm_set_granularity(pm, &s, args);
	if (!err)
		err = pm_pmem2_attach(pm);
	return pm_finish(pm, err, out);
}

int pm_open_memory(void *base, uint64_t size, const struct pm_open_args *args, struct pm **out)
{
	struct source s = {.path = "memory", .fd = -1, .kind = PM_MEMFD, .gran = PM_BYTE};
	struct pm *pm;
	int err = 0;

	*out = NULL;
	args = args ? args : &args_none;
	pm = pm_new(s.path, args);
	if (!pm)
		return err_set(-ENOMEM, "memory: no memory");
	pm->kind = PM_MEMFD;
	pm->base = base;
	pm->size = round_down(size, HF_FRAME_SIZE);
	if ((uintptr_t)base % HF_FRAME_SIZE != 0)
		err = err_set(-EINVAL, "memory at %p is not aligned to 2 MiB", base);
	if (!err && pm->size < PM_SIZE_MIN)
		err = err_set(-EINVAL, "memory of %llu bytes is too small for a volume (4 MiB)",
			      (unsigned long long)size);
	if (!err)
		err = pm_set_granularity(pm, &s, args);
	return pm_finish(pm, err, out);
}
