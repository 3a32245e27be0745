#include "media/arch.h"
#include "media/dax.h"
#include "media/place.h"
#include "media/pm_impl.h"
#include "media/poison.h"
#include "base/sanitize.h"

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

/* ---- the map */

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
static int map_member(struct pm *pm, struct pm_member *m)
{
	int prot = pm->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	uint8_t *at = pm->base + m->base.v;
	void *p = MAP_FAILED;

	if (m->kind == PM_FILE) {
		p = mmap(at, m->bytes, prot, MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED, m->fd, 0);
		if (p != MAP_FAILED)
			m->kind = PM_FSDAX;
	}
	if (p == MAP_FAILED)
		p = mmap(at, m->bytes, prot, MAP_SHARED | MAP_FIXED, m->fd, 0);
	if (p == MAP_FAILED)
		return err_set(-errno, "%s: cannot be mapped (%llu bytes): %s", m->path,
			       (unsigned long long)m->bytes, strerror(errno));
	return 0;
}

static int pm_map(struct pm *pm)
{
	struct pm_priv *priv = pm_priv_of(pm);
	uint64_t align;
	int err = members_place(pm, &align);

	if (err)
		return err;
	priv->map = map_reserve(pm->size, align);
	if (!priv->map)
		return err_set(-ENOMEM, "%s: no address space for %llu bytes", pm->path,
			       (unsigned long long)pm->size);
	priv->map_len = pm->size;
	pm->base = priv->map;
	pm->align = align;
	for (unsigned int i = 0; i < pm->nmembers && !err; i++)
		err = map_member(pm, &pm->member[i]);
	if (err)
		return err;
	/* A child gets no map: it must not store to media that its parent truncates and reuses. */
	if (madvise(priv->map, pm->size, MADV_DONTFORK) != 0)
		return err_set(-errno, "%s: MADV_DONTFORK: %s", pm->path, strerror(errno));
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

static int pmem2_attach_one(struct pm *pm, unsigned int i)
{
	static const enum pmem2_granularity gran[] = {
	    PMEM2_GRANULARITY_BYTE, PMEM2_GRANULARITY_CACHE_LINE, PMEM2_GRANULARITY_PAGE};
	struct pm_priv *priv = pm_priv_of(pm);
	const struct pm_member *m = &pm->member[i];
	int rc = pmem2_source_from_fd(&priv->source[i], m->fd);

	if (rc == 0) {
		pthread_mutex_lock(&pmem2_mutex);
		rc = pmem2_map_from_existing(&priv->pmem2[i], priv->source[i], pm->base + m->base.v, m->bytes,
					     gran[pm->gran]);
		pthread_mutex_unlock(&pmem2_mutex);
	}
	/* In a child, libpmem2 still knows the parent's maps, and this one may lie where one of
	 * them lay. Our own instructions do as well. */
	if (rc == 0 || rc == PMEM2_E_MAP_EXISTS)
		return 0;
	/* Its own codes start at -100000. */
	return err_set(rc < -4095 ? -EINVAL : rc, "%s: libpmem2: %s", m->path, pmem2_errormsg());
}

static int pm_pmem2_attach(struct pm *pm)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int err = 0;

	pthread_once(&once, pmem2_at_fork);
	for (unsigned int i = 0; i < pm->nmembers && !err; i++)
		err = pmem2_attach_one(pm, i);
	return err;
}

/* libpmem2 1.12 loses the node that a map had in its tree (144 bytes per map) when the map is
 * deleted. Under AddressSanitizer every program with this layer would fail for it. */
#if HF_ASAN
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
	if (priv->pmem2[0] && pm->gran == PM_LINE) {
		priv->ops.flush = pmem2_get_flush_fn(priv->pmem2[0]);
		priv->ops.nt_bulk = pmem2_get_memcpy_fn(priv->pmem2[0]);
	}
	pm->ops = &priv->ops;
}

/* ---- what survives */

static enum pm_survives pm_judge_survival(const struct pm_member *m, enum pm_gran claimed,
					  bool no_msync)
{
	if (m->kind == PM_MEMFD)
		return PM_NOTHING;
	/* Claiming less work than the medium needs leaves the caches out. */
	if (claimed < m->gran || m->volatile_memory)
		return PM_PROCESS_CRASH;
	if (claimed == PM_PAGE && (no_msync || !m->disk_sync))
		return PM_PROCESS_CRASH;
	return PM_POWER_FAIL;
}

