/* What the files of the explorer share. */
#ifndef HF_CRASH_EXPLORE_H
#define HF_CRASH_EXPLORE_H

#include "crash/media.h"
#include "file/volume.h"

#include <pthread.h>

#define CRASH_EPOCH_NS 1700000000000000000ll /* the clock of simulated runs starts here */
#define CRASH_CHOICES  64
#define CRASH_ID_MAX   65536
#define CRASH_TEXT_MAX 8192
#define CRASH_LEVELS   8

/* ---- build.c: an image as a choice per pending line */
struct builder {
	struct hf_crash_media *m;
	size_t n, cap;
	const uint32_t *no;	/* the pending lines */
	struct choice *c;	/* the present choice */
	uint64_t *h;		/* what it does to the hash */
	struct choice *options; /* CRASH_CHOICES per line */
	uint8_t *nwhole, *noptions;
	uint64_t hash;
};
int builder_start(struct builder *b, struct hf_crash_media *m, uint64_t seed);
void builder_free(struct builder *b);
void builder_set(struct builder *b, size_t i, struct choice c);
void builder_set_all(struct builder *b, struct choice c);

struct budget {
	uint32_t all_below, max_images;
	uint64_t seed;
};
/* Calls fn for each state that is tried; it returns false to stop. */
typedef bool builder_fn(void *ctx, struct builder *b);
void builder_enumerate(struct builder *b, const struct budget *budget, builder_fn *fn, void *ctx);

/* ---- id.c: an image as text */
enum id_kind { ID_CHOICES, ID_KILL, ID_STRAY, ID_BAD };
struct id_level {
	uint32_t point;
	enum id_kind kind;
	const char *list; /* "-3,5k1" in the id */
	uint64_t page;	  /* ID_BAD */
};
struct id {
	const char *text;
	uint64_t seed;
	uint32_t number;
	struct hf_crash_model model;
	unsigned levels;
	struct id_level level[CRASH_LEVELS];
};
int id_parse(const char *text, struct id *out);
/* To an id of CRASH_ID_MAX bytes. */
void id_append(char *id, const char *text);
/* The beginning of an id, up to the number of the point. */
void id_begin(char id[CRASH_ID_MAX], const struct hf_crash_options *o, uint32_t point);
/* Appends the present choices to an id of CRASH_ID_MAX bytes: the shorter of the lines that are
 * there and of those that are not. */
void id_add_choices(char *id, const struct builder *b);
/* The reverse. -EINVAL: does not fit the lines there are. */
int id_set_choices(const char *list, struct builder *b);

/* ---- visited.c: hashes seen */
struct visited {
	uint64_t *slot;
	size_t n, cap;
};
/* True: it is new. Without memory everything is new. */
bool visited_add(struct visited *v, uint64_t hash);
bool visited_has(const struct visited *v, uint64_t hash);
void visited_clear(struct visited *v);
void visited_free(struct visited *v);

/* ---- explore.c */
struct op {
	char *name;
	enum hf_crash_op_state state;
};

struct explorer;
struct hf_crash_run {
	struct explorer *x;
	hf_crash_media *media;
	hf_volume *vol;
};

/* An image from a crash of recovery: what differs from the workload's durable bytes. */
struct diff {
	uint32_t no;
	uint8_t line[HF_LINE];
};
struct image {
	struct diff *d;
	size_t n;
	unsigned level;
	char *id;
};

enum point_kind { POINT_NONE, POINT_FENCE, POINT_OP_END, POINT_END };

struct explorer {
	struct hf_crash_options o;
	struct hf_crash_media *dev, *copy;
	struct hf_crash_run work, check;
	struct builder b, rb; /* of dev, of copy */
	const struct crash_arena *arena;
	struct visited *visited;
	struct image *queue;
	size_t nqueue, queue_cap;
	struct hf_crash_result res;
	int64_t start_ns;
	struct geo geo; /* nlanes 0: raw */

	/* The workload's thread asks for a point and waits; the caller's thread explores. */
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t asked, answered;
	enum point_kind want;
	bool done, begun, quiet;
	int err; /* the workload's, or ours */
	char err_text[512];

