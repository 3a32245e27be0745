/* What the system knows about a device-DAX node. Gathering looks at sysfs, libdaxctl and libndctl;
 * judging is pure. */
#ifndef HF_MEDIA_DAX_H
#define HF_MEDIA_DAX_H

#include "media/pm.h"
#include <sys/types.h>

struct dax_facts {
	bool subsystem_dax;   /* a character device of subsystem dax */
	char driver[32];      /* "device_dax", "kmem", "fsdev_dax", "" none */
	bool system_ram;      /* libdaxctl: its memory is, or is about to be, the kernel's */
	bool enabled;	      /* bound to a driver */
	uint64_t size, align; /* 0 unknown */
	bool read_only;	      /* the region is */
	char domain[32];      /* persistence domain: "cpu_cache", "memory_controller", "" unknown */
	bool
	    volatile_memory; /* soft-reserved DRAM, CXL ram, memmap=, virtio-pmem: nothing says that it is persistent */
	uint64_t bad_blocks; /* of 512 bytes, inside the device; 0 to who may not see physical addresses */
	uint64_t resource;     /* its physical address, 0 unknown */
	uint64_t region_first; /* where it begins in its region, in these */
	int numa_node;	     /* -1 unknown */
	char devname[32];    /* "dax0.0" */
	char region[32];     /* "region0"; "" none */
};

/* 0, or -ENODEV where there is no such device in sysfs. 'sysfs' is "/sys", or a test's copy of it;
 * the libraries are asked only for the real one. */
int dax_gather(const char *sysfs, dev_t rdev, struct dax_facts *out);

/* What the kernel lists of the device, in bytes from its beginning. */
void dax_bad_blocks(const char *sysfs, dev_t rdev, pm_range_fn *fn, void *ctx);

/* Has the platform clear [off, off+len) of the device (ACPI's 'clear error', by libndctl). False: it cannot, or not all of it. */
bool dax_clear_bad(dev_t rdev, uint64_t off, uint64_t len);

/* Can a volume live there? 0 or a negative errno with a sentence that says what to do. */
int dax_judge(const char *path, const struct dax_facts *f, bool want_write);
/* What a store needs to be durable: only a platform that says so has its caches in the persistence
 * domain. */
enum pm_gran dax_gran(const struct dax_facts *f);
/* The persistence domain of the block device below a DAX file system; "" unknown. */
void dax_block_domain(const char *sysfs, dev_t dev, char domain[32]);

#endif