/* Of several members the one that needs most says what is done for all, and the one that keeps least what survives. */
static int pm_set_granularity(struct pm *pm, const struct pm_open_args *args)
{
	struct pm_priv *priv = pm_priv_of(pm);
	enum pm_survives survives;

	pm->gran = args->force_gran ? args->gran : PM_BYTE;
	pm->survives = PM_POWER_FAIL;
	for (unsigned int i = 0; i < pm->nmembers; i++) {
		if (!args->force_gran && pm->member[i].gran > pm->gran)
			pm->gran = pm->member[i].gran;
		if (pm->member[i].kind > pm->kind)
			pm->kind = pm->member[i].kind;
	}
	for (unsigned int i = 0; i < pm->nmembers; i++) {
		const struct pm_member *m = &pm->member[i];

		if (pm->gran == PM_PAGE && m->kind == PM_DEVDAX)
			return err_set(-EINVAL,
				       "%s: a dax device has no msync, so no page granularity, and no volume together with "
				       "files that are not on DAX",
				       m->path);
		priv->sync |= pm->gran == PM_PAGE && m->disk_sync && !args->no_msync;
		survives = pm_judge_survival(m, pm->gran, args->no_msync);
		if (survives < pm->survives)
			pm->survives = survives;
	}
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
	pm->nmembers = 1;
	for (unsigned int i = 0; i < PM_MEMBERS_MAX; i++)
		pm->member[i] = (struct pm_member){.path = pm->path, .fd = -1, .numa_node = -1, .align = HF_FRAME_SIZE};
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
	for (unsigned int i = 0; i < pm->nmembers; i++) {
		if (priv->pmem2[i]) {
			pthread_mutex_lock(&pmem2_mutex);
			pmem2_map_delete(&priv->pmem2[i]);
			pthread_mutex_unlock(&pmem2_mutex);
		}
		if (priv->source[i])
			pmem2_source_delete(&priv->source[i]);
	}
	/* In a child the range was not inherited, and may be in use for something else. */
	if (priv->map && (!pm->fork_token || !pm_is_child(pm)))
		munmap(priv->map, priv->map_len);
	for (unsigned int i = 0; i < pm->nmembers; i++)
		if (pm->member[i].fd >= 0)
			close(pm->member[i].fd);
	free(priv->names);
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

static int source_device(struct pm_member *m, dev_t rdev, bool want_write)
{
	struct dax_facts facts;
	int err = dax_gather("/sys", rdev, &facts);

	if (err)
		return err_set(
		    -ENODEV,
		    "%s: not a dax device: a volume lives on /dev/daxX.Y or in a regular file",
		    m->path);
	err = dax_judge(m->path, &facts, want_write);
	if (err)
		return err;
	m->kind = PM_DEVDAX;
	m->size = facts.size;
	m->align = facts.align;
	m->gran = dax_gran(&facts);
	m->granule = max_u64(m->align, HF_FRAME_SIZE);
	m->volatile_memory = facts.volatile_memory;
	m->numa_node = facts.numa_node;
	return 0;
}

/* Looks before opening: opening the wrong device can have effects. */
static int source_inspect(struct pm_member *m, bool want_write)
{
	struct stat st;
	int err = place_stat(m->path, &st);

	if (err)
		return err;
	if (S_ISCHR(st.st_mode))
		return source_device(m, st.st_rdev, want_write);
	m->kind = PM_FILE;
	m->gran = PM_PAGE;
	m->align = HF_FRAME_SIZE;
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

static int source_open(struct pm_member *m, const struct pm_open_args *args)
{
	int flags = (args->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY;
	struct stat st;

	m->fd = fd_not_standard(open(m->path, flags));
	if (m->fd < 0)
		return place_open_failed(m->path, -errno);
	if (fstat(m->fd, &st) != 0)
		return err_set(-errno, "%s: %s", m->path, strerror(errno));
	if (m->kind != PM_FILE)
		return S_ISCHR(st.st_mode)
			   ? place_trusted(m->path, &st)
			   : err_set(-ENODEV, "%s: was replaced while it was opened", m->path);
	if (!S_ISREG(st.st_mode))
		return err_set(-ENODEV, "%s: was replaced while it was opened", m->path);
	m->size = (uint64_t)st.st_size;
	m->disk_sync = !fs_is_memory(m->fd);
	return place_trusted(m->path, &st);
}

/* The kind is known only now: MAP_SYNC said what the file is. */
static void source_refine(struct pm_member *m)
{
	struct dax_facts facts = {.subsystem_dax = false};
	struct stat st;

	if (m->kind != PM_FSDAX)
		return;
	if (fstat(m->fd, &st) == 0)
		dax_block_domain("/sys", st.st_dev, facts.domain);
	m->gran = dax_gran(&facts);
}

/* Each name is a member. */
static int pm_name_members(struct pm *pm, const char *path, const struct pm_open_args *args)
{
	struct pm_names names;
	int err = pm_names(path, &names);

	if (err)
		return err;
	pm_priv_of(pm)->names = names.text;
	pm->nmembers = names.n;
	for (unsigned int i = 0; i < names.n; i++) {
		pm->member[i].path = names.name[i];
		pm->member[i].bytes = args->member_bytes ? args->member_bytes[i] : 0;
	}
	return 0;
}

int pm_open(const char *path, const struct pm_open_args *args, struct pm **out)
{
	struct pm *pm;
	int err;

	*out = NULL;
	args = args ? args : &args_none;
	pm = pm_new(path, args);
	if (!pm)
		return err_set(-ENOMEM, "%s: no memory", path);
	err = pm_name_members(pm, path, args);
	for (unsigned int i = 0; i < pm->nmembers && !err; i++) {
		err = source_inspect(&pm->member[i], !args->read_only);
		if (!err)
			err = source_open(&pm->member[i], args);
	}
	if (!err && !args->no_lock)
		err = members_lock(pm, args->read_only);
	if (!err && args->arrange && pm->nmembers > 1)
		err = members_arrange(pm, args);
	if (!err)
		err = pm_map(pm);
	for (unsigned int i = 0; i < pm->nmembers && !err; i++)
		source_refine(&pm->member[i]);
	if (!err)
		err = pm_set_granularity(pm, args);
	if (!err)
		err = pm_pmem2_attach(pm);
	return pm_finish(pm, err, out);
}

int pm_open_memfd(uint64_t size, const struct pm_open_args *args, struct pm **out)
{
	struct pm_member *m;
	struct pm *pm;
	int err = 0;

	*out = NULL;
	args = args ? args : &args_none;
	pm = pm_new("memfd", args);
	if (!pm)
		return err_set(-ENOMEM, "memfd: no memory");
	m = &pm->member[0];
	m->kind = PM_MEMFD;
	m->gran = PM_PAGE;
	m->size = size;
	m->fd = fd_not_standard(memfd_create("holdfast", MFD_CLOEXEC));
	if (m->fd < 0 || ftruncate(m->fd, (off_t)(size / HF_FRAME_SIZE * HF_FRAME_SIZE)) != 0)
		err = err_set(-errno, "memfd of %llu bytes: %s", (unsigned long long)size,
			      strerror(errno));
	if (!err)
		err = pm_map(pm);
	if (!err)
		err = pm_set_granularity(pm, args);
	if (!err)
		err = pm_pmem2_attach(pm);
	return pm_finish(pm, err, out);
}

/* Memory that looks like several members, if the caller wants it to. */
static void memory_members(struct pm *pm, uint64_t size, const struct pm_open_args *args)
{
	pm->nmembers = args->member_bytes ? args->nmembers : 1;
	for (unsigned int i = 0; i < pm->nmembers; i++) {
		pm->member[i].kind = PM_MEMFD;
		pm->member[i].size = args->member_bytes ? args->member_bytes[i] : size;
	}
}

int pm_open_memory(void *base, uint64_t size, const struct pm_open_args *args, struct pm **out)
{
	uint64_t align;
	struct pm *pm;
	int err = 0;

	*out = NULL;
	args = args ? args : &args_none;
	pm = pm_new("memory", args);
	if (!pm)
		return err_set(-ENOMEM, "memory: no memory");
	memory_members(pm, size, args);
	if ((uintptr_t)base % HF_FRAME_SIZE != 0)
		err = err_set(-EINVAL, "memory at %p is not aligned to 2 MiB", base);
	if (!err)
		err = members_place(pm, &align);
	pm->base = base;
	if (!err)
		err = pm_set_granularity(pm, args);
	return pm_finish(pm, err, out);
}
