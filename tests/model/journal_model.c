/*
 * Searches every state that the scenarios of the journal model can reach, every crash image of
 * each, and recovery from it. See docs/CRASH.md for the rules.
 */
#include "journal_model.h"
#include "states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STATE_BYTES_LIMIT ((size_t)900 << 20)

/* An action: who, and which step of theirs. The top bit says that a crash here leaves something
 * new. */
#define ACTION_MEDIA	  0x8000
#define ACTION(who, step) ((unsigned)(who) << 8 | (step))
enum actor { ACTOR_CHECKPOINT = THREADS, ACTOR_RECOVERY, ACTOR_CRASH };
enum crash_kind { CRASH_POWER, CRASH_POWER_BAD_C0, CRASH_POWER_BAD_C1, CRASH_KILL };

struct search {
	struct model m;
	struct states *seen;
	uint64_t images;
	uint64_t kills;
	/* the state being expanded */
	uint32_t index;
	struct state from;
	/* the violation */
	bool found;
	unsigned found_action;
	struct state found_state;
};

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void search_found(struct search *sr, const struct state *s, unsigned action)
{
	if (sr->found)
		return;
	sr->found = true;
	sr->found_action = action;
	sr->found_state = *s;
}

static void search_add(struct search *sr, const struct state *s, unsigned action, bool media)
{
	uint8_t bytes[256];
	uint8_t len = state_pack(&sr->m, s, bytes);

	states_add(sr->seen, bytes, len, sr->index,
		   (uint16_t)(action | (media ? ACTION_MEDIA : 0u)));
}

static void search_result(struct search *sr, const struct state *s, unsigned action, bool media,
			  enum outcome done)
{
	if (done == VIOLATION || state_settled_wrong(&sr->m, s))
		search_found(sr, s, action);
	else
		search_add(sr, s, action, media);
}

/* Recovery to its end, in one go: for the last crash that a scenario allows. */
static void recover_whole(struct search *sr, const struct state *image, unsigned action)
{
	struct state s = *image;
	bool media = false;

	while (s.phase != PHASE_RUN) {
		if (recovery_step(&sr->m, &s, &media) == VIOLATION) {
			search_found(sr, image, action);
			return;
		}
	}
}

static void image_done(struct search *sr, const struct state *image, unsigned action)
{
	sr->images++;
	/* A crash in mkfs that left the old superblock left no new volume to judge. */
	if (sr->from.phase >= PHASE_FORMAT_ZERO && sr->from.phase <= PHASE_FORMAT_FENCE &&
	    line_newest(&image->lines[LINE_SUPER]) == 0)
		return;
	if (image->power_failures + image->kills > 0)
		search_add(sr, image, action, true);
	else
		recover_whole(sr, image, action);
}

/* The next combination of versions, one per line; false after the last. */
static bool choice_next(const struct state *from, uint8_t *choice)
{
	for (unsigned i = 0; i < LINES; i++) {
		if (from->lines[i].count == 1)
			continue;
		choice[i]++;
		if (choice[i] < from->lines[i].count)
			return true;
		choice[i] = 0;
	}
	return false;
}

static void image_set_line(struct state *image, const struct state *from, unsigned i,
			   unsigned version)
{
	image->lines[i].version[0] = from->lines[i].version[version];
}

static void power_failure(struct search *sr, enum crash_kind kind)
{
	struct state image = sr->from;
	uint8_t choice[LINES] = {0};
	bool more = true;

	process_lost(&sr->m, &image);
	image.power_failures--;
	if (image.power_failures == 0)
		image.kills =
		    0; /* what a kill does to the caches shows at a power failure after it */
	for (unsigned i = 0; i < LINES; i++)
		line_floor(&image.lines[i], image.lines[i].count - 1u);
	while (more && !sr->found) {
		for (unsigned i = 0; i < LINES; i++)
			if (sr->from.lines[i].count > 1)
				image_set_line(&image, &sr->from, i, choice[i]);
		if (kind != CRASH_POWER) {
			image.bad_copies = (uint8_t)(sr->from.bad_copies - 1);
			image.lines[c_line(kind == CRASH_POWER_BAD_C1)].version[0] = BAD_C;
		}
		image_done(sr, &image, ACTION(ACTOR_CRASH, kind));
		more = choice_next(&sr->from, choice);
	}
}

