#include "media/dax.h"

#include <daxctl/libdaxctl.h>
#include <dirent.h>
#include <limits.h>
#include <ndctl/libndctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* ---- judging */

enum pm_gran dax_gran(const struct dax_facts *f)
{
	return strcmp(f->domain, "cpu_cache") == 0 ? PM_BYTE : PM_LINE;
}

static int judge_driver(const char *path, const struct dax_facts *f)
{
	if (f->system_ram || strcmp(f->driver, "kmem") == 0)
		return err_set(-ENODEV,
			       "%s: in system-ram mode, the kernel uses it as memory; 'daxctl "
			       "reconfigure-device --mode=devdax --force %s' takes it back",
			       path, f->devname);
	if (strcmp(f->driver, "fsdev_dax") == 0)
		return err_set(-ENODEV,
			       "%s: bound to the driver fsdev_dax, which cannot be mapped; unbind "
			       "it there and "
			       "bind %s to device_dax (/sys/bus/dax/drivers)",
			       path, f->devname);
	if (!f->enabled || !f->driver[0])
		return err_set(
		    -ENODEV, "%s: the device has no driver; 'daxctl enable-device %s' gives it one",
		    path, f->devname);
	if (strcmp(f->driver, "device_dax") != 0)
		return err_set(-ENODEV, "%s: bound to the driver %s, not to device_dax", path,
			       f->driver);
	return 0;
}

int dax_judge(const char *path, const struct dax_facts *f, bool want_write)
{
	int err;

	if (!f->subsystem_dax)
		return err_set(-ENODEV, "%s: a character device, but not a dax device", path);
	err = judge_driver(path, f);
	if (err)
		return err;
	if (f->align && f->align % HF_FRAME_SIZE != 0)
		return err_set(
		    -EINVAL,
		    "%s: its alignment is %llu bytes, a volume needs 2 MiB pages; 'ndctl "
		    "create-namespace -f -e <namespace> --mode=devdax --align=2M' (this erases it)",
		    path, (unsigned long long)f->align);
	if (f->size == 0)
		return err_set(-EINVAL, "%s: its size is 0 or cannot be found out", path);
	if (want_write && f->read_only)
		return err_set(-EROFS,
			       "%s: its region is read-only; it can be looked at and mounted read-only (-o ro). 'echo 0 "
			       ">/sys/bus/nd/devices/%s/read_only' makes it writable, where the platform lets it",
			       path,
			       f->region[0] ? f->region : "<region>");
	return 0;
}

/* ---- sysfs */

/* The first line of dir/name; false when there is none. */
static bool sysfs_line(const char *dir, const char *name, char *out, size_t out_size)
{
	char path[PATH_MAX + 64];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(out, (int)out_size, f) != NULL;
	fclose(f);
	if (ok)
		out[strcspn(out, "\n")] = '\0';
	return ok;
}

static bool sysfs_u64(const char *dir, const char *name, uint64_t *out)
{
	char line[64], *end;

	if (!sysfs_line(dir, name, line, sizeof(line)))
		return false;
	errno = 0;
	*out = strtoull(line, &end, 0);
	return errno == 0 && end != line;
}

/* The last component of a path, cut to fit. */
static void copy_basename(char *out, size_t out_size, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t n = strnlen(name, out_size - 1);

	memcpy(out, name, n);
	out[n] = '\0';
}

/* The last component of the link dir/name. */
static bool sysfs_link(const char *dir, const char *name, char *out, size_t out_size)
{
	char path[PATH_MAX + 64], target[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = '\0';
	copy_basename(out, out_size, target);
	return true;
}

/* "start length" per line, in sectors of 512 bytes from the region's start; counts those in the
 * device, and tells fn (may be NULL). */
static uint64_t sysfs_bad_blocks(const char *dir, uint64_t first, uint64_t end, pm_range_fn *fn, void *ctx)
{
	char path[PATH_MAX + 64];
	unsigned long long start, len;
	uint64_t count = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/badblocks", dir);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fscanf(f, "%llu %llu", &start, &len) == 2) {
		uint64_t from = max_u64(start, first), to = min_u64(start + len, end);

		count += to > from ? to - from : 0;
		if (fn && to > from)
			fn(ctx, (from - first) * 512, (to - from) * 512);
	}
	fclose(f);
	return count;
}

/* Cuts the last component off; false at the top. */
static bool path_up(char *path, const char *top)
{
	char *slash = strrchr(path, '/');

	if (!slash || strlen(path) <= strlen(top))
		return false;
	*slash = '\0';
	return slash != path;
}

