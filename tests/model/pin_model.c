/*
 * Explores every interleaving of the scenarios of pin_rules.c, each rule on, or some off.
 */
#include "pin_model.h"
#include "states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STATE_BYTES_LIMIT ((size_t)900 << 20)
#define TRACE_MAX	  512u

struct search {
	struct model m;
	struct states *seen;
	uint32_t index; /* the state being expanded */
	struct state from;
	bool found;
	unsigned found_thread;
	struct state found_state;
};

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- a state as bytes; what no scenario of this size uses is left out */

struct codec {
	uint8_t *bytes;
	unsigned at;
	bool reading;
};

static void code(struct codec *c, uint8_t *field)
{
	if (c->reading)
		*field = c->bytes[c->at];
	else
		c->bytes[c->at] = *field;
	c->at++;
}

/* Two fields below 16 in a byte. */
static void code2(struct codec *c, uint8_t *a, uint8_t *b)
{
	uint8_t both = (uint8_t)(*a | *b << 4);

	code(c, &both);
	*a = both & 15;
	*b = both >> 4;
}

/* Four flags and a field below 16. */
static void code_flags(struct codec *c, uint8_t *w, uint8_t *x, uint8_t *y, uint8_t *field)
{
	uint8_t flags = (uint8_t)(*w | *x << 1 | *y << 2);

	code2(c, &flags, field);
	*w = flags & 1;
	*x = flags >> 1 & 1;
	*y = flags >> 2 & 1;
}

static void code_frame(struct codec *c, unsigned blocks, struct frame *fr)
{
	code_flags(c, &fr->split, &fr->busy, &fr->has, &fr->count);
	code2(c, &fr->bits, &fr->held);
	code(c, &fr->rec);
	for (unsigned i = 0; i < blocks; i++) {
		uint8_t rec = (uint8_t)(fr->b[i].rec << 1 | fr->b[i].busy);

		code2(c, &fr->b[i].count, &rec);
		fr->b[i].rec = rec >> 1;
		fr->b[i].busy = rec & 1;
		code(c, &fr->stamp[i]);
	}
}

static void code_thread(struct codec *c, struct thread *t)
{
	code(c, &t->item);
	code(c, &t->pc);
	if (t->pc == 0)
		return; /* between two operations the rest is zero */
	code2(c, &t->i, &t->tmp);
	code2(c, &t->kind, &t->rec);
	code(c, &t->blocks);
	code(c, &t->idle);
	code(c, &t->left);
	code2(c, &t->made, &t->collective);
	code2(c, &t->slept, &t->ticket);
}

static void code_handle(struct codec *c, unsigned frames, unsigned blocks, struct handle *h)
{
	code2(c, &h->state, &h->whole);
	code(c, &h->blocks);
	for (unsigned b = 0; h->blocks != 0 && b < frames * PER_FRAME; b++)
		if (b % PER_FRAME < blocks)
			code(c, &h->stamp[b]);
}

static uint8_t code_state(struct codec *c, const struct scenario *sc, struct state *s)
{
	for (unsigned i = 0; i < sc->frames; i++)
		code_frame(c, sc->blocks, &s->frames[i]);
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &s->files[i];

		code2(c, &f->kind, &f->frame);
		code2(c, &f->writer, &f->readers);
		code2(c, &f->blk[0], &f->blk[1]);
		if (sc->blocks > 2)
			code(c, &f->blk[2]);
	}
	for (unsigned i = 0; i < HANDLES; i++)
		code_handle(c, sc->frames, sc->blocks, &s->handles[i]);
	for (unsigned i = 0; i < RECS; i++) {
		uint8_t used = (uint8_t)(s->recs[i].used | s->recs[i].ticket << 1);

		code2(c, &used, &s->recs[i].left);
		s->recs[i].used = used & 1;
		s->recs[i].ticket = used >> 1;
	}
	for (unsigned i = 0; i < sc->threads; i++)
		code_thread(c, &s->threads[i]);
	code2(c, &s->group, &s->arrays);
	return (uint8_t)c->at;
}

/* What nobody will look at any more must not tell two states apart. */
static void state_forget(struct state *s)
{
	for (unsigned f = 0; f < FRAMES; f++)
		for (unsigned i = 0; i < PER_FRAME; i++)
			if (((s->frames[f].bits | s->frames[f].held) >> i & 1) == 0)
				s->frames[f].stamp[i] = 0;
}

