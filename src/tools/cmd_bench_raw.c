/* What the memory can do: libpmem2's copy and its drain, and memcpy, on the same mapping; our calls beside it; and the places both go to. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>

uint64_t bench_place(struct bench *b, const struct bench_io *io, uint64_t *at)
{
	uint64_t places = io->span / io->bytes - (io->shift ? 1 : 0);

	uint64_t n = io->sequential ? (*at)++ : bench_random(b);

	if (io->dependent)
		n += b->dst[io->bytes - 1] & b->zero;
	return n % places * io->bytes + io->shift;
}

void bench_write(struct bench *b, void *ctx, unsigned ops)
{
	struct bench_io *io = ctx;

	while (ops--)
		bench_must(hf_pwrite(io->file, b->src, io->bytes, bench_place(b, io, &io->at)), "write");
}

void bench_read(struct bench *b, void *ctx, unsigned ops)
{
	struct bench_io *io = ctx;

	while (ops--)
		bench_must(hf_pread(io->file, b->dst, io->bytes, bench_place(b, io, &io->at)), "read");
}

void bench_raw_write(struct bench *b, void *ctx, unsigned ops)
{
	struct bench_io *io = ctx;

	while (ops--) {
		b->copy(b->raw + bench_place(b, io, &io->raw_at), b->src, io->bytes, PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
		b->drain();
	}
}

void bench_raw_read(struct bench *b, void *ctx, unsigned ops)
{
	struct bench_io *io = ctx;

	while (ops--) {
		memcpy(b->dst, b->raw + bench_place(b, io, &io->raw_at), io->bytes);
		__asm__ volatile("" ::: "memory");
	}
}

void bench_raw_write_64(struct bench *b, void *ctx, unsigned ops)
{
	(void)ctx;
	while (ops--) {
		b->copy(b->raw + b->raw_at, b->src, 64, PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
		b->drain();
		b->raw_at = (b->raw_at + 64) % b->raw_bytes;
	}
}

void bench_raw_read_64(struct bench *b, void *ctx, unsigned ops)
{
	struct bench_io io = {.bytes = 64, .span = b->raw_bytes};

	(void)ctx;
	bench_raw_read(b, &io, ops);
}

struct hf_id bench_mkdir(struct bench *b, const char *path)
{
	struct hf_stat st;

	bench_must(hf_mkdir(b->vol, path, 0755), path);
	bench_must(hf_stat(b->vol, path, &st), path);
	return st.id;
}

void bench_huge_file(struct bench *b, struct bench_io *io, const char *path, uint64_t bytes)
{
	bench_must(hf_open(b->vol, path, HF_O_RDWR | HF_O_CREAT, 0600, &io->file), path);
	bench_must(hf_fallocate(io->file, 0, 0, bytes), path);
	io->span = bytes;
}

void bench_scattered_file(struct bench *b, struct bench_io *io, const char *path, uint64_t bytes)
{
	hf_file *other;
	uint64_t off;

	bench_must(hf_open(b->vol, path, HF_O_RDWR | HF_O_CREAT, 0600, &io->file), path);
	bench_must(hf_open(b->vol, "/bench.other", HF_O_RDWR | HF_O_CREAT, 0600, &other), "/bench.other");
	bench_must(hf_ftruncate(io->file, bytes), path);	/* not at the end: blocks, no frames */
	bench_must(hf_ftruncate(other, bytes), path);
	for (off = 0; off < bytes; off += HF_BLOCK_SIZE) {
		bench_must(hf_pwrite(io->file, b->src, HF_BLOCK_SIZE, off), path);
		bench_must(hf_pwrite(other, b->src, HF_BLOCK_SIZE, off), path);
	}
	bench_must(hf_close(&other), path);
	bench_must(hf_unlink(b->vol, "/bench.other"), "/bench.other");
	io->span = bytes;
}

void bench_drop_file(struct bench *b, struct bench_io *io, const char *path)
{
	bench_must(hf_close(&io->file), path);
	bench_must(hf_unlink(b->vol, path), path);
}
