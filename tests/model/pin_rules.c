#include "pin_model.h"

#include <string.h>

#define LONE .spare_of = RULE_NONE

const struct rule_info rules[RULES] = {
    [PIN_UNDER_LAYOUT] = {"pin-under-layout", "blocks are counted after the layout lock is let go",
			  S_WHOLE, LONE},
    [PIN_LOOKUP_AGAIN] = {"pin-look-up-again",
			  "counts were made without the lock, and the map is not looked up again",
			  S_COUNTS, LONE},
    [PIN_ATOMIC] = {"pin-atomic", "pins are counted by load and store", S_COUNTS, LONE},
    [PIN_KIND_BY_MAP] = {"pin-kind-by-map", "a pin of a block counts its frame", S_SPLIT_PIN, LONE},
    [COUNTS_UNDER_LOCK] = {"counts-under-lock",
			   "counts are made without the group lock: two threads may both find none",
			   S_COUNTS, LONE},
    [UNPIN_ONCE] = {"unpin-once", "a handle goes from live to dead by load and store", S_DOUBLE,
		    LONE},
    [UNPIN_BY_RESULT] = {"unpin-by-result",
			 "the last reference is recognised by a load after the subtraction",
			 S_WHOLE, LONE},
    [UNPIN_KIND] = {"unpin-kind", "unpin goes by what the frame is now, not by what was counted",
		    S_SPLIT, LONE},
    [UNPIN_BLOCK_RULE] = {"unpin-block-rule",
			  "a collective reference is dropped without looking at BUSY", S_SPLIT,
			  LONE},
    [FREE_UNDER_LOCK] = {"free-under-lock", "the last unpin frees without the group lock", S_BLOCKS,
			 LONE},
    [FREE_SETTLES] = {"free-settles-blocks",
		      "a frame without whole-frame pins is freed without looking at its blocks",
		      S_ADOPTED, LONE},
    [SPLIT_COLLECTIVE] = {"B1-collective-reference",
			  "a split does not turn whole-frame pins into references on the blocks",
			  S_SPLIT, LONE},
    [SPLIT_AFTER_REFERENCES] = {"B1-SPLIT-after-references",
				"SPLIT is set before the references are added", S_SPLIT, LONE},
    [SPLIT_TAKE_BACK] = {"B1-take-back",
			 "whoever sets SPLIT does not look whether the pins have gone", S_SPLIT,
			 LONE},
    [SPLIT_ABORT] = {"B1-abort", "an aborted split does not take its references back", S_ABORT,
		     LONE},
    [SPLIT_UNDER_LAYOUT] = {"B1-SPLIT-under-layout",
			    "SPLIT is set and the blocks detached after the layout lock is let go",
			    S_PUNCHERS, LONE},
    [HELD_BEFORE_COMMIT] = {"J2-held-before-commit", "blocks are not held before their bits go",
			    S_WHOLE, LONE},
    [HELD_UNTIL_DETACHED] = {"J2-held-until-detached",
			     "held ends with the apply, before BUSY is there", S_WHOLE, LONE},
    [DETACH_AFTER_COMMIT] = {"J2-detach-after-commit", "blocks are detached before the commit",
			     S_WHOLE, LONE},
    [DETACH_RECORD_FIRST] = {"detach-record-first", "BUSY is set before the record is there",
			     S_BLOCKS, DETACH_UNDER_LOCK},
    [DETACH_UNDER_LOCK] = {"detach-under-lock", "blocks are detached without the group lock",
			   S_BLOCKS, LONE},
    [DETACH_OLD_COUNT] = {"detach-old-count",
			  "whoever sets BUSY does not look whether the pins have gone", S_WHOLE,
			  LONE},
    [DETACH_BUSY_BY_OR] = {"detach-busy-by-or", "BUSY is set by load and store", S_WHOLE, LONE},
    [DETACH_HEEDS_SPLIT] = {"detach-heeds-SPLIT",
			    "the frame's count decides for a frame that was split", S_EDGE, LONE},
    [REUSE_LOOKS_AT_HELD] = {"reuse-looks-at-held",
			     "a frame is handed out whole when its bits are clear", S_SPLIT_PIN,
			     LONE},
    [REUSE_RESETS_SPLIT] = {"reuse-resets-SPLIT", "a frame that is handed out whole keeps SPLIT",
			    S_REUSE, LONE},
    [REUSE_UNDER_LOCK] = {"reuse-under-lock",
			  "the counts of a frame that is handed out whole are dropped without the "
			  "group lock",
			  S_REUSE, LONE},
    [FAIL_UNDER_LAYOUT] = {"fail-under-layout",
			   "FAIL looks for pins before it takes the layout lock", S_FAIL, LONE},
    [WAIT_BY_TICKET] = {"B2-wait-by-ticket", "the waiter waits for the frame", S_WAIT_ABA, LONE},
    [WAIT_COMPARES] = {"wait-compares", "the waiter falls asleep without comparing", S_WAIT, LONE},
    [WAIT_WITHOUT_LOCKS] = {"wait-without-locks", "the waiter keeps the layout lock", S_WAIT_NEXT,
			    LONE},
    [WAKE_AT_ZERO] = {"wake-at-zero", "the last unpin wakes nobody", S_WAIT, LONE},
};

