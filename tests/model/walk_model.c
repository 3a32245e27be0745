/*
 * An exhaustive model of finding the records in one lane (J7): the lane's two halves, records of
 * several lines whose payload a user chose, laps, torn records, damage. Every sequence of a few
 * appends, raises of C and crashes is tried; after each step the lane is walked as recovery would,
 * undamaged and with each line damaged in turn.
 */
#include "states.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	HALVES = 2,
	HALF_LINES = 4,
	LANE_LINES = HALVES * HALF_LINES,
	LEN_MAX = 3,
	APPENDS_MAX = 6,
	IDS = APPENDS_MAX + 1, /* 0 is no record */
	FAKE_ID = 15,	       /* what a walk returns for user bytes that it took for a record */
	FAKE_SEQ = 15,
	CRASHES_MAX = 2,
};

/* A line's content: zero, part p of record i, a line of which only some bytes landed, or an
 * unreadable one. */
enum { LINE_ZERO = 0, LINE_BROKEN = 0xfe, LINE_POISON = 0xff };

enum rule {
	SEEDED_CHECKSUM,
	WHOLE_CHECKSUM,
	WALK_NOT_SCAN,
	RISING_NUMBERS,
	ONLY_ABOVE_C,
	HALF_REUSE,
	NEVER_CROSS_END,
	RESTART_AT_START,
	REFUSE_NEWER_BEHIND,
	BEHIND_ABOVE_C,
	REFUSE_POISON,
	RULES,
};

static const struct {
	const char *name;
	const char *dropped;
} rules[RULES] = {
    [SEEDED_CHECKSUM] = {"J7-seeded-checksum", "whoever writes a file can write a valid checksum"},
    [WHOLE_CHECKSUM] = {"J7-whole-record-checksum",
			"the checksum covers the record's first line only"},
    [WALK_NOT_SCAN] = {"J7-walk-not-scan", "every line that holds a valid record counts"},
    [RISING_NUMBERS] = {"J7-rising-numbers", "the walk goes on into an older lap"},
    [ONLY_ABOVE_C] = {"J7-only-above-C", "records <= C are replayed"},
    [HALF_REUSE] = {"J7-half-reuse", "a half is started again before its last record is <= C"},
    [NEVER_CROSS_END] = {"J7-never-cross-end",
			 "a record may run from the first half into the second"},
    [RESTART_AT_START] = {"J7-restart-at-start",
			  "after recovery the lane goes on behind a torn record"},
    [REFUSE_NEWER_BEHIND] = {"J7-refuse-newer-behind",
			     "the walk stops at a damaged line and says nothing"},
    [BEHIND_ABOVE_C] = {"J7-newer-means-above-C",
			"an older lap behind a torn first record counts as newer"},
    [REFUSE_POISON] = {"J7-refuse-poison",
		       "an unreadable line is taken for the end of the records"},
};

struct record {
	uint8_t seq;
	uint8_t len; /* lines */
	/* Payload that looks like a record with number FAKE_SEQ: 1 = its second line, 2 = its
	 * second and third. */
	uint8_t fake;
};

struct state {
	uint8_t lines[LANE_LINES];
	struct record records[IDS];
	uint8_t written; /* ids used so far */
	uint8_t next;
	uint8_t c;
	uint8_t half;
	uint8_t fill;
	uint8_t crashes;
	uint8_t fenced;	     /* records that a fence has made durable: bit per id */
	uint8_t lap[HALVES]; /* of those, the ones in the half's newest lap */
};

struct walk {
	uint8_t visited[LANE_LINES]; /* ids in order */
	uint8_t half_of[LANE_LINES];
	unsigned count;
	bool refused;
};

struct search {
	uint64_t dropped;
	struct states *seen;
	uint64_t walks;
	/* damage to the last record of a half, which looks torn: of the half in use, of the one
	 * before it */
	uint64_t undetected_newest;
	uint64_t undetected_older;
	uint32_t index;
	bool found;
	unsigned found_action;
	char why[200];
	struct state found_state;
};

static bool rule_on(const struct search *sr, enum rule rule)
{
	return (sr->dropped >> rule & 1) == 0;
}

