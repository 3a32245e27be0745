/* Standard input is one JSON value, or the exit status is 1. */
#include <jansson.h>

int main(void)
{
	json_error_t e;
	json_t *v = json_loadf(stdin, JSON_REJECT_DUPLICATES, &e);

	if (!v)
		fprintf(stderr, "line %d: %s\n", e.line, e.text);
	json_decref(v);
	return v ? 0 : 1;
}
