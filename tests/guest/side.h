/* One set of operations on files for the side-by-side comparison: a holdfast volume, or a directory
 * of one of the kernel's file systems. */
#ifndef SIDE_H
#define SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct side_file {
	void *handle; /* holdfast: the open file */
	int fd;	      /* the others: the descriptor */
	uint64_t pin;
	void *addr; /* what is mapped, or pinned */
	size_t len;
};

/* An extent as far as it matters for large pages. */
struct side_extent {
	uint64_t off, len, media_off;
};

/* Errors are negative errno. */
struct side_ops {
	int (*open)(const char *where);
	void (*close)(void);
	uint64_t (*free_bytes)(void);
	int (*create)(const char *name, struct side_file *f);
	int (*close_file)(struct side_file *f);
	ssize_t (*write)(struct side_file *f, const void *buf, size_t len, uint64_t off);
	ssize_t (*read)(struct side_file *f, void *buf, size_t len, uint64_t off);
	uint64_t (*allocated)(const char *name); /* bytes of the medium that the file has */
	int (*allocate)(struct side_file *f, uint64_t len);
	int (*truncate)(struct side_file *f, uint64_t size);
	int (*punch)(struct side_file *f, uint64_t off, uint64_t len);
	int (*unlink)(const char *name);
	/* Addresses that a device could be given; holdfast: a pin. */
	int (*hold)(struct side_file *f, uint64_t off, size_t len);
	/* The addresses are not used any more. The kernel's file systems have no more to know than
	 * that they are unmapped. */
	void (*hold_end)(struct side_file *f);
	/* A program's mapping of the whole file for loads and stores, aligned to 2 MiB; holdfast: a
	 * view. */
	int (*map)(struct side_file *f, size_t len);
	int (*populate)(struct side_file *f, uint64_t off,
			size_t len); /* errors that a touch would make a signal of */
	void (*unmap)(struct side_file *f);
	int (*extents)(struct side_file *f, struct side_extent *e, size_t max, size_t *n);
	bool knows_holds; /* hold_end() comes when the device is done. Else it may come before, and
			     the kernel's hold goes on */
};

extern const struct side_ops side_holdfast, side_kernel;

/* Ends the program with a sentence where err is negative. */
void side_must(int64_t err, const char *what);

#endif