static uint8_t line_of(unsigned id, unsigned part)
{
	return (uint8_t)(id << 2 | part);
}

static bool line_is_record(uint8_t line)
{
	return line != LINE_ZERO && line != LINE_BROKEN && line != LINE_POISON;
}

/* Where records of a half must end. */
static unsigned half_end(const struct search *sr, unsigned half)
{
	if (!rule_on(sr, NEVER_CROSS_END) && half == 0)
		return LANE_LINES;
	return (half + 1) * HALF_LINES;
}

/* The record that starts at a line, if its checksum says that there is one. Returns its length, or
 * 0. */
static unsigned record_at(const struct search *sr, const struct state *s, unsigned at, unsigned end,
			  unsigned *id)
{
	uint8_t line = s->lines[at];
	unsigned part = line & 3;
	const struct record *r;
	unsigned len;

	if (!line_is_record(line))
		return 0;
	r = &s->records[line >> 2];
	*id = line >> 2;
	len = r->len;
	if (part != 0) {
		if (rule_on(sr, SEEDED_CHECKSUM) || part != 1 || r->fake == 0)
			return 0;
		*id = FAKE_ID;
		len = r->fake;
	}
	if (at + len > end)
		return 0;
	for (unsigned i = 1; i < len && (rule_on(sr, WHOLE_CHECKSUM) || *id == FAKE_ID); i++)
		if (s->lines[at + i] != line_of(line >> 2, part + i))
			return 0;
	return len;
}

static unsigned seq_of(const struct state *s, unsigned id)
{
	return id == FAKE_ID ? FAKE_SEQ : s->records[id].seq;
}

/* A live record behind one that cannot be read: something in the middle was lost. */
static bool newer_behind(const struct search *sr, const struct state *s, unsigned at, unsigned end,
			 unsigned last)
{
	unsigned above = last;

	if (rule_on(sr, BEHIND_ABOVE_C) && s->c > above)
		above = s->c;
	for (; at < end; at++) {
		unsigned id = 0;

		if (record_at(sr, s, at, end, &id) != 0 && seq_of(s, id) > above)
			return true;
	}
	return false;
}

static void visit(struct walk *w, unsigned id, unsigned half)
{
	w->visited[w->count] = (uint8_t)id;
	w->half_of[w->count] = (uint8_t)half;
	w->count++;
}

static void half_walk(const struct search *sr, const struct state *s, unsigned half, struct walk *w)
{
	unsigned end = half_end(sr, half);
	unsigned at = half * HALF_LINES;
	unsigned last = 0;

	while (at < (half + 1) * HALF_LINES) {
		unsigned id = 0;
		unsigned len = record_at(sr, s, at, end, &id);

		if (len == 0 && !rule_on(sr, WALK_NOT_SCAN)) {
			at++;
			continue;
		}
		if (len == 0) {
			if (rule_on(sr, REFUSE_NEWER_BEHIND) &&
			    newer_behind(sr, s, at + 1, end, last))
				w->refused = true;
			return;
		}
		if (seq_of(s, id) <= last && rule_on(sr, RISING_NUMBERS))
			return;
		last = seq_of(s, id);
		visit(w, id, half);
		at += len;
	}
}

static void lane_walk(struct search *sr, const struct state *s, struct walk *w)
{
	memset(w, 0, sizeof(*w));
	sr->walks++;
	w->refused =
	    rule_on(sr, REFUSE_POISON) && memchr(s->lines, LINE_POISON, LANE_LINES) != NULL;
	for (unsigned half = 0; half < HALVES && !w->refused; half++)
		half_walk(sr, s, half, w);
}

static bool taken(const struct search *sr, const struct state *s, unsigned id)
{
	return seq_of(s, id) > s->c || !rule_on(sr, ONLY_ABOVE_C);
}

static unsigned walk_taken(const struct search *sr, const struct state *s, const struct walk *w)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < w->count; i++)
		if (taken(sr, s, w->visited[i]))
			mask |= 1u << w->visited[i];
	return mask;
}

static unsigned live_records(const struct state *s)
{
	unsigned mask = 0;

	for (unsigned id = 1; id <= s->written; id++)
		if ((s->fenced >> id & 1) && s->records[id].seq > s->c)
			mask |= 1u << id;
	return mask;
}