/* The nvdimm region above the device: on the way up, the directory that knows the persistence domain or, where the platform says
 * nothing of that (memmap=, virtio-pmem), whether it is read-only. */
static bool find_region(const char *device, const char *top, char region[PATH_MAX])
{
	char line[64];

	snprintf(region, PATH_MAX, "%s", device);
	while (path_up(region, top)) {
		if (sysfs_line(region, "persistence_domain", line, sizeof(line)) ||
		    sysfs_line(region, "read_only", line, sizeof(line)))
			return true;
	}
	return false;
}

/* Soft-reserved memory (hmem), or a CXL region that does not say pmem, is volatile. */
static bool is_volatile(const char *device, const char *top)
{
	char dir[PATH_MAX], mode[32];

	snprintf(dir, sizeof(dir), "%s", device);
	while (path_up(dir, top)) {
		if (sysfs_line(dir, "mode", mode, sizeof(mode)) && strcmp(mode, "pmem") == 0)
			return false;
	}
	return true;
}

static void gather_region(const char *region, uint64_t resource, struct dax_facts *out)
{
	uint64_t region_resource = 0, value, first;
	char line[32];

	copy_basename(out->region, sizeof(out->region), region);
	if (sysfs_line(region, "persistence_domain", line, sizeof(line)))
		snprintf(out->domain, sizeof(out->domain), "%s", line);
	/* A host's page cache or plain DRAM may be behind it, and no flush reaches further. */
	out->volatile_memory = !out->domain[0];
	if (sysfs_u64(region, "read_only", &value))
		out->read_only = value != 0;
	if (sysfs_line(region, "numa_node", line, sizeof(line)) && out->numa_node < 0)
		out->numa_node = atoi(line);
	/* Addresses are shown to root alone: others do not know where in the region the device is, and what of the list is its own. */
	if (!resource || !sysfs_u64(region, "resource", &region_resource) || resource < region_resource)
		return;
	first = (resource - region_resource) / 512;
	out->region_first = first;
	out->bad_blocks = sysfs_bad_blocks(region, first, first + out->size / 512, NULL, NULL);
}

static int gather_sysfs(const char *sysfs, dev_t rdev, struct dax_facts *out, char region[PATH_MAX])
{
	char link[PATH_MAX], device[PATH_MAX], top[PATH_MAX], line[64];
	uint64_t resource = 0;

	region[0] = '\0';
	snprintf(link, sizeof(link), "%s/dev/char/%u:%u", sysfs, major(rdev), minor(rdev));
	if (!realpath(link, device) || !realpath(sysfs, top))
		return -ENODEV;
	out->subsystem_dax =
	    sysfs_link(device, "subsystem", line, sizeof(line)) && strcmp(line, "dax") == 0;
	if (!out->subsystem_dax)
		return -ENODEV;
	copy_basename(out->devname, sizeof(out->devname), device);
	out->enabled = sysfs_link(device, "driver", out->driver, sizeof(out->driver));
	sysfs_u64(device, "size", &out->size);
	if (!sysfs_u64(device, "align", &out->align))
		sysfs_u64(device, "../dax_region/align", &out->align);
	sysfs_u64(device, "resource", &resource);
	out->resource = resource;
	if (sysfs_line(device, "numa_node", line, sizeof(line)))
		out->numa_node = atoi(line);
	if (find_region(device, top, region))
		gather_region(region, resource, out);
	else
		out->volatile_memory = is_volatile(device, top);
	return 0;
}

/* ---- the libraries, for what sysfs does not say in one place. That they know nothing is no
 * failure: a device need not be under an ndctl namespace. */

static void silent(struct daxctl_ctx *ctx, int priority, const char *file, int line, const char *fn,
		   const char *format, va_list args)
{
	(void)ctx;
	(void)priority;
	(void)file;
	(void)line;
	(void)fn;
	(void)format;
	(void)args;
}

static void refine_by_daxctl(dev_t rdev, struct dax_facts *out)
{
	struct daxctl_ctx *ctx;
	struct daxctl_region *region;
	struct daxctl_dev *dev;

	if (daxctl_new(&ctx) != 0)
		return;
	daxctl_set_log_fn(ctx, silent);
	daxctl_region_foreach(ctx, region)
	{
		daxctl_dev_foreach(region, dev)
		{
			if (daxctl_dev_get_major(dev) != (int)major(rdev) ||
			    daxctl_dev_get_minor(dev) != (int)minor(rdev))
				continue;
			out->system_ram = daxctl_dev_get_memory(dev) != NULL;
			if (out->size == 0)
				out->size = daxctl_dev_get_size(dev);
			if (out->align == 0)
				out->align = daxctl_dev_get_align(dev);
		}
	}
	daxctl_unref(ctx);
}

