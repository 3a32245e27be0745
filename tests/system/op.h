/* Operations as data: made at random (op_gen.c), done to a volume (op_real.c) and to the model
 * (op_model.c), printed. */
#ifndef HF_TESTS_OP_H
#define HF_TESTS_OP_H

#include "model_fs.h"
#include "rng.h"

enum op_kind {
	OP_OPEN,
	OP_CLOSE,
	OP_READ,
	OP_WRITE,
	OP_APPEND,
	OP_FTRUNCATE,
	OP_FALLOCATE,
	OP_SEEK,
	OP_FSYNC,
	OP_FSTAT,
	OP_COPY,
	OP_FLINK,
	OP_STAT,
	OP_LSTAT,
	OP_MKDIR,
	OP_MKNOD,
	OP_SYMLINK,
	OP_READLINK,
	OP_LINK,
	OP_UNLINK,
	OP_RMDIR,
	OP_RENAME,
	OP_TRUNCATE,
	OP_SETATTR,
	OP_GETXATTR,
	OP_SETXATTR,
	OP_LISTXATTR,
	OP_REMOVEXATTR,
	OP_OPENDIR,
	OP_READDIR,
	OP_CLOSEDIR,
	OP_SYNCFS,
	OP_KINDS,
};
/* Which of the calls that do the same. */
enum op_via { VIA_PATH, VIA_LPATH, VIA_FILE, VIA_ID, VIA_VECTOR };

#define OP_PATH	   600
#define OP_LEN_MAX (8u << 20) /* bytes of one read or write */

struct op {
	enum op_kind kind;
	enum op_via via;
	unsigned flags;	 /* open, rename, setxattr, whence */
	uint32_t mode;	 /* permissions and type; fallocate's mode */
	int slot, slot2; /* of a file or stream; of a copy's target */
	uint64_t off, off2, len, rdev;
	uint64_t seed;	      /* of the bytes */
	struct hf_id id, id2; /* VIA_ID: of the inode, or of the parents */
	struct hf_setattr attr;
	char path[OP_PATH],
	    path2[OP_PATH]; /* a symlink's target is path2, or len bytes when that is empty */
	char name[300];	    /* of an attribute */
};

/* What an operation gave. */
struct out {
	int64_t ret;
	uint64_t aux; /* append: the offset */
	size_t len;   /* of buf */
	uint8_t *buf; /* OP_LEN_MAX + 4096 bytes, the caller's */
	struct hf_stat st;
	const char *wrong; /* readdir: what may not be; static */
};

struct op_profile {
	const char *name;
	uint64_t volume_bytes;
	uint64_t inodes;    /* about so many */
	uint64_t off_max;   /* offsets mostly below */
	uint64_t pages_max; /* the model's: then files shrink */
	bool huge;	    /* writes of whole frames */
	bool crash; /* no streams, nothing outside the prefix, a volume that does not get full */
};

struct op_gen {
	struct rng rng;
	const struct op_profile *profile;
	unsigned shrink; /* so many operations more that take away */
};

void op_generate(struct op_gen *g, struct model *m, struct op *op);
/* VIA_ID needs the library's numbers of what is there. */
void op_print(FILE *f, const struct op *op);
const char *op_error(int64_t ret, char buf[64]);
/* A symlink's target. buf: 4096 bytes */
const char *op_target(const struct op *op, char *buf);
/* The bytes that a write writes. */
void op_data(const struct op *op, void *buf, size_t len);

/* Where it is done. */
struct real {
	hf_volume *vol;
	const char *prefix; /* put before each path; "" */
	hf_file *files[M_HANDLES];
	hf_dir *dirs[M_STREAMS];
	struct model *m; /* for streams: what may come */
};
void op_real(struct real *r, const struct op *op, struct out *out);
/* Closes what is open. */
void real_close_all(struct real *r);
const char *real_path(const struct real *r, const char *path, char buf[OP_PATH + 64]);

/* The same to the model. out->ret comes in as the library's answer, for what only the library can
 * know (SEEK). *unclear: any error will do. */
void op_model(struct model *m, const struct op *op, struct out *out, bool *unclear);
/* May it fail for want of space, and how many blocks could it want? */
bool op_wants_space(struct model *m, const struct op *op, uint64_t *blocks);
/* The file whose bytes it changes; NULL: none. */
struct m_inode *op_file(struct model *m, const struct op *op);

#endif