static void search_add(struct search *sr, struct state *s, unsigned thread)
{
	uint8_t bytes[STATES_LEN_MAX];
	struct codec c = {bytes, 0, false};
	uint8_t len;

	state_forget(s);
	len = code_state(&c, sr->m.scenario, s);
	states_add(sr->seen, bytes, len, sr->index, (uint16_t)thread);
}

static void state_load(const struct search *sr, struct state *s, struct states_entry e)
{
	uint8_t bytes[STATES_LEN_MAX];
	struct codec c = {bytes, 0, true};

	memset(s, 0, sizeof(*s));
	memcpy(bytes, e.bytes, e.len);
	code_state(&c, sr->m.scenario, s);
}

/* ---- the search */

static void search_found(struct search *sr, const struct state *s, unsigned thread)
{
	sr->found = true;
	sr->found_thread = thread;
	sr->found_state = *s;
}

/* Returns whether the thread could move. */
static bool expand_thread(struct search *sr, unsigned thread)
{
	bool more = true;
	bool moved = false;

	for (unsigned choice = 0; more && !sr->found; choice++) {
		struct state s = sr->from;
		enum outcome done = thread_step(&sr->m, &s, thread, choice, &more);

		if (done == BLOCKED)
			break;
		moved = true;
		if (done == VIOLATION || state_check(&sr->m, &s) == VIOLATION)
			search_found(sr, &s, thread);
		else
			search_add(sr, &s, thread);
	}
	return moved;
}

static void expand(struct search *sr)
{
	bool left = false;
	bool moved = false;

	for (unsigned t = 0; t < sr->m.scenario->threads && !sr->found; t++) {
		left = left || thread_op(&sr->m, &sr->from, t) != NULL;
		moved = expand_thread(sr, t) || moved;
	}
	if (sr->found || moved)
		return;
	if (left)
		snprintf(sr->m.why, sizeof(sr->m.why), "stuck: nobody can go on");
	if (left || end_check(&sr->m, &sr->from) == VIOLATION)
		search_found(sr, &sr->from, NOBODY);
}

static void search_run(struct search *sr, const struct scenario *scenario, uint64_t dropped,
		       bool fine)
{
	struct state first;

	memset(sr, 0, sizeof(*sr));
	sr->m.scenario = scenario;
	sr->m.dropped = dropped;
	sr->m.fine = fine;
	sr->seen = states_new(STATE_BYTES_LIMIT);
	sr->index = STATES_NONE;
	state_init(&sr->m, &first);
	search_add(sr, &first, NOBODY);
	for (uint32_t i = 0; i < states_count(sr->seen) && !sr->found; i++) {
		sr->index = i;
		state_load(sr, &sr->from, states_get(sr->seen, i));
		expand(sr);
	}
}

/* ---- what was found */

static void print_frame(const struct scenario *sc, const struct frame *fr)
{
	printf(" %u%s%s", fr->count, fr->split ? "S" : "", fr->busy ? "B" : "");
	printf(fr->has ? " (" : " -");
	for (unsigned i = 0; fr->has && i < sc->blocks; i++)
		printf("%s%u%s", i ? " " : "", fr->b[i].count, fr->b[i].busy ? "B" : "");
	printf(fr->has ? ") " : " ");
	for (unsigned i = 0; i < sc->blocks; i++) {
		bool used = fr->bits >> i & 1;
		bool held = fr->held >> i & 1;

		printf("%c", used && held ? '%' : used ? '#' : held ? 'h' : '.');
	}
	printf(" |");
}

static void print_state(const struct model *m, const struct state *s)
{
	static const char states[] = "-0+xd";

	for (unsigned f = 0; f < m->scenario->frames; f++)
		print_frame(m->scenario, &s->frames[f]);
	for (unsigned i = 0; i < FILES; i++) {
		const struct file *f = &s->files[i];

		printf(" %c:", 'A' + (int)i);
		if (f->kind == MAP_HUGE)
			printf(" huge %u", f->frame);
		for (unsigned b = 0; f->kind != MAP_HUGE && b < m->scenario->blocks; b++)
			printf(f->blk[b] ? " %u" : " -", f->blk[b] - 1u);
	}
	printf(" | pins ");
	for (unsigned i = 0; i < HANDLES; i++)
		printf("%c", states[s->handles[i].state]);
	printf("\n");
}

/* What the thread did from this state on: one step, or several that are taken as one. */
static void print_move(const struct search *sr, const struct state *before, unsigned thread)
{
	if (thread < THREADS)
		printf("  %u: %-32s", thread, step_name(&sr->m, before, thread));
	else
		printf("  %-35s", "");
}