static void crashes(struct search *sr)
{
	if (sr->from.power_failures > 0) {
		power_failure(sr, CRASH_POWER);
		if (sr->from.bad_copies > 0) {
			power_failure(sr, CRASH_POWER_BAD_C0);
			power_failure(sr, CRASH_POWER_BAD_C1);
		}
	}
	if (sr->from.kills > 0 &&
	    (sr->from.phase == PHASE_RUN || sr->from.phase >= PHASE_RECOVER_FLUSH)) {
		struct state s = sr->from;

		process_lost(&sr->m, &s);
		s.kills--;
		sr->kills++;
		search_add(sr, &s, ACTION(ACTOR_CRASH, CRASH_KILL), true);
	}
}

/* Returns whether some committer that has work left could take a step. */
static bool expand_threads(struct search *sr, bool *work_left)
{
	bool moved = false;

	for (unsigned t = 0; t < THREADS; t++) {
		bool more = true;

		*work_left = *work_left || thread_tx(&sr->m, &sr->from, t) != NO_TX;
		for (unsigned choice = 0; more && !sr->found; choice++) {
			struct state s = sr->from;
			bool media = false;
			enum outcome done = thread_step(&sr->m, &s, t, choice, &more, &media);

			if (done == BLOCKED)
				break;
			moved = true;
			search_result(sr, &s, ACTION(t, sr->from.threads[t].pc), media, done);
		}
	}
	return moved;
}

static void expand_running(struct search *sr)
{
	bool work_left = false;
	bool moved = expand_threads(sr, &work_left);
	bool more = true;

	for (unsigned choice = 0; more && !sr->found; choice++) {
		struct state s = sr->from;
		bool media = false;
		enum outcome done = checkpoint_step(&sr->m, &s, choice, &more, &media);

		if (done == BLOCKED)
			break;
		search_result(sr, &s, ACTION(ACTOR_CHECKPOINT, sr->from.ck.pc), media, done);
	}
	if (!sr->found && work_left && !moved && state_stuck(&sr->m, &sr->from)) {
		snprintf(sr->m.why, sizeof(sr->m.why),
			 "stuck: nobody can go on, and a checkpoint would change nothing");
		search_found(sr, &sr->from, ACTION(ACTOR_CHECKPOINT, 0));
	}
}

static void expand(struct search *sr, bool media_changed)
{
	struct state s = sr->from;
	bool media = false;
	enum outcome done = STEPPED;

	if (media_changed)
		crashes(sr);
	if (sr->found)
		return;
	if (s.phase == PHASE_RUN) {
		expand_running(sr);
		return;
	}
	if (s.phase < PHASE_RECOVER_FLUSH)
		done = format_step(&sr->m, &s, &media);
	else
		done = recovery_step(&sr->m, &s, &media);
	search_result(sr, &s, ACTION(ACTOR_RECOVERY, sr->from.phase), media, done);
}

static void search_run(struct search *sr, const struct scenario *scenario, uint64_t dropped)
{
	struct state first;

	memset(sr, 0, sizeof(*sr));
	sr->m.scenario = scenario;
	sr->m.dropped = dropped;
	steps_order(&sr->m);
	sr->seen = states_new(STATE_BYTES_LIMIT);
	sr->index = STATES_NONE;
	state_init(&sr->m, &first);
	search_add(sr, &first, ACTION(ACTOR_RECOVERY, PHASE_RUN), true);
	for (uint32_t i = 0; i < states_count(sr->seen) && !sr->found; i++) {
		struct states_entry e = states_get(sr->seen, i);

		sr->index = i;
		state_unpack(&sr->m, &sr->from, e.bytes, e.len);
		expand(sr, (e.action & ACTION_MEDIA) != 0);
	}
}

static void print_action(const struct model *m, unsigned action)
{
	static const char *const crash_names[] = {
	    [CRASH_POWER] = "POWER FAILS",
	    [CRASH_POWER_BAD_C0] = "POWER FAILS, C copy 0 is damaged",
	    [CRASH_POWER_BAD_C1] = "POWER FAILS, C copy 1 is damaged",
	    [CRASH_KILL] = "KILL -9",
	};
	unsigned step = action & 0xff;
	unsigned who = action >> 8 & 0x7f;
	char name[80];

	if (who < THREADS) {
		thread_step_name(m, step, name, sizeof(name));
		printf("  %c: %-50s", 'A' + (int)who, name);
	} else if (who == ACTOR_CHECKPOINT) {
		printf("  checkpoint: %-41s", checkpoint_step_name(m, step));
	} else if (who == ACTOR_RECOVERY) {
		printf("  recovery: %-43s", phase_name(step));
	} else {
		printf("  %-53s", crash_names[step]);
	}
}

