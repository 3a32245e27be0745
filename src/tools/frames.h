/* holdfast frames: what each frame of a volume is, and the pictures that are made of it. */
#ifndef HF_TOOLS_FRAMES_H
#define HF_TOOLS_FRAMES_H

#include "look.h"

/* In the order of precedence: a frame that could be called two things is called by the later name. */
enum frame_state { FR_FREE, FR_METADATA, FR_SPLIT, FR_HUGE, FR_PINNED, FR_BUSY, FR_STATES };

struct frame_info {
	uint16_t used;			/* blocks that are allocated */
	uint16_t data;			/* of them: content of files */
	uint16_t pinned, busy;		/* blocks that pins hold; those of them that are in no file any more */
	bool huge;			/* one huge leaf */
	uint32_t pin;			/* 1 + the index of a pin that holds some of it; 0: none */
};

struct frame_map {
	const char *path;
	uint64_t n;
	struct frame_info *f;
	uint64_t damaged;		/* map entries and inodes that could not be read */
	bool live;
	pid_t owner;
	char who[LOOK_WHO_BYTES];			/* as in struct look */
	struct look_pins pins;
};

/* Frames that are drawn alike: a run of them, or a cell that stands for several. */
struct frame_run {
	uint64_t first, n;
	enum frame_state state;
	unsigned eighths;		/* of FR_SPLIT: 1..8 in use; of a cell of FR_FREE: 1: not all of it is free */
	uint64_t used, data, pinned, busy;	/* blocks, summed up */
	uint32_t pin;			/* as in struct frame_info; of the first frame that has one */
	bool more_pins;			/* another frame of the run has another one */
};

int frames_read(const char *path, bool progress, struct frame_map *out);	/* -ENOMEM or what look_open says */
void frames_free(struct frame_map *m);
enum frame_state frame_state_of(const struct frame_info *f);
extern const char *const frame_state_name[FR_STATES];
/* The longest run from 'first' on of frames of one state (of split ones: as full). */
struct frame_run frames_run(const struct frame_map *m, uint64_t first);
/* [first, first+n) as one cell: busy or pinned if any of it is, else what most of its frames are. */
struct frame_run frames_cell(const struct frame_map *m, uint64_t first, uint64_t n);
static inline bool frame_run_alike(const struct frame_run *a, const struct frame_run *b)
{
	return a->state == b->state && a->eighths == b->eighths;
}
void frame_run_add(struct frame_run *to, const struct frame_run *more);
/* "frames 3..7 (6.0 MiB to 16.0 MiB): split, 40% in use" */
const char *frame_run_text(const struct frame_map *m, const struct frame_run *r, char *buf, size_t size);
/* Frames in all, runs and the longest run of each state. */
struct frame_sum { uint64_t frames, runs, longest; };
void frames_sum(const struct frame_map *m, struct frame_sum sum[FR_STATES]);

int frames_svg(const struct frame_map *m, const char *file);		/* the exit status */

#endif