static void violation(struct search *sr, const struct state *s, unsigned action, const char *why,
		      unsigned seen, unsigned live)
{
	if (sr->found)
		return;
	sr->found = true;
	sr->found_action = action;
	sr->found_state = *s;
	snprintf(sr->why, sizeof(sr->why),
		 "%s (replayed %#x, live %#x; bit = record, bit %d = user bytes)", why, seen, live,
		 FAKE_ID);
}

/* A half whose newest lap has a fenced record must be walked to exactly that lap's records. */
static bool laps_exact(const struct state *s, const struct walk *w)
{
	for (unsigned half = 0; half < HALVES; half++) {
		unsigned mask = 0;

		for (unsigned i = 0; i < w->count; i++)
			if (w->half_of[i] == half)
				mask |= 1u << w->visited[i];
		if (s->lap[half] != 0 && mask != s->lap[half])
			return false;
	}
	return true;
}

static void check_undamaged(struct search *sr, const struct state *s, unsigned action)
{
	unsigned live = live_records(s);
	struct walk w;
	unsigned seen;

	lane_walk(sr, s, &w);
	seen = walk_taken(sr, s, &w);
	if (w.refused)
		violation(sr, s, action, "mount refuses a lane that is not damaged", seen, live);
	else if (seen != live)
		violation(sr, s, action,
			  (seen & ~live) != 0 ? "replays what it must not"
					      : "a committed record is lost",
			  seen, live);
	else if (!laps_exact(s, &w))
		violation(sr, s, action, "the walk goes on into an older lap", seen, live);
}

static unsigned half_last(const struct state *s, unsigned half)
{
	unsigned last = 0;

	for (unsigned id = 1; id <= s->written; id++)
		if (s->lap[half] >> id & 1)
			last = id;
	return last;
}

static void count_undetected(struct search *sr, const struct state *s, unsigned hit)
{
	if (hit < half_last(s, 0) || hit < half_last(s, 1))
		sr->undetected_older++;
	else
		sr->undetected_newest++;
}

/* One line is damaged: the mount refuses, or nothing is lost but a half's last record, which looks
 * torn. */
static void check_damaged(struct search *sr, const struct state *s, unsigned action, unsigned at,
			  uint8_t damage)
{
	struct state broken = *s;
	unsigned live = live_records(s);
	unsigned hit = line_is_record(s->lines[at]) ? s->lines[at] >> 2 : 0u;
	struct walk w;
	unsigned seen;

	broken.lines[at] = damage;
	lane_walk(sr, &broken, &w);
	if (w.refused)
		return;
	seen = walk_taken(sr, &broken, &w);
	if (damage == LINE_POISON)
		violation(sr, &broken, action, "an unreadable line in a lane is passed over", seen,
			  live);
	else if (seen == live)
		return;
	else if (hit != 0 && seen == (live & ~(1u << hit)) &&
		 (hit == half_last(s, 0) || hit == half_last(s, 1)))
		count_undetected(sr, s, hit);
	else
		violation(sr, &broken, action, "damage in the middle is passed over", seen, live);
}

static void check(struct search *sr, const struct state *s, unsigned action)
{
	check_undamaged(sr, s, action);
	for (unsigned at = 0; at < LANE_LINES && !sr->found; at++) {
		check_damaged(sr, s, action, at, LINE_BROKEN);
		check_damaged(sr, s, action, at, LINE_POISON);
	}
}

/* The lane's user. */

/* Finds the place of a record of so many lines. False: the lane is full, a checkpoint must come
 * first. */
static bool place(const struct search *sr, struct state *s, unsigned len)
{
	unsigned other = s->half ^ 1u;
	bool crosses = !rule_on(sr, NEVER_CROSS_END) && s->half == 0 && s->fill < HALF_LINES;

	if (s->fill + len <= HALF_LINES || crosses)
		return true;
	if (s->records[half_last(s, other)].seq > s->c && rule_on(sr, HALF_REUSE))
		return false;
	s->half = (uint8_t)other;
	s->fill = 0;
	return true;
}