static void print_trace(struct search *sr)
{
	uint32_t path[TRACE_MAX];
	unsigned depth = 0;
	struct state s;
	struct state before = {0};

	printf("trace (first step of each move; a frame: its count, SPLIT, BUSY (counts of its "
	       "blocks), blocks:\n"
	       "  # allocated, %% and held, h held, . free; pins: + live, x being dropped, d "
	       "dropped, 0 a hole)\n");
	for (uint32_t i = sr->index; i != STATES_NONE && depth < TRACE_MAX; depth++) {
		path[depth] = i;
		i = states_get(sr->seen, i).parent;
	}
	while (depth > 0) {
		struct states_entry e = states_get(sr->seen, path[depth - 1]);

		depth--;
		state_load(sr, &s, e);
		print_move(sr, &before, e.action);
		print_state(&sr->m, &s);
		before = s;
	}
	print_move(sr, &before, sr->found_thread);
	print_state(&sr->m, &sr->found_state);
	printf("  violation: %s\n", sr->m.why);
}

/* ---- runs */

static uint64_t rule_mask(unsigned rule)
{
	return (uint64_t)1 << rule;
}

struct totals {
	uint64_t states;
	size_t bytes_max;
};

static bool run_scenario(const struct scenario *sc, uint64_t dropped, bool fine,
			 struct totals *totals)
{
	struct search sr;
	double start = seconds_now();

	search_run(&sr, sc, dropped, fine);
	printf("%-12s %9u states %6.2f s  %s\n", sc->name, states_count(sr.seen),
	       seconds_now() - start, sr.found ? "VIOLATION" : "nothing found");
	if (sr.found)
		print_trace(&sr);
	fflush(stdout);
	totals->states += states_count(sr.seen);
	if (states_bytes(sr.seen) > totals->bytes_max)
		totals->bytes_max = states_bytes(sr.seen);
	states_delete(&sr.seen);
	return sr.found;
}

static void print_program(const struct scenario *sc, unsigned thread)
{
	static const char *const kinds[] = {"", "pin", "unpin", "punch", "block", "frame"};

	printf("  %u:", thread);
	for (unsigned i = 0; i < ITEMS && sc->ops[thread][i].kind != OP_END; i++) {
		const struct op *op = &sc->ops[thread][i];

		printf(" %s(%c %u+%u%s%s%s%s)", kinds[op->kind], 'A' + op->file, op->first, op->n,
		       op->flags & HOW_WAIT ? " WAIT" : "", op->flags & HOW_FAIL ? " FAIL" : "",
		       op->flags & HOW_ABORT ? " abort" : "",
		       op->flags & HOW_ORPHAN ? " orphan" : "");
	}
	printf("\n");
}

static bool run_sweep(uint64_t dropped, bool fine, struct totals *totals)
{
	struct sweep w = {0};
	struct scenario sc;
	double start = seconds_now();
	uint64_t states = 0;
	unsigned runs = 0;
	bool found = false;

	while (!found && sweep_next(&w, &sc)) {
		struct search sr;

		search_run(&sr, &sc, dropped, fine);
		found = sr.found;
		for (unsigned t = 0; t < sc.threads && found; t++)
			print_program(&sc, t);
		if (found)
			print_trace(&sr);
		states += states_count(sr.seen);
		runs++;
		if (states_bytes(sr.seen) > totals->bytes_max)
			totals->bytes_max = states_bytes(sr.seen);
		states_delete(&sr.seen);
	}
	printf("%-12s %9llu states %6.2f s  %u choices of programs: %s\n", "sweep",
	       (unsigned long long)states, seconds_now() - start, runs,
	       found ? "VIOLATION" : "nothing found");
	totals->states += states;
	return found;
}

/* The scenarios step by step; the sweep with steps taken together, if it is not to be fine. */
static bool run_all(uint64_t dropped, const char *only, bool fine)
{
	struct totals totals = {0, 0};
	double start = seconds_now();
	bool found = false;

	for (unsigned i = 0; i < SCENARIOS && !found; i++)
		if (only == NULL || strcmp(only, scenarios[i].name) == 0)
			found = run_scenario(&scenarios[i], dropped, true, &totals);
	if (!found && (only == NULL || strcmp(only, "sweep") == 0))
		found = run_sweep(dropped, fine, &totals);
	printf("total: %llu states, %.2f s, at most %zu MiB\n", (unsigned long long)totals.states,
	       seconds_now() - start, totals.bytes_max >> 20);
	return found;
}