static void print_state(const struct model *m, const struct state *s)
{
	printf(" next %u, in flight %u %u, C %u |", s->next, s->lanes[0].inflight,
	       s->lanes[1].inflight, s->c_lanes);
	for (unsigned w = 0; w < WORDS; w++) {
		printf("%s%x", w % WORDS_PER_LINE == 0 ? " " : "", word_read(s, w));
		if (s->lines[word_line(w)].count > 1 && w % WORDS_PER_LINE == WORDS_PER_LINE - 1)
			printf("*");
	}
	printf(" | lanes");
	for (unsigned lane = 0; lane < m->scenario->lanes; lane++)
		for (unsigned half = 0; half < HALVES; half++)
			for (unsigned i = 0; i < m->scenario->slots * (unsigned)PARTS; i++) {
				const struct line *line =
				    &s->lines[lane_line(lane, half, 0, 0) + i];

				printf("%s%x%s", i % PARTS == 0 ? " " : "", line_newest(line),
				       line->count > 1 ? "*" : "");
			}
	printf(" | C %x%s %x%s\n", line_newest(&s->lines[c_line(0)]),
	       s->lines[c_line(0)].count > 1 ? "*" : "", line_newest(&s->lines[c_line(1)]),
	       s->lines[c_line(1)].count > 1 ? "*" : "");
}

static void print_transactions(const struct scenario *sc)
{
	static const char *const kinds[] = {"",
					    "set",
					    "allocate a data block",
					    "free a data block",
					    "free a metadata block",
					    "journalled store to a metadata block",
					    "change a field of a word",
					    "set, directly without J8",
					    "append: data and record with one fence",
					    "change the data in place"};

	for (unsigned t = 0; t < THREADS; t++) {
		for (unsigned i = 0; i < ITEMS && sc->items[t][i] != NO_TX; i++) {
			const struct tx *tx = &sc->txs[sc->items[t][i]];

			printf("  %c commits record %u: %s", 'A' + (int)t, sc->items[t][i] + 1u,
			       kinds[tx->kind]);
			for (unsigned op = 0; op < tx->op_count; op++)
				printf(" word %u = %x", tx->ops[op].word, tx->ops[op].value);
			printf("\n");
		}
	}
}

/* Runs recovery again on what the crash left, to show how it came to its end. */
static void print_recovery(struct search *sr)
{
	struct state s = sr->found_state;
	bool media = false;
	enum outcome done = STEPPED;

	while (s.phase != PHASE_RUN && done == STEPPED) {
		unsigned phase = s.phase;

		done = recovery_step(&sr->m, &s, &media);
		print_action(&sr->m, ACTION(ACTOR_RECOVERY, phase));
		print_state(&sr->m, &s);
	}
}

static void print_trace(struct search *sr)
{
	uint32_t path[512];
	unsigned depth = 0;
	struct state s;

	printf("trace (words by line; lanes: the record in each line; * = a crash may leave an "
	       "older version)\n");
	print_transactions(sr->m.scenario);
	for (uint32_t i = sr->index; i != STATES_NONE && depth < 512; depth++) {
		path[depth] = i;
		i = states_get(sr->seen, i).parent;
	}
	while (depth > 0) {
		struct states_entry e = states_get(sr->seen, path[depth - 1]);

		depth--;
		state_unpack(&sr->m, &s, e.bytes, e.len);
		print_action(&sr->m, e.action);
		print_state(&sr->m, &s);
	}
	print_action(&sr->m, sr->found_action);
	print_state(&sr->m, &sr->found_state);
	if (sr->found_action >> 8 == ACTOR_CRASH)
		print_recovery(sr);
	printf("  violation: %s\n", sr->m.why);
}

static uint64_t rule_mask(unsigned rule)
{
	return (uint64_t)1 << rule;
}

struct totals {
	uint64_t states;
	uint64_t images;
	uint64_t kills;
	size_t bytes_max;
};

static bool run_scenario(const struct scenario *sc, uint64_t dropped, struct totals *totals)
{
	struct search sr;
	double start = seconds_now();
	bool found;

	search_run(&sr, sc, dropped);
	found = sr.found;
	printf("%-13s %9u states %10llu images %7llu kills %6.2f s  %s\n", sc->name,
	       states_count(sr.seen), (unsigned long long)sr.images, (unsigned long long)sr.kills,
	       seconds_now() - start, found ? "VIOLATION" : "nothing found");
	if (found)
		print_trace(&sr);
	totals->states += states_count(sr.seen);
	totals->images += sr.images;
	totals->kills += sr.kills;
	if (states_bytes(sr.seen) > totals->bytes_max)
		totals->bytes_max = states_bytes(sr.seen);
	states_delete(&sr.seen);
	return found;
}

