/* Number types. One member each, so that mixing two coordinates is a compile error at no cost. */
#ifndef HF_BASE_TYPES_H
#define HF_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <endian.h>

#define HF_BLOCK_SHIFT       12
#define HF_BLOCK_SIZE        4096u
#define HF_FRAME_SHIFT       21
#define HF_FRAME_SIZE        2097152u
#define HF_BLOCKS_PER_FRAME  512u
#define HF_LINE              64u

/* A thread-local variable that costs one load and that a signal handler may touch: no lazy allocation. All of them
 * and all plain thread-locals of the library come out of a small reserve (about 1.6 KiB for everything that a
 * program loads with dlopen), so: bytes, not buffers. */
#define HF_TLS _Thread_local __attribute__((tls_model("initial-exec")))

/* media block number (unit: 4 KiB from the start of the volume); MBLK_NULL is none (block 0 is the superblock) */
typedef struct { uint64_t v; } mblk_t;
/* file block number (unit: 4 KiB from the start of the file) */
typedef struct { uint64_t v; } fblk_t;
/* frame number (unit: 2 MiB from the start of the volume) */
typedef struct { uint64_t v; } frame_t;
/* media byte offset from the start of the volume */
typedef struct { uint64_t v; } moff_t;
/* inode number; 0 is none */
typedef struct { uint64_t v; } inum_t;
/* journal sequence number; 0 is before the first */
typedef struct { uint64_t v; } jseq_t;

#define MBLK(x)  ((mblk_t){(x)})
#define FBLK(x)  ((fblk_t){(x)})
#define FRAME(x) ((frame_t){(x)})
#define MOFF(x)  ((moff_t){(x)})
#define INUM(x)  ((inum_t){(x)})
#define JSEQ(x)  ((jseq_t){(x)})
#define MBLK_NULL MBLK(0)
#define INUM_NULL INUM(0)

static inline bool mblk_is_null(mblk_t b) { return b.v == 0; }
static inline moff_t mblk_to_moff(mblk_t b) { return MOFF(b.v << HF_BLOCK_SHIFT); }
static inline mblk_t moff_to_mblk(moff_t o) { return MBLK(o.v >> HF_BLOCK_SHIFT); }
static inline frame_t mblk_to_frame(mblk_t b) { return FRAME(b.v / HF_BLOCKS_PER_FRAME); }
static inline mblk_t frame_to_mblk(frame_t f) { return MBLK(f.v * HF_BLOCKS_PER_FRAME); }
static inline uint32_t mblk_in_frame(mblk_t b) { return (uint32_t)(b.v % HF_BLOCKS_PER_FRAME); }
static inline moff_t moff_add(moff_t o, uint64_t bytes) { return MOFF(o.v + bytes); }

/* Fields on the media: little-endian, no implicit conversion. */
typedef struct { uint16_t raw; } le16_t;
typedef struct { uint32_t raw; } le32_t;
typedef struct { uint64_t raw; } le64_t;
static inline uint16_t le16_get(le16_t x) { return le16toh(x.raw); }
static inline uint32_t le32_get(le32_t x) { return le32toh(x.raw); }
static inline uint64_t le64_get(le64_t x) { return le64toh(x.raw); }
static inline le16_t le16_of(uint16_t x) { return (le16_t){htole16(x)}; }
static inline le32_t le32_of(uint32_t x) { return (le32_t){htole32(x)}; }
static inline le64_t le64_of(uint64_t x) { return (le64_t){htole64(x)}; }

static inline uint64_t round_up_u64(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }
static inline uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

#endif