/*
 * Stores a record. `landing` says for each of its lines, base 3, what reached the media: 0 all of
 * it, 1 nothing, 2 some bytes. The record is fenced if all did.
 */
static bool append(const struct search *sr, struct state *s, unsigned len, unsigned fake,
		   unsigned landing)
{
	unsigned id = s->written + 1u;
	unsigned at;

	if (!place(sr, s, len))
		return false;
	if (s->fill == 0)
		s->lap[s->half] = 0;
	s->written = (uint8_t)id;
	s->records[id].seq = s->next;
	s->records[id].len = (uint8_t)len;
	s->records[id].fake = (uint8_t)fake;
	s->next = (uint8_t)(s->next + 1 + (id & 1)); /* other lanes take numbers, too */
	if (landing == 0) {
		s->fenced |= (uint8_t)(1u << id);
		s->lap[s->half] |= (uint8_t)(1u << id);
	}
	at = s->half * (unsigned)HALF_LINES + s->fill;
	for (unsigned part = 0; part < len; part++, landing /= 3) {
		if (landing % 3 != 1)
			s->lines[at + part] =
			    landing % 3 == 0 ? line_of(id, part) : (uint8_t)LINE_BROKEN;
	}
	s->fill = (uint8_t)(s->fill + len);
	if (s->fill > HALF_LINES) { /* without the rule: the next one goes on in the second half */
		s->half = 1;
		s->fill = (uint8_t)(s->fill - HALF_LINES);
		s->lap[1] = 0;
	}
	return true;
}

static unsigned newest_fenced(const struct state *s)
{
	unsigned newest = s->c;

	for (unsigned id = 1; id <= s->written; id++)
		if ((s->fenced >> id & 1) && s->records[id].seq > newest)
			newest = s->records[id].seq;
	return newest;
}

static void recover(const struct search *sr, struct state *s)
{
	s->c = (uint8_t)newest_fenced(s);
	s->next = (uint8_t)(s->c + 1);
	s->crashes++;
	if (!rule_on(sr, RESTART_AT_START))
		return;
	s->half = 0;
	s->fill = 0;
}

enum action_kind { ACT_START, ACT_APPEND, ACT_TORN, ACT_RAISE_C, ACT_CRASH };

static unsigned action_code(enum action_kind kind, unsigned len, unsigned fake, unsigned detail)
{
	return (unsigned)kind << 13 | len << 11 | fake << 9 | detail;
}

struct codec {
	uint8_t *bytes;
	unsigned at;
	bool reading;
};

static void code_byte(struct codec *c, uint8_t *field)
{
	if (c->reading)
		*field = c->bytes[c->at];
	else
		c->bytes[c->at] = *field;
	c->at++;
}

static uint8_t code_state(struct codec *c, struct state *s)
{
	for (unsigned i = 0; i < LANE_LINES; i++)
		code_byte(c, &s->lines[i]);
	code_byte(c, &s->written);
	for (unsigned i = 1; i <= s->written; i++) {
		uint8_t both =
		    (uint8_t)(s->records[i].seq << 4 | s->records[i].len << 2 | s->records[i].fake);

		code_byte(c, &both);
		s->records[i].seq = both >> 4;
		s->records[i].len = both >> 2 & 3;
		s->records[i].fake = both & 3;
	}
	code_byte(c, &s->next);
	code_byte(c, &s->c);
	code_byte(c, &s->half);
	code_byte(c, &s->fill);
	code_byte(c, &s->crashes);
	code_byte(c, &s->fenced);
	code_byte(c, &s->lap[0]);
	code_byte(c, &s->lap[1]);
	return (uint8_t)c->at;
}

/* A record that is on no line any more and not live can no longer matter: forget its shape. */
static void state_forget(struct state *s)
{
	unsigned on_media = 0;

	for (unsigned i = 0; i < LANE_LINES; i++)
		if (line_is_record(s->lines[i]))
			on_media |= 1u << (s->lines[i] >> 2);
	for (unsigned id = 1; id <= s->written; id++) {
		bool kept = (on_media | s->lap[0] | s->lap[1]) >> id & 1;

		if (!kept && s->records[id].seq <= s->c) {
			memset(&s->records[id], 0, sizeof(s->records[id]));
			s->fenced &= (uint8_t) ~(1u << id);
		}
	}
}

