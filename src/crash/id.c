/* The name of one crash image:
 *
 * s7.w3.p17-2,5_8,11k1m240   Seed 7, workload 3, its 17th point. Of the pending lines, numbered as
 *                            they became so, 2 and 5 to 8 are left out; of 11 only the first store
 *                            is there, and of the second the words 4 to 7.
 * s7.w3.p17+2.r2-0           Only line 2 is there; then recovery crashed at its second point,
 *                            without its line 0.
 * s7.w3.p17kill              kill -9
 * s7.w3.p17bad37             All is there, but page 37 (of 4 KiB) cannot be read.
 * s7.w3.p17stray             The bytes differ from what the events say.
 * s7.w3.m1.p17-              Under another model of the media: 1 eADR, 2 pages, 4 any_order, 8
 *                            nt_stays_cached.
 */
#include "crash/explore.h"

#include <stdlib.h>

enum side { SIDE_NONE, SIDE_ALL, SIDE_PART };

static enum side side_of(struct choice c)
{
	if (c.words == 0 && c.bytes == 0xff && c.flip == 0 && (c.k == 0 || c.k == UINT32_MAX))
		return c.k == 0 ? SIDE_NONE : SIDE_ALL;
	return SIDE_PART;
}

void id_append(char *id, const char *text)
{
	size_t n = strlen(id), len = strlen(text);

	if (n + len < CRASH_ID_MAX)
		memcpy(id + n, text, len + 1);
}

static void append_part(char *id, struct choice c)
{
	char text[64];
	int n = c.k == UINT32_MAX ? snprintf(text, sizeof(text), "ka")
				  : snprintf(text, sizeof(text), "k%u", c.k);

	if (c.words)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "m%u", c.words);
	if (c.bytes != 0xff)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "b%u", c.bytes);
	if (c.flip)
		snprintf(text + n, sizeof(text) - (size_t)n, "f%u", c.flip);
	id_append(id, text);
}

/* 0 is the usual one, and not said. */
static unsigned model_number(const struct hf_crash_model *m)
{
	return (unsigned)m->granularity | (unsigned)m->any_order << 2 |
	       (unsigned)m->nt_stays_cached << 3;
}

static bool model_of(uint64_t n, struct hf_crash_model *m)
{
	*m = (struct hf_crash_model){.granularity = (enum hf_crash_granularity)(n & 3),
				     .any_order = n >> 2 & 1,
				     .nt_stays_cached = n >> 3 & 1};
	return n < 16 && (n & 3) <= HF_CRASH_PAGE;
}

void id_begin(char id[CRASH_ID_MAX], const struct hf_crash_options *o, uint32_t point)
{
	unsigned model = model_number(&o->model);
	char text[24] = "";

	if (model)
		snprintf(text, sizeof(text), ".m%u", model);
	snprintf(id, CRASH_ID_MAX, "s%llu.w%u%s.p%u", (unsigned long long)o->seed, o->number, text,
		 point);
}

void id_add_choices(char *id, const struct builder *b)
{
	size_t side[3] = {0};
	enum side usual;
	bool comma = false;

	for (size_t i = 0; i < b->n; i++)
		side[side_of(b->c[i])]++;
	usual = side[SIDE_ALL] >= side[SIDE_NONE] ? SIDE_ALL : SIDE_NONE;
	id_append(id, usual == SIDE_ALL ? "-" : "+");
	for (size_t i = 0; i < b->n; i++) {
		enum side s = side_of(b->c[i]);
		size_t last = i;
		char text[48];

		if (s == usual)
			continue;
		while (s != SIDE_PART && last + 1 < b->n && side_of(b->c[last + 1]) == s)
			last++;
		snprintf(text, sizeof(text), last > i ? "%s%zu_%zu" : "%s%zu", comma ? "," : "", i,
			 last);
		id_append(id, text);
		if (s == SIDE_PART)
			append_part(id, b->c[i]);
		comma = true;
		i = last;
	}
}

/* A number at *at, which moves behind it. */
static bool number(const char **at, uint64_t max, uint64_t *out)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*out = strtoull(*at, &end, 10);
	*at = end;
	return errno == 0 && *out <= max;
}