#define PIN(file, first, n, handle)                                                                \
	{                                                                                          \
		OP_PIN, file, first, n, handle, 0                                                  \
	}
#define UNPIN(handle)                                                                              \
	{                                                                                          \
		OP_UNPIN, 0, 0, 0, handle, 0                                                       \
	}
#define PUNCH(file, first, n)                                                                      \
	{                                                                                          \
		OP_PUNCH, file, first, n, 0, 0                                                     \
	}
#define PUNCH_IF(file, first, n, how)                                                              \
	{                                                                                          \
		OP_PUNCH, file, first, n, 0, how                                                   \
	}
#define SHIFT(file)                                                                                \
	{                                                                                          \
		OP_PUNCH, file, 0, 0, 0, HOW_ORPHAN                                                \
	}
#define BLOCK(file, at)                                                                            \
	{                                                                                          \
		OP_ALLOC_BLOCK, file, at, 1, 0, 0                                                  \
	}
#define FRAME(file)                                                                                \
	{                                                                                          \
		OP_ALLOC_FRAME, file, 0, 0, 0, 0                                                   \
	}

enum { A, B };

const struct scenario scenarios[SCENARIOS] = {
    [S_WHOLE] = {.name = "whole",
		 .what = "a huge leaf is pinned twice and punched; another file takes a frame, "
			 "pins it",
		 .blocks = 2,
		 .frames = 1,
		 .threads = 4,
		 .files = {{'H', 0, 0}},
		 .ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			 {PIN(A, 0, 1, 1), UNPIN(1)},
			 {PUNCH(A, 0, 2)},
			 {FRAME(B), PIN(B, 0, 2, 2), UNPIN(2)}}},
    [S_SPLIT] = {.name = "split",
		 .what = "a pinned huge leaf is punched block by block; another file takes blocks",
		 .blocks = 2,
		 .frames = 1,
		 .threads = 4,
		 .files = {{'H', 0, 0}},
		 .ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			 {PIN(A, 1, 1, 1), UNPIN(1)},
			 {PUNCH(A, 0, 1), PUNCH(A, 1, 1)},
			 {BLOCK(B, 0), BLOCK(B, 1)}}},
    [S_SPLIT_PIN] = {.name = "split-pin",
		     .what = "a leaf is split, its rest pinned anew and punched; a frame is taken",
		     .blocks = 2,
		     .frames = 1,
		     .threads = 4,
		     .files = {{'H', 0, 0}},
		     .ops = {{PIN(A, 0, 1, 0), UNPIN(0)},
			     {PIN(A, 1, 1, 1), UNPIN(1)},
			     {PUNCH(A, 0, 1), PIN(A, 1, 1, 2), UNPIN(2), PUNCH(A, 1, 1)},
			     {FRAME(B)}}},
    [S_SPLIT_TWO] = {.name = "split-two",
		     .what = "a leaf of three blocks is split by two pins' holders",
		     .blocks = 3,
		     .frames = 1,
		     .threads = 3,
		     .files = {{'H', 0, 0}},
		     .ops = {{PIN(A, 0, 3, 0), PUNCH(A, 1, 1), UNPIN(0)},
			     {PIN(A, 2, 1, 1), PUNCH(A, 0, 2), UNPIN(1)},
			     {BLOCK(B, 1), PUNCH(A, 2, 1)}}},
    [S_REUSE] = {.name = "reuse",
		 .what = "a split frame is freed, becomes another's huge leaf, is pinned, split",
		 .blocks = 2,
		 .frames = 1,
		 .threads = 4,
		 .files = {{'H', 0, 0}},
		 .ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			 {PUNCH(A, 0, 1), PUNCH(A, 1, 1)},
			 {FRAME(B), PIN(B, 0, 2, 1), UNPIN(1)},
			 {PIN(A, 1, 1, 2), UNPIN(2), PUNCH(B, 0, 1)}}},
    [S_COUNTS] = {.name = "counts",
		  .what = "three pin blocks of a frame that has no counts, two punch, two take",
		  .blocks = 2,
		  .frames = 1,
		  .threads = 4,
		  .files = {{'B', 0, 1}, {'B', 0, 2}},
		  .ops = {{PIN(A, 0, 1, 0), UNPIN(0)},
			  {PIN(A, 0, 1, 1), UNPIN(1)},
			  {PIN(B, 1, 1, 2), PUNCH(B, 1, 1), UNPIN(2)},
			  {PUNCH(A, 0, 1), BLOCK(A, 1), BLOCK(B, 0)}}},
    [S_SHARED] = {.name = "shared",
		  .what = "two files share a frame; each pins, punches, takes what is free",
		  .blocks = 2,
		  .frames = 2,
		  .threads = 4,
		  .files = {{'B', 0, 1}, {'B', 0, 2}},
		  .ops = {{PIN(A, 0, 1, 0), UNPIN(0)},
			  {PUNCH(A, 0, 1), FRAME(A), PUNCH(A, 0, 2)},
			  {PIN(B, 1, 1, 1), UNPIN(1)},
			  {PUNCH(B, 1, 1), BLOCK(B, 0)}}},
    [S_BLOCKS] = {.name = "blocks",
		  .what = "one operation detaches three blocks that two hold",
		  .blocks = 3,
		  .frames = 1,
		  .threads = 4,
		  .files = {{'B', 0, 7}},
		  .ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			  {PIN(A, 1, 2, 1), UNPIN(1)},
			  {PUNCH(A, 0, 3)},
			  {BLOCK(B, 0)}}},
    [S_PUNCHERS] = {.name = "punchers",
		    .what = "two punch parts of a pinned leaf, and what is left of it",
		    .blocks = 2,
		    .frames = 1,
		    .threads = 4,
		    .files = {{'H', 0, 0}},
		    .ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			    {PUNCH(A, 0, 1)},
			    {PUNCH(A, 1, 1), PUNCH(A, 0, 2)},
			    {PUNCH(A, 0, 2), BLOCK(A, 0)}}},
    [S_WAIT] = {.name = "wait",
		.what = "two wait for what they detached from a leaf and from its rest",
		.blocks = 2,
		.frames = 1,
		.threads = 4,
		.files = {{'H', 0, 0}},
		.ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			{PIN(A, 1, 1, 1), UNPIN(1)},
			{PUNCH_IF(A, 0, 1, HOW_WAIT), BLOCK(B, 0)},
			{PUNCH_IF(A, 0, 2, HOW_WAIT)}}},
    [S_WAIT_ABA] = {.name = "wait-aba",
		    .what = "while one waits, the frame is freed, taken, pinned, detached again",
		    .blocks = 2,
		    .frames = 1,
		    .threads = 3,
		    .files = {{'H', 0, 0}},
		    .ops = {{PIN(A, 0, 2, 0), UNPIN(0), PIN(B, 0, 2, 1), UNPIN(1)},
			    {PUNCH_IF(A, 0, 2, HOW_WAIT)},
			    {FRAME(B), PUNCH(B, 0, 2)}}},
    [S_WAIT_NEXT] = {.name = "wait-next",
		     .what = "a punch waits for a page, and its holder asks for the next page",
		     .blocks = 2,
		     .frames = 1,
		     .threads = 3,
		     .files = {{'H', 0, 0}},
		     .ops = {{PIN(A, 0, 1, 0), PIN(A, 1, 1, 1), UNPIN(1), UNPIN(0)},
			     {PUNCH_IF(A, 0, 1, HOW_WAIT), PUNCH_IF(A, 1, 1, HOW_WAIT)},
			     {BLOCK(A, 0), PIN(A, 0, 1, 2), UNPIN(2)}}},
    [S_FAIL] = {.name = "fail",
		.what = "FAIL on a part and on all of a leaf that comes and goes",
		.blocks = 2,
		.frames = 1,
		.threads = 4,
		.files = {{'H', 0, 0}},
		.ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			{PIN(A, 1, 1, 1), UNPIN(1)},
			{PUNCH_IF(A, 0, 1, HOW_FAIL), PUNCH_IF(A, 0, 2, HOW_FAIL)},
			{BLOCK(B, 0)}}},
    [S_FAIL_SPLIT] = {.name = "fail-split",
		      .what = "FAIL on the rest of a leaf that was split under its pins",
		      .blocks = 2,
		      .frames = 1,
		      .threads = 4,
		      .files = {{'H', 0, 0}},
		      .ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			      {PIN(A, 1, 1, 1), UNPIN(1)},
			      {PUNCH(A, 0, 1)},
			      {PUNCH_IF(A, 0, 2, HOW_FAIL), PIN(A, 1, 1, 2), UNPIN(2)}}},
    [S_ABORT] = {.name = "abort",
		 .what = "a split is aborted while pins come and go, and done again",
		 .blocks = 2,
		 .frames = 1,
		 .threads = 4,
		 .files = {{'H', 0, 0}},
		 .ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			 {PIN(A, 0, 1, 1), UNPIN(1)},
			 {PUNCH_IF(A, 0, 1, HOW_ABORT), PUNCH(A, 0, 1), PUNCH(A, 1, 1)},
			 {FRAME(B)}}},
    [S_DOUBLE] = {.name = "double",
		  .what = "two unpin the same handle, another one holds the same leaf",
		  .blocks = 2,
		  .frames = 1,
		  .threads = 4,
		  .files = {{'H', 0, 0}},
		  .ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			  {UNPIN(0)},
			  {PIN(A, 0, 1, 1), UNPIN(1)},
			  {PUNCH(A, 0, 2), FRAME(B)}}},
    [S_ORPHAN] = {.name = "orphan",
		  .what = "a part, then the rest is cut off, and freed later without a lock",
		  .blocks = 2,
		  .frames = 1,
		  .threads = 4,
		  .files = {{'H', 0, 0}},
		  .ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			  {PIN(A, 1, 1, 1), UNPIN(1)},
			  {PUNCH_IF(A, 0, 1, HOW_ORPHAN), PUNCH_IF(A, 0, 2, HOW_ORPHAN)},
			  {BLOCK(A, 0), BLOCK(B, 1)}}},
    [S_EDGE] = {.name = "edge",
		.what = "the blocks of a split frame leave together, pinned both ways",
		.blocks = 2,
		.frames = 1,
		.threads = 4,
		.files = {{'H', 0, 0}},
		.ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			{SHIFT(A), PUNCH(A, 0, 2)},
			{PIN(A, 1, 1, 1), UNPIN(1)},
			{FRAME(B)}}},
    [S_FOUR] = {.name = "four",
		.what = "two frames of three blocks: a leaf and a shared frame change places",
		.blocks = 3,
		.frames = 2,
		.threads = 4,
		.files = {{'H', 0, 0}, {'B', 1, 3}},
		.ops = {{PIN(A, 1, 1, 0), UNPIN(0)},
			{PUNCH(A, 0, 2), PUNCH(A, 2, 1), FRAME(A)},
			{PUNCH(B, 0, 2), BLOCK(B, 0)},
			{PIN(B, 0, 2, 1), UNPIN(1)}}},
    [S_ADOPTED] = {.name = "adopted",
		   .what = "a dead owner's pin counts blocks of a huge leaf that others pin, too",
		   .blocks = 2,
		   .frames = 1,
		   .threads = 4,
		   .files = {{'H', 0, 0}},
		   .adopted = 2,
		   .ops = {{PIN(A, 0, 2, 0), UNPIN(0)},
			   {PIN(A, 0, 1, 1), UNPIN(3), UNPIN(1)},
			   {PUNCH_IF(A, 0, 2, HOW_WAIT), FRAME(A)},
			   {PUNCH_IF(A, 0, 1, HOW_FAIL), BLOCK(B, 0)}}},
    [S_ADOPTED_BUSY] = {.name = "adopted-busy",
			.what = "a dead owner's pin holds a block that no file has any more",
			.blocks = 2,
			.frames = 1,
			.threads = 4,
			.files = {{'B', 0, 1}},
			.adopted = 3,
			.ops = {{UNPIN(3)},
				{PIN(A, 0, 1, 0), UNPIN(0)},
				{PUNCH_IF(A, 0, 2, HOW_WAIT), BLOCK(A, 0)},
				{FRAME(B), PIN(B, 0, 1, 1), UNPIN(1)}}},
};