static void search_add(struct search *sr, const struct state *s, unsigned action)
{
	uint8_t bytes[64];
	struct codec c = {bytes, 0, false};
	struct state copy = *s;
	uint8_t len;

	if (sr->found)
		return;
	state_forget(&copy);
	len = code_state(&c, &copy);
	if (states_add(sr->seen, bytes, len, sr->index, (uint16_t)action))
		check(sr, &copy, action);
}

static void state_load(struct state *s, struct states_entry e)
{
	uint8_t bytes[64];
	struct codec c = {bytes, 0, true};

	memset(s, 0, sizeof(*s));
	memcpy(bytes, e.bytes, e.len);
	code_state(&c, s);
}

static void expand_torn(struct search *sr, const struct state *from, unsigned len, unsigned fake)
{
	unsigned landings = len == 1 ? 3 : len == 2 ? 9 : 27;

	for (unsigned landing = 1; landing < landings && !sr->found; landing++) {
		struct state s = *from;
		unsigned action = action_code(ACT_TORN, len, fake, landing);

		if (!append(sr, &s, len, fake, landing))
			return;
		check_undamaged(sr, &s, action);
		recover(sr, &s);
		search_add(sr, &s, action);
	}
}

static void expand_append(struct search *sr, const struct state *from)
{
	for (unsigned len = 1; len <= LEN_MAX; len++) {
		for (unsigned fake = 0; fake < len; fake++) {
			struct state s = *from;

			if (append(sr, &s, len, fake, 0))
				search_add(sr, &s, action_code(ACT_APPEND, len, fake, 0));
			if (from->crashes < CRASHES_MAX)
				expand_torn(sr, from, len, fake);
		}
	}
}

static void expand(struct search *sr, const struct state *from)
{
	struct state s = *from;
	unsigned newest = newest_fenced(from);

	if (from->written < APPENDS_MAX)
		expand_append(sr, from);
	for (unsigned c = from->c + 1u; c <= newest; c++) {
		s.c = (uint8_t)c;
		search_add(sr, &s, action_code(ACT_RAISE_C, 0, 0, c));
	}
	if (from->crashes == CRASHES_MAX)
		return;
	s = *from;
	recover(sr, &s);
	search_add(sr, &s, action_code(ACT_CRASH, 0, 0, 0));
}

static void search_run(struct search *sr, uint64_t dropped)
{
	struct state s;

	memset(sr, 0, sizeof(*sr));
	sr->dropped = dropped;
	sr->seen = states_new((size_t)900 << 20);
	sr->index = STATES_NONE;
	memset(&s, 0, sizeof(s));
	s.next = 1;
	search_add(sr, &s, action_code(ACT_START, 0, 0, 0));
	for (uint32_t i = 0; i < states_count(sr->seen) && !sr->found; i++) {
		sr->index = i;
		state_load(&s, states_get(sr->seen, i));
		expand(sr, &s);
	}
}

static void print_state(const struct state *s)
{
	printf(" C %u |", s->c);
	for (unsigned i = 0; i < LANE_LINES; i++) {
		if (i == HALF_LINES)
			printf(" |");
		if (s->lines[i] == LINE_ZERO)
			printf(" ---");
		else if (s->lines[i] == LINE_BROKEN)
			printf(" ###");
		else if (s->lines[i] == LINE_POISON)
			printf(" !!!");
		else
			printf(" %u.%u%c", s->records[s->lines[i] >> 2].seq, s->lines[i] & 3u,
			       (s->lines[i] & 3) == 1 && s->records[s->lines[i] >> 2].fake ? 'F'
											   : ' ');
	}
	printf("\n");
}

static void print_action(unsigned action)
{
	unsigned detail = action & 0x1ff;
	unsigned len = action >> 11 & 3;
	char text[80] = "start";

	switch (action >> 13) {
	case ACT_APPEND:
		snprintf(text, sizeof(text), "append %u line(s)", len);
		break;
	case ACT_TORN:
		snprintf(text, sizeof(text), "append %u line(s), torn (%u%u%u)", len, detail % 3,
			 detail / 3 % 3, detail / 9);
		break;
	case ACT_RAISE_C:
		snprintf(text, sizeof(text), "checkpoint: C = %u", detail);
		break;
	case ACT_CRASH:
		snprintf(text, sizeof(text), "crash, recover");
		break;
	default:
		break;
	}
	printf("  %-32s", text);
}