static bool run_all(uint64_t dropped, const char *only)
{
	struct totals totals = {0, 0, 0, 0};
	double start = seconds_now();
	bool found = false;

	for (unsigned i = 0; i < SCENARIOS && !found; i++)
		if (only == NULL || strcmp(only, scenarios[i].name) == 0)
			found = run_scenario(&scenarios[i], dropped, &totals);
	printf("total: %llu states, %llu crash images, %llu kills, %.2f s, at most %zu MiB\n",
	       (unsigned long long)totals.states, (unsigned long long)totals.images,
	       (unsigned long long)totals.kills, seconds_now() - start, totals.bytes_max >> 20);
	return found;
}

/* One row of the table: the scenario that exposes the rule, and what was seen. Returns whether
 * found. */
static bool mutant_row(const char *name, uint64_t dropped, enum scenario_index scenario,
		       bool expected)
{
	struct search sr;
	bool found;

	search_run(&sr, &scenarios[scenario], dropped);
	found = sr.found;
	printf("%-30s %-13s %8u %9llu  %s%s\n", name, scenarios[scenario].name,
	       states_count(sr.seen), (unsigned long long)sr.images,
	       found == expected ? "" : "WRONG: ", found ? sr.m.why : "nothing found");
	states_delete(&sr.seen);
	return found;
}

static int run_mutants(void)
{
	unsigned wrong = 0;

	printf("%-30s %-13s %8s %9s  %s\n", "rule dropped", "scenario", "states", "images", "seen");
	for (unsigned i = 0; i < RULES; i++) {
		bool spare = rules[i].spare_of != RULE_NONE;

		if (mutant_row(rules[i].name, rule_mask(i), rules[i].scenario, !spare) == spare)
			wrong++;
		if (spare) {
			char name[64];

			snprintf(name, sizeof(name), "  and %s", rules[rules[i].spare_of].name);
			if (!mutant_row(name, rule_mask(i) | rule_mask(rules[i].spare_of),
					rules[i].scenario, true))
				wrong++;
		}
	}
	printf("%u rules, %u not as expected\n", (unsigned)RULES, wrong);
	return wrong == 0 ? 0 : 1;
}

static int list(void)
{
	for (unsigned i = 0; i < RULES; i++) {
		printf("%-30s %s\n", rules[i].name, rules[i].dropped);
		if (rules[i].spare_of != RULE_NONE)
			printf("%-30s   (covered by %s; drop both)\n", "",
			       rules[rules[i].spare_of].name);
	}
	printf("\nscenarios:\n");
	for (unsigned i = 0; i < SCENARIOS; i++)
		printf("%-30s %s\n", scenarios[i].name, scenarios[i].what);
	return 0;
}

static int usage(FILE *to)
{
	fprintf(
	    to,
	    "usage: journal_model [--scenario NAME]       every rule on; exit 0 if nothing is "
	    "found\n"
	    "       journal_model --drop RULE [--drop RULE] [--scenario NAME]\n"
	    "                                            exit 0 if a violation IS found, 1 if not\n"
	    "       journal_model --mutants              each rule off in turn; exit 0 if each is "
	    "caught\n"
	    "       journal_model --list                 rules, what is done without them, "
	    "scenarios\n"
	    "A rule that another one covers is harmless alone and must be caught together with "
	    "it.\n"
	    "Exit 2: bad usage, or a search that ran out of memory and says nothing.\n");
	return to == stderr ? 2 : 0;
}

static unsigned rule_find(const char *name)
{
	for (unsigned i = 0; i < RULES; i++)
		if (strcmp(name, rules[i].name) == 0)
			return i;
	fprintf(stderr, "journal_model: no rule is called %s; see --list\n", name);
	exit(2);
}

static const char *scenario_check(const char *name)
{
	for (unsigned i = 0; i < SCENARIOS; i++)
		if (strcmp(name, scenarios[i].name) == 0)
			return name;
	fprintf(stderr, "journal_model: no scenario is called %s; see --list\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	uint64_t dropped = 0;
	const char *only = NULL;
	bool found;

	for (int i = 1; i < argc; i += 2) {
		if (strcmp(argv[i], "--mutants") == 0)
			return run_mutants();
		if (strcmp(argv[i], "--list") == 0)
			return list();
		if (strcmp(argv[i], "--help") == 0)
			return usage(stdout);
		if (i + 1 == argc)
			return usage(stderr);
		if (strcmp(argv[i], "--drop") == 0)
			dropped |= rule_mask(rule_find(argv[i + 1]));
		else if (strcmp(argv[i], "--scenario") == 0)
			only = scenario_check(argv[i + 1]);
		else
			return usage(stderr);
	}
	found = run_all(dropped, only);
	if (dropped == 0)
		return found ? 1 : 0;
	return found ? 0 : 1;
}