/* ---- the sweep */

static const struct op programs[][ITEMS] = {
    {PIN(A, 0, 2, 0), UNPIN(0)},
    {PIN(A, 0, 1, 0), UNPIN(0)},
    {PIN(A, 1, 1, 0), UNPIN(0)},
    {PIN(A, 1, 1, 0), PUNCH(A, 1, 1), UNPIN(0)},
    {PUNCH(A, 0, 1), PUNCH(A, 1, 1)},
    {PUNCH(A, 0, 2)},
    {PUNCH_IF(A, 0, 1, HOW_ABORT), PUNCH(A, 1, 1)},
    {PUNCH_IF(A, 0, 1, HOW_WAIT)},
    {PUNCH_IF(A, 0, 2, HOW_WAIT)},
    {PUNCH_IF(A, 0, 1, HOW_FAIL), PUNCH_IF(A, 0, 2, HOW_FAIL)},
    {PUNCH_IF(A, 0, 1, HOW_ORPHAN), PUNCH_IF(A, 0, 2, HOW_ORPHAN)},
    {SHIFT(A), PUNCH(A, 0, 2)},
    {BLOCK(A, 0), FRAME(A)},
    {BLOCK(B, 1), PIN(B, 1, 1, 0), UNPIN(0)},
    {FRAME(B), PIN(B, 0, 2, 0), UNPIN(0)},
    {FRAME(B), PUNCH(B, 0, 1), PUNCH(B, 0, 2)},
};
#define PROGRAMS (sizeof(programs) / sizeof(programs[0]))