static void print_trace(const struct search *sr)
{
	uint32_t path[64];
	unsigned depth = 0;
	struct state s;

	printf("trace (number.part of each line; F: user bytes like a record; ###: broken line; "
	       "!!!: poison)\n");
	for (uint32_t i = sr->index; i != STATES_NONE && depth < 64; depth++) {
		path[depth] = i;
		i = states_get(sr->seen, i).parent;
	}
	while (depth > 0) {
		struct states_entry e = states_get(sr->seen, path[depth - 1]);

		depth--;
		state_load(&s, e);
		print_action(e.action);
		print_state(&s);
	}
	print_action(sr->found_action);
	print_state(&sr->found_state);
	printf("  violation: %s\n", sr->why);
}

static bool run(uint64_t dropped)
{
	struct search sr;
	struct timespec a;
	struct timespec b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	search_run(&sr, dropped);
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (sr.found)
		print_trace(&sr);
	printf("total: %u states, %llu walks, %.2f s, %zu MiB: %s\n", states_count(sr.seen),
	       (unsigned long long)sr.walks,
	       (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9,
	       states_bytes(sr.seen) >> 20, sr.found ? "VIOLATION" : "nothing found");
	if (!sr.found)
		printf("damage that no rule detects, because it looks like a torn record: the "
		       "lane's last record %llu times,\n"
		       "the last record of the half before %llu times\n",
		       (unsigned long long)sr.undetected_newest,
		       (unsigned long long)sr.undetected_older);
	states_delete(&sr.seen);
	return sr.found;
}

static int run_mutants(void)
{
	unsigned missed = 0;

	printf("%-26s %8s %9s  %s\n", "rule dropped", "states", "walks", "seen");
	for (unsigned i = 0; i < RULES; i++) {
		struct search sr;

		search_run(&sr, (uint64_t)1 << i);
		printf("%-26s %8u %9llu  %s\n", rules[i].name, states_count(sr.seen),
		       (unsigned long long)sr.walks, sr.found ? sr.why : "WRONG: nothing found");
		missed += !sr.found;
		states_delete(&sr.seen);
	}
	printf("%u rules, %u missed\n", (unsigned)RULES, missed);
	return missed == 0 ? 0 : 1;
}

static int list(void)
{
	for (unsigned i = 0; i < RULES; i++)
		printf("%-26s %s\n", rules[i].name, rules[i].dropped);
	return 0;
}

static int usage(FILE *to)
{
	fprintf(
	    to,
	    "usage: walk_model                            every rule on; exit 0 if nothing is "
	    "found\n"
	    "       walk_model --drop RULE [--drop RULE]  exit 0 if a violation IS found, 1 if "
	    "not\n"
	    "       walk_model --mutants                  each rule off in turn; exit 0 if each is "
	    "caught\n"
	    "       walk_model --list                     rules, and what is done without them\n"
	    "Exit 2: bad usage, or a search that ran out of memory and says nothing.\n");
	return to == stderr ? 2 : 0;
}

static uint64_t rule_find(const char *name)
{
	for (unsigned i = 0; i < RULES; i++)
		if (strcmp(name, rules[i].name) == 0)
			return (uint64_t)1 << i;
	fprintf(stderr, "walk_model: no rule is called %s; see --list\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	uint64_t dropped = 0;
	bool found;

	for (int i = 1; i < argc; i += 2) {
		if (strcmp(argv[i], "--mutants") == 0)
			return run_mutants();
		if (strcmp(argv[i], "--list") == 0)
			return list();
		if (strcmp(argv[i], "--help") == 0)
			return usage(stdout);
		if (strcmp(argv[i], "--drop") != 0 || i + 1 == argc)
			return usage(stderr);
		dropped |= rule_find(argv[i + 1]);
	}
	found = run(dropped);
	if (dropped == 0)
		return found ? 1 : 0;
	return found ? 0 : 1;
}