	struct op *ops;
	uint32_t nops, ops_cap;
	/* What the check may expect: a hash of the announcements, or what the arena says. An image
	 * that was content under 'stricter' is so under 'context'. */
	uint64_t context, stricter;
	uint32_t point, fence; /* fences since the last announcement */
	bool first;

	/* The image under way. */
	unsigned level; /* recoveries that were crashed */
	char id[CRASH_ID_MAX], next_id[CRASH_ID_MAX];
	char where[256];
	uint32_t recovery_point;
	bool bad;  /* it has a page of bad media */
	bool look; /* for crashes of this recovery */
	char text[CRASH_TEXT_MAX], left_out[CRASH_TEXT_MAX];
	uint64_t nleft_out;

	const struct id *replay; /* NULL: explore */
	bool replayed;
	struct trail *trail; /* NULL, or what is gone again */
	struct image found;  /* the image of the trail's next crash */
};

/* Devices that are used again, and hashes that outlive one exploration: for many short workloads
 * that begin alike. */
struct crash_arena {
	struct hf_crash_media *dev, *copy;
	struct visited visited;
	bool keep_visited;
	/* The volume after the setup: there is no mkfs and no setup then. NULL: they are done. */
	const uint8_t *origin;
	uint64_t origin_hash;
	/* Only the points from this operation's announcement on; the others are counted. */
	uint32_t from_op;
	/* Recovery is crashed from about one image in so many, chosen by their bytes; 0: from
	 * all. */
	uint32_t recovery_from;
	/* What is slow (the whole device compared, hf_crash_run_first()) is done at about one point
	 * in so many; 0: at all. */
	uint32_t slow_from;
	/* The check's expectation when so many operations have begun, the last one of them in
	 * flight or not, as a hash; NULL: the announcements'. What is content with all finished
	 * must be content when the next one is in flight. */
	uint64_t (*expects)(void *ctx, uint32_t begun, bool flying);
};
void crash_arena_free(struct crash_arena *a);
/* opts: complete (explore_options). replay: NULL or what to check alone. */
int crash_explore(const struct hf_crash_options *opts, struct crash_arena *arena,
		  const struct id *replay, struct hf_crash_result *out);
/* The defaults put in. -EINVAL */
int crash_options(const struct hf_crash_options *from, struct hf_crash_options *to);

/* ---- point.c: on the caller's thread, the workload waits */
void point_explore(struct explorer *x, enum point_kind kind);
/* The image of the choices of x->b, onto the copy. */
void image_of_workload(struct explorer *x);
/* What the copy would have after the crash of its recovery that b says, against what the workload
 * has durable; and onto the copy. False: no memory. */
bool image_take(struct explorer *x, const struct builder *b, struct image *im);
void image_load(struct explorer *x, const struct image *im);
void image_free(struct image *im);
/* ---- trail.c: crashes one after the other, as an id says them */
/* The image of the id alone. True: it is fine, or (x->err) the id does not fit. */
bool trail_replay(struct explorer *x, const struct id *id);
/* x->id failed: it, x->text, x->where and what was left out become those of as few lines as still
 * fail. x->where comes as that of the workload's point. */
void trail_reduce(struct explorer *x);
void trail_at_recovery_fence(struct explorer *x, struct hf_crash_media *m);
/* ---- bad.c: the image of all that was on its way, with one bad page. True: it is fine. */
bool bad_try(struct explorer *x, uint64_t page);
bool bad_page_ok(const struct explorer *x, uint64_t page);
/* The nth page of this point. */
uint64_t bad_choose(const struct explorer *x, uint32_t n);
/* ---- judge.c: recovers what is on the copy and checks it. False: a failure, said in x->text. */
bool judge(struct explorer *x);
/* A sentence more in x->text. */
void judge_say(struct explorer *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* ---- left.c: adds the choices of b to x->left_out and x->nleft_out, for people. level: 0, or how
 * many recoveries b's is. */
void left_describe(struct explorer *x, const struct builder *b, unsigned level);

#endif