/* One row of the table: the scenario that exposes the rule, and what was seen. */
static bool mutant_row(const char *name, uint64_t dropped, enum scenario_index scenario,
		       bool expected)
{
	struct search sr;
	bool found;

	search_run(&sr, &scenarios[scenario], dropped, true);
	found = sr.found;
	printf("%-28s %-11s %8u  %s%s\n", name, scenarios[scenario].name, states_count(sr.seen),
	       found == expected ? "" : "WRONG: ", found ? sr.m.why : "nothing found");
	fflush(stdout);
	states_delete(&sr.seen);
	return found == expected;
}

static bool mutant_run(unsigned rule)
{
	const struct rule_info *r = &rules[rule];
	bool spare = r->spare_of != RULE_NONE;
	bool ok = mutant_row(r->name, rule_mask(rule), r->scenario, !spare);
	char name[64];

	if (!spare)
		return ok;
	snprintf(name, sizeof(name), "  and %s", rules[r->spare_of].name);
	return mutant_row(name, rule_mask(rule) | rule_mask(r->spare_of), r->scenario, true) && ok;
}

static int run_mutants(void)
{
	unsigned wrong = 0;

	printf("%-28s %-11s %8s  %s\n", "rule dropped", "scenario", "states", "seen");
	for (unsigned i = 0; i < RULES; i++)
		wrong += !mutant_run(i);
	printf("%u rules, %u not as expected\n", (unsigned)RULES, wrong);
	return wrong == 0 ? 0 : 1;
}

static int list(void)
{
	for (unsigned i = 0; i < RULES; i++) {
		printf("%-28s %s\n", rules[i].name, rules[i].dropped);
		if (rules[i].spare_of != RULE_NONE)
			printf("%-28s   (covered by %s; drop both)\n", "",
			       rules[rules[i].spare_of].name);
	}
	printf("\nscenarios:\n");
	for (unsigned i = 0; i < SCENARIOS; i++)
		printf("%-28s %s\n", scenarios[i].name, scenarios[i].what);
	printf("%-28s every choice of small programs for the threads\n", "sweep");
	return 0;
}

static int usage(FILE *to)
{
	fprintf(to,
		"usage: pin_model [--fine] [--scenario NAME]  every rule on; exit 0 if nothing "
		"is found\n"
		"       pin_model --drop RULE [--drop RULE] [--fine] [--scenario NAME]\n"
		"                                             exit 0 if a violation IS found, 1 "
		"if not\n"
		"       pin_model --mutants                   each rule off in turn; exit 0 if "
		"each is caught\n"
		"       pin_model --list                      rules, what is done without them, "
		"scenarios\n"
		"--fine: the sweep, too, takes no two steps as one.\n"
		"Exit 2: bad usage, or a search that ran out of memory and says nothing.\n");
	return to == stderr ? 2 : 0;
}

static uint64_t rule_find(const char *name)
{
	for (unsigned i = 0; i < RULES; i++)
		if (strcmp(name, rules[i].name) == 0)
			return rule_mask(i);
	fprintf(stderr, "pin_model: no rule is called %s; see --list\n", name);
	exit(2);
}

static const char *scenario_check(const char *name)
{
	for (unsigned i = 0; i < SCENARIOS; i++)
		if (strcmp(name, scenarios[i].name) == 0)
			return name;
	if (strcmp(name, "sweep") == 0)
		return name;
	fprintf(stderr, "pin_model: no scenario is called %s; see --list\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	uint64_t dropped = 0;
	const char *only = NULL;
	bool fine = false;
	bool found;

	for (int i = 1; i < argc; i++) {
		bool last = i + 1 == argc;

		if (strcmp(argv[i], "--fine") == 0)
			fine = true;
		else if (strcmp(argv[i], "--mutants") == 0)
			return run_mutants();
		else if (strcmp(argv[i], "--list") == 0)
			return list();
		else if (strcmp(argv[i], "--help") == 0)
			return usage(stdout);
		else if (!last && strcmp(argv[i], "--drop") == 0)
			dropped |= rule_find(argv[++i]);
		else if (!last && strcmp(argv[i], "--scenario") == 0)
			only = scenario_check(argv[++i]);
		else
			return usage(stderr);
	}
	found = run_all(dropped, only, fine);
	if (dropped == 0)
		return found ? 1 : 0;
	return found ? 0 : 1;
}