static void refine_by_region(struct ndctl_region *region, struct dax_facts *out)
{
	switch (ndctl_region_get_persistence_domain(region)) {
	case PERSISTENCE_CPU_CACHE:
		snprintf(out->domain, sizeof(out->domain), "cpu_cache");
		break;
	case PERSISTENCE_MEM_CTRL:
		snprintf(out->domain, sizeof(out->domain), "memory_controller");
		break;
	default:
		break;
	}
	if (ndctl_region_get_ro(region) == 1)
		out->read_only = true;
	if (out->numa_node < 0)
		out->numa_node = ndctl_region_get_numa_node(region);
}

/* The bus of a region by its name; NULL: none. */
static struct ndctl_bus *bus_of_region(struct ndctl_ctx *ctx, const char *name)
{
	struct ndctl_bus *bus;
	struct ndctl_region *region;

	ndctl_bus_foreach(ctx, bus)
	{
		ndctl_region_foreach(bus, region)
		{
			if (strcmp(ndctl_region_get_devname(region), name) == 0)
				return bus;
		}
	}
	return NULL;
}

static bool clear_on_bus(struct ndctl_bus *bus, uint64_t address, uint64_t len)
{
	struct ndctl_cmd *cap = ndctl_bus_cmd_new_ars_cap(bus, address, len), *clear = NULL;
	bool ok = cap && ndctl_cmd_submit(cap) >= 0;

	if (ok)
		clear = ndctl_bus_cmd_new_clear_error(address, len, cap);
	ok = clear && ndctl_cmd_submit(clear) >= 0 && ndctl_cmd_clear_error_get_cleared(clear) == len;
	if (clear)
		ndctl_cmd_unref(clear);
	if (cap)
		ndctl_cmd_unref(cap);
	return ok;
}

bool dax_clear_bad(dev_t rdev, uint64_t off, uint64_t len)
{
	struct dax_facts facts = {.numa_node = -1};
	char region[PATH_MAX];
	struct ndctl_ctx *ctx;
	struct ndctl_bus *bus;
	bool ok;

	if (gather_sysfs("/sys", rdev, &facts, region) != 0 || !region[0] || !facts.resource || ndctl_new(&ctx) != 0)
		return false;
	bus = bus_of_region(ctx, strrchr(region, '/') + 1);
	ok = bus && clear_on_bus(bus, facts.resource + off, len);
	ndctl_unref(ctx);
	return ok;
}

static void refine_by_ndctl(const char *region_path, struct dax_facts *out)
{
	const char *name = strrchr(region_path, '/');
	struct ndctl_ctx *ctx;
	struct ndctl_bus *bus;
	struct ndctl_region *region;

	if (!name || ndctl_new(&ctx) != 0)
		return;
	ndctl_bus_foreach(ctx, bus)
	{
		ndctl_region_foreach(bus, region)
		{
			if (strcmp(ndctl_region_get_devname(region), name + 1) == 0)
				refine_by_region(region, out);
		}
	}
	ndctl_unref(ctx);
}

void dax_bad_blocks(const char *sysfs, dev_t rdev, pm_range_fn *fn, void *ctx)
{
	struct dax_facts facts = {.numa_node = -1};
	char region[PATH_MAX];

	if (gather_sysfs(sysfs, rdev, &facts, region) == 0 && region[0] && facts.bad_blocks)
		sysfs_bad_blocks(region, facts.region_first, facts.region_first + facts.size / 512, fn, ctx);
}

int dax_gather(const char *sysfs, dev_t rdev, struct dax_facts *out)
{
	char region[PATH_MAX];
	int err;

	*out = (struct dax_facts){.numa_node = -1};
	err = gather_sysfs(sysfs, rdev, out, region);
	if (err || strcmp(sysfs, "/sys") != 0)
		return err;
	refine_by_daxctl(rdev, out);
	if (region[0])
		refine_by_ndctl(region, out);
	return 0;
}

void dax_block_domain(const char *sysfs, dev_t dev, char domain[32])
{
	char link[PATH_MAX], device[PATH_MAX], top[PATH_MAX], region[PATH_MAX];

	domain[0] = '\0';
	snprintf(link, sizeof(link), "%s/dev/block/%u:%u", sysfs, major(dev), minor(dev));
	if (!realpath(link, device) || !realpath(sysfs, top))
		return;
	if (find_region(device, top, region))
		sysfs_line(region, "persistence_domain", domain, 32);
}