static bool parse_part(const char **at, struct choice *c)
{
	uint64_t v;

	*c = CHOICE_NONE;
	++*at;
	if (**at == 'a') {
		c->k = UINT32_MAX;
		++*at;
	} else {
		if (!number(at, UINT32_MAX, &v))
			return false;
		c->k = (uint32_t)v;
	}
	for (; **at == 'm' || **at == 'b' || **at == 'f';) {
		char what = *(*at)++;

		if (!number(at, what == 'f' ? UINT16_MAX : UINT8_MAX, &v))
			return false;
		if (what == 'm')
			c->words = (uint8_t)v;
		else if (what == 'b')
			c->bytes = (uint8_t)v;
		else
			c->flip = (uint16_t)v;
	}
	return true;
}

int id_set_choices(const char *list, struct builder *b)
{
	bool all = *list == '-';

	builder_set_all(b, all ? CHOICE_ALL : CHOICE_NONE);
	for (list++; *list && *list != '.';) {
		struct choice c = all ? CHOICE_NONE : CHOICE_ALL;
		uint64_t first, last;

		if (!number(&list, UINT32_MAX, &first))
			return -EINVAL;
		last = first;
		if (*list == '_') {
			list++;
			if (!number(&list, UINT32_MAX, &last))
				return -EINVAL;
		}
		if (*list == 'k' && !parse_part(&list, &c))
			return -EINVAL;
		if (last < first || last >= b->n)
			return -EINVAL;
		for (; first <= last; first++)
			builder_set(b, first, c);
		if (*list == ',')
			list++;
	}
	return 0;
}

static bool word(const char **at, const char *w)
{
	size_t n = strlen(w);

	if (strncmp(*at, w, n) != 0)
		return false;
	*at += n;
	return true;
}

static bool parse_level(const char **at, char letter, struct id_level *out)
{
	uint64_t v;

	if (**at != '.' || (*at)[1] != letter)
		return false;
	*at += 2;
	if (!number(at, UINT32_MAX, &v))
		return false;
	out->point = (uint32_t)v;
	out->list = *at;
	out->kind = ID_CHOICES;
	if (**at == '+' || **at == '-') {
		*at += strcspn(*at, ".");
		return true;
	}
	/* Only the first crash is one of these, and only after a kill come others. */
	if (letter != 'p')
		return false;
	if (word(at, "kill")) {
		out->kind = ID_KILL;
		return **at == 0 || **at == '.';
	}
	out->kind = ID_STRAY;
	if (word(at, "stray"))
		return **at == 0;
	out->kind = ID_BAD;
	return word(at, "bad") && number(at, UINT32_MAX, &out->page) && **at == 0;
}

int id_parse(const char *text, struct id *out)
{
	const char *at = text;
	uint64_t v;

	memset(out, 0, sizeof(*out));
	out->text = text;
	if (*at++ != 's' || !number(&at, UINT64_MAX, &out->seed) || *at++ != '.' || *at++ != 'w' ||
	    !number(&at, UINT32_MAX, &v))
		goto bad;
	out->number = (uint32_t)v;
	if (strncmp(at, ".m", 2) == 0) {
		at += 2;
		if (!number(&at, 15, &v) || !model_of(v, &out->model))
			goto bad;
	}
	do {
		if (out->levels == CRASH_LEVELS ||
		    !parse_level(&at, out->levels ? 'r' : 'p', &out->level[out->levels]))
			goto bad;
		out->levels++;
	} while (*at);
	return 0;
bad:
	return err_set(-EINVAL, "crash: '%s' is not the id of a crash image", text);
}

HF_API int hf_crash_id_parse(const char *id, uint64_t *seed, uint32_t *number_out)
{
	struct id parsed;
	int err;

	err_clear();
	if (!id)
		return err_set(-EINVAL, "crash: the id is NULL");
	err = id_parse(id, &parsed);
	if (err)
		return err;
	if (seed)
		*seed = parsed.seed;
	if (number_out)
		*number_out = parsed.number;
	return 0;
}