static const struct scenario starts[] = {
    {.what = "a huge leaf", .threads = 4, .frames = 1, .files = {{'H', 0, 0}}},
    {.what = "a huge leaf, and a free frame", .threads = 3, .frames = 2, .files = {{'H', 0, 0}}},
    {.what = "two blocks", .threads = 4, .frames = 1, .files = {{'B', 0, 3}}},
    {.what = "two files share a frame, and a free one",
     .threads = 3,
     .frames = 2,
     .files = {{'B', 0, 1}, {'B', 0, 2}}},
};
#define STARTS (sizeof(starts) / sizeof(starts[0]))

bool sweep_next(struct sweep *w, struct scenario *out)
{
	unsigned threads = starts[w->start].threads;
	unsigned t = 0;

	if (w->begun) {
		/* In falling order, for it does not matter who runs which: the last that can go
		 * up does, and those behind it begin anew. */
		t = threads;
		while (t > 0 && w->program[t - 1] == (t == 1 ? PROGRAMS - 1 : w->program[t - 2]))
			t--;
		if (t == 0)
			w->start++;
		else
			w->program[t - 1]++;
		for (; t < THREADS; t++)
			w->program[t] = 0;
	}
	if (w->start == STARTS)
		return false;
	w->begun = true;
	*out = starts[w->start];
	out->name = "sweep";
	out->blocks = 2;
	for (t = 0; t < out->threads; t++) {
		memcpy(out->ops[t], programs[w->program[t]], sizeof(out->ops[t]));
		for (unsigned i = 0; i < ITEMS; i++)
			out->ops[t][i].handle = (uint8_t)t;
	}
	return true;
}
